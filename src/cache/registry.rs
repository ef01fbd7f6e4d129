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

use crate::oci::{Descriptor, Digest, Document, Manifest, MediaType, Reference};
use crate::registry::{BlobSource, BlobUpload, Client};

use super::{Cache, CacheKey, Entry, Error, Put, Unfit};

/// The annotation that holds an entry.
const ENTRY_ANNOTATION: &str = "dev.longshore.cache.entry";

/// Entries in a repository.
#[derive(Clone)]
pub struct RegistryCache {
    client: Client,
    /// The repository; tag and digest do not matter.
    repository: Reference,
    /// What stands before the key in a tag, so that several caches can share a repository with images.
    prefix: String,
    /// Blobs that this build has put there, or is putting.
    blobs: Arc<Mutex<HashMap<Digest, Arc<OnceCell<()>>>>>,
}

impl std::fmt::Debug for RegistryCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistryCache({})", self.repository.name())
    }
}

impl RegistryCache {
    /// Uses a repository. If `reference` has a tag, those of the entries begin with it: `<tag>-<key>`.
    pub fn new(client: Client, reference: &Reference) -> Self {
        Self {
            client,
            prefix: reference
                .tag()
                .map(|tag| format!("{tag}-"))
                .unwrap_or_default(),
            repository: reference.clone(),
            blobs: Arc::default(),
        }
    }

    fn tag(&self, key: &CacheKey) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn fetch(&self, key: &CacheKey) -> Result<Option<Entry>, Error> {
        let reference = self.repository.with_tag(&self.tag(key))?;
        let raw = match self.client.manifest(&reference).await {
            Ok(raw) => raw,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        parse(&raw.bytes, &raw.descriptor.media_type, key)
            .map(Some)
            .map_err(|reason| Error::Unfit { key: *key, reason })
    }

    /// Puts a blob there, once for all entries that name it.
    async fn put_blob(
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

    async fn keep(&self, put: &Put) -> Result<(), Error> {
        for (layer, source) in put.entry.layers().zip(&put.sources) {
            self.put_blob(layer, source, &put.mount_from).await?;
        }
        let (config, manifest) = documents(&put.entry)?;
        let config_descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config);
        self.put_blob(&config_descriptor, &BlobSource::Bytes(config), &[])
            .await?;
        let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &manifest);
        let tag = self.tag(&put.entry.last().key);
        self.client
            .push_manifest(&self.repository, &tag, &descriptor, &manifest)
            .await?;
        Ok(())
    }
}

impl Cache for RegistryCache {
    fn name(&self) -> String {
        self.repository.name()
    }

    fn find<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        Box::pin(self.fetch(key))
    }

    fn layers<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Vec<BlobSource>, Error>> {
        let sources = entry
            .layers()
            .map(|_| BlobSource::Remote(self.repository.clone()))
            .collect();
        Box::pin(async { Ok(sources) })
    }

    fn put<'a>(&'a self, put: &'a Put) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.keep(put))
    }
}

/// The configuration and the manifest of an entry.
fn documents(entry: &Entry) -> Result<(Bytes, Bytes), Error> {
    let history: Vec<_> = entry
        .records()
        .iter()
        .map(|record| json!({"created_by": record.step}))
        .collect();
    let diff_ids: Vec<_> = entry
        .records()
        .iter()
        .map(|record| &record.diff_id)
        .collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let config: Bytes = serde_json::to_vec(&config).map_err(Error::Json)?.into();
    let text = String::from_utf8_lossy(&entry.to_json()?).into_owned();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OCI_MANIFEST.into()),
        config: Descriptor::of(MediaType::OCI_CONFIG, &config),
        layers: entry.layers().cloned().collect(),
        annotations: BTreeMap::from([(ENTRY_ANNOTATION.to_owned(), text)]),
    };
    let manifest = serde_json::to_vec(&manifest).map_err(Error::Json)?;
    Ok((config, manifest.into()))
}

/// Reads an entry out of a manifest.
fn parse(bytes: &[u8], media_type: &MediaType, key: &CacheKey) -> Result<Entry, Unfit> {
    let malformed = |error: &dyn std::fmt::Display| Unfit::Malformed(error.to_string());
    let manifest = match Document::parse(bytes, media_type).map_err(|error| malformed(&error))? {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => return Err(malformed(&"it is an index")),
    };
    let text = manifest
        .annotations
        .get(ENTRY_ANNOTATION)
        .ok_or_else(|| malformed(&"it is not a cache entry of longshore"))?;
    let entry = Entry::parse(text.as_bytes(), key)?;
    if !entry.layers().eq(manifest.layers.iter()) {
        return Err(Unfit::OtherLayers);
    }
    Ok(entry)
}
