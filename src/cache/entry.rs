//! What came of a step, as it is written down.

use serde::{Deserialize, Serialize};

use crate::oci::{Descriptor, Digest};

use super::CacheKey;

/// The form of entries. Entries of another form are not read.
const VERSION: u32 = 1;
/// The most layers that an image can have on overlayfs; an entry with more is not one of ours.
const RECORDS_MAX: usize = 1024;

/// One step's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The step's key.
    pub key: CacheKey,
    /// The key of what the step began with: the step before, or the base.
    pub parent: CacheKey,
    /// The digest of the layer's tar.
    pub diff_id: Digest,
    /// The layer's blob.
    pub layer: Descriptor,
    /// When the step was carried out, in seconds since 1970.
    pub created: i64,
    /// The instruction, for people.
    pub step: String,
}

/// A step's result with everything between the base and it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// The steps, bottom first; the last is the one that the entry is for.
    records: Vec<Record>,
}

/// Why an entry cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It was written by another version.
    #[error("it has the form {0}, not {VERSION}")]
    Version(u32),
    /// It is no JSON of the expected shape.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// It is for another step.
    #[error("it is for {0}")]
    OtherKey(CacheKey),
    /// Its steps are not those that lead to the step.
    #[error("its steps are not those of this build")]
    OtherChain,
    /// A step does not follow the one before it.
    #[error("its steps do not follow one another")]
    BrokenChain,
    /// It has no steps, or more than an image can have.
    #[error("it has {0} steps")]
    Length(usize),
    /// The manifest around it names other layers.
    #[error("its layers are not those of its manifest")]
    OtherLayers,
    /// A layer is of a type that longshore does not make.
    #[error("a layer is of type \"{0}\"")]
    LayerType(String),
    /// A layer's bytes are not there, or not what they should be.
    #[error("layer {0} is missing or damaged")]
    Layer(String),
    /// It is older than it may be.
    #[error("it is too old")]
    Expired,
    /// It is from the future: the clock of one of the machines is wrong.
    #[error("its time is in the future")]
    Future,
}

impl Unfit {
    /// Whether something is wrong, and not only old.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::Expired)
    }
}

/// How far a clock may be ahead of ours, in seconds, before its entries are not believed.
const CLOCK_SKEW_MAX: i64 = 24 * 3600;

impl Entry {
    /// Makes an entry; `None` without a step.
    pub fn new(records: Vec<Record>) -> Option<Self> {
        (!records.is_empty()).then_some(Self {
            version: VERSION,
            records,
        })
    }

    /// The steps, bottom first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The step that the entry is for.
    ///
    /// # Panics
    /// Never: an entry is made of at least one step.
    pub fn last(&self) -> &Record {
        self.records.last().expect("an entry has a step")
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.records.iter().map(|record| &record.layer)
    }

    /// Writes it as JSON.
    pub fn to_json(&self) -> Result<String, super::Error> {
        serde_json::to_string(self).map_err(super::Error::Json)
    }

    /// Reads what [`Entry::to_json`] wrote.
    ///
    /// # Errors
    /// [`Unfit`] says what keeps it from being an entry for `key`.
    pub fn parse(bytes: &[u8], key: &CacheKey) -> Result<Self, Unfit> {
        #[derive(Deserialize)]
        struct Form {
            version: u32,
        }
        let malformed = |error: serde_json::Error| Unfit::Malformed(error.to_string());
        let form: Form = serde_json::from_slice(bytes).map_err(malformed)?;
        if form.version != VERSION {
            return Err(Unfit::Version(form.version));
        }
        let entry: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if entry.records.is_empty() || entry.records.len() > RECORDS_MAX {
            return Err(Unfit::Length(entry.records.len()));
        }
        if entry.last().key != *key {
            return Err(Unfit::OtherKey(entry.last().key));
        }
        if !entry
            .records
            .windows(2)
            .all(|pair| pair[1].parent == pair[0].key)
        {
            return Err(Unfit::BrokenChain);
        }
        if let Some(layer) = entry.layers().find(|layer| !is_layer(layer)) {
            return Err(Unfit::LayerType(layer.media_type.to_string()));
        }
        Ok(entry)
    }

    /// Checks that the entry is what this build would make: the same steps on the same base, neither too old nor from
    /// the future. `chain` has the key of every step, bottom first, and `base` is the key below.
    pub fn check(
        &self,
        base: &CacheKey,
        chain: &[CacheKey],
        now: i64,
        ttl_secs: Option<i64>,
    ) -> Result<(), Unfit> {
        let keys = self.records.iter().map(|record| &record.key);
        if !keys.eq(chain) || self.records[0].parent != *base {
            return Err(Unfit::OtherChain);
        }
        for record in &self.records {
            if ttl_secs.is_some_and(|ttl| record.created.saturating_add(ttl) < now) {
                return Err(Unfit::Expired);
            }
            if record.created > now.saturating_add(CLOCK_SKEW_MAX) {
                return Err(Unfit::Future);
            }
        }
        Ok(())
    }
}

/// Whether a descriptor is one of a layer that longshore can have made.
fn is_layer(descriptor: &Descriptor) -> bool {
    let text = descriptor.media_type.as_str();
    let is_known = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ]
    .contains(&text);
    is_known && descriptor.size > 0 && descriptor.urls.is_empty()
}
