//! Entries in a directory of this machine, shared by any number of builds.
//!
//! ```text
//! <dir>/entries/<key>.json     an entry; its time of modification says when it was used last
//! <dir>/traces/<key>.json      a trace
//! <dir>/mounts/<key>.json      what is kept of a cache mount
//! <dir>/blobs/sha256/<hex>     a layer, or the archive of a cache mount
//! ```
//! Everything appears under its name by a rename, so that a reader sees all of it or nothing, and two writers of the same
//! entry do no harm. A layer is hashed before it is used: a disk that lies makes a miss, not an image.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use crate::oci::{Descriptor, Reference};
use crate::registry::{BlobSource, Client, Partial};

use super::{Document, DocumentName, Error, FoundDocument, Kind, Place};

/// The largest document that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// Size of the reads of a copy.
const COPY_SIZE: usize = 256 * 1024;

/// Entries in a directory.
#[derive(Clone, Debug)]
pub struct DirectoryPlace {
    directory: PathBuf,
    /// Fetches layers that come from another cache.
    client: Client,
}

impl DirectoryPlace {
    /// Uses a directory, which is made when something is kept in it.
    pub fn new(directory: PathBuf, client: Client) -> Self {
        Self { directory, client }
    }

    fn document_path(&self, name: &DocumentName) -> PathBuf {
        let below = match name.kind {
            Kind::Step => "entries",
            Kind::Trace => "traces",
            Kind::Mount => "mounts",
        };
        self.directory
            .join(below)
            .join(format!("{}.json", name.key))
    }

    fn blob_path(&self, blob: &Descriptor) -> PathBuf {
        self.directory
            .join("blobs")
            .join(blob.digest.algorithm())
            .join(blob.digest.hex())
    }

    fn read(&self, name: &DocumentName) -> Result<Option<FoundDocument>, Error> {
        let path = self.document_path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let mut text = Vec::new();
        (&file)
            .take(DOCUMENT_LIMIT)
            .read_to_end(&mut text)
            .map_err(failed("read", &path))?;
        // When it was used last; a cache that may only be read does not remember it.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(FoundDocument { text, blobs: None }))
    }

    async fn keep(&self, blob: &Descriptor, source: &BlobSource) -> Result<(), Error> {
        let path = self.blob_path(blob);
        make_parent(&path)?;
        let (from, offset) = match source {
            BlobSource::Remote(reference) => {
                if !has_size(&path, blob) {
                    self.client
                        .blob_to_file(reference, blob, &path, None)
                        .await?;
                }
                return Ok(());
            }
            BlobSource::Bytes(bytes) => return write(&path, bytes),
            BlobSource::Elsewhere(_) if has_size(&path, blob) => return Ok(()),
            BlobSource::Elsewhere(elsewhere) => (elsewhere.file().await?, 0),
            BlobSource::File(from) => (from.clone(), 0),
            BlobSource::Part { path, offset } => (path.clone(), *offset),
        };
        let blob = blob.clone();
        blocking(&path.clone(), move || {
            keep_file(&from, offset, &path, &blob)
        })
        .await
    }
}

impl Place for DirectoryPlace {
    fn name(&self) -> String {
        self.directory.display().to_string()
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<FoundDocument>, Error>> {
        Box::pin(async { self.read(name) })
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            let path = self.document_path(name);
            make_parent(&path)?;
            write(&path, document.text.as_bytes())
        })
    }

    fn source<'a>(
        &'a self,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Option<BlobSource>, Error>> {
        let (path, blob) = (self.blob_path(blob), blob.clone());
        Box::pin(async move {
            blocking(&path.clone(), move || {
                Ok(is_whole(&path, &blob).then_some(BlobSource::File(path)))
            })
            .await
        })
    }

    fn put_blob<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: &'a BlobSource,
        _mount_from: &'a [Reference],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.keep(blob, source))
    }
}

pub(super) fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Runs what hashes or copies where it does not hold up the network.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
        .map_err(failed("look after", path))?
}

fn make_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(failed("create", parent)),
        None => Ok(()),
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (partial, mut file) = Partial::create_sync(path).map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    partial.keep().map_err(failed("write", path))
}

/// Copies a layer into the cache, hashed on the way, unless it is there.
fn keep_file(from: &Path, offset: u64, path: &Path, layer: &Descriptor) -> Result<(), Error> {
    if from == path || has_size(path, layer) {
        return Ok(());
    }
    let (partial, mut file) = Partial::create_sync(path).map_err(failed("create", path))?;
    let mut source = File::open(from).map_err(failed("open", from))?;
    source
        .seek(SeekFrom::Start(offset))
        .map_err(failed("read", from))?;
    let mut source = source.take(layer.size);
    let mut digester = layer.digest.digester();
    let mut buffer = vec![0; COPY_SIZE];
    loop {
        let count = source.read(&mut buffer).map_err(failed("read", from))?;
        if count == 0 {
            break;
        }
        digester.update(&buffer[..count]);
        file.write_all(&buffer[..count])
            .map_err(failed("write", path))?;
    }
    if digester.finish() != layer.digest {
        let changed = io::Error::other("it is not the layer that it should be");
        return Err(failed("copy", from)(changed));
    }
    partial.keep().map_err(failed("write", path))
}

fn has_size(path: &Path, layer: &Descriptor) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == layer.size)
}

fn is_whole(path: &Path, layer: &Descriptor) -> bool {
    if !has_size(path, layer) {
        return false;
    }
    let is_whole = is_intact(path, layer);
    if !is_whole {
        // Damaged: out of the way, so that the next build can put it there again.
        let _ = fs::remove_file(path);
    }
    is_whole
}

/// Whether a file is what its descriptor says.
pub(super) fn is_intact(path: &Path, blob: &Descriptor) -> bool {
    if !has_size(path, blob) {
        return false;
    }
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let mut digester = blob.digest.digester();
    let mut buffer = vec![0; COPY_SIZE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return digester.finish() == blob.digest,
            Ok(count) => digester.update(&buffer[..count]),
            Err(_) => return false,
        }
    }
}
