//! Places whose blobs are neither here nor in a registry: brought to a file once, when their bytes are needed, and sent there once.
//!
//! A store says how it reads and writes ([`Store`]); all else is the same for all of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;

use crate::http::Body;
use crate::oci::{Descriptor, Digest, Digester, Reference};
use crate::registry::{BlobSource, Client, Elsewhere, Fetch, Partial};

use super::{Document, DocumentName, Error, FoundDocument, Place};

/// What keeps a cache elsewhere.
pub(super) trait Store: Send + Sync + fmt::Debug + 'static {
    /// What to call it in a message.
    fn name(&self) -> String;

    /// Reads a document; nothing there is `None`.
    fn document(
        &self,
        name: &DocumentName,
    ) -> impl Future<Output = Result<Option<FoundDocument>, Error>> + Send;

    /// Keeps a document, whose blobs are there already.
    fn put_document(
        &self,
        name: &DocumentName,
        document: &Document,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether a blob is there, as far as can be told without its bytes.
    fn has(&self, blob: &Descriptor) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Writes a blob's bytes into an empty file; they are verified there.
    fn bring(
        &self,
        blob: &Descriptor,
        file: &mut Arriving,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps a blob, or keeps it anew.
    fn put(
        &self,
        blob: &Descriptor,
        content: &Local,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Writes what was put off until the end of the build.
    fn finish(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

/// A store, and those of its blobs that are here, in a directory of this build.
#[derive(Debug)]
pub(super) struct Shelf<S> {
    store: S,
    client: Client,
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Blobs that are being brought, or are here.
    here: HashMap<Digest, Arc<OnceCell<PathBuf>>>,
    /// Blobs that are being kept, or were.
    kept: HashMap<Digest, Arc<OnceCell<()>>>,
    /// Blobs that could not be had, or were others.
    lost: HashSet<Digest>,
}

/// A store as a place for a cache.
#[derive(Debug)]
pub(super) struct ShelfPlace<S>(Arc<Shelf<S>>);

impl<S: Store> ShelfPlace<S> {
    /// Uses a store; what is brought goes into `directory`, one of this build; `client` reads what comes out of registries.
    pub(super) fn new(store: S, client: Client, directory: &Path) -> Self {
        Self(Arc::new(Shelf {
            store,
            client,
            directory: directory.to_owned(),
            state: Mutex::default(),
        }))
    }
}

impl<S: Store> Place for ShelfPlace<S> {
    fn name(&self) -> String {
        self.0.store.name()
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<FoundDocument>, Error>> {
        Box::pin(self.0.store.document(name))
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.0.store.put_document(name, document))
    }

    fn source<'a>(
        &'a self,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Option<BlobSource>, Error>> {
        let is_lost = self.0.lock().lost.contains(&blob.digest);
        let coming = || Coming {
            shelf: Arc::clone(&self.0),
            blob: blob.clone(),
        };
        let source = (!is_lost).then(|| BlobSource::Elsewhere(Elsewhere::new(Arc::new(coming()))));
        Box::pin(async { Ok(source) })
    }

    fn put_blob<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: &'a BlobSource,
        _mount_from: &'a [Reference],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.0.keep(blob, source))
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.0.store.finish())
    }
}

/// A blob's bytes as they arrive.
#[derive(Debug)]
pub(super) struct Arriving {
    file: tokio::fs::File,
    digester: Digester,
    /// Bytes that have arrived.
    pub(super) received: u64,
    size: u64,
}

impl Arriving {
    /// Takes the next bytes.
    pub(super) async fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.received += bytes.len() as u64;
        if self.received > self.size {
            return Err(io::Error::other("it is larger than its entry says"));
        }
        self.digester.update(bytes);
        self.file.write_all(bytes).await
    }
}

