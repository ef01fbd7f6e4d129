//! Blobs of places that are neither here nor registries: brought to a file once, when their bytes are needed.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;

use crate::http::Body;
use crate::oci::{Descriptor, Digest, Digester};
use crate::registry::{BlobSource, Client, Elsewhere, Fetch, Partial};

use super::Error;

/// What brings blobs out of a place.
pub(super) trait Bring: Send + Sync + fmt::Debug {
    /// The place.
    fn name(&self) -> String;

    /// Writes a blob's bytes into an empty file; they are verified there.
    fn bring<'a>(
        &'a self,
        blob: &'a Descriptor,
        file: &'a mut Arriving,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Is told that a blob could not be had, or was another.
    fn is_lost(&self, blob: &Descriptor);
}

/// The blobs of a place that are here, in a directory of this build.
#[derive(Debug)]
pub(super) struct Shelf {
    client: Client,
    directory: PathBuf,
    cells: Mutex<HashMap<Digest, Arc<OnceCell<PathBuf>>>>,
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

impl Shelf {
    /// Uses a directory of this build; `client` reads what comes out of registries.
    pub(super) fn new(client: Client, directory: PathBuf) -> Self {
        Self {
            client,
            directory,
            cells: Mutex::default(),
        }
    }

    /// A blob that is brought when its bytes are needed.
    pub(super) fn source(self: &Arc<Self>, from: &Arc<dyn Bring>, blob: &Descriptor) -> BlobSource {
        BlobSource::Elsewhere(Elsewhere::new(Arc::new(Coming {
            shelf: Arc::clone(self),
            from: Arc::clone(from),
            blob: blob.clone(),
        })))
    }

    /// The bytes of a blob, to be sent somewhere in parts.
    pub(super) async fn local(
        &self,
        blob: &Descriptor,
        source: &BlobSource,
    ) -> Result<Local, Error> {
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

    async fn bring(&self, from: &dyn Bring, blob: &Descriptor) -> io::Result<PathBuf> {
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(blob.digest.clone()).or_default())
        };
        let path = cell
            .get_or_try_init(|| async {
                let path = self.path(blob);
                let arrived = self.arrive(from, blob, &path).await;
                arrived.inspect_err(|_| from.is_lost(blob))?;
                Ok::<_, io::Error>(path)
            })
            .await?;
        Ok(path.clone())
    }

    async fn arrive(&self, from: &dyn Bring, blob: &Descriptor, path: &Path) -> io::Result<()> {
        let (partial, file) = Partial::create(path).await?;
        let mut arriving = Arriving {
            file,
            digester: blob.digest.digester(),
            received: 0,
            size: blob.size,
        };
        from.bring(blob, &mut arriving)
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
struct Coming {
    shelf: Arc<Shelf>,
    from: Arc<dyn Bring>,
    blob: Descriptor,
}

impl Fetch for Coming {
    fn what(&self) -> String {
        format!("blob {} of {}", self.blob.digest.short(), self.from.name())
    }

    fn fetch(&self) -> BoxFuture<'_, io::Result<PathBuf>> {
        Box::pin(self.shelf.bring(&*self.from, &self.blob))
    }
}
