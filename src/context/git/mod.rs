//! Files out of git repositories, without the program git: [`fetch`] brings exactly the commit that is asked for.
//!
//! [`GitSource`] is the grammar of every form that names a repository, [`GitAccess`] who we are, as values. The
//! protocol (version 2, and version 0 where a server has no other) is spoken over the `http` room or over SSH; libgit2 only indexes
//! the pack, after its claims have been checked, and reads objects out of it. So nothing of a repository is ever interpreted but commits, trees
//! and `.gitmodules`: no configuration, no hook, no filter, no transport that it names. Files are written through
//! [`crate::rootfs`], which a name or a link cannot leave.

mod access;
#[cfg(feature = "git")]
mod checkout;
mod error;
#[cfg(feature = "git")]
mod fetch;
#[cfg(feature = "git")]
mod keep;
#[cfg(feature = "git")]
mod known_hosts;
#[cfg(feature = "git")]
mod modules;
#[cfg(feature = "git")]
mod objects;
mod options;
#[cfg(feature = "git")]
mod pack;
#[cfg(feature = "git")]
mod packet;
#[cfg(feature = "git")]
mod protocol;
mod remote;
mod source;
#[cfg(feature = "git")]
mod ssh;
#[cfg(feature = "git")]
mod wire;

use std::path::Path;
#[cfg(feature = "git")]
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::http::Http;

use super::progress::Progress;

pub use access::{GitAccess, HostToken, Login, SshAccess};
pub use error::{GitError, SshTrouble};
pub use options::GitOptions;
pub use remote::GitRemote;
pub use source::{GitReference, GitSource, GitSourceError};

/// What a fetch uses besides its source.
#[derive(Clone, Copy, Debug)]
pub struct GitServices<'a> {
    /// Carries smart HTTP, and resolves names for SSH.
    pub http: &'a Http,
    /// Drives the network; [`fetch`] itself blocks and must not be called on one of its threads.
    pub runtime: &'a Handle,
    /// Calls the fetch off.
    pub cancel: &'a CancellationToken,
    /// Who we are.
    pub access: &'a GitAccess,
    /// Is told how far the fetch has come.
    pub progress: Progress<'a>,
}

impl GitServices<'_> {
    /// Counts bytes that have arrived.
    #[cfg(feature = "git")]
    fn count(&self, received: &AtomicU64, bytes: usize) {
        let bytes = bytes as u64;
        let before = received.fetch_add(bytes, Ordering::Relaxed);
        self.progress.advance(before, before + bytes, None);
    }
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// When it was committed, in seconds since 1970. Every file has this time.
    pub committed: i64,
    /// How many bytes were received, submodules included.
    pub received: u64,
    /// How many submodules were fetched.
    pub submodules: u64,
}

/// Fetches the commit that `source` names and writes its files below `destination`, an empty directory that exists.
///
/// Files have the modes 0644 and 0755, directories 0755, all the commit's time. There is a `.git` directory only if the
/// source says so; it holds no credential. Whatever is needed on the way is kept in `scratch`, a directory of the
/// caller's, and removed.
///
/// # Errors
/// [`GitError`] says what is not there, who we could not prove to be, or what is refused.
#[cfg(feature = "git")]
pub fn fetch(
    source: &GitSource,
    destination: &Path,
    scratch: &Path,
    services: &GitServices<'_>,
) -> Result<Fetched, GitError> {
    fetch::fetch(source, destination, scratch, services)
}

/// Says that this build of longshore does without git.
///
/// # Errors
/// Always.
#[cfg(not(feature = "git"))]
pub fn fetch(
    source: &GitSource,
    _destination: &Path,
    _scratch: &Path,
    _services: &GitServices<'_>,
) -> Result<Fetched, GitError> {
    Err(GitError::NotBuiltIn {
        url: source.remote.to_string(),
    })
}

/// Asks the server which commit `source` stands for; a commit that is named by all its digits is taken as it is.
///
/// # Errors
/// As [`fetch`].
#[cfg(feature = "git")]
pub fn resolve(source: &GitSource, services: &GitServices<'_>) -> Result<String, GitError> {
    fetch::resolve(source, services)
}

/// Says that this build of longshore does without git.
///
/// # Errors
/// Always.
#[cfg(not(feature = "git"))]
pub fn resolve(source: &GitSource, _services: &GitServices<'_>) -> Result<String, GitError> {
    Err(GitError::NotBuiltIn {
        url: source.remote.to_string(),
    })
}
