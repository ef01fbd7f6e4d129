//! Why files could not be copied, downloaded, or given to a user.

use std::path::PathBuf;

use crate::context::git::GitError;
use crate::context::glob::BadGlob;
use crate::context::ignore::IgnoreError;
use crate::dockerfile::Span;
use crate::oci::Digest;
use crate::{http, layer, rootfs};

use super::super::absence::Absence;

/// A COPY, ADD or WORKDIR that failed, and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{display}")]
pub struct CopyFailure {
    /// The instruction.
    pub display: String,
    /// Where it is.
    pub span: Span,
    /// Why.
    #[source]
    pub source: Box<CopyError>,
}

/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source is not there.
    #[error("\"{path}\" is not in {tree}")]
    Missing {
        /// As written.
        path: String,
        /// Where it was looked for.
        tree: String,
        /// The word.
        span: Span,
        /// Why, and what there is instead.
        absence: Box<Absence>,
    },
    /// A pattern is malformed.
    #[error("\"{pattern}\" is not a valid pattern")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why not.
        #[source]
        source: BadGlob,
    },
    /// A pattern of `--exclude` or `--parents` is malformed; the line is its number.
    #[error("{}", .0)]
    Filter(Box<IgnoreError>),
    /// A name in `--chown` of a copy that does not look at the image.
    #[error(
        "--link copies without looking at the image, so \"{chown}\" in --chown cannot be looked up there"
    )]
    LinkedName {
        /// As written.
        chown: String,
    },
    /// A file could not be downloaded.
    #[error("cannot download {url}")]
    Download {
        /// The URL, without a password.
        url: String,
        /// Why.
        #[source]
        source: Box<DownloadError>,
    },
    /// A repository could not be fetched.
    #[error(transparent)]
    Repository(Box<GitError>),
    /// A file cannot take a directory's place.
    #[error("cannot copy a file over the directory {path}")]
    FileOverDirectory {
        /// The directory.
        path: String,
    },
    /// A directory cannot take a file's place.
    #[error("cannot copy a directory over {path}, which is not a directory")]
    DirectoryOverFile {
        /// What is there.
        path: String,
    },
    /// The destination is mounted or belongs to the builder.
    #[error(
        "{path} is mounted into this container or belongs to the builder, and a copy may not write there"
    )]
    Mounted {
        /// The path.
        path: String,
    },
    /// Content could not be copied.
    #[error("cannot write {path}")]
    Write {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An archive could not be extracted.
    #[error("cannot extract \"{path}\"")]
    Extract {
        /// The archive.
        path: String,
        /// Why.
        #[source]
        source: Box<layer::Error>,
    },
    /// A user or group is not in the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// A tree could not be read or changed.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
}

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The URL is none.
    #[error("it is not a valid URL: {0}")]
    Url(String),
    /// No answer, or none to the end.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// An answer that says that there is no file.
    #[error("the server answered {status}")]
    Status {
        /// The status.
        status: http::StatusCode,
    },
    /// The file ended early, or did not end.
    #[error("the server announced {expected} bytes and sent {received}")]
    Length {
        /// The length in the answer's head.
        expected: u64,
        /// What came.
        received: u64,
    },
    /// A secret that is no header.
    #[error(
        "the secret {id} cannot stand in a header: it is empty, or has other than printable ASCII characters"
    )]
    Secret {
        /// The secret's id.
        id: String,
    },
    /// The file is larger than anything that belongs into an image.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The bytes are others than `--checksum` says.
    #[error("its digest is {found}, not {expected} as --checksum says")]
    Checksum {
        /// The digest of what came.
        found: Digest,
        /// What was asked for.
        expected: Digest,
    },
    /// The file could not be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The build was called off.
    #[error("the build was called off")]
    Cancelled,
}

/// Why a user or group means nothing in an image.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No entry in `/etc/passwd`.
    #[error("user \"{}\" is not in the image's /etc/passwd", name.escape_debug())]
    NoUser {
        /// The name.
        name: String,
    },
    /// No entry in `/etc/group`.
    #[error("group \"{}\" is not in the image's /etc/group", name.escape_debug())]
    NoGroup {
        /// The name.
        name: String,
    },
    /// The number is above 2147483647.
    #[error("user or group id {text} is too large: the largest is 2147483647")]
    TooLarge {
        /// As written.
        text: String,
    },
    /// The file could not be read.
    #[error("cannot read /{path} of the image")]
    Read {
        /// Which.
        path: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tree could not be read.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
}
