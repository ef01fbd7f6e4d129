//! What a cache keeps, and which of it goes when it is made smaller.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::oci::{Descriptor, Digest};

use super::CacheKey;

/// Something in a list of what a cache keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: CacheKey,
    /// When it was used last, or where that is not known, when it was made; in seconds since 1970.
    pub used: i64,
    /// Its own layer.
    pub layer: Descriptor,
    /// The instruction.
    pub step: String,
    /// All layers that it takes.
    pub(super) layers: Vec<Descriptor>,
    /// What is removed when it goes.
    pub(super) document: KeptDocument,
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeptDocument {
    /// A file.
    File(PathBuf),
    /// A manifest.
    Manifest(Digest),
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Entries.
    pub entries: usize,
    /// Bytes of layers that nothing needs any more.
    pub bytes: u64,
}

/// What is to go.
#[derive(Debug, Default)]
pub(super) struct Selection<'a> {
    pub(super) gone: Vec<&'a Kept>,
    /// Layers that those needed and no other does.
    pub(super) freed: HashSet<Digest>,
    /// The bytes of these.
    pub(super) bytes: u64,
    /// Layers that what stays needs.
    pub(super) needed: HashSet<Digest>,
    /// What stays.
    stays: Vec<CacheKey>,
}

impl<'a> Selection<'a> {
    /// Selects what was not used since `unused_since`, then the least recently used until the layers have `max_size` bytes at most.
    /// `kept` is in the order of use.
    pub(super) fn of(kept: &'a [Kept], unused_since: Option<i64>, max_size: Option<u64>) -> Self {
        let mut users: HashMap<&Digest, usize> = HashMap::new();
        let mut total = 0;
        for layer in kept.iter().flat_map(|kept| &kept.layers) {
            let users = users.entry(&layer.digest).or_default();
            if *users == 0 {
                total += layer.size;
            }
            *users += 1;
        }
        let mut selection = Self::default();
        for one in kept {
            let is_old = unused_since.is_some_and(|since| one.used < since);
            let is_too_much = max_size.is_some_and(|most| total > most);
            if !is_old && !is_too_much {
                selection.stays.push(one.key);
                continue;
            }
            selection.gone.push(one);
            for layer in &one.layers {
                if let Some(users) = users.get_mut(&layer.digest) {
                    *users -= 1;
                    if *users == 0 {
                        total -= layer.size;
                        selection.bytes += layer.size;
                        selection.freed.insert(layer.digest.clone());
                    }
                }
            }
        }
        let needed = users.iter().filter(|(_, users)| **users > 0);
        selection.needed = needed.map(|(digest, _)| (*digest).clone()).collect();
        selection
    }

    /// The keys of what stays.
    pub(super) fn keys(&self) -> HashSet<CacheKey> {
        self.stays.iter().copied().collect()
    }
}
