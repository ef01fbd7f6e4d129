//! Entries into a rootfs: the one place where an archive touches a disk.
//!
//! Rules: a parent is resolved inside the root, a leaf never followed. Where something is already, a directory merges
//! with a directory and all else is removed first. Attributes are set in the order owner, attributes, mode, time;
//! those of directories at the end, if the directory is still the one that was made.

mod lower;

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom, Write};

use crate::rootfs::{
    Device, Dir, Leaf, Metadata, NewFile, Node, Owner, Protected, RelPath, Removed, Rootfs,
    Timestamp, escape,
};
use crate::snapshot::is_image_xattr;

use super::error::Error;
use super::reader::{Entry, EntryKind, TarReader, malformed};

/// Directories above an entry that the archive does not name.
const IMPLIED_MODE: u32 = 0o755;
/// More warnings than this are counted, not kept.
const WARNINGS_MAX: usize = 100;

/// Bounds on what an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the tar.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Components of a path.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 100 << 30,
            entries: 10_000_000,
            depth: 1024,
        }
    }
}

/// What to do with the owners that an archive names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// Change the owner on disk.
    #[default]
    Set,
    /// Leave the disk alone and return a record: for builds that have a single id.
    Record,
}

/// What extraction may do.
pub(super) struct Settings<'a> {
    pub(super) protected: &'a Protected,
    pub(super) limits: Limits,
    pub(super) owners: Owners,
    /// Stands over the owners in the archive.
    pub(super) owner: Option<Owner>,
    /// Does an entry for the root change the root?
    pub(super) has_root_attributes: bool,
}

/// Writes entries below a directory of a rootfs.
pub(super) struct Extractor<'a> {
    rootfs: &'a Rootfs,
    /// Where the archive's root is.
    destination: RelPath,
    settings: Settings<'a>,
    /// The parent of the last entry, as it is written and opened.
    parent: Option<(RelPath, Dir)>,
    /// What this archive made, and the directories above: whiteouts spare them.
    touched: Option<HashSet<u128>>,
    /// Directories whose mode and time are set at the end.
    deferred: Vec<DeferredDir>,
    pub(super) entries: u64,
    pub(super) recorded: Vec<(RelPath, Owner)>,
    pub(super) warnings: Vec<String>,
    /// The canonical paths made, where they are asked for.
    pub(super) made: Option<Vec<RelPath>>,
}

struct DeferredDir {
    path: RelPath,
    inode: (Device, u64),
    mode: u32,
    mtime: Timestamp,
}

/// What became of an entry's place.
enum Place {
    Free,
    /// A link or directory was removed, which may have been on the way to a known parent.
    Emptied,
    Dir(Metadata),
    Kept(&'static str),
}

impl<'a> Extractor<'a> {
    pub(super) fn new(rootfs: &'a Rootfs, destination: RelPath, settings: Settings<'a>) -> Self {
        Self {
            rootfs,
            destination,
            settings,
            parent: None,
            touched: None,
            deferred: Vec::new(),
            entries: 0,
            recorded: Vec::new(),
            warnings: Vec::new(),
            made: None,
        }
    }

    /// Remembers what is made, so that whiteouts can spare it.
    pub(super) fn sparing_its_own(mut self) -> Self {
        self.touched = Some(HashSet::new());
        self
    }

    /// Cleans an entry's name and checks its depth.
    pub(super) fn clean(&self, name: &[u8]) -> Result<RelPath, Error> {
        if name.is_empty() {
            return Err(malformed(name, "the name is empty"));
        }
        let path = RelPath::parse(name).map_err(|e| Error::Malformed {
            entry: escape(name),
            rule: e.to_string(),
        })?;
        if path.depth() > self.settings.limits.depth {
            return Err(malformed(name, "the path is too deep"));
        }
        Ok(path)
    }

    pub(super) fn count(&mut self) -> Result<(), Error> {
        self.entries += 1;
        let limit = self.settings.limits.entries;
        if self.entries > limit {
            return Err(Error::Limit {
                what: "entries",
                limit,
            });
        }
        Ok(())
    }

