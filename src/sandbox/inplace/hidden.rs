//! What a stage has behind mounts: in the layers, but not where its commands look.
//!
//! A COPY goes to the stage's own directory and into its layer whatever is mounted. A command then finds the mount's files in the place of the
//! copied ones, and what it makes of them would be wrong without a word; so it is refused. What the base image has there is left alone, as
//! kaniko leaves it: most images have something below `/run` or `/tmp` that nothing asks for.

use super::super::SandboxError;
use super::area::Area;
use super::{OURS, USUAL_MOUNTS};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything that a stage has behind mounts, by its path in the image without the leading slash.
#[derive(Debug, Clone, Default)]
pub(super) struct Hidden(BTreeMap<PathBuf, Print>);

/// What tells an entry from another of its name. Not the ctime, which a renamed entry loses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Print {
    fn of(found: &Metadata) -> Self {
        Self {
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}

impl Hidden {
    /// What the directory of a stage has behind the pins of its area.
    pub(super) fn of(tree: &Path, area: &Area) -> Result<Self, SandboxError> {
        let mut held = BTreeMap::new();
        for pin in area.pins().iter().filter(|pin| hides(pin)) {
            let path = tree.join(pin);
            let looked = is_below_directories(tree, pin).and_then(|is_below| {
                if is_below {
                    walk(tree, &path, true, &mut held)
                } else {
                    Ok(())
                }
            });
            looked.map_err(|source| SandboxError::path("look at", path, source))?;
        }
        Ok(Self(held))
    }

    /// The same in a copy of the directory.
    pub(super) fn of_copy(&self, tree: &Path) -> Result<Self, SandboxError> {
        let mut held = BTreeMap::new();
        for path in self.0.keys() {
            let copy = tree.join(path);
            match std::fs::symlink_metadata(&copy) {
                Ok(found) => drop(held.insert(path.clone(), Print::of(&found))),
                Err(error) if is_missing(&error) => {}
                Err(source) => return Err(SandboxError::path("look at", copy, source)),
            }
        }
        Ok(Self(held))
    }

    /// Refuses a command that something is hidden from which was not there when this was taken.
    pub(super) fn check(&self, tree: &Path, area: &Area) -> Result<(), SandboxError> {
        let now = Self::of(tree, area)?;
        let Some((path, _)) = now
            .0
            .iter()
            .find(|(path, print)| self.0.get(*path) != Some(print))
        else {
            return Ok(());
        };
        let mount = area.pins().iter().filter(|pin| path.starts_with(pin));
        // The outermost says it best.
        let mount = mount.min_by_key(|pin| pin.components().count());
        let absolute = |path: &Path| Path::new("/").join(path);
        Err(SandboxError::Hidden {
            path: absolute(path),
            mount: absolute(mount.unwrap_or(path)),
        })
    }
}

/// Whether what lies there is anybody's business: not in the file systems that every container has, nor in our own directories.
fn hides(pin: &Path) -> bool {
    let absolute = Path::new("/").join(pin);
    !OURS.iter().any(|ours| pin.starts_with(ours))
        && !USUAL_MOUNTS.iter().any(|usual| absolute.starts_with(usual))
}

/// Whether all above a path of a tree are directories: behind a link the path is another one, perhaps outside of the tree.
fn is_below_directories(tree: &Path, pin: &Path) -> io::Result<bool> {
    let mut above: Vec<_> = pin.ancestors().skip(1).collect();
    above.reverse();
    for path in above {
        match std::fs::symlink_metadata(tree.join(path)) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(false),
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Adds what `path` has; a directory counts as what is in it.
fn walk(
    tree: &Path,
    path: &Path,
    is_pin: bool,
    held: &mut BTreeMap<PathBuf, Print>,
) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.is_dir() {
        let name = path.strip_prefix(tree).unwrap_or(path).to_owned();
        held.insert(name, Print::of(&found));
        return Ok(());
    }
    let mut is_empty = true;
    for entry in std::fs::read_dir(path)? {
        is_empty = false;
        walk(tree, &entry?.path(), false, held)?;
    }
    if is_empty && !is_pin {
        // Only that it is there counts: its time changes when it is moved.
        let name = path.strip_prefix(tree).unwrap_or(path).to_owned();
        let print = Print {
            inode: 0,
            size: 0,
            modified: (0, 0),
        };
        held.insert(name, print);
    }
    Ok(())
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
