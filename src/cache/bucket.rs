//! A bucket of S3, Google or Azure: `blobs/<digest>` and `manifests/<name>/<key>.json` below its prefix.
//!
//! A document is replaced as a whole, which all three promise. A layer that came out wrong is put there anew.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use crate::http::{Body, Secret};
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::{BlobSource, Client};
use crate::store::{self, Folder, Put, Stores};

use super::shelf::{Arriving, Bring, Shelf};
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

/// A cache in a bucket.
#[derive(Clone, Debug)]
pub struct BucketPlace {
    shared: Arc<Shared>,
    bring: Arc<dyn Bring>,
    shelf: Arc<Shelf>,
}

#[derive(Debug)]
struct Shared {
    options: BucketOptions,
    /// The bucket, or why it cannot be reached: that is not tried again.
    folder: OnceCell<Result<Folder, String>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Blobs whose bytes could not be had.
    lost: HashSet<Digest>,
    /// Blobs that are being kept, or were.
    blobs: HashMap<Digest, Arc<OnceCell<()>>>,
}

impl BucketPlace {
    /// Uses a place; what is brought goes into `scratch`, a directory of this build.
    pub fn new(client: Client, scratch: &Path, options: &BucketOptions) -> Self {
        let shared = Arc::new(Shared {
            options: options.clone(),
            folder: OnceCell::new(),
            state: Mutex::default(),
        });
        Self {
            bring: Arc::clone(&shared) as Arc<dyn Bring>,
            shared,
            shelf: Arc::new(Shelf::new(client, scratch.to_owned())),
        }
    }
}

impl Shared {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn receive(&self, blob: &Descriptor, file: &mut Arriving) -> Result<(), Error> {
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
}

impl Bring for Shared {
    fn name(&self) -> String {
        self.options.place.to_string()
    }

    fn bring<'a>(
        &'a self,
        blob: &'a Descriptor,
        file: &'a mut Arriving,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.receive(blob, file))
    }

    fn is_lost(&self, blob: &Descriptor) {
        self.lock().lost.insert(blob.digest.clone());
    }
}

impl Place for BucketPlace {
    fn name(&self) -> String {
        self.bring.name()
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<FoundDocument>, Error>> {
        Box::pin(async {
            let folder = self.shared.folder().await?;
            let Some(object) = folder.find(&self.shared.document_name(name)).await? else {
                return Ok(None);
            };
            let text = object.bytes(DOCUMENT_LIMIT).await?.into();
            Ok(Some(FoundDocument { text, blobs: None }))
        })
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            let body = Body::Bytes(document.text.clone().into());
            let name = self.shared.document_name(name);
            let folder = self.shared.folder().await?;
            folder.put(&name, Put::new(body)).await?;
            Ok(())
        })
    }

    fn source<'a>(
        &'a self,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Option<BlobSource>, Error>> {
        let is_lost = self.shared.lock().lost.contains(&blob.digest);
        let source = (!is_lost).then(|| self.shelf.source(&self.bring, blob));
        Box::pin(async { Ok(source) })
    }

    fn put_blob<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: &'a BlobSource,
        _mount_from: &'a [Reference],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            let (cell, is_lost) = {
                let mut state = self.shared.lock();
                let is_lost = state.lost.contains(&blob.digest);
                let cell = state.blobs.entry(blob.digest.clone()).or_default();
                (Arc::clone(cell), is_lost)
            };
            let put = || async {
                let folder = self.shared.folder().await?;
                let name = self.shared.blob_name(blob);
                let there = if is_lost {
                    None
                } else {
                    folder.find(&name).await?
                };
                if there.is_some_and(|object| object.head().size == blob.size) {
                    return Ok(());
                }
                let content = self.shelf.local(blob, source).await?;
                folder
                    .put(&name, Put::new(content.body(0, blob.size)))
                    .await?;
                Ok::<_, Error>(())
            };
            cell.get_or_try_init(put).await.copied()
        })
    }
}
