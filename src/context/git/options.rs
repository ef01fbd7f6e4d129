//! What `--git` says.

use super::source::{GitReference, GitSource, GitSourceError, reference_name};

/// The settings of `--git`, each of them only if it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitOptions {
    /// The branch, or else the tag; it stands over the reference of the URL.
    pub branch: Option<String>,
    /// How many commits of history; 0 for all.
    pub depth: Option<u32>,
    /// Whether submodules are fetched.
    pub recurse_submodules: Option<bool>,
    /// Whether certificates are believed unseen.
    pub insecure_skip_tls: Option<bool>,
    /// Whether `.git` is left in place.
    pub keep_git_dir: Option<bool>,
    /// Whether nothing but the reference is fetched. That is so in any case.
    pub single_branch: Option<bool>,
}

const KEYS: &str =
    "branch, single-branch, depth, recurse-submodules, insecure-skip-tls or keep-git-dir";

impl GitOptions {
    /// Takes one occurrence of the flag: `KEY=VALUE`, or several with commas between them.
    ///
    /// # Deviation
    /// kaniko ignores keys that it does not know.
    ///
    /// # Errors
    /// [`GitSourceError`] names the key.
    pub fn add(&mut self, text: &str) -> Result<(), GitSourceError> {
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let invalid = |expected| GitSourceError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
                expected,
            };
            let switch = || match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
                _ => Err(invalid("true or false")),
            };
            match key {
                "branch" if value.is_empty() => self.branch = None,
                "branch" => self.branch = Some(reference_name(value)?),
                "depth" => {
                    self.depth = Some(value.parse().map_err(|_| invalid("a number of commits"))?);
                }
                "recurse-submodules" => self.recurse_submodules = switch()?,
                "insecure-skip-tls" => self.insecure_skip_tls = switch()?,
                "keep-git-dir" => self.keep_git_dir = switch()?,
                "single-branch" => self.single_branch = switch()?,
                _ => {
                    return Err(GitSourceError::Key {
                        key: key.to_owned(),
                        expected: KEYS,
                    });
                }
            }
        }
        Ok(())
    }

    /// Puts the settings over those of a source.
    pub fn apply(&self, source: &mut GitSource) {
        if let Some(branch) = &self.branch {
            source.reference = if branch.starts_with("refs/") {
                GitReference::Full(branch.clone())
            } else {
                GitReference::Any(branch.clone())
            };
        }
        source.depth = self.depth.unwrap_or(source.depth);
        source.has_submodules = self.recurse_submodules.unwrap_or(source.has_submodules);
        source.skips_tls_verify = self.insecure_skip_tls.unwrap_or(source.skips_tls_verify);
        source.keeps_git_dir = self.keep_git_dir.unwrap_or(source.keeps_git_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_over_the_source() {
        let mut options = GitOptions::default();
        for text in [
            "branch=v1,single-branch=true",
            "recurse-submodules=true",
            "insecure-skip-tls=T",
            "depth=0",
            "keep-git-dir",
        ] {
            options.add(text).unwrap_or_else(|error| panic!("{error}"));
        }
        let mut source = GitSource::parse_kaniko("h.io/a#main").expect("a source");
        options.apply(&mut source);
        assert_eq!(source.reference, GitReference::Any("v1".to_owned()));
        assert!(source.has_submodules && source.skips_tls_verify && source.keeps_git_dir);
        assert_eq!(source.depth, 0);
        for text in ["branch=-x", "colour=red", "depth=many", "single-branch=x"] {
            assert!(GitOptions::default().add(text).is_err(), "{text}");
        }
    }
}
