//! Entries within an image: what is in its configuration tells which steps made its layers.
//!
//! The image is its own cache, so only the steps of its own stages are in it, not those that it copies from. The layers that
//! are told of must be those of the image: what a build that knows nothing of this put on top, or left out, is not believed.

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::oci::{Document, ImageConfig, Manifest, Platform, Reference};
use crate::registry::{Client, DOCUMENT_LIMIT};

use super::{CacheKey, Entry, Error, Record, Unfit};

/// The key of the configuration. Keys that other programs do not know, they leave alone.
const INLINE_KEY: &str = "dev.longshore.cache.v1";

#[derive(Serialize, Deserialize)]
struct Inline {
    records: Vec<Record>,
}

/// Puts into an image's configuration what its top layers are remembered as, bottom first.
///
/// # Errors
/// Never, as far as is known: records are valid JSON.
pub fn embed(config: &mut ImageConfig, records: &[Record]) -> Result<(), Error> {
    let inline = Inline {
        records: records.to_vec(),
    };
    let text = serde_json::to_string(&inline).map_err(Error::Json)?;
    config.extra.insert(INLINE_KEY.to_owned(), text.into());
    Ok(())
}

/// An image that may have entries within.
#[derive(Debug)]
pub(super) struct InlineImage {
    reference: Reference,
    platform: Platform,
    found: OnceCell<Option<Found>>,
}

/// What the reference stands for.
#[derive(Debug)]
struct Found {
    manifest: Manifest,
    config: ImageConfig,
}

impl InlineImage {
    pub(super) fn new(reference: Reference, platform: Platform) -> Self {
        Self {
            reference,
            platform,
            found: OnceCell::new(),
        }
    }

    /// The entry for a key, as JSON.
    pub(super) async fn entry(
        &self,
        client: &Client,
        key: &CacheKey,
    ) -> Result<Option<String>, Error> {
        // No image, or what is none: a tag may stand for another builder's cache. A registry that is broken is told of by
        // the question that follows.
        match self.found.get_or_init(|| self.read(client)).await {
            Some(image) => entry(image, key),
            None => Ok(None),
        }
    }

    async fn read(&self, client: &Client) -> Option<Found> {
        let mut reference = self.reference.clone();
        // An index leads to a manifest.
        for _ in 0..2 {
            let raw = client.manifest(&reference).await.ok()?;
            match Document::parse(&raw.bytes, &raw.descriptor.media_type).ok()? {
                Document::Manifest(manifest) => {
                    let config = client.blob(&reference, &manifest.config, DOCUMENT_LIMIT);
                    let config = serde_json::from_slice(&config.await.ok()?).ok()?;
                    let manifest = *manifest;
                    return Some(Found { manifest, config });
                }
                Document::Index(index) => {
                    let ours = self.platform.normalized();
                    let found = index.manifests.into_iter().find(|manifest| {
                        let platform = manifest.platform.as_ref();
                        platform.is_some_and(|platform| platform.normalized() == ours)
                    })?;
                    reference = reference.with_digest(found.digest);
                }
            }
        }
        None
    }
}

fn entry(image: &Found, key: &CacheKey) -> Result<Option<String>, Error> {
    let text = image.config.extra.get(INLINE_KEY);
    let Some(text) = text.and_then(serde_json::Value::as_str) else {
        return Ok(None);
    };
    let unfit = |reason| Error::Unfit { key: *key, reason };
    let inline: Inline =
        serde_json::from_str(text).map_err(|error| unfit(Unfit::Malformed(error.to_string())))?;
    let mut records = inline.records;
    let Some(place) = records.iter().position(|record| record.key == *key) else {
        return Ok(None);
    };
    let (layers, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
    let above = layers.len().checked_sub(records.len());
    let above = above.filter(|_| layers.len() == diff_ids.len());
    let above = above.ok_or_else(|| unfit(Unfit::OtherLayers))?;
    let real = layers[above..].iter().zip(&diff_ids[above..]);
    // The types may be Docker's.
    let are_same = records.iter().zip(real).all(|(record, (layer, diff_id))| {
        (&record.layer.digest, record.layer.size) == (&layer.digest, layer.size)
            && record.diff_id == *diff_id
    });
    if !are_same {
        return Err(unfit(Unfit::OtherLayers));
    }
    records.truncate(place + 1);
    Entry::new(records).map(|entry| entry.to_json()).transpose()
}
