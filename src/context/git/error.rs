//! Why nothing came out of a repository.

use crate::http;
use crate::rootfs;

use super::source::GitSourceError;

/// A fetch that did not succeed. No text in it holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// This program was built without git.
    #[error("{url}: this longshore was built without its feature \"git\"")]
    NotBuiltIn {
        /// The repository.
        url: String,
    },
    /// The build was called off.
    #[error("the fetch was called off")]
    Cancelled,
    /// The network.
    #[error("cannot fetch {url}")]
    Http {
        /// The repository.
        url: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// An answer broke off.
    #[error("cannot fetch {url}")]
    Interrupted {
        /// The repository.
        url: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// SSH.
    #[error("cannot fetch {url}: {trouble}")]
    Ssh {
        /// The repository.
        url: String,
        /// Why.
        trouble: Box<SshTrouble>,
    },
    /// The server wants to know who we are.
    #[error(
        "{url} refuses us with status {status}; credentials: {tried} (set GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD)"
    )]
    Denied {
        /// The repository.
        url: String,
        /// The server's answer.
        status: u16,
        /// The sources of credentials and what became of each.
        tried: String,
    },
    /// The repository is not there, or is hidden from us.
    #[error("there is no repository {url}, or it is private; credentials: {tried}")]
    NoRepository {
        /// The repository.
        url: String,
        /// The sources of credentials and what became of each.
        tried: String,
    },
    /// An answer that no git server gives.
    #[error("{url} does not answer as a git server: {reason}")]
    NotGit {
        /// The repository.
        url: String,
        /// What it answers.
        reason: String,
    },
    /// The server says what is wrong.
    #[error("{url} says: {message}")]
    Server {
        /// The repository.
        url: String,
        /// The server's words.
        message: String,
    },
    /// The reference is not there.
    #[error("{url} has no {what}{hint}")]
    NoReference {
        /// The repository.
        url: String,
        /// What was looked for.
        what: String,
        /// What it has instead.
        hint: String,
    },
    /// The repository has no commit.
    #[error("the repository {url} is empty")]
    Empty {
        /// The repository.
        url: String,
    },
    /// The commit is not what it has to be.
    #[error("{url}: {reference} is the commit {found}, not {expected}")]
    Checksum {
        /// The repository.
        url: String,
        /// What was asked for.
        reference: String,
        /// The commit that it is.
        found: String,
        /// The commit that it has to be.
        expected: String,
    },
    /// The pack or what is in it is damaged.
    #[error("what {url} sent cannot be used: {reason}")]
    Objects {
        /// The repository.
        url: String,
        /// Why.
        reason: String,
    },
    /// An entry that is refused.
    #[error("{url}: {path} is refused: {reason}")]
    Refused {
        /// The repository.
        url: String,
        /// The path in it, safe to show.
        path: String,
        /// Why.
        reason: String,
    },
    /// The directory is not there.
    #[error("{url} has no directory {path}: {reason}")]
    Subdir {
        /// The repository.
        url: String,
        /// The directory.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A file whose content is elsewhere.
    #[error(
        "{url}: {path} is kept in Git LFS, which is not supported: check the repository out in a step before, with git-lfs, or set GIT_LFS_SKIP_SMUDGE=1 to take the pointer as the file"
    )]
    Lfs {
        /// The repository.
        url: String,
        /// The path in it, safe to show.
        path: String,
    },
    /// A submodule that cannot be fetched.
    #[error("the submodule {path} of {url} cannot be fetched")]
    Submodule {
        /// The repository that has it.
        url: String,
        /// The path in it, safe to show.
        path: String,
        /// Why.
        #[source]
        source: Box<GitError>,
    },
    /// A submodule's address.
    #[error(transparent)]
    Address(#[from] GitSourceError),
    /// More than is accepted.
    #[error("{url} is too large: more than {limit} {what}")]
    TooLarge {
        /// The repository.
        url: String,
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The disk.
    #[error("cannot {action} while fetching {url}")]
    Write {
        /// The repository.
        url: String,
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the checkout.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
}

/// What goes wrong between us and an SSH server.
#[derive(Debug, thiserror::Error)]
pub enum SshTrouble {
    /// The host's key is not known.
    #[error(
        "the host key of {host} is not known{}, {algorithm} {fingerprint}; if that is its fingerprint, put this line into ~/.ssh/known_hosts or a file that GIT_SSH_KNOWN_HOSTS names: {line}",
        if *is_known_by_rsa { " but by its RSA key, which is not supported" } else { "" }
    )]
    UnknownHost {
        /// The host.
        host: String,
        /// The kind of key.
        algorithm: String,
        /// Its fingerprint, as `ssh-keygen -l` prints it.
        fingerprint: String,
        /// The line for `known_hosts`.
        line: String,
        /// Whether another key of it, of RSA, is known.
        is_known_by_rsa: bool,
    },
    /// The host has no key of a kind that we understand.
    #[error(
        "{host} has neither an ed25519 nor an ECDSA host key, and others (RSA) are not supported: give it one (ssh-keygen -A there), or use https://"
    )]
    HostKind {
        /// The host.
        host: String,
    },
    /// The host's key is another one than is known.
    #[error(
        "the host key of {host} is {algorithm} {fingerprint}, but {known} says otherwise: somebody may be in between"
    )]
    ChangedHost {
        /// The host.
        host: String,
        /// The kind of key.
        algorithm: String,
        /// Its fingerprint.
        fingerprint: String,
        /// Where the other key stands.
        known: String,
    },
    /// The host's key is revoked.
    #[error("the host key of {host} is revoked by {known}")]
    RevokedHost {
        /// The host.
        host: String,
        /// Where that stands.
        known: String,
    },
    /// No key of ours is accepted.
    #[error(
        "{user}@{host} accepts none of our keys: {tried} (set GIT_SSH_KEY to a private key or its file, or SSH_AUTH_SOCK to an agent)"
    )]
    Denied {
        /// The user.
        user: String,
        /// The host.
        host: String,
        /// The sources of keys and what became of each.
        tried: String,
    },
    /// No connection.
    #[error("{reason}")]
    Connect {
        /// Why.
        reason: String,
    },
    /// The connection ended.
    #[error("the connection was interrupted: {reason}")]
    Interrupted {
        /// Why.
        reason: String,
    },
}

impl GitError {
    /// Says whether another try may succeed.
    #[cfg(feature = "git")]
    pub(super) fn is_transient(&self) -> bool {
        match self {
            // A request has been sent again as often as it should.
            Self::Interrupted { source, .. } => source.is_transient(),
            Self::Ssh { trouble, .. } => matches!(
                **trouble,
                SshTrouble::Connect { .. } | SshTrouble::Interrupted { .. }
            ),
            _ => false,
        }
    }
}
