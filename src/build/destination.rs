//! Where a COPY writes: how names are taken, directories made and owners set there.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use crate::rootfs::{self, Dir, Owner, Protected, RelPath, Rootfs, Timestamp};

use super::CopyError;

/// What is compared at a time, in bytes.
const BUFFER: usize = 256 * 1024;

/// Where files are copied to.
#[derive(Debug)]
pub(super) struct Destination<'a> {
    /// The tree.
    pub(super) rootfs: &'a Rootfs,
    /// What must not be touched in it.
    pub(super) protected: &'a Protected,
    /// Who owns the copies, if not as the source says.
    pub(super) owner: Option<Owner>,
    /// The time of directories and files that have none of their own.
    pub(super) now: Timestamp,
    /// Whether what is there already, down to its time, is left alone: where no diff follows that would find it unchanged.
    pub(super) leaves_same: bool,
    /// Whether owners can be set; if not they are recorded.
    pub(super) sets_owner: bool,
}

impl Destination<'_> {
    /// Gives the directories in which something was made the time of the build, instead of the clock's: the same input
    /// then gives the same layer. Directories that were made themselves have a time already.
    pub(super) fn date_parents(&self, touched: &[RelPath]) -> Result<(), CopyError> {
        let made: HashSet<&RelPath> = touched.iter().collect();
        let mut dated = HashSet::new();
        for path in touched {
            let Some(parent) = path.parent() else {
                continue;
            };
            let is_dated = parent.is_root()
                || made.contains(&parent)
                || self.protected.covers(&parent)
                || dated.contains(&parent);
            if !is_dated {
                self.rootfs.set_mtime(&parent, self.now)?;
                dated.insert(parent);
            }
        }
        Ok(())
    }
}

/// Makes something under a name that is mostly free; what has the name goes, unless it is a directory.
pub(super) fn make<T>(
    (dir, name): (&Dir, &[u8]),
    create: impl Fn() -> Result<T, rootfs::Error>,
) -> Result<T, CopyError> {
    match create() {
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {
            match dir.lstat(name)? {
                Some(there) if there.is_dir() => {
                    return Err(CopyError::FileOverDirectory {
                        path: dir.path().child(name).to_string(),
                    });
                }
                Some(_) => dir.remove(name)?,
                None => {}
            }
            Ok(create()?)
        }
        made => Ok(made?),
    }
}

/// Compares two files from where they are to their ends.
pub(super) fn have_same_bytes(a: File, b: File) -> io::Result<bool> {
    let (mut a, mut b) = (
        BufReader::with_capacity(BUFFER, a),
        BufReader::with_capacity(BUFFER, b),
    );
    loop {
        let (left, right) = (a.fill_buf()?, b.fill_buf()?);
        let count = left.len().min(right.len());
        if count == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left[..count] != right[..count] {
            return Ok(false);
        }
        a.consume(count);
        b.consume(count);
    }
}

/// Makes a directory and what is missing above it. Returns what was made, outermost first.
pub(super) fn make_parents(
    destination: &Destination<'_>,
    path: &RelPath,
    mode: u32,
    owner: Owner,
    owners: &mut Vec<(RelPath, Owner)>,
) -> Result<Vec<RelPath>, CopyError> {
    let made = destination.rootfs.create_dir_all(path, mode, None)?;
    for dir in &made {
        set_owner(destination, dir, owner, owners)?;
        destination.rootfs.set_mode(dir, mode)?;
        destination.rootfs.set_mtime(dir, destination.now)?;
    }
    Ok(made)
}

/// Sets an owner, or records it where that is all that can be done.
pub(super) fn set_owner(
    destination: &Destination<'_>,
    path: &RelPath,
    owner: Owner,
    owners: &mut Vec<(RelPath, Owner)>,
) -> Result<(), CopyError> {
    if destination.sets_owner {
        destination.rootfs.set_owner(path, owner)?;
    } else {
        owners.push((path.clone(), owner));
    }
    Ok(())
}
