//! What is pushed: a manifest or an index, everything that it names, and where the bytes of each part are.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Error, Image};
use crate::oci::{
    Descriptor, Digest, Document, ImageConfig, Index, Manifest, MediaType, Platform, Reference,
};
use crate::registry::{BlobSource, Client, DOCUMENT_LIMIT, RawManifest};

/// How deep indexes may be nested. One level is what tools make.
const DEPTH_MAX: usize = 4;

/// The most manifests that one index may name.
const MANIFESTS_MAX: usize = 1000;

/// A manifest or an index with everything below it.
#[derive(Clone, Debug)]
pub struct Content {
    /// Its type, digest and size; as a part of an index also its platform and annotations.
    pub descriptor: Descriptor,
    /// Its bytes, as they were found: the digest is over them.
    pub bytes: Bytes,
    /// The digest of its configuration, if it is the manifest of one image.
    pub config: Option<Digest>,
    /// What a manifest names: its configuration and layers.
    pub blobs: Vec<ContentBlob>,
    /// What an index names.
    pub children: Vec<Content>,
}

/// A blob and where its bytes are.
#[derive(Clone, Debug)]
pub struct ContentBlob {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub source: BlobSource,
}

impl Content {
    /// Takes an image that was built.
    pub fn of_image(image: &Image) -> Self {
        let config = ContentBlob {
            descriptor: image.config_descriptor.clone(),
            source: BlobSource::Bytes(image.config.clone()),
        };
        let layers = image.layers.iter().map(|layer| ContentBlob {
            descriptor: layer.descriptor.clone(),
            source: layer.source.to_blob(),
        });
        Self {
            descriptor: image.descriptor.clone(),
            bytes: image.manifest.clone(),
            config: Some(image.config_descriptor.digest.clone()),
            blobs: std::iter::once(config).chain(layers).collect(),
            children: Vec::new(),
        }
    }

    /// Reads what a reference stands for, blobs left where they are.
    ///
    /// # Errors
    /// When the registry does not have it, or serves what is neither manifest nor index.
    pub async fn of_registry(client: &Client, reference: &Reference) -> Result<Self, Error> {
        let raw = client.manifest(reference).await.map_err(Error::fetch)?;
        Self::below(client, reference, raw, 0).await
    }

    async fn below(
        client: &Client,
        reference: &Reference,
        raw: RawManifest,
        depth: usize,
    ) -> Result<Self, Error> {
        let what = reference.with_digest(raw.descriptor.digest.clone());
        match parse(&what.to_string(), &raw.descriptor, &raw.bytes)? {
            Document::Manifest(manifest) => {
                let place = BlobSource::Remote(reference.clone());
                let mut content =
                    Self::of_manifest(raw.descriptor, raw.bytes, &manifest, |_| place.clone());
                if is_image(&manifest) {
                    let config = client
                        .blob(reference, &manifest.config, DOCUMENT_LIMIT)
                        .await
                        .map_err(Error::fetch)?;
                    content.descriptor.platform = platform(&config);
                }
                Ok(content)
            }
            Document::Index(index) => {
                check_index(&what.to_string(), &index, depth)?;
                let mut children = Vec::new();
                for descriptor in index.manifests {
                    let child = reference.with_digest(descriptor.digest.clone());
                    let raw = client.manifest(&child).await.map_err(Error::fetch)?;
                    let below = Self::below(client, reference, raw, depth + 1);
                    let found = Box::pin(below).await?;
                    children.push(found.described(&what.to_string(), descriptor)?);
                }
                Ok(Self::of_index(raw.descriptor, raw.bytes, children))
            }
        }
    }

    /// Makes the content of a manifest; `place` says where a blob is.
    pub(super) fn of_manifest(
        descriptor: Descriptor,
        bytes: Bytes,
        manifest: &Manifest,
        place: impl Fn(&Descriptor) -> BlobSource,
    ) -> Self {
        let parts = std::iter::once(&manifest.config).chain(&manifest.layers);
        let blobs = parts.map(|part| ContentBlob {
            descriptor: part.clone(),
            source: place(part),
        });
        Self {
            descriptor,
            bytes,
            config: is_image(manifest).then(|| manifest.config.digest.clone()),
            blobs: blobs.collect(),
            children: Vec::new(),
        }
    }

    /// Makes the content of an index.
    pub(super) fn of_index(descriptor: Descriptor, bytes: Bytes, children: Vec<Self>) -> Self {
        Self {
            descriptor,
            bytes,
            config: None,
            blobs: Vec::new(),
            children,
        }
    }

    /// Gives it the descriptor by which an index names it.
    pub(super) fn described(mut self, what: &str, descriptor: Descriptor) -> Result<Self, Error> {
        if descriptor.size != self.descriptor.size {
            return Err(Error::Content {
                what: what.to_owned(),
                reason: format!(
                    "it says that {} has {} bytes, and it has {}",
                    descriptor.digest, descriptor.size, self.descriptor.size
                ),
            });
        }
        let known = self.descriptor.platform.take();
        self.descriptor = descriptor;
        if self.descriptor.platform.is_none() {
            self.descriptor.platform = known;
        }
        Ok(self)
    }

    /// Gives all blobs that belong into a registry, each once. A foreign layer does not: the manifest says where it is.
    pub(super) fn distributed(&self) -> Vec<&ContentBlob> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut pending = vec![self];
        while let Some(content) = pending.pop() {
            found.extend(content.blobs.iter().filter(|blob| {
                let Descriptor {
                    media_type, digest, ..
                } = &blob.descriptor;
                !media_type.is_foreign() && seen.insert(digest.clone())
            }));
            pending.extend(content.children.iter().rev());
        }
        found
    }

    /// Gives all manifests and indexes below, and this one last: what names others comes after them.
    pub(super) fn documents(&self) -> Vec<&Self> {
        let mut found = Vec::new();
        for child in &self.children {
            found.extend(child.documents());
        }
        found.push(self);
        found
    }
}

/// Parses a document by the type that its descriptor says.
pub(super) fn parse(what: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<Document, Error> {
    Document::parse(bytes, &descriptor.media_type).map_err(|source| Error::Content {
        what: what.to_owned(),
        reason: source.to_string(),
    })
}

/// Refuses indexes without end.
pub(super) fn check_index(what: &str, index: &Index, depth: usize) -> Result<(), Error> {
    let refuse = |reason: String| Error::Content {
        what: what.to_owned(),
        reason,
    };
    if depth >= DEPTH_MAX {
        return Err(refuse(format!(
            "indexes are nested deeper than {DEPTH_MAX}"
        )));
    }
    let count = index.manifests.len();
    if count > MANIFESTS_MAX {
        return Err(refuse(format!(
            "it names {count} manifests, more than {MANIFESTS_MAX}"
        )));
    }
    Ok(())
}

/// Says whether a manifest is that of an image, not of another kind of artifact.
pub(super) fn is_image(manifest: &Manifest) -> bool {
    manifest.config.media_type.to_oci() == MediaType::OCI_CONFIG
}

/// Reads the platform out of an image's configuration; one that names none has none.
pub(super) fn platform(config: &[u8]) -> Option<Platform> {
    let config: ImageConfig = serde_json::from_slice(config).ok()?;
    let platform = config.platform();
    (!platform.os.is_empty() && !platform.architecture.is_empty()).then_some(platform)
}
