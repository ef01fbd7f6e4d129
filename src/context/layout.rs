//! An image in an OCI layout as a context: its files, all layers one upon the other.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::layer::{self, ApplyOptions, Limits, Owners};
use crate::oci::{
    Descriptor, Digest, DigestError, Digester, Document, IMAGE_LAYOUT_FILE, ImageConfig, Index,
    Manifest, MediaType, Platform, REF_NAME_ANNOTATION,
};
use crate::rootfs::{Protected, Rootfs};

use super::ContextError;

/// The largest manifest or configuration, in bytes.
const DOCUMENT_MAX: u64 = 8 << 20;
/// How deep an index may hold indexes.
const DEPTH_MAX: usize = 4;
/// The index of a layout.
const INDEX_FILE: &str = "index.json";

/// An image in an OCI layout: `DIR[:TAG][@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The directory.
    pub path: PathBuf,
    /// What the index calls the image.
    pub tag: Option<String>,
    /// The digest of its manifest, or of an index that holds it.
    pub digest: Option<Digest>,
}

/// Why a text names no layout.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    /// There is no directory in it.
    #[error("oci-layout:// names no directory")]
    NoDirectory,
    /// What follows `@` is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Layout {
    /// Reads `DIR[:TAG][@DIGEST]`. A name that exists is a directory, even if there is a colon in it.
    ///
    /// # Errors
    /// [`LayoutError`] says what is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, LayoutError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && !Path::new(rest).exists() => {
                (path, Some(tag.to_owned()))
            }
            Some(_) | None => (rest, None),
        };
        if path.is_empty() {
            return Err(LayoutError::NoDirectory);
        }
        Ok(Self {
            path: path.into(),
            tag,
            digest,
        })
    }

    /// Writes the files of the image into a directory; they may take so many bytes.
    pub(super) fn unpack(&self, directory: &Path, limit: u64) -> Result<(), ContextError> {
        let manifest = self.manifest()?;
        let diff_ids = self.diff_ids(&manifest)?;
        let rootfs = Rootfs::open(directory)?;
        let protected = Protected::none();
        let mut rest = limit;
        for (number, layer) in manifest.layers.iter().enumerate() {
            let options = ApplyOptions {
                protected: &protected,
                limits: Limits {
                    bytes: rest,
                    ..Limits::default()
                },
                // Files of a context have no owners: COPY gives them theirs.
                owners: Owners::Record,
                has_root_attributes: false,
            };
            let mut blob = Verified {
                inner: self.open(layer)?,
                digester: layer.digest.digester(),
            };
            let diff_id = diff_ids.as_ref().map(|all| &all[number]);
            let applied =
                layer::apply(&mut blob, &rootfs, &options, diff_id).map_err(|source| {
                    ContextError::Extract {
                        name: format!("{self}, layer {}", layer.digest),
                        source: Box::new(source),
                    }
                })?;
            io::copy(&mut blob, &mut io::sink()).map_err(|error| self.broken(error))?;
            if blob.digester.finish() != layer.digest {
                return Err(self.broken(format!("blob {} has another digest", layer.digest)));
            }
            rest = rest.saturating_sub(applied.uncompressed);
        }
        Ok(())
    }

    fn manifest(&self) -> Result<Manifest, ContextError> {
        if !self.path.join(IMAGE_LAYOUT_FILE).is_file() {
            let reason = format!("it is no OCI layout: {IMAGE_LAYOUT_FILE} is not in it");
            return Err(self.broken(reason));
        }
        let bytes = self.read(&self.path.join(INDEX_FILE))?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| self.broken(format!("{INDEX_FILE} cannot be read: {error}")))?;
        let mut found = Vec::new();
        for descriptor in index.manifests {
            let name = descriptor.annotations.get(REF_NAME_ANNOTATION);
            let is_named = self.tag.is_none() || name == self.tag.as_ref();
            // A digest names a manifest at any depth, and what an index of the digest holds.
            let is_meant = self.digest.as_ref().is_none_or(|d| *d == descriptor.digest);
            if is_named || self.digest.is_some() {
                self.collect(descriptor, is_meant, 0, &mut found)?;
            }
        }
        let is_only = found.len() == 1;
        let host = Platform::host();
        let rated = found.into_iter().filter_map(|(platform, manifest)| {
            let distance = match platform {
                _ if is_only => Some(0),
                Some(platform) => host.distance(&platform),
                None => None,
            };
            Some((distance?, manifest))
        });
        let mut rated: Vec<(u8, Manifest)> = rated.collect();
        rated.sort_by_key(|(distance, _)| *distance);
        let best = rated.first().map(|(distance, _)| *distance);
        let is_ambiguous = rated.iter().filter(|(d, _)| Some(*d) == best).count() > 1;
        match rated.into_iter().next() {
            Some(_) if is_ambiguous => Err(self.broken(
                "it holds several images: name one of them, oci://DIR:TAG or oci://DIR@DIGEST",
            )),
            Some((_, manifest)) => Ok(manifest),
            None => Err(self.broken(format!("there is no such image for {host} in it"))),
        }
    }

    /// Finds the manifests that a descriptor leads to.
    fn collect(
        &self,
        descriptor: Descriptor,
        is_meant: bool,
        depth: usize,
        found: &mut Vec<(Option<Platform>, Manifest)>,
    ) -> Result<(), ContextError> {
        let is_meant = is_meant || self.digest.as_ref() == Some(&descriptor.digest);
        let bytes = self.document(&descriptor)?;
        let document = Document::parse(&bytes, &descriptor.media_type)
            .map_err(|error| self.broken(format!("{}: {error}", descriptor.digest)))?;
        match document {
            Document::Manifest(manifest) if is_meant => {
                found.push((descriptor.platform, *manifest));
            }
            Document::Manifest(_) => {}
            Document::Index(_) if depth == DEPTH_MAX => {
                return Err(self.broken("its indexes hold each other too deep"));
            }
            Document::Index(index) => {
                for child in index.manifests {
                    self.collect(child, is_meant, depth + 1, found)?;
                }
            }
        }
        Ok(())
    }

    /// The digests of the unpacked layers, where it is an image and no other artifact.
    fn diff_ids(&self, manifest: &Manifest) -> Result<Option<Vec<Digest>>, ContextError> {
        if manifest.config.media_type.to_oci().as_str() != MediaType::OCI_CONFIG {
            return Ok(None);
        }
        let bytes = self.document(&manifest.config)?;
        let config: ImageConfig = serde_json::from_slice(&bytes)
            .map_err(|error| self.broken(format!("its configuration cannot be read: {error}")))?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(self.broken("its configuration counts other layers than its manifest"));
        }
        Ok(Some(diff_ids))
    }

    /// Reads a manifest, index or configuration.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ContextError> {
        let bytes = self.read(&self.blob(&descriptor.digest))?;
        let mut digester = descriptor.digest.digester();
        digester.update(&bytes);
        if digester.finish() != descriptor.digest {
            return Err(self.broken(format!("blob {} has another digest", descriptor.digest)));
        }
        Ok(bytes)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, ContextError> {
        let failed = |error: io::Error| self.broken(format!("{}: {error}", path.display()));
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(DOCUMENT_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            let reason = format!("{} is larger than {DOCUMENT_MAX} bytes", path.display());
            return Err(self.broken(reason));
        }
        Ok(bytes)
    }

    fn open(&self, layer: &Descriptor) -> Result<File, ContextError> {
        File::open(self.blob(&layer.digest))
            .map_err(|error| self.broken(format!("blob {}: {error}", layer.digest)))
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        let directory = self.path.join("blobs").join(digest.algorithm());
        directory.join(digest.hex())
    }

    fn broken(&self, reason: impl fmt::Display) -> ContextError {
        ContextError::Layout {
            layout: self.to_string(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}", self.path.display())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Hashes what is read.
struct Verified<R> {
    inner: R,
    digester: Digester,
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.digester.update(&buffer[..length]);
        Ok(length)
    }
}
