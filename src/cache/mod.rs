//! Where layers are remembered between builds.
//!
//! A [`CacheKey`] names what a step makes; [`KeyHasher`] makes one out of everything that the step depends on. An [`Entry`]
//! says what came of a step, with all layers between the base and it, so that an entry is one consistent state and never a
//! mixture of several builds. [`WarmBases`] keeps base images, whole and ahead of builds. [`Cache`] is a place that keeps entries: a registry ([`RegistryCache`]) or a directory
//! ([`DirectoryCache`]).
//!
//! This room does not know what a step is, and believes nothing that it reads: an entry that is not whole or not the one
//! that was asked for counts as absent. A cache is never a reason for a build to fail: who uses one turns an [`Error`] into
//! a warning.

mod bases;
mod directory;
mod entry;
mod key;
mod registry;
mod stored;

use std::fmt;
use std::path::PathBuf;

use futures_util::future::BoxFuture;

use crate::oci::Reference;
use crate::registry::{self as distribution, BlobSource};

pub use bases::{WarmBases, Warmed};
pub use directory::DirectoryCache;
pub use entry::{Entry, Record, Unfit};
pub use key::{CacheKey, KeyHasher};
pub use registry::RegistryCache;
pub use stored::{Kept, Pruned, StoredEntries};

/// A place that keeps entries. All methods may be called at the same time, by any number of builds.
pub trait Cache: Send + Sync + fmt::Debug {
    /// What to call it in a message.
    fn name(&self) -> String;

    /// Looks an entry up. What is there and is not a whole entry for this key is an error; nothing there is `None`.
    fn find<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Entry>, Error>>;

    /// Where the bytes of an entry's layers are, bottom first; verified as far as it takes no network.
    fn layers<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Vec<BlobSource>, Error>>;

    /// Keeps an entry and those of its layers that it does not have.
    fn put<'a>(&'a self, put: &'a Put) -> BoxFuture<'a, Result<(), Error>>;
}

/// An entry to be kept.
#[derive(Clone, Debug)]
pub struct Put {
    /// What came of the step.
    pub entry: Entry,
    /// Where the bytes of each layer are, bottom first.
    pub sources: Vec<BlobSource>,
    /// Repositories that have the layers, to mount them from.
    pub mount_from: Vec<Reference>,
}

/// What a cache could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] distribution::Error),
    /// A file.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// What is there is not an entry for the key that was asked for.
    #[error("the entry {key} cannot be used: {reason}")]
    Unfit {
        /// The key.
        key: CacheKey,
        /// What is wrong.
        reason: Unfit,
    },
    /// A file is not what its name says.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A name cannot be made for an entry.
    #[error("no tag can be made for an entry: {0}")]
    Name(#[from] crate::oci::ReferenceError),
    /// A document cannot be written as JSON.
    #[error("cannot write a cache entry as JSON: {0}")]
    Json(serde_json::Error),
}
