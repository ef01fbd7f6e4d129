//! Labels and annotations in the words of the OCI specification (image-spec annotations.md "Pre-Defined Annotation Keys").

use std::collections::BTreeMap;

use jiff::Timestamp;

/// The prefix of all of them.
const PREFIX: &str = "org.opencontainers.image.";

/// What an image is described by; empty texts are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFacts {
    /// The repository's name.
    pub title: String,
    /// What it says of itself.
    pub description: String,
    /// Its page.
    pub url: String,
    /// The version, which is the first tag.
    pub version: String,
    /// The commit.
    pub revision: String,
    /// The licence, as SPDX names it.
    pub licenses: String,
    /// The time that the image carries, in seconds since 1970.
    pub created: Option<i64>,
}

/// The label that names the commit.
pub const REVISION: &str = "org.opencontainers.image.revision";

/// The labels, by name. Line ends in a value become blanks.
pub fn labels(facts: &LabelFacts) -> BTreeMap<String, String> {
    let created = facts
        .created
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(|time| time.to_string())
        .unwrap_or_default();
    let pairs = [
        ("title", &facts.title),
        ("description", &facts.description),
        ("url", &facts.url),
        ("source", &facts.url),
        ("version", &facts.version),
        ("revision", &facts.revision),
        ("licenses", &facts.licenses),
        ("created", &created),
    ];
    let named = pairs
        .into_iter()
        .filter(|(_, value)| !value.trim().is_empty());
    named
        .map(|(name, value)| {
            let words: Vec<&str> = value.split(['\r', '\n', '\0']).map(str::trim).collect();
            (format!("{PREFIX}{name}"), words.join(" ").trim().to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let facts = LabelFacts {
            title: "app".to_owned(),
            description: "two\r\nlines".to_owned(),
            created: Some(1_704_604_089),
            ..LabelFacts::default()
        };
        let expect = [
            ("org.opencontainers.image.created", "2024-01-07T05:08:09Z"),
            ("org.opencontainers.image.description", "two  lines"),
            ("org.opencontainers.image.title", "app"),
        ];
        let found: Vec<(String, String)> = labels(&facts).into_iter().collect();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        assert_eq!(found, expect);
    }
}
