//! Base images in a directory of this machine, put there ahead of the builds that use them.
//!
//! ```text
//! <dir>/sha256:<hex>/          an image for one platform under the digest of its manifest: an OCI layout, complete
//! <dir>/indexes/sha256:<hex>   an index that leads to such images
//! ```
//! It is the layout of kaniko's warmer, whose images are read too. An image appears by a rename and is exchanged for another
//! copy in one step, so that any number of readers and writers see all of it or nothing. What is read is hashed first: what is
//! damaged counts as absent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::json;

use crate::oci::{
    Descriptor, Digest, Document, IMAGE_LAYOUT_FILE, IMAGE_LAYOUT_VERSION, ImageConfig, Index,
    Manifest, MediaType, Platform, REF_NAME_ANNOTATION, Reference,
};
use crate::registry::{Client, DOCUMENT_LIMIT, ResolvedImage, choose};

use super::Error;
use super::directory::{blocking, failed, is_intact, write};

/// How deep indexes may be nested, as in a registry.
const INDEX_DEPTH: usize = 4;
/// What a killed writer left is removed after so long: no download takes that.
const LEFT_BEHIND: Duration = Duration::from_hours(24);

/// Base images in a directory.
#[derive(Clone, Debug)]
pub struct WarmBases {
    directory: PathBuf,
    /// Images that were put there before are not used, in seconds since 1970.
    kept_since: i64,
}

/// What became of an image that was to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmed {
    /// It was there.
    There,
    /// It was put there: so many bytes of layers were downloaded.
    Fetched(u64),
}

impl WarmBases {
    /// Uses a directory, which is made when something is put there. Images older than `kept_since` (seconds since 1970) are
    /// not used.
    pub fn new(directory: PathBuf, kept_since: i64) -> Self {
        Self {
            directory,
            kept_since,
        }
    }

    fn image_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.as_str())
    }

    fn index_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("indexes").join(digest.as_str())
    }

    /// Whether an image is there and not too old.
    fn is_fresh(&self, image: &Path) -> bool {
        let time = fs::metadata(image.join("index.json")).and_then(|found| found.modified());
        let since = time
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.is_some_and(|since| {
            i64::try_from(since.as_secs()).is_ok_and(|kept| kept >= self.kept_since)
        })
    }

    /// Resolves an image that is named by digest, without asking its registry. `None` if it is not there, as an image whose
    /// name has no digest never is: what a tag stands for, the registry says.
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Option<ResolvedImage> {
        let digest = reference.digest()?.clone();
        let mut wanted = digest.clone();
        let mut indexes = Vec::new();
        for _ in 0..=INDEX_DEPTH {
            let Some(bytes) = document(&self.index_path(&wanted), &wanted) else {
                break;
            };
            let index: Index = serde_json::from_slice(&bytes).ok()?;
            indexes.push(bytes);
            wanted = choose(&index, platform, reference).ok()?.digest;
        }
        let image = self.image_path(&wanted);
        if !self.is_fresh(&image) {
            return None;
        }
        let manifest_bytes = document(&blob_path(&image, &wanted), &wanted)?;
        let manifest: Manifest = serde_json::from_slice(&manifest_bytes).ok()?;
        let media_type = manifest
            .media_type
            .clone()
            .unwrap_or_else(|| MediaType::OCI_MANIFEST.into());
        let descriptor = Descriptor::new(media_type, wanted, manifest_bytes.len() as u64);
        match Document::parse(&manifest_bytes, &descriptor.media_type) {
            Ok(Document::Manifest(_)) => {}
            Ok(Document::Index(_)) | Err(_) => return None,
        }
        let config_digest = &manifest.config.digest;
        let config_bytes = document(&blob_path(&image, config_digest), config_digest)?;
        let config: ImageConfig = serde_json::from_slice(&config_bytes).ok()?;
        (config.rootfs.diff_ids.len() == manifest.layers.len()).then(|| ResolvedImage {
            reference: reference.clone(),
            source: None,
            passed_over: Vec::new(),
            digest,
            indexes,
            descriptor,
            manifest_bytes,
            manifest,
            config_bytes,
            config,
        })
    }

    /// The file of a layer of one of `images`, which are digests of manifests. `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Damaged`] if what is there is not the layer.
    pub async fn layer(
        &self,
        images: &[Digest],
        layer: &Descriptor,
    ) -> Result<Option<PathBuf>, Error> {
        let mut damaged = None;
        for digest in images {
            let image = self.image_path(digest);
            let path = blob_path(&image, &layer.digest);
            if !path.is_file() || !self.is_fresh(&image) {
                continue;
            }
            let (checked, wanted) = (path.clone(), layer.clone());
            if blocking(&path, move || Ok(is_intact(&checked, &wanted))).await? {
                return Ok(Some(path));
            }
            damaged = Some(path);
        }
        match damaged {
            Some(path) => Err(Error::Damaged { path }),
            None => Ok(None),
        }
    }

    /// Sees to it that an image is there, whole and not too old; `is_forced` is whether it is fetched even then.
    pub async fn keep(
        &self,
        client: &Client,
        image: &ResolvedImage,
        is_forced: bool,
    ) -> Result<Warmed, Error> {
        for bytes in &image.indexes {
            let path = self.index_path(&Digest::of(bytes));
            make_parent(&path)?;
            write(&path, bytes)?;
        }
        let place = self.image_path(&image.descriptor.digest);
        if !is_forced && self.is_fresh(&place) {
            let (there, descriptors) = (place.clone(), blobs(image));
            let check = move || Ok(descriptors.iter().all(|blob| is_there(&there, blob)));
            if blocking(&place, check).await? {
                return Ok(Warmed::There);
            }
        }
        self.remove_left_behind();
        let partial = PartialImage::create(&place)?;
        let fetches = image.manifest.layers.iter().map(|layer| async {
            let path = blob_path(&partial.path, &layer.digest);
            if layer.media_type.is_foreign() || path.is_file() {
                return Ok(0);
            }
            if !is_forced && link(&place, layer, &path).await? {
                return Ok(0);
            }
            client
                .blob_to_file(&image.reference, layer, &path, None)
                .await?;
            Ok::<_, Error>(layer.size)
        });
        let fetched = futures_util::future::try_join_all(fetches).await?;
        let documents = [
            (&image.descriptor.digest, &image.manifest_bytes),
            (&image.manifest.config.digest, &image.config_bytes),
        ];
        for (digest, bytes) in documents {
            write(&blob_path(&partial.path, digest), bytes)?;
        }
        let index = index(image)?;
        let version = Bytes::from_static(IMAGE_LAYOUT_VERSION.as_bytes());
        write(&partial.path.join(IMAGE_LAYOUT_FILE), &version)?;
        write(&partial.path.join("index.json"), &index)?;
        partial.keep(&place)?;
        Ok(Warmed::Fetched(fetched.iter().sum()))
    }

    fn remove_left_behind(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let is_partial = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(".sha256:"));
            let age = entry
                .metadata()
                .and_then(|found| found.modified())
                .ok()
                .and_then(|time| SystemTime::now().duration_since(time).ok());
            if is_partial && age.is_some_and(|age| age > LEFT_BEHIND) {
                // Somebody else may be removing it too.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// An image that is being put together beside its place; removed unless it is kept.
struct PartialImage {
    path: PathBuf,
}

impl PartialImage {
    fn create(place: &Path) -> Result<Self, Error> {
        make_parent(place)?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        for number in 0_u32.. {
            let path = place.with_file_name(format!(".{name}.{number}.partial"));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let partial = Self { path };
                    make_parent(&partial.path.join("blobs/sha256/x"))?;
                    return Ok(partial);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &path)(error)),
            }
        }
        Err(failed("create", place)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Gives it its place. What is there is exchanged, so that there is always an image for who reads.
    fn keep(self, place: &Path) -> Result<(), Error> {
        let rename = |flags| renameat_with(CWD, &self.path, CWD, place, flags);
        for _ in 0..8 {
            match rename(RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                // A file system that knows no flags.
                Err(Errno::INVAL | Errno::NOSYS) => match fs::rename(&self.path, place) {
                    Ok(()) => return Ok(()),
                    Err(error) if is_occupied(&error) => {
                        remove(place)?;
                        continue;
                    }
                    Err(error) => return Err(failed("make", place)(error)),
                },
                Err(error) => return Err(failed("make", place)(error.into())),
            }
            match rename(RenameFlags::EXCHANGE) {
                // Dropped, with what was there.
                Ok(()) => return Ok(()),
                Err(Errno::NOENT) => {}
                Err(Errno::INVAL | Errno::NOSYS) => remove(place)?,
                Err(error) => return Err(failed("replace", place)(error.into())),
            }
        }
        Err(failed("make", place)(io::ErrorKind::AlreadyExists.into()))
    }
}

