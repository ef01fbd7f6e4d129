//! Versions: semantic ones (semver.org 2.0.0) and Python's (PEP 440), taken apart for templates.

use std::sync::LazyLock;

use regex::Regex;

/// A version, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// As it was written.
    pub(super) raw: String,
    /// In its normal form.
    pub(super) version: String,
    /// Major, minor and patch, as far as there are.
    pub(super) numbers: Vec<String>,
    /// Whether it is one before a release.
    pub(super) is_prerelease: bool,
}

impl Parts {
    /// What `{{expression}}` stands for.
    pub(super) fn value(&self, expression: &str) -> Option<String> {
        let number = |at: usize| self.numbers.get(at).cloned().unwrap_or_default();
        match expression {
            "raw" => Some(self.raw.clone()),
            "version" => Some(self.version.clone()),
            "major" => Some(number(0)),
            "minor" => Some(number(1)),
            "patch" => Some(number(2)),
            _ => None,
        }
    }
}

/// Takes a semantic version apart; a leading `v` or `=` is allowed, as npm's parser does. Build metadata is not part of the
/// normal form: a tag cannot hold a plus.
pub(super) fn semver(text: &str) -> Option<Parts> {
    let bare = text.trim().trim_start_matches(['v', '=']).trim_start();
    let (bare, build) = bare
        .split_once('+')
        .map_or((bare, None), |(bare, build)| (bare, Some(build)));
    let (numbers, pre) = bare
        .split_once('-')
        .map_or((bare, None), |(numbers, pre)| (numbers, Some(pre)));
    let numbers: Vec<&str> = numbers.split('.').collect();
    let is_number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'))
    };
    let is_word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // A part of digits only has no leading zero.
    let is_pre = |text: &str| {
        is_word(text) && (is_number(text) || !text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let fits = numbers.len() == 3
        && numbers.iter().all(|number| is_number(number))
        && pre.is_none_or(|pre| pre.split('.').all(is_pre))
        && build.is_none_or(|build| build.split('.').all(is_word));
    fits.then(|| Parts {
        raw: text.to_owned(),
        version: bare.to_owned(),
        numbers: numbers.iter().map(|number| (*number).to_owned()).collect(),
        is_prerelease: pre.is_some(),
    })
}

static PEP440: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // PEP 440, appendix B, in parts of our own naming.
    Regex::new(
        r"(?ix)^\s*v?
          (?:(?P<epoch>[0-9]+)!)?
          (?P<release>[0-9]+(?:\.[0-9]+)*)
          (?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>[0-9]+)?)?
          (?P<post>-(?P<post_bare>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]+)?)?
          (?P<dev>[-_.]?dev[-_.]?(?P<dev_number>[0-9]+)?)?
          (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?
          \s*$",
    )
    .ok()
});

/// Takes a Python version apart and brings it into its normal form (PEP 440 "Normalization").
pub(super) fn pep440(text: &str) -> Option<Parts> {
    let found = PEP440.as_ref()?.captures(text)?;
    let group = |name: &str| {
        found
            .name(name)
            .map(|group| group.as_str().to_ascii_lowercase())
    };
    let number = |text: Option<String>| {
        let text = text.unwrap_or_default();
        let text = text.trim_start_matches('0');
        if text.is_empty() {
            "0".to_owned()
        } else {
            text.to_owned()
        }
    };
    let release: Vec<String> = group("release")?
        .split('.')
        .map(|part| number(Some(part.to_owned())))
        .collect();
    let mut version = String::new();
    if let Some(epoch) = group("epoch")
        .map(|epoch| number(Some(epoch)))
        .filter(|epoch| epoch != "0")
    {
        version.push_str(&epoch);
        version.push('!');
    }
    version.push_str(&release.join("."));
    let mut is_prerelease = false;
    if let Some(pre) = group("pre") {
        is_prerelease = true;
        version.push_str(match pre.as_str() {
            "alpha" | "a" => "a",
            "beta" | "b" => "b",
            _ => "rc",
        });
        version.push_str(&number(group("pre_number")));
    }
    if group("post").is_some() {
        is_prerelease = true;
        version.push_str(".post");
        version.push_str(&number(group("post_bare").or_else(|| group("post_number"))));
    }
    if group("dev").is_some() {
        is_prerelease = true;
        version.push_str(".dev");
        version.push_str(&number(group("dev_number")));
    }
    if let Some(local) = group("local") {
        version.push('+');
        version.push_str(&local.replace(['-', '_'], "."));
    }
    Some(Parts {
        raw: text.to_owned(),
        version,
        numbers: release,
        is_prerelease,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantic_versions() {
        for (text, expect, is_prerelease) in [
            ("1.2.3", "1.2.3", false),
            ("v1.2.3", "1.2.3", false),
            ("v1.2.3-rc.1", "1.2.3-rc.1", true),
            ("1.2.3+build.7", "1.2.3", false),
            ("1.2.3-a+b", "1.2.3-a", true),
        ] {
            let parts = semver(text).unwrap();
            assert_eq!(
                (parts.version.as_str(), parts.is_prerelease),
                (expect, is_prerelease),
                "{text}"
            );
        }
        for text in [
            "1.2",
            "1.2.x",
            "01.2.3",
            "",
            "v",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3.4",
            "1.2.3-a_b",
        ] {
            assert_eq!(semver(text), None, "{text}");
        }
    }

    #[test]
    fn python_versions() {
        for (text, expect, is_prerelease) in [
            ("1.2.3", "1.2.3", false),
            ("v1.0", "1.0", false),
            ("1.0alpha1", "1.0a1", true),
            ("1.0-beta.2", "1.0b2", true),
            ("1.0c3", "1.0rc3", true),
            ("1.0.post1", "1.0.post1", true),
            ("1.0-1", "1.0.post1", true),
            ("1.0.dev4", "1.0.dev4", true),
            ("2!1.0", "2!1.0", false),
            ("1.0+local-1", "1.0+local.1", false),
            ("2024.01", "2024.1", false),
        ] {
            let parts = pep440(text).unwrap();
            assert_eq!(
                (parts.version.as_str(), parts.is_prerelease),
                (expect, is_prerelease),
                "{text}"
            );
        }
        for text in ["", "x", "1.0-", "1..2", "1.0 beta x"] {
            assert_eq!(pep440(text), None, "{text}");
        }
    }
}
