//! What a place must be able to do to hold a cache: keep blobs by their digests, and small documents by their names.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::BlobSource;

use super::{CacheKey, Error};

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An entry: what came of a step.
    Step,
    /// A trace: what the steps of a build were made of.
    Trace,
    /// The content of a cache mount.
    Mount,
}

/// The name of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentName {
    /// What it is about.
    pub kind: Kind,
    /// Whose it is.
    pub key: CacheKey,
}

/// A document with the blobs that it is about, which stay as long as it does.
#[derive(Clone, Debug)]
pub struct Document {
    /// The document, JSON.
    pub text: String,
    /// The blobs.
    pub parts: Vec<Part>,
}

/// A blob that a document is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its type, digest and size.
    pub blob: Descriptor,
    /// The digest of what it has inside, uncompressed.
    pub diff_id: Digest,
    /// What made it, for people.
    pub title: String,
}

/// A document that was found. Nothing of it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDocument {
    /// Its bytes.
    pub text: Vec<u8>,
    /// The blobs that stay with it, if the place itself tells; a document that tells otherwise is not to be believed.
    pub blobs: Option<Vec<Descriptor>>,
}

/// A place that keeps blobs by their digests and documents by their names.
///
/// All methods may be called at the same time, by any number of builds. A document appears whole or not at all, and the last
/// one of a name wins. Whatever is read may have been forged: who asks verifies it.
pub trait Place: Send + Sync + fmt::Debug {
    /// What to call it in a message.
    fn name(&self) -> String;

    /// Reads a document; nothing there is `None`.
    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<FoundDocument>, Error>>;

    /// Keeps a document, whose blobs are there already.
    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Says where the bytes of a blob are; `None` if it is missing or damaged, as far as that takes no network. Bytes that
    /// come out of there are verified when they come.
    fn source<'a>(
        &'a self,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Option<BlobSource>, Error>>;

    /// Keeps a blob, if it is not there; `mount_from` are repositories that have it.
    fn put_blob<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: &'a BlobSource,
        mount_from: &'a [Reference],
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Writes what was put off until the end of the build.
    fn finish(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}
