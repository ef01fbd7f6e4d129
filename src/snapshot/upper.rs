//! What an overlay's upper directory says about the directories below it.

use std::io::Read;

use crate::rootfs::{Dir, FileType, Metadata, Protected, RelPath, Rootfs, Xattrs};

use super::diff::{Evidence, differs};
use super::{Change, ChangeKind, Changes, Error, is_image_xattr};

/// The names under which overlayfs marks a directory that hides what is below it.
const OPAQUE: [&[u8]; 2] = [b"trusted.overlay.opaque", b"user.overlay.opaque"];
/// The names under which it keeps where a renamed directory came from.
const REDIRECT: [&[u8]; 2] = [b"trusted.overlay.redirect", b"user.overlay.redirect"];
/// Two files are compared so many bytes at a time.
const COMPARE_BYTES: usize = 64 << 10;

/// Judges what overlayfs put into `upper` against `base`, the view of the lower directories alone.
///
/// A whiteout of nothing, a copied-up entry that is what it was, and a mount stub (protected) are no changes; an opaque
/// directory becomes explicit deletions.
pub fn from_upper(upper: &Rootfs, base: &Rootfs, protected: &Protected) -> Result<Changes, Error> {
    let mut changes = Vec::new();
    let mut pending = vec![Visit {
        path: RelPath::root(),
        hides_base: false,
        has_base: true,
    }];
    let mut walk = UpperWalk {
        upper,
        base,
        protected,
        changes: &mut changes,
    };
    while let Some(visit) = pending.pop() {
        walk.directory(&visit, &mut pending)?;
    }
    Ok(Changes::new(changes))
}

/// A directory of the upper tree that is to be read.
struct Visit {
    path: RelPath,
    /// Is what the base has here hidden, so that what the upper lacks is gone?
    hides_base: bool,
    /// Does the base have a directory here?
    has_base: bool,
}

struct UpperWalk<'a> {
    upper: &'a Rootfs,
    base: &'a Rootfs,
    protected: &'a Protected,
    changes: &'a mut Vec<Change>,
}

impl UpperWalk<'_> {
    fn directory(&mut self, visit: &Visit, pending: &mut Vec<Visit>) -> Result<(), Error> {
        let dir = self.upper.open_dir(&visit.path)?;
        let base_dir = if visit.has_base {
            Some(self.base.open_dir(&visit.path)?)
        } else {
            None
        };
        let mut names = dir.names()?;
        names.sort_unstable();
        for name in &names {
            let path = visit.path.child(name);
            if self.protected.covers(&path) {
                continue;
            }
            let Some(now) = dir.lstat(name)? else {
                continue;
            };
            let before = match &base_dir {
                Some(base) => base.lstat(name)?,
                None => None,
            };
            if now.is_whiteout() {
                if before.is_some() {
                    self.push(path, ChangeKind::Deleted);
                }
            } else if now.file_type == FileType::Socket || now.is_mount_root {
                // No layer can hold it.
            } else {
                let mut pair = Pair {
                    before: base_dir.as_ref(),
                    now: &dir,
                    name,
                    path: &path,
                };
                match &before {
                    None => self.push(path.clone(), ChangeKind::Added),
                    Some(before) if differs(before, &now, &mut pair)? => {
                        self.push(path.clone(), ChangeKind::Modified);
                    }
                    Some(_) => {}
                }
                if now.is_dir() {
                    let marks = dir.xattr_names(name)?;
                    if marks.iter().any(|mark| REDIRECT.contains(&mark.as_slice())) {
                        let path = path.to_string();
                        return Err(Error::Redirect { path });
                    }
                    let is_opaque = !marks.is_empty() && is_opaque(&dir, name)?;
                    pending.push(Visit {
                        hides_base: visit.hides_base || is_opaque,
                        has_base: before.as_ref().is_some_and(Metadata::is_dir),
                        path,
                    });
                }
            }
        }
        if visit.hides_base
            && let Some(base) = base_dir
        {
            for name in base.names()? {
                if names.binary_search(&name).is_err() {
                    let path = visit.path.child(&name);
                    if !self.protected.touches(&path) {
                        self.push(path, ChangeKind::Deleted);
                    }
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, path: RelPath, kind: ChangeKind) {
        self.changes.push(Change { path, kind });
    }
}

fn is_opaque(dir: &Dir, name: &[u8]) -> Result<bool, Error> {
    for key in OPAQUE {
        if dir.xattr(name, key)?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One name in two directories.
struct Pair<'a> {
    before: Option<&'a Dir>,
    now: &'a Dir,
    name: &'a [u8],
    path: &'a RelPath,
}

impl Evidence for Pair<'_> {
    type Error = Error;

    fn same_xattrs(&mut self) -> Result<bool, Error> {
        let Some(before) = self.before else {
            return Ok(false);
        };
        Ok(image_xattrs(before, self.name)? == image_xattrs(self.now, self.name)?)
    }

    fn same_target(&mut self) -> Result<bool, Error> {
        let Some(before) = self.before else {
            return Ok(false);
        };
        Ok(before.read_link(self.name)? == self.now.read_link(self.name)?)
    }

    fn same_content(&mut self) -> Result<bool, Error> {
        let Some(before) = self.before else {
            return Ok(false);
        };
        let (a, b) = (before.open_file(self.name)?, self.now.open_file(self.name)?);
        have_same_bytes(a, b).map_err(|source| Error::Read {
            path: self.path.to_string(),
            source,
        })
    }
}

/// Reads the attributes that belong to an image, sorted by name.
pub(crate) fn image_xattrs(dir: &Dir, name: &[u8]) -> Result<Xattrs, Error> {
    let mut found = Vec::new();
    for key in dir.xattr_names(name)? {
        if is_image_xattr(&key)
            && let Some(value) = dir.xattr(name, &key)?
        {
            found.push((key, value));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn have_same_bytes(mut a: impl Read, mut b: impl Read) -> std::io::Result<bool> {
    let (mut left, mut right) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    loop {
        let (n, m) = (fill(&mut a, &mut left)?, fill(&mut b, &mut right)?);
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n < COMPARE_BYTES {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
