//! Entries in a repository of a registry: `<repository>:<key>`, or `<repository>:<tag>-<key>`, is an image of the layers between the base and the step.
//!
//! The entry stands in an annotation of the manifest, so that one request looks it up; the layers of the manifest must be
//! those of the entry, which keeps the registry from collecting them. The configuration is a plain image configuration,
//! because registries are particular about what they take.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::oci::{self, Descriptor, Digest, Manifest, MediaType, Platform, Reference};
use crate::registry::{BlobSource, BlobUpload, Client};

use super::inline::InlineImage;
use super::{Document, DocumentName, Error, FoundDocument, Kind, Place, Unfit};

/// The annotation that holds an entry.
const ENTRY_ANNOTATION: &str = "dev.longshore.cache.entry";

/// Entries in a repository.
#[derive(Clone)]
pub struct RegistryPlace {
    client: Client,
    /// The repository; tag and digest do not matter.
    repository: Reference,
    /// An image that may have entries within.
    image: Option<Arc<InlineImage>>,
    /// What stands before the key in a tag, so that several caches can share a repository with images.
    prefix: String,
    /// Blobs that this build has put there, or is putting.
    blobs: Arc<Mutex<HashMap<Digest, Arc<OnceCell<()>>>>>,
}

impl std::fmt::Debug for RegistryPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistryPlace({})", self.repository.name())
    }
}

impl RegistryPlace {
    /// Uses a repository. If `reference` has a tag, those of the entries begin with it: `<tag>-<key>`.
    pub fn new(client: Client, reference: &Reference) -> Self {
        Self {
            client,
            prefix: reference
                .tag()
                .map(|tag| format!("{tag}-"))
                .unwrap_or_default(),
            repository: reference.clone(),
            image: None,
            blobs: Arc::default(),
        }
    }

    /// As [`RegistryPlace::new`]; and if `reference` is an image with entries within, these are found, too.
    pub fn with_image(client: Client, reference: &Reference, platform: Platform) -> Self {
        let image = InlineImage::new(reference.clone(), platform);
        Self {
            image: Some(Arc::new(image)),
            ..Self::new(client, reference)
        }
    }

    fn tag(&self, name: &DocumentName) -> String {
        match name.kind {
            Kind::Step => format!("{}{}", self.prefix, name.key),
            // As long as the tag of a step: there is room for no more.
            Kind::Mount => format!("{}mount-{:.58}", self.prefix, name.key.to_string()),
            Kind::Trace => format!("{}trace-{:.58}", self.prefix, name.key.to_string()),
        }
    }

    async fn fetch(&self, name: &DocumentName) -> Result<Option<FoundDocument>, Error> {
        if let Some(image) = &self.image
            && let Some(text) = image.entry(&self.client, &name.key).await?
        {
            let text = text.into_bytes();
            return Ok(Some(FoundDocument { text, blobs: None }));
        }
        let reference = self.repository.with_tag(&self.tag(name))?;
        let raw = match self.client.manifest(&reference).await {
            Ok(raw) => raw,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        parse(&raw.bytes, &raw.descriptor.media_type)
            .map(Some)
            .map_err(|reason| Error::Unfit {
                key: name.key,
                reason,
            })
    }

    /// Puts a blob there, once for all entries that name it.
    async fn push_blob(
        &self,
        descriptor: &Descriptor,
        source: &BlobSource,
        mount_from: &[Reference],
    ) -> Result<(), Error> {
        let cell = {
            let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(blobs.entry(descriptor.digest.clone()).or_default())
        };
        cell.get_or_try_init(|| async {
            if let BlobSource::Remote(from) = source
                && from.name() == self.repository.name()
            {
                return Ok(());
            }
            let upload = BlobUpload {
                target: &self.repository,
                descriptor,
                source,
                mount_from,
                on_sent: None,
                is_forced: false,
            };
            self.client.push_blob(&upload).await.map(|_| ())
        })
        .await?;
        Ok(())
    }

    async fn keep(&self, name: &DocumentName, document: &Document) -> Result<(), Error> {
        let (config, manifest) = documents(document)?;
        if document.parts.is_empty() {
            let empty = BlobSource::Bytes(Bytes::from_static(EMPTY));
            self.push_blob(&empty_layer(), &empty, &[]).await?;
        }
        let config_descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config);
        self.push_blob(&config_descriptor, &BlobSource::Bytes(config), &[])
            .await?;
        let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &manifest);
        let tag = self.tag(name);
        self.client
            .push_manifest(&self.repository, &tag, &descriptor, &manifest)
            .await?;
        Ok(())
    }
}

impl Place for RegistryPlace {
    fn name(&self) -> String {
        self.repository.name()
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<FoundDocument>, Error>> {
        Box::pin(self.fetch(name))
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.keep(name, document))
    }

    fn source<'a>(
        &'a self,
        _blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Option<BlobSource>, Error>> {
        Box::pin(async { Ok(Some(BlobSource::Remote(self.repository.clone()))) })
    }

    fn put_blob<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: &'a BlobSource,
        mount_from: &'a [Reference],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.push_blob(blob, source, mount_from))
    }
}

/// The layer of what has none: an empty object (image-spec manifest.md "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";

fn empty_layer() -> Descriptor {
    Descriptor::of("application/vnd.oci.empty.v1+json", EMPTY)
}

/// The configuration and the manifest that a document is kept as.
fn documents(document: &Document) -> Result<(Bytes, Bytes), Error> {
    let parts = &document.parts;
    let history: Vec<_> = parts
        .iter()
        .map(|part| json!({"created_by": part.title}))
        .collect();
    let diff_ids: Vec<_> = parts.iter().map(|part| &part.diff_id).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let config: Bytes = serde_json::to_vec(&config).map_err(Error::Json)?.into();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OCI_MANIFEST.into()),
        config: Descriptor::of(MediaType::OCI_CONFIG, &config),
        layers: if parts.is_empty() {
            vec![empty_layer()]
        } else {
            parts.iter().map(|part| part.blob.clone()).collect()
        },
        annotations: BTreeMap::from([(ENTRY_ANNOTATION.to_owned(), document.text.clone())]),
    };
    let manifest = serde_json::to_vec(&manifest).map_err(Error::Json)?;
    Ok((config, manifest.into()))
}

/// Reads a document out of a manifest.
pub(super) fn parse(bytes: &[u8], media_type: &MediaType) -> Result<FoundDocument, Unfit> {
    let malformed = |error: &dyn std::fmt::Display| Unfit::Malformed(error.to_string());
    let parsed = oci::Document::parse(bytes, media_type).map_err(|error| malformed(&error))?;
    let mut manifest = match parsed {
        oci::Document::Manifest(manifest) => manifest,
        oci::Document::Index(_) => return Err(malformed(&"it is an index")),
    };
    let text = manifest
        .annotations
        .remove(ENTRY_ANNOTATION)
        .ok_or_else(|| malformed(&"it is not a cache entry of longshore"))?;
    Ok(FoundDocument {
        text: text.into_bytes(),
        blobs: Some(manifest.layers),
    })
}
