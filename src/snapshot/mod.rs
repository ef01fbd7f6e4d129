//! What changed in a rootfs.
//!
//! Something nominates: the upper directory of an overlay ([`from_upper`]), or two walks of a tree ([`Index::scan`],
//! [`Index::changes_since`]). One judge decides: [`diff::differs`], a function of what was and what is, which does no
//! I/O of its own and asks for attributes and contents only where metadata leaves doubt. The answer is [`Changes`]:
//! sorted paths with the directories above them, which is what a layer holds.
//!
//! Never in an answer: mount points and what is below them, the builder's own paths, sockets.

mod changes;
pub mod diff;
mod index;
mod scan;
mod upper;

pub use changes::{Change, ChangeKind, Changes};
pub use index::Index;
pub use scan::{Contents, ScanOptions};
pub use upper::from_upper;
pub(crate) use upper::image_xattrs;

/// Is this extended attribute part of an image?
///
/// File capabilities and user attributes are. What overlayfs keeps for itself, security labels of the builder's host
/// and access control lists are not, as in BuildKit.
pub fn is_image_xattr(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// A snapshot that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path could not be read.
    #[error("cannot take a snapshot")]
    Rootfs(#[from] crate::rootfs::Error),
    /// A file's content could not be read.
    #[error("cannot read {path} for a snapshot")]
    Read {
        /// The path inside the image, safe to show.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The upper directory was written by an overlay with `redirect_dir` on.
    #[error("{path} is a renamed directory of an overlay with redirect_dir, which cannot be read")]
    Redirect {
        /// The path inside the image, safe to show.
        path: String,
    },
}

#[cfg(test)]
mod tests;
