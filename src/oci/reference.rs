//! Image references: `[registry/]repository[:tag][@digest]` (the grammar of distribution's reference package).

use std::fmt;
use std::str::FromStr;

use super::{Digest, DigestError};

/// The registry of references that name none.
pub const DOCKER_HUB: &str = "docker.io";

/// The namespace of Docker Hub's official images.
const OFFICIAL: &str = "library";

/// The longest repository name, registry included, in characters.
const LONGEST_NAME: usize = 255;

/// A reference to an image in a registry, with Docker's short names spelled out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing, or only blanks.
    #[error("the image reference is empty")]
    Empty,
    /// The repository part breaks the grammar.
    #[error("image reference \"{}\" has an invalid repository name: expected lower-case letters, digits and single separators (. _ __ -) between them", .0.escape_debug())]
    Repository(String),
    /// The repository has upper-case letters, the most frequent slip.
    #[error("image reference \"{}\" has upper-case letters in its repository name: repository names are lower-case", .0.escape_debug())]
    UpperCase(String),
    /// The registry part is no host and port.
    #[error("image reference \"{}\" has an invalid registry host or port", .0.escape_debug())]
    Registry(String),
    /// The tag breaks the grammar.
    #[error("image reference \"{}\" has an invalid tag: expected 1 to 128 letters, digits, '_', '.' or '-', not starting with '.' or '-'", .0.escape_debug())]
    Tag(String),
    /// The digest is malformed.
    #[error("image reference \"{}\" has an invalid digest: {source}", text.escape_debug())]
    Digest {
        /// The whole reference.
        text: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// The name is longer than registries accept.
    #[error("image reference \"{}\" has a name of more than 255 characters", .0.escape_debug())]
    TooLong(String),
}

impl Reference {
    /// The registry's host and port: `docker.io` where none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, `library/` spelled out.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag to push to: the one that was written, else `latest`.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// What a manifest URL ends with: the digest, else the tag, else `latest`.
    pub fn manifest_name(&self) -> &str {
        self.digest
            .as_ref()
            .map_or_else(|| self.tag_or_latest(), Digest::as_str)
    }

    /// `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same name, pinned to `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// If `tag` breaks the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag(format!("{}:{tag}", self.name())));
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same image in another registry or under a path of it.
    ///
    /// # Errors
    /// If the new place breaks the grammar.
    pub fn with_name(&self, registry: &str, repository: &str) -> Result<Self, ReferenceError> {
        let text = format!("{registry}/{repository}");
        if !is_registry(registry) {
            return Err(ReferenceError::Registry(text));
        }
        check_repository(repository, &text)?;
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            ..self.clone()
        })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let shown = || -> String { text.chars().take(300).collect() };
        if text.trim().is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest {
                    text: shown(),
                    source,
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash begins the tag; before it, it belongs to the registry's port.
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(at) => (&rest[..slash + at], Some(&rest[slash + at + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(shown()));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if names_a_registry(first) => {
                if !is_registry(first) {
                    return Err(ReferenceError::Registry(shown()));
                }
                (
                    if is_hub(first) { DOCKER_HUB } else { first },
                    rest.to_owned(),
                )
            }
            _ => (DOCKER_HUB, name.to_owned()),
        };
        check_repository(&repository, &shown())?;
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("{OFFICIAL}/{repository}")
        } else {
            repository
        };
        if registry.len() + 1 + repository.len() > LONGEST_NAME {
            return Err(ReferenceError::TooLong(shown()));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a registry if it has a dot or a colon, is `localhost`, or has upper-case letters.
fn names_a_registry(first: &str) -> bool {
    first.contains(['.', ':', '['])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_hub(registry: &str) -> bool {
    matches!(
        registry,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.len() <= 5 && port.parse::<u16>().is_ok();
    if port.is_some_and(|port| !is_port(port)) {
        return false;
    }
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label)
}

fn check_repository(repository: &str, whole: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase(whole.to_owned()));
    }
    if repository.is_empty() || !repository.split('/').all(is_component) {
        return Err(ReferenceError::Repository(whole.to_owned()));
    }
    Ok(())
}

/// `[a-z0-9]+` runs, separated by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(is_word) || !bytes.last().copied().is_some_and(is_word) {
        return false;
    }
    bytes
        .split(|&b| is_word(b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| {
            matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_first)
        && tag.bytes().all(|b| is_first(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse_with_short_names_spelled_out() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expect) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("user/app", "docker.io/user/app"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x"),
            ("[::1]:5000/x:t", "[::1]:5000/x:t"),
            (
                "ghcr.io/org/app_one__two--three.x",
                "ghcr.io/org/app_one__two--three.x",
            ),
        ] {
            assert_eq!(
                text.parse::<Reference>().map(|r| r.to_string()).as_deref(),
                Ok(expect),
                "{text}"
            );
        }
        let pinned: Reference = format!("ghcr.io/a/b:t@{digest}").parse().unwrap();
        assert_eq!(
            (pinned.tag(), pinned.manifest_name()),
            (Some("t"), digest.as_str())
        );
    }

    #[test]
    fn references_that_break_the_grammar_are_refused() {
        for bad in [
            "",
            " ",
            "Alpine",
            "a b",
            "a:",
            "a:.x",
            "/a",
            "a//b",
            "a/",
            "a__-b",
            "-a",
            "ghcr.io:99999/x",
            "ghcr.io:/x",
            "a@sha256:abc",
            "host.x/../y",
            "a:b:c",
            "ftp://x/y",
            "ex..com/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad} parsed");
        }
    }
}