impl Drop for PartialImage {
    fn drop(&mut self) {
        // What cannot be removed has a name that nobody reads.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn is_occupied(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty)
}

fn remove(place: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", place)(error))
        }
        _ => Ok(()),
    }
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(failed("create", parent))
}

fn blob_path(image: &Path, digest: &Digest) -> PathBuf {
    image
        .join("blobs")
        .join(digest.algorithm())
        .join(digest.hex())
}

/// Reads a document that has this digest.
fn document(path: &Path, digest: &Digest) -> Option<Bytes> {
    if fs::metadata(path).ok()?.len() > DOCUMENT_LIMIT {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let mut digester = digest.digester();
    digester.update(&bytes);
    (digester.finish() == *digest).then(|| bytes.into())
}

/// All that an image is made of.
fn blobs(image: &ResolvedImage) -> Vec<Descriptor> {
    let layers = image.manifest.layers.iter();
    let own = [&image.descriptor, &image.manifest.config];
    own.into_iter()
        .chain(layers.filter(|layer| !layer.media_type.is_foreign()))
        .cloned()
        .collect()
}

fn is_there(image: &Path, blob: &Descriptor) -> bool {
    is_intact(&blob_path(image, &blob.digest), blob)
}

/// Takes a layer over from the copy of the image that is there, if it is whole.
async fn link(place: &Path, layer: &Descriptor, to: &Path) -> Result<bool, Error> {
    let (from, to, layer) = (
        blob_path(place, &layer.digest),
        to.to_owned(),
        layer.clone(),
    );
    blocking(place, move || {
        Ok(is_intact(&from, &layer) && fs::hard_link(&from, &to).is_ok())
    })
    .await
}

fn index(image: &ResolvedImage) -> Result<Bytes, Error> {
    let mut descriptor = image.descriptor.clone();
    descriptor.platform = Some(image.config.platform());
    let name = image.reference.to_string();
    descriptor
        .annotations
        .insert(REF_NAME_ANNOTATION.to_owned(), name);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": [descriptor],
    });
    Ok(serde_json::to_vec(&index).map_err(Error::Json)?.into())
}
