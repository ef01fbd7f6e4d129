//! Where an entry goes: its parent opened, and its name free.

use crate::rootfs::{Dir, Leaf, Metadata, NewFile, RelPath, Removed};

use super::super::reader::EntryKind;
use super::{Extractor, Owners};

/// Directories above an entry that the archive does not name.
const IMPLIED_MODE: u32 = 0o755;
/// So many directories are kept open at most, far fewer than a process may have.
const PARENTS_MAX: usize = 64;
/// What became of an entry's place.
pub(super) enum Place {
    Free,
    /// It was free, and the file is there now.
    Made(NewFile),
    /// A link or directory was removed, which may have been on the way to a known parent.
    Emptied,
    Dir(Metadata),
    Kept(&'static str),
    /// Something else is there, in a tree that is made by itself.
    Taken,
}

impl Extractor<'_, '_> {
    /// Takes an entry's parent from those that are open, or opens it. `None` where it is not there.
    pub(super) fn take_parent(
        &mut self,
        above: &RelPath,
    ) -> Result<Option<Dir>, crate::rootfs::Error> {
        while let Some((known, dir)) = self
            .parents
            .pop_if(|(known, _)| known == above || !above.starts_with(known))
        {
            if known == *above {
                return Ok(Some(dir));
            }
        }
        let opened = match self.parents.last() {
            Some((known, dir)) => {
                let rest = above.strip_prefix(known).unwrap_or_default();
                self.rootfs.dir_below(dir, &rest)
            }
            None => self.rootfs.dir(above),
        };
        match opened {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn keep_parent(&mut self, above: RelPath, dir: Dir) {
        if self.parents.len() == PARENTS_MAX {
            self.parents.pop();
        }
        self.parents.push((above, dir));
    }

    /// Makes an entry's parent, and what is missing above it. `None` where it is not ours to write to.
    pub(super) fn make_parent(
        &mut self,
        above: &RelPath,
    ) -> Result<Option<Dir>, crate::rootfs::Error> {
        let wanted = self.rootfs.resolve(above, Leaf::Follow)?;
        if self.settings.protected.covers(&wanted) {
            return Ok(None);
        }
        let owner = self.settings.owner.unwrap_or_default();
        let on_disk = (self.settings.owners == Owners::Set).then_some(owner);
        let made = self.rootfs.create_dir_all(&wanted, IMPLIED_MODE, on_disk)?;
        for path in &made {
            self.touch(path);
            if self.settings.owners == Owners::Record {
                self.recorded.push((path.clone(), owner));
            }
        }
        if let Some(list) = &mut self.made {
            list.extend(made);
        }
        self.rootfs.dir(&wanted).map(Some)
    }

    /// Says whether an entry is not to be written. A link always is, for what follows may go through it, and so is
    /// what takes the place of something else. Of what is left out, the directories above are made that are not.
    pub(super) fn leaves_out(
        &mut self,
        kind: EntryKind,
        parent: Option<&Dir>,
        above: &RelPath,
        name: &[u8],
    ) -> Result<bool, crate::rootfs::Error> {
        let Some(sieve) = &mut self.sieve else {
            return Ok(false);
        };
        if kind == EntryKind::Symlink {
            return Ok(false);
        }
        let holder = match parent {
            Some(dir) => dir.path().clone(),
            None => self.rootfs.resolve(above, Leaf::Follow)?,
        };
        if !sieve(&holder.child(name), kind == EntryKind::Dir) {
            return Ok(false);
        }
        if let Some(dir) = parent {
            return Ok(dir.lstat(name)?.is_none());
        }
        let mut kept = Some(holder);
        while let Some(path) = kept.take_if(|path| !path.is_root() && sieve(path, true)) {
            kept = path.parent();
        }
        if let Some(path) = kept.filter(|path| !path.is_root()) {
            self.make_parent(&path)?;
        }
        Ok(true)
    }

    /// Makes the file of an entry where nothing is, as nearly always; or else room for the entry.
    pub(super) fn make_place(
        &mut self,
        parent: &Dir,
        name: &[u8],
        canonical: &RelPath,
        kind: EntryKind,
    ) -> Result<Place, crate::rootfs::Error> {
        if kind == EntryKind::File && !self.settings.protected.covers(canonical) {
            match parent.new_file(name) {
                Ok(file) => return Ok(Place::Made(file)),
                Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {}
                Err(error) => return Err(error),
            }
        }
        self.clear_place(parent, name, canonical, kind)
    }

    /// Makes room for an entry, or says why it may not have any.
    fn clear_place(
        &mut self,
        parent: &Dir,
        name: &[u8],
        canonical: &RelPath,
        kind: EntryKind,
    ) -> Result<Place, crate::rootfs::Error> {
        if self.settings.protected.covers(canonical) {
            return Ok(Place::Kept("is mounted or the builder's own"));
        }
        let Some(stat) = parent.lstat(name)? else {
            return Ok(Place::Free);
        };
        if stat.is_mount_root {
            return Ok(Place::Kept("is a mount point"));
        }
        if stat.is_dir() && kind == EntryKind::Dir {
            return Ok(Place::Dir(stat));
        }
        if self.is_alone {
            return Ok(Place::Taken);
        }
        if stat.is_dir() && self.settings.protected.has_below(canonical) {
            return Ok(Place::Kept("holds a mount point"));
        }
        if stat.is_dir() {
            if parent.remove_all(name, self.settings.protected)? == Removed::KeptMounts {
                return Ok(Place::Kept("holds a mount point"));
            }
            return Ok(Place::Emptied);
        }
        parent.remove(name)?;
        Ok(if stat.is_file() {
            Place::Free
        } else {
            Place::Emptied
        })
    }
}
