//! Owners that a layer shall name although the files on disk have others.

use std::collections::BTreeMap;

use crate::rootfs::{Owner, RelPath};

/// Recorded owners and modes, for builds that have a single id and cannot chown.
#[derive(Debug, Clone, Default)]
pub struct Ownership(BTreeMap<RelPath, Recorded>);

#[derive(Debug, Clone, Copy, Default)]
struct Recorded {
    owner: Option<Owner>,
    mode: Option<u32>,
}

impl Ownership {
    /// Records the owner of a path.
    pub fn set_owner(&mut self, path: RelPath, owner: Owner) {
        self.0.entry(path).or_default().owner = Some(owner);
    }

    /// Records the permission bits of a path.
    pub fn set_mode(&mut self, path: RelPath, mode: u32) {
        self.0.entry(path).or_default().mode = Some(mode);
    }

    /// Forgets a path and all below it, for it is gone.
    pub fn forget(&mut self, path: &RelPath) {
        self.0.retain(|known, _| !known.starts_with(path));
    }

    /// Takes over what another records.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the recorded owner.
    pub fn owner(&self, path: &RelPath) -> Option<Owner> {
        self.0.get(path).and_then(|recorded| recorded.owner)
    }

    /// Returns the recorded permission bits.
    pub fn mode(&self, path: &RelPath) -> Option<u32> {
        self.0.get(path).and_then(|recorded| recorded.mode)
    }

    /// Is nothing recorded?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
