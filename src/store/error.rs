//! What goes wrong between us and an object store.

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use crate::auth::cloud::CloudError;

/// An object that cannot be read or put. Texts of servers in it are escaped and cut; it holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket is not there.
    #[error("{name}: there is no bucket {bucket}")]
    NoBucket {
        /// The object.
        name: String,
        /// The bucket.
        bucket: String,
    },
    /// The object is not there.
    #[error("{name}: there is no such object")]
    NoObject {
        /// The object.
        name: String,
    },
    /// It may not be read.
    #[error("{name}: not allowed with the identity from {identity}: {message}")]
    Denied {
        /// The object.
        name: String,
        /// Where the identity came from.
        identity: String,
        /// What the store said.
        message: String,
    },
    /// There is nobody to be.
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    #[error("{name}: {source}")]
    Identity {
        /// The object.
        name: String,
        /// The places that were looked at.
        source: CloudError,
    },
    /// Another answer of failure, or none.
    #[error("{name}: {message}")]
    Failed {
        /// The object.
        name: String,
        /// What the store said, or why it could not be asked.
        message: String,
    },
    /// The object is too large for its use.
    #[error("{name} has {size} bytes: more than {limit}")]
    TooLarge {
        /// The object.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The object was changed while it was read.
    #[error("{name} was changed while it was read")]
    Changed {
        /// The object.
        name: String,
    },
    /// What arrived is not what was stored.
    #[error("{name}: checksum mismatch: expected {expected}, got {actual}")]
    Checksum {
        /// The object.
        name: String,
        /// What the store says.
        expected: String,
        /// What arrived.
        actual: String,
    },
    /// The store was left out of this build of the program.
    #[error("{name}: this longshore was built without this kind of store")]
    NotBuiltIn {
        /// The object.
        name: String,
    },
    /// It was called off.
    #[error("called off")]
    Cancelled,
    /// The caller gave no identities.
    #[error("object stores are not set up")]
    NotConfigured,
}
