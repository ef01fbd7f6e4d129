//! The content of a cache mount, as it is kept between machines.

use serde::{Deserialize, Serialize};

use crate::oci::{Descriptor, Digest};

use super::{CacheKey, Unfit};

/// The form of what is written down. Those of another form are not read.
const VERSION: u32 = 1;
/// The type of an archive.
const ARCHIVE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What is kept of a cache mount: one archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMount {
    version: u32,
    /// What it is kept as.
    pub key: CacheKey,
    /// Its id in the Dockerfile.
    pub id: String,
    /// When it was saved, in seconds since 1970.
    pub created: i64,
    /// The bytes of its files.
    pub size: u64,
    /// The archive.
    pub archive: Descriptor,
    /// The digest of the archive's tar.
    pub diff_id: Digest,
}

impl SavedMount {
    /// Makes one.
    pub fn new(
        key: CacheKey,
        id: &str,
        created: i64,
        size: u64,
        blob: (Descriptor, Digest),
    ) -> Self {
        Self {
            version: VERSION,
            key,
            id: id.to_owned(),
            created,
            size,
            archive: blob.0,
            diff_id: blob.1,
        }
    }

    /// What to call it, for people.
    pub fn title(&self) -> String {
        format!("cache mount {}", self.id)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// Never in practice: it is texts and numbers.
    pub fn to_json(&self) -> Result<String, super::Error> {
        serde_json::to_string(self).map_err(super::Error::Json)
    }

    /// Reads what [`SavedMount::to_json`] wrote.
    ///
    /// # Errors
    /// [`Unfit`] says what keeps it from being the one for `key`.
    pub fn parse(bytes: &[u8], key: &CacheKey) -> Result<Self, Unfit> {
        let saved: Self =
            serde_json::from_slice(bytes).map_err(|error| Unfit::Malformed(error.to_string()))?;
        if saved.version != VERSION {
            return Err(Unfit::Version(saved.version));
        }
        if saved.key != *key {
            return Err(Unfit::OtherKey(saved.key));
        }
        let media_type = &saved.archive.media_type;
        if media_type.as_str() != ARCHIVE || !saved.archive.urls.is_empty() {
            return Err(Unfit::LayerType(media_type.to_string()));
        }
        Ok(saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KeyHasher;

    #[test]
    fn what_is_not_the_one_that_was_asked_for_is_not_read() {
        let key = KeyHasher::new("a").finish();
        let blob = Descriptor::of(ARCHIVE, b"archive");
        let diff_id = Digest::of(b"tar");
        let saved = SavedMount::new(key, "pip", 7, 3, (blob, diff_id));
        let text = saved.to_json().unwrap();
        assert_eq!(SavedMount::parse(text.as_bytes(), &key), Ok(saved));
        let other = KeyHasher::new("b").finish();
        for (text, key) in [
            (text.clone(), other),
            (text.replace("\"version\":1", "\"version\":2"), key),
            (text.replace("zstd", "gzip"), key),
            ("{}".to_owned(), key),
        ] {
            assert!(SavedMount::parse(text.as_bytes(), &key).is_err(), "{text}");
        }
    }
}
