//! What can go wrong below an image's root.

use std::io;

use super::path::{PathError, RelPath};

/// An operation inside a root that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused an operation on a path.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The path inside the image, safe to show.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The root itself cannot be opened.
    #[error("cannot open the root directory {path}")]
    Root {
        /// The path outside, safe to show.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A regular file was needed.
    #[error("{path} is {found}, not a regular file")]
    NotAFile {
        /// The path inside the image, safe to show.
        path: String,
        /// What is there.
        found: super::FileType,
    },
    /// A path is mounted or belongs to the builder, so it is left alone.
    #[error("{path} is a mount point or belongs to the builder")]
    Protected {
        /// The path inside the image, safe to show.
        path: String,
    },
    /// A device that would mean "deleted" to overlayfs.
    #[error("{path} would be a device 0:0, which means a whiteout")]
    WhiteoutDevice {
        /// The path inside the image, safe to show.
        path: String,
    },
    /// A name or path that is not one inside the root.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Error {
    /// Joins the kernel's answer with what was tried where.
    pub(crate) fn io(action: &'static str, path: &RelPath, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_string(),
            source: source.into(),
        }
    }

    /// Returns the kind of the kernel's answer, where it is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } | Self::Root { source, .. } => Some(source.kind()),
            Self::NotAFile { .. }
            | Self::Protected { .. }
            | Self::WhiteoutDevice { .. }
            | Self::Path(_) => None,
        }
    }

    /// Was the path, or a directory on the way to it, not there?
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.io_kind(),
            Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        )
    }

    /// Did the kernel deny it for want of a privilege?
    pub fn is_denied(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::PermissionDenied)
    }
}