    /// Writes one entry; its content is read from `reader`.
    pub(super) fn extract<R: Read>(
        &mut self,
        entry: &Entry,
        path: &RelPath,
        reader: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let fail = |source| failed(&entry.name, source);
        if path.is_root() {
            return match entry.kind {
                EntryKind::Dir if self.settings.has_root_attributes => self.root(entry),
                EntryKind::Dir => Ok(()),
                _ => Err(malformed(&entry.name, "the root can only be a directory")),
            };
        }
        if entry.kind == EntryKind::Symlink
            && (entry.link_name.is_empty() || entry.link_name.contains(&0))
        {
            return Err(malformed(
                &entry.name,
                "the target of a link is empty or holds a NUL",
            ));
        }
        let is_whiteout_device = entry.kind == EntryKind::Char && entry.device == Device::default();
        if is_whiteout_device {
            self.warn(format!(
                "{path} would be a device 0:0, which means a deletion; left out"
            ));
            return Ok(());
        }
        let path = self.destination.join(path);
        let name = path.file_name().unwrap_or_default();
        let above = path.parent().unwrap_or_default();
        let known = self.parent.take().filter(|(known, _)| *known == above);
        let opened = match known {
            Some((_, dir)) => Some(dir),
            None => self.open_parent(&above).map_err(fail)?,
        };
        let Some(parent) = opened else {
            self.warn(format!(
                "{path} is below a mount or the builder's own files; left out"
            ));
            return Ok(());
        };
        let canonical = parent.path().child(name);
        let mut link = None;
        if entry.kind == EntryKind::HardLink {
            link = self.link_target(entry, &canonical)?;
            if link.is_none() {
                self.parent = Some((above, parent));
                return Ok(());
            }
        }
        let place = self
            .clear_place(&parent, name, &canonical, entry.kind)
            .map_err(fail)?;
        if let Place::Kept(why) = place {
            // Every image has directories for what is mounted: that is nothing to tell.
            if entry.kind != EntryKind::Dir {
                self.warn(format!("{canonical} {why}; left as it is"));
            }
            self.parent = Some((above, parent));
            return Ok(());
        }
        let keeps_parent = !matches!(place, Place::Emptied);
        if self.make(entry, &parent, name, &canonical, &place, link, reader)? {
            self.touch(&canonical);
            if let Some(made) = &mut self.made {
                made.push(canonical);
            }
        }
        if keeps_parent {
            self.parent = Some((above, parent));
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the pieces of one entry, each found by its caller"
    )]
    fn make<R: Read>(
        &mut self,
        entry: &Entry,
        parent: &Dir,
        name: &[u8],
        canonical: &RelPath,
        place: &Place,
        link: Option<(Dir, Vec<u8>)>,
        reader: &mut TarReader<R>,
    ) -> Result<bool, Error> {
        let fail = |source| failed(&entry.name, source);
        match entry.kind {
            EntryKind::File => {
                let file = parent.new_file(name).map_err(fail)?;
                self.fill(entry, canonical, file, reader)?;
            }
            EntryKind::Dir => self.directory(entry, parent, name, canonical, place)?,
            EntryKind::Symlink => {
                parent.symlink(name, &entry.link_name).map_err(fail)?;
                self.own(entry, parent, name, canonical)?;
                for (key, _) in entry.xattrs.iter().filter(|(key, _)| is_image_xattr(key)) {
                    self.warn(format!(
                        "{canonical} is a link, so its attribute {} is left out",
                        escape(key)
                    ));
                }
                parent.set_mtime(name, entry.mtime).map_err(fail)?;
            }
            EntryKind::HardLink => {
                if let Some((from, existing)) = link {
                    parent.hard_link(name, &from, &existing).map_err(fail)?;
                }
            }
            EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                let node = match entry.kind {
                    EntryKind::Char => Node::Char(entry.device),
                    EntryKind::Block => Node::Block(entry.device),
                    _ => Node::Fifo,
                };
                match parent.create_node(name, node, 0o600) {
                    Err(error) if error.is_denied() && node != Node::Fifo => {
                        self.warn(format!(
                            "{canonical} is a device, which may not be made here; left out"
                        ));
                        return Ok(false);
                    }
                    answer => answer.map_err(fail)?,
                }
                self.own(entry, parent, name, canonical)?;
                parent.set_mode(name, entry.mode).map_err(fail)?;
                parent.set_mtime(name, entry.mtime).map_err(fail)?;
            }
        }
        Ok(true)
    }

