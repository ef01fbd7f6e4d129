//! Where a context is: the grammar of `--context`.

use std::fmt;
use std::path::PathBuf;

use crate::store::{Location, LocationError};

use super::git::{GitSource, GitSourceError};
use super::layout::{Layout, LayoutError};
use super::web::{WebArchive, WebError};

/// Where a build's files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A tar archive in a file, plain or compressed.
    Archive(PathBuf),
    /// A tar archive on standard input, plain or compressed.
    Stdin,
    /// Standard input: a tar archive, or a Dockerfile and no files.
    Dash,
    /// A tar archive in an object store, plain or compressed.
    Object(Location),
    /// A tar archive at a URL, plain or compressed.
    Web(WebArchive),
    /// The files of an image in an OCI layout.
    Layout(Layout),
    /// A commit of a git repository.
    Git(Box<GitSource>),
}

/// Why a text names no context.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SourceError {
    /// No path follows the scheme.
    #[error("context \"{0}\" names no path")]
    Empty(String),
    /// The archive is not named.
    #[error("the URL of the context: {0}")]
    Web(#[from] WebError),
    /// The object is not named.
    #[error("context \"{text}\": {source}")]
    Location {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: LocationError,
    },
    /// The layout is not named.
    #[error("context \"{text}\": {source}")]
    Layout {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: LayoutError,
    },
    /// The repository is not named.
    #[error("git context: {0}")]
    Git(#[from] GitSourceError),
    /// The scheme is not known.
    #[error("context scheme \"{}://\" is not known: expected a directory, dir://DIR, tar://FILE, tar://stdin, oci://DIR[:TAG][@DIGEST], s3://BUCKET/KEY, gs://BUCKET/OBJECT, the https:// URL of an archive or of a blob in Azure, git://HOST/PATH#REFERENCE or https://HOST/PATH.git#REFERENCE:DIR", scheme.escape_debug())]
    Unknown {
        /// The scheme.
        scheme: String,
    },
}

impl Source {
    /// Parses the value of `--context`: a bare path, `-`, `dir://PATH`, `tar://PATH`, `tar://stdin`, `oci://DIR`, an object of a store, an archive at a URL, or
    /// a git repository as kaniko (`git://`) or BuildKit write it.
    ///
    /// # Errors
    /// [`SourceError`] names the scheme and what is accepted.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if let Some(repository) = GitSource::parse_url(text) {
            return Ok(Self::Git(Box::new(repository?)));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(SourceError::Empty(text.to_owned())),
                "-" => Ok(Self::Dash),
                path => Ok(Self::Directory(path.into())),
            };
        };
        if rest.is_empty() {
            return Err(SourceError::Empty(text.to_owned()));
        }
        if let Some(location) = Location::parse(text) {
            let location = location.map_err(|source| SourceError::Location {
                text: text.chars().take(200).collect(),
                source,
            })?;
            return Ok(Self::Object(location));
        }
        match scheme {
            "dir" => Ok(Self::Directory(rest.into())),
            "tar" if rest == "stdin" => Ok(Self::Stdin),
            "tar" => Ok(Self::Archive(rest.into())),
            "oci" | "oci-layout" => match Layout::parse(rest) {
                Ok(layout) => Ok(Self::Layout(layout)),
                Err(source) => Err(SourceError::Layout {
                    text: text.chars().take(200).collect(),
                    source,
                }),
            },
            "git" => Ok(Self::Git(Box::new(GitSource::parse_kaniko(rest)?))),
            "https" | "http" => Ok(Self::Web(WebArchive::parse(text)?)),
            scheme => Err(SourceError::Unknown {
                scheme: scheme.chars().take(40).collect(),
            }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Archive(path) => write!(f, "tar://{}", path.display()),
            Self::Stdin => f.write_str("tar://stdin"),
            Self::Dash => f.write_str("standard input"),
            Self::Object(location) => location.fmt(f),
            Self::Web(archive) => archive.fmt(f),
            Self::Layout(layout) => layout.fmt(f),
            Self::Git(repository) => repository.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_parse() {
        let parse = |text: &str| Source::parse(text);
        assert_eq!(parse("."), Ok(Source::Directory(".".into())));
        assert_eq!(parse("dir:///a b"), Ok(Source::Directory("/a b".into())));
        assert_eq!(
            parse("tar://x.tar.gz"),
            Ok(Source::Archive("x.tar.gz".into()))
        );
        assert_eq!(parse("tar://stdin"), Ok(Source::Stdin));
        assert!(matches!(parse("oci:///d:t"), Ok(Source::Layout(_))));
        assert!(matches!(
            parse("oci-layout://d@sha256:1"),
            Err(SourceError::Layout { .. })
        ));
        assert_eq!(parse("-"), Ok(Source::Dash));
        assert_eq!(parse("./-"), Ok(Source::Directory("./-".into())));
        assert!(matches!(parse("s3://bucket/key"), Ok(Source::Object(_))));
        assert!(matches!(
            parse("s3:///key"),
            Err(SourceError::Location { .. })
        ));
        for text in [
            "git://host/repository#refs/heads/main",
            "https://host/repository.git#main:dir",
            "git@host:repository",
        ] {
            assert!(matches!(parse(text), Ok(Source::Git(_))), "{text}");
        }
        assert!(matches!(parse("git://host"), Err(SourceError::Git(_))));
        assert!(matches!(parse("https://h/a.tar.gz"), Ok(Source::Web(_))));
        assert!(matches!(parse("https://h/a#b"), Err(SourceError::Web(_))));
        assert!(matches!(parse("ftp://x"), Err(SourceError::Unknown { .. })));
        assert!(matches!(parse("dir://"), Err(SourceError::Empty(_))));
        assert!(matches!(parse(""), Err(SourceError::Empty(_))));
    }
}