impl<S: Store> Shelf<S> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a blob, once in a build: unless it is there, and was not found to be another.
    async fn keep(&self, blob: &Descriptor, source: &BlobSource) -> Result<(), Error> {
        let (cell, is_lost) = {
            let mut state = self.lock();
            let is_lost = state.lost.contains(&blob.digest);
            let cell = state.kept.entry(blob.digest.clone()).or_default();
            (Arc::clone(cell), is_lost)
        };
        let put = || async {
            if !is_lost && self.store.has(blob).await? {
                return Ok(());
            }
            let content = self.local(blob, source).await?;
            self.store.put(blob, &content).await
        };
        cell.get_or_try_init(put).await.copied()
    }

    /// The bytes of a blob, to be sent somewhere in parts.
    async fn local(&self, blob: &Descriptor, source: &BlobSource) -> Result<Local, Error> {
        Ok(match source {
            BlobSource::Bytes(bytes) => Local::Bytes(bytes.clone()),
            BlobSource::File(path) => Local::File(path.clone(), 0),
            BlobSource::Part { path, offset } => Local::File(path.clone(), *offset),
            BlobSource::Elsewhere(elsewhere) => Local::File(elsewhere.file().await?, 0),
            BlobSource::Remote(reference) => {
                let path = self.path(blob);
                self.client
                    .blob_to_file(reference, blob, &path, None)
                    .await?;
                Local::File(path, 0)
            }
        })
    }

    fn path(&self, blob: &Descriptor) -> PathBuf {
        self.directory.join(format!("cached-{}", blob.digest.hex()))
    }

    async fn bring(&self, blob: &Descriptor) -> io::Result<PathBuf> {
        let cell = {
            let mut state = self.lock();
            Arc::clone(state.here.entry(blob.digest.clone()).or_default())
        };
        let path = cell
            .get_or_try_init(|| async {
                let path = self.path(blob);
                let arrived = self.arrive(blob, &path).await;
                arrived.inspect_err(|_| self.is_lost(blob))?;
                Ok::<_, io::Error>(path)
            })
            .await?;
        Ok(path.clone())
    }

    /// Is told that a blob could not be had, or was another: it counts as missing from now on, and is to be kept again.
    fn is_lost(&self, blob: &Descriptor) {
        let mut state = self.lock();
        state.lost.insert(blob.digest.clone());
        state.kept.remove(&blob.digest);
    }

    async fn arrive(&self, blob: &Descriptor, path: &Path) -> io::Result<()> {
        let (partial, file) = Partial::create(path).await?;
        let mut arriving = Arriving {
            file,
            digester: blob.digest.digester(),
            received: 0,
            size: blob.size,
        };
        self.store
            .bring(blob, &mut arriving)
            .await
            .map_err(io::Error::other)?;
        arriving.file.flush().await?;
        if arriving.received != blob.size || arriving.digester.finish() != blob.digest {
            return Err(io::Error::other("its bytes are not those of its digest"));
        }
        partial.keep()
    }
}

/// Bytes that are here.
#[derive(Clone, Debug)]
pub(super) enum Local {
    /// In memory.
    Bytes(Bytes),
    /// In a file, from an offset on.
    File(PathBuf, u64),
}

impl Local {
    /// A part of them, to be sent.
    pub(super) fn body(&self, start: u64, length: u64) -> Body {
        match self {
            Self::Bytes(bytes) => {
                let within = |at: u64| usize::try_from(at).unwrap_or(bytes.len()).min(bytes.len());
                Body::Bytes(bytes.slice(within(start)..within(start + length)))
            }
            Self::File(path, offset) => Body::file(path.clone(), offset + start, length),
        }
    }
}

/// A blob that comes when it is needed.
#[derive(Debug)]
struct Coming<S> {
    shelf: Arc<Shelf<S>>,
    blob: Descriptor,
}

impl<S: Store> Fetch for Coming<S> {
    fn what(&self) -> String {
        format!(
            "blob {} of {}",
            self.blob.digest.short(),
            self.shelf.store.name()
        )
    }

    fn fetch(&self) -> BoxFuture<'_, io::Result<PathBuf>> {
        Box::pin(self.shelf.bring(&self.blob))
    }
}
