//! What a directory of entries keeps, and how it is made smaller.
//!
//! An entry that is removed while a build uses it is a miss there. A layer goes when no entry names it and it is not new: the
//! entry of a new one may be about to be written.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::oci::Digest;

use super::directory::failed;
use super::kept::{KeptDocument, Selection};
use super::{Entry, Error, Kept, Pruned, SavedMount, Trace};

/// A layer without an entry is left alone for so long, in seconds.
const ORPHAN_SECS: u64 = 3600;

/// The entries in a directory.
#[derive(Clone, Debug)]
pub struct StoredEntries {
    directory: PathBuf,
}

impl StoredEntries {
    /// The entries in `directory`, the same as of a [`super::DirectoryPlace`].
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Lists them, the least recently used first. What is no entry is not listed.
    pub fn list(&self) -> Result<Vec<Kept>, Error> {
        let mut kept = Vec::new();
        for (name, path) in names(&self.directory.join("entries"))? {
            let key = name
                .strip_suffix(".json")
                .and_then(|name| name.parse().ok());
            let entry = key.and_then(|key| Entry::parse(&fs::read(&path).ok()?, &key).ok());
            if let Some(entry) = entry {
                let last = entry.last();
                kept.push(Kept {
                    key: last.key,
                    used: modified(&path).unwrap_or_default(),
                    layer: last.layer.clone(),
                    step: last.step.clone(),
                    layers: entry.layers().cloned().collect(),
                    document: KeptDocument::File(path),
                });
            }
        }
        for (name, path) in names(&self.directory.join("mounts"))? {
            let key = name
                .strip_suffix(".json")
                .and_then(|name| name.parse().ok());
            let saved = key.and_then(|key| SavedMount::parse(&fs::read(&path).ok()?, &key).ok());
            if let Some(saved) = saved {
                kept.push(Kept {
                    key: saved.key,
                    used: modified(&path).unwrap_or_default(),
                    layer: saved.archive.clone(),
                    step: saved.title(),
                    layers: vec![saved.archive],
                    document: KeptDocument::File(path),
                });
            }
        }
        kept.sort_by_key(|kept| (kept.used, kept.key));
        Ok(kept)
    }

    /// Removes the entries that were not used since `unused_since`, then the least recently used until the layers have
    /// `max_size` bytes at most, then all layers that no entry needs.
    pub fn prune(&self, unused_since: Option<i64>, max_size: Option<u64>) -> Result<Pruned, Error> {
        let kept = self.list()?;
        let selection = Selection::of(&kept, unused_since, max_size);
        let mut pruned = Pruned::default();
        for one in &selection.gone {
            if let KeptDocument::File(path) = &one.document {
                remove(path)?;
                pruned.entries += 1;
            }
        }
        let stays = selection.keys();
        for (_, path) in names(&self.directory.join("traces"))? {
            let is_old =
                unused_since.is_some_and(|since| modified(&path).is_some_and(|used| used < since));
            if is_old || fs::read(&path).is_ok_and(|text| Trace::is_stale(&text, &stays)) {
                remove(&path)?;
            }
        }
        for (name, path) in names(&self.directory.join("blobs/sha256"))? {
            let digest: Option<Digest> = format!("sha256:{name}").parse().ok();
            let is_in = |digests: &HashSet<Digest>| {
                digest
                    .as_ref()
                    .is_some_and(|digest| digests.contains(digest))
            };
            let (is_used, is_gone) = (is_in(&selection.needed), is_in(&selection.freed));
            if is_gone || (!is_used && is_old(&path)) {
                pruned.bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
                remove(&path)?;
            }
        }
        Ok(pruned)
    }
}

/// The names in a directory that may not be there.
fn names(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("read", directory))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    Ok(names)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn modified(path: &Path) -> Option<i64> {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    let since = time.ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

fn is_old(path: &Path) -> bool {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    time.ok()
        .and_then(|time| SystemTime::now().duration_since(time).ok())
        .is_some_and(|age| age.as_secs() > ORPHAN_SECS)
}
