//! Where layers are remembered between builds.
//!
//! A [`CacheKey`] names what a step makes; [`KeyHasher`] makes one out of everything that the step depends on. An [`Entry`]
//! says what came of a step, with all layers between the base and it, so that an entry is one consistent state and never a
//! mixture of several builds. A [`Place`] keeps blobs by their digests and small documents by their names: a registry
//! ([`RegistryPlace`]), a directory ([`DirectoryPlace`]), a bucket ([`BucketOptions`] opens it), GitHub's cache service
//! ([`GhaOptions`]). [`Cache`] keeps entries in any place. [`WarmBases`] keeps base images, whole and ahead of builds.
//!
//! This room does not know what a step is, and believes nothing that it reads: an entry that is not whole or not the one
//! that was asked for counts as absent. A cache is never a reason for a build to fail: who uses one turns an [`Error`] into
//! a warning.

mod bases;
mod bucket;
mod directory;
mod entry;
mod gha;
mod inline;
mod kept;
mod key;
mod place;
mod registry;
mod saved_mount;
mod shelf;
mod steps;
mod stored;
mod stored_registry;
mod trace;

use std::path::PathBuf;

use crate::oci::Reference;
use crate::registry::{self as distribution, BlobSource};

pub use bases::{WarmBases, Warmed};
pub use bucket::BucketOptions;
pub use directory::DirectoryPlace;
pub use entry::{Entry, Record, Unfit};
pub use gha::GhaOptions;
pub use inline::embed;
pub use kept::{Kept, Pruned};
pub use key::{CacheKey, KeyHasher};
pub use place::{Document, DocumentName, FoundDocument, Kind, Part, Place};
pub use registry::RegistryPlace;
pub use saved_mount::SavedMount;
pub use steps::Cache;
pub use stored::StoredEntries;
pub use stored_registry::RepositoryEntries;
pub use trace::{Change, Difference, Input, InputKind, Miss, StepTrace, Trace};

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
    /// A service that keeps the cache.
    #[error("{what}: {reason}")]
    Service {
        /// What was tried.
        what: String,
        /// What it said.
        reason: String,
    },
    /// A bucket.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// No usable answer.
    #[error(transparent)]
    Http(#[from] crate::http::Error),
    /// A name cannot be made for an entry.
    #[error("no tag can be made for an entry: {0}")]
    Name(#[from] crate::oci::ReferenceError),
    /// A document cannot be written as JSON.
    #[error("cannot write a cache entry as JSON: {0}")]
    Json(serde_json::Error),
}