    fn root(&mut self, entry: &Entry) -> Result<(), Error> {
        let dir = self
            .rootfs
            .dir(&self.destination)
            .map_err(|e| failed(&entry.name, e))?;
        let stat = dir.metadata().map_err(|e| failed(&entry.name, e))?;
        let path = self.destination.clone();
        self.own(entry, &dir, b"", &path)?;
        self.attributes(entry, &path, |key, value| dir.set_xattr(b"", key, value))?;
        self.defer(entry, path, &stat);
        Ok(())
    }

    fn directory(
        &mut self,
        entry: &Entry,
        parent: &Dir,
        name: &[u8],
        canonical: &RelPath,
        place: &Place,
    ) -> Result<(), Error> {
        let fail = |source| failed(&entry.name, source);
        let stat = match place {
            Place::Dir(stat) => *stat,
            Place::Free | Place::Emptied | Place::Kept(_) => {
                parent.create_dir(name, 0o700).map_err(fail)?;
                match parent.lstat(name).map_err(fail)? {
                    Some(stat) => stat,
                    None => return Err(malformed(&entry.name, "the new directory vanished")),
                }
            }
        };
        self.own(entry, parent, name, canonical)?;
        self.attributes(entry, canonical, |key, value| {
            parent.set_xattr(name, key, value)
        })?;
        self.defer(entry, canonical.clone(), &stat);
        Ok(())
    }

    fn defer(&mut self, entry: &Entry, path: RelPath, stat: &Metadata) {
        self.deferred.push(DeferredDir {
            path,
            inode: (stat.dev, stat.ino),
            mode: entry.mode,
            mtime: entry.mtime,
        });
    }

    fn fill<R: Read>(
        &mut self,
        entry: &Entry,
        canonical: &RelPath,
        mut file: NewFile,
        reader: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let fail = |source| failed(&entry.name, source);
        let content = |source| Error::Content {
            action: "write",
            entry: escape(&entry.name),
            source,
        };
        match &entry.extents {
            None => reader.take_content(|bytes| file.write_all(bytes).map_err(content))?,
            Some(extents) => {
                let mut extents = extents.iter();
                let mut rest = 0u64;
                reader.take_content(|mut bytes| {
                    while !bytes.is_empty() {
                        if rest == 0 {
                            // The map was checked to be as long as the content, so there is a next piece.
                            let Some(extent) = extents.next() else {
                                return Err(Error::Truncated);
                            };
                            let at = SeekFrom::Start(extent.offset);
                            file.file().seek(at).map_err(content)?;
                            rest = extent.length;
                            continue;
                        }
                        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(bytes.len());
                        file.write_all(&bytes[..length]).map_err(content)?;
                        bytes = &bytes[length..];
                        rest -= length as u64;
                    }
                    Ok(())
                })?;
                file.set_len(entry.size).map_err(fail)?;
            }
        }
        let owner = self.settings.owner.unwrap_or(entry.owner);
        match self.settings.owners {
            Owners::Set => file.set_owner(owner).map_err(fail)?,
            Owners::Record => self.recorded.push((canonical.clone(), owner)),
        }
        self.attributes(entry, canonical, |key, value| file.set_xattr(key, value))?;
        file.set_mode(entry.mode).map_err(fail)?;
        file.set_mtime(entry.mtime).map_err(fail)
    }

