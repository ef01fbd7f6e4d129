//! All documents of a scope, as they are kept: one compressed file.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::oci::{Descriptor, Digest};

use super::super::{CacheKey, DocumentName, Error, Kind};

/// The form of the index. One of another form is not read, and replaced.
const VERSION: u32 = 1;
/// The most that an index may have, in bytes of text: what would be more than that pushes out what was not used.
const TEXT_MAX: usize = 8 << 20;
/// The most that is read, in bytes of text; a little more than the documents' texts.
const READ_MAX: u64 = 64 << 20;

/// A document with what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) text: String,
    pub(super) blobs: Vec<Descriptor>,
}

/// Documents by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    documents: BTreeMap<DocumentName, Kept>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    steps: BTreeMap<String, Kept>,
    #[serde(default)]
    traces: BTreeMap<String, Kept>,
    #[serde(default)]
    mounts: BTreeMap<String, Kept>,
}

impl Index {
    pub(super) fn of(documents: BTreeMap<DocumentName, Kept>) -> Self {
        Self { documents }
    }

    pub(super) fn get(&self, name: &DocumentName) -> Option<&Kept> {
        self.documents.get(name)
    }

    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        let mut blobs = self.documents.values().flat_map(|kept| &kept.blobs);
        blobs.any(|blob| blob.digest == *digest)
    }

    /// Adds what is not there.
    pub(super) fn add(&mut self, other: Self) {
        for (name, kept) in other.documents {
            self.documents.entry(name).or_insert(kept);
        }
    }

    /// Leaves out what is too much, explanations first; what was used stays.
    pub(super) fn shrink(&mut self, used: &HashSet<DocumentName>) {
        let mut size: usize = self.documents.values().map(|kept| kept.text.len()).sum();
        for kind in [Kind::Trace, Kind::Step, Kind::Mount] {
            self.documents.retain(|name, kept| {
                let stays = size <= TEXT_MAX || name.kind != kind || used.contains(name);
                if !stays {
                    size -= kept.text.len();
                }
                stays
            });
        }
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut file = File {
            version: VERSION,
            steps: BTreeMap::new(),
            traces: BTreeMap::new(),
            mounts: BTreeMap::new(),
        };
        for (name, kept) in &self.documents {
            let place = match name.kind {
                Kind::Step => &mut file.steps,
                Kind::Trace => &mut file.traces,
                Kind::Mount => &mut file.mounts,
            };
            place.insert(name.key.to_string(), kept.clone());
        }
        let json = serde_json::to_vec(&file).map_err(Error::Json)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(&json).and_then(|()| encoder.finish());
        written.map_err(|error| unreadable(&error))
    }

    /// Reads what [`Index::to_bytes`] made. The documents in it are verified by who asks for them.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut json = Vec::new();
        GzDecoder::new(bytes)
            .take(READ_MAX)
            .read_to_end(&mut json)
            .map_err(|error| unreadable(&error))?;
        let file: File = serde_json::from_slice(&json).map_err(|error| unreadable(&error))?;
        if file.version != VERSION {
            return Err(unreadable(&format_args!(
                "it has the form {}",
                file.version
            )));
        }
        let mut index = Self::default();
        for (kind, documents) in [
            (Kind::Step, file.steps),
            (Kind::Trace, file.traces),
            (Kind::Mount, file.mounts),
        ] {
            for (key, kept) in documents {
                let key: CacheKey = key.parse().map_err(|error| unreadable(&error))?;
                index.documents.insert(DocumentName { kind, key }, kept);
            }
        }
        Ok(index)
    }
}

fn unreadable(reason: &dyn std::fmt::Display) -> Error {
    Error::Service {
        what: "the index".to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::KeyHasher;
    use super::*;

    fn name(text: &str) -> DocumentName {
        DocumentName {
            kind: Kind::Step,
            key: KeyHasher::new(text).finish(),
        }
    }

    fn kept(text: &str) -> Kept {
        Kept {
            text: text.to_owned(),
            blobs: vec![Descriptor::of("x", text.as_bytes())],
        }
    }

    #[test]
    fn an_index_survives_a_round_trip() {
        let of_kind = |kind| DocumentName { kind, ..name("a") };
        let documents = [
            (name("a"), kept("1")),
            (name("b"), kept("2")),
            (of_kind(Kind::Trace), kept("4")),
            (of_kind(Kind::Mount), kept("5")),
        ];
        let index = Index::of(documents.into());
        let bytes = index.to_bytes().unwrap();
        assert_eq!(Index::parse(&bytes).unwrap(), index);
        assert!(index.has_blob(&Digest::of(b"1")) && !index.has_blob(&Digest::of(b"3")));
        for broken in [&b""[..], b"{}", &bytes[..bytes.len() / 2]] {
            assert!(Index::parse(broken).is_err());
        }
    }

    #[test]
    fn what_is_new_wins_and_what_is_used_stays() {
        let mut index = Index::of([(name("a"), kept("new"))].into());
        let large = "x".repeat(TEXT_MAX);
        let old = [
            (name("a"), kept("old")),
            (name("b"), kept(&large)),
            (name("c"), kept("used")),
        ];
        index.add(Index::of(old.into()));
        assert_eq!(index.get(&name("a")), Some(&kept("new")));
        index.shrink(&[name("a"), name("c")].into());
        assert!(index.get(&name("b")).is_none());
        assert!(index.get(&name("a")).is_some() && index.get(&name("c")).is_some());
    }
}
