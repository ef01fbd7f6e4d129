//! A bucket of S3, Google or Azure: `blobs/<digest>` and `manifests/<name>/<key>.json` below its prefix.
//!
//! A document is replaced as a whole, which all three promise. A layer that came out wrong is put there anew.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::OnceCell;

use crate::http::{Body, Secret};
use crate::oci::Descriptor;
use crate::registry::Client;
use crate::store::{self, Folder, Put, Stores};

use super::shelf::{Arriving, Local, ShelfPlace, Store};
use super::{Document, DocumentName, Error, FoundDocument, Kind, Place};

/// The largest document that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// A place in a bucket, and how to reach it.
#[derive(Clone, Debug)]
pub struct BucketOptions {
    /// Who we are, and where the store is.
    pub stores: Stores,
    /// The bucket and the prefix.
    pub place: store::Place,
    /// What blobs' names begin with, below the prefix: `blobs/`.
    pub blobs: String,
    /// What documents' names begin with, below the prefix: `manifests/`.
    pub documents: String,
    /// What tells several caches in one place apart; their blobs are shared.
    pub name: String,
    /// What the user said of the store: two places are the same only if that is.
    pub said: Secret,
}

impl PartialEq for BucketOptions {
    fn eq(&self, other: &Self) -> bool {
        let parts = |options: &Self| {
            let Self {
                stores: _,
                place,
                blobs,
                documents,
                name,
                said,
            } = options;
            (
                place.clone(),
                blobs.clone(),
                documents.clone(),
                name.clone(),
                said.clone(),
            )
        };
        parts(self) == parts(other)
    }
}

impl Eq for BucketOptions {}

impl BucketOptions {
    /// The bucket as a place for a cache; what is brought goes into `scratch`, a directory of this build.
    pub fn open(&self, client: Client, scratch: &Path) -> Arc<dyn Place> {
        let bucket = Bucket {
            options: self.clone(),
            folder: OnceCell::new(),
        };
        Arc::new(ShelfPlace::new(bucket, client, scratch))
    }
}

#[derive(Debug)]
struct Bucket {
    options: BucketOptions,
    /// The bucket, or why it cannot be reached: that is not tried again.
    folder: OnceCell<Result<Folder, String>>,
}

impl Bucket {
    async fn folder(&self) -> Result<&Folder, Error> {
        let BucketOptions { stores, place, .. } = &self.options;
        let open = || async {
            stores
                .folder(place)
                .await
                .map_err(|error| error.to_string())
        };
        let folder = self.folder.get_or_init(open).await;
        folder.as_ref().map_err(|reason| Error::Service {
            what: "it cannot be reached".to_owned(),
            reason: reason.clone(),
        })
    }

    fn document_name(&self, name: &DocumentName) -> String {
        let BucketOptions {
            documents,
            name: cache,
            ..
        } = &self.options;
        match name.kind {
            Kind::Step => format!("{documents}{cache}/{}.json", name.key),
            Kind::Trace => format!("{documents}{cache}/traces/{}.json", name.key),
            Kind::Mount => format!("{documents}{cache}/mounts/{}.json", name.key),
        }
    }

    fn blob_name(&self, blob: &Descriptor) -> String {
        format!("{}{}", self.options.blobs, blob.digest)
    }

    async fn put_body(&self, name: &str, body: Body) -> Result<(), Error> {
        self.folder().await?.put(name, Put::new(body)).await?;
        Ok(())
    }
}

impl Store for Bucket {
    fn name(&self) -> String {
        self.options.place.to_string()
    }

    async fn document(&self, name: &DocumentName) -> Result<Option<FoundDocument>, Error> {
        let folder = self.folder().await?;
        let Some(object) = folder.find(&self.document_name(name)).await? else {
            return Ok(None);
        };
        let text = object.bytes(DOCUMENT_LIMIT).await?.into();
        Ok(Some(FoundDocument { text, blobs: None }))
    }

    async fn put_document(&self, name: &DocumentName, document: &Document) -> Result<(), Error> {
        let body = Body::Bytes(document.text.clone().into());
        self.put_body(&self.document_name(name), body).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let there = self.folder().await?.find(&self.blob_name(blob)).await?;
        Ok(there.is_some_and(|object| object.head().size == blob.size))
    }

    async fn bring(&self, blob: &Descriptor, file: &mut Arriving) -> Result<(), Error> {
        let object = self.folder().await?.open(&self.blob_name(blob)).await?;
        let mut parts = std::pin::pin!(object.stream());
        while let Some(part) = parts.next().await {
            file.take(&part?).await.map_err(|error| Error::Service {
                what: "a blob cannot be kept here".to_owned(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    async fn put(&self, blob: &Descriptor, content: &Local) -> Result<(), Error> {
        let body = content.body(0, blob.size);
        self.put_body(&self.blob_name(blob), body).await
    }
}