    fn own(
        &mut self,
        entry: &Entry,
        dir: &Dir,
        name: &[u8],
        canonical: &RelPath,
    ) -> Result<(), Error> {
        let owner = self.settings.owner.unwrap_or(entry.owner);
        match self.settings.owners {
            Owners::Set => dir
                .set_owner(name, owner)
                .map_err(|e| failed(&entry.name, e)),
            Owners::Record => {
                self.recorded.push((canonical.clone(), owner));
                Ok(())
            }
        }
    }

    /// Sets the attributes that belong to an image; what this file system or this user cannot set is a warning.
    fn attributes(
        &mut self,
        entry: &Entry,
        canonical: &RelPath,
        set: impl Fn(&[u8], &[u8]) -> Result<(), crate::rootfs::Error>,
    ) -> Result<(), Error> {
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| is_image_xattr(key)) {
            match set(key, value) {
                Ok(()) => {}
                Err(error)
                    if error.is_denied()
                        || error.io_kind() == Some(std::io::ErrorKind::Unsupported) =>
                {
                    self.warn(format!(
                        "{canonical}: attribute {} cannot be set here; left out",
                        escape(key)
                    ));
                }
                Err(error) => return Err(failed(&entry.name, error)),
            }
        }
        Ok(())
    }

    /// Opens an entry's parent, making what is missing. `None` where it is not ours to write to.
    fn open_parent(&mut self, above: &RelPath) -> Result<Option<Dir>, crate::rootfs::Error> {
        let dir = match self.rootfs.dir(above) {
            Ok(dir) => dir,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {
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
                self.rootfs.dir(&wanted)?
            }
            Err(error) => return Err(error),
        };
        Ok((!self.settings.protected.covers(dir.path())).then_some(dir))
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

    /// Finds what a hard link names. `None` where it may not be linked to.
    fn link_target(
        &mut self,
        entry: &Entry,
        canonical: &RelPath,
    ) -> Result<Option<(Dir, Vec<u8>)>, Error> {
        let fail = |source| failed(&entry.name, source);
        let target = self.destination.join(&self.clean(&entry.link_name)?);
        let Some(name) = target.file_name() else {
            return Err(malformed(&entry.name, "a hard link leads to the root"));
        };
        let dir = self
            .rootfs
            .dir(&target.parent().unwrap_or_default())
            .map_err(fail)?;
        let existing = dir.path().child(name);
        if existing == *canonical {
            return Err(malformed(&entry.name, "a hard link leads to itself"));
        }
        if self.settings.protected.covers(&existing) {
            self.warn(format!("{canonical} is a link to {existing}, which is mounted or the builder's own; left out"));
            return Ok(None);
        }
        match dir.lstat(name).map_err(fail)? {
            None => Err(malformed(&entry.name, "a hard link leads to nothing")),
            Some(stat) if stat.is_dir() => {
                Err(malformed(&entry.name, "a hard link leads to a directory"))
            }
            // Clearing the place would take the target away with it.
            Some(_) if existing.starts_with(canonical) => {
                Err(malformed(&entry.name, "a hard link leads below itself"))
            }
            Some(_) => Ok(Some((dir, name.to_vec()))),
        }
    }

    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(warning);
        }
    }

    /// Sets modes and times of the directories, innermost first.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        for dir in std::mem::take(&mut self.deferred).into_iter().rev() {
            let fail = |source| failed(dir.path.as_bytes(), source);
            let (parent, name) = match self.rootfs.parent(&dir.path) {
                Ok(found) => found,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(fail(error)),
            };
            let stat = match name {
                b"" => Some(parent.metadata().map_err(fail)?),
                name => parent.lstat(name).map_err(fail)?,
            };
            let Some(stat) = stat.filter(|stat| stat.is_dir() && (stat.dev, stat.ino) == dir.inode)
            else {
                continue;
            };
            if stat.mode != dir.mode {
                parent.set_mode(name, dir.mode).map_err(fail)?;
            }
            parent.set_mtime(name, dir.mtime).map_err(fail)?;
        }
        Ok(())
    }
}

fn failed(name: &[u8], source: crate::rootfs::Error) -> Error {
    Error::Entry {
        entry: escape(name),
        source,
    }
}
