//! Entries of steps, in any place.

use std::sync::Arc;

use crate::registry::BlobSource;

use super::{
    CacheKey, Document, DocumentName, Entry, Error, FoundDocument, Kind, Part, Place, Put, Unfit,
};

/// A cache of layers: entries by their keys, in a place. Clones share the place.
#[derive(Clone, Debug)]
pub struct Cache {
    place: Arc<dyn Place>,
}

impl Cache {
    /// Uses a place.
    pub fn new(place: Arc<dyn Place>) -> Self {
        Self { place }
    }

    /// The place.
    pub fn place(&self) -> &Arc<dyn Place> {
        &self.place
    }

    /// What to call it in a message.
    pub fn name(&self) -> String {
        self.place.name()
    }

    /// Looks an entry up. Nothing there is `None`.
    ///
    /// # Errors
    /// When the place fails, and when what is there is not a whole entry for this key.
    pub async fn find(&self, key: &CacheKey) -> Result<Option<Entry>, Error> {
        let Some(found) = self.place.document(&name(key)).await? else {
            return Ok(None);
        };
        let FoundDocument { text, blobs } = found;
        let unfit = |reason| Error::Unfit { key: *key, reason };
        let entry = Entry::parse(&text, key).map_err(unfit)?;
        if blobs.is_some_and(|blobs| !entry.layers().eq(&blobs)) {
            return Err(unfit(Unfit::OtherLayers));
        }
        Ok(Some(entry))
    }

    /// Says where the bytes of an entry's layers are, bottom first; verified as far as it takes no network.
    ///
    /// # Errors
    /// When a layer is missing or damaged.
    pub async fn layers(&self, entry: &Entry) -> Result<Vec<BlobSource>, Error> {
        let mut sources = Vec::new();
        for layer in entry.layers() {
            let source = self.place.source(layer).await?;
            sources.push(source.ok_or_else(|| Error::Unfit {
                key: entry.last().key,
                reason: Unfit::Layer(layer.digest.short().to_owned()),
            })?);
        }
        Ok(sources)
    }

    /// Keeps an entry and those of its layers that are not there.
    ///
    /// # Errors
    /// When the place fails.
    pub async fn put(&self, put: &Put) -> Result<(), Error> {
        for (layer, source) in put.entry.layers().zip(&put.sources) {
            self.place.put_blob(layer, source, &put.mount_from).await?;
        }
        let parts = put.entry.records().iter().map(|record| Part {
            blob: record.layer.clone(),
            diff_id: record.diff_id.clone(),
            title: record.step.clone(),
        });
        let document = Document {
            text: put.entry.to_json()?,
            parts: parts.collect(),
        };
        let name = name(&put.entry.last().key);
        self.place.put_document(&name, &document).await
    }

    /// Writes what was put off until the end of the build.
    ///
    /// # Errors
    /// When the place fails.
    pub async fn finish(&self) -> Result<(), Error> {
        self.place.finish().await
    }
}

fn name(key: &CacheKey) -> DocumentName {
    DocumentName {
        kind: Kind::Step,
        key: *key,
    }
}
