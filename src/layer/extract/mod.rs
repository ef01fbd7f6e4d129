//! Entries into a rootfs: the one place where an archive touches a disk.
//!
//! Rules: a parent is resolved inside the root, a leaf never followed. Where something is already, a directory merges
//! with a directory and all else is removed first. Attributes are set in the order owner, attributes, mode, time;
//! those of directories at the end, if the directory is still the one that was made.

mod lower;
mod place;

use std::collections::HashSet;
use std::io::{BufRead, Seek, SeekFrom, Write};

use crate::rootfs::{
    Device, Dir, Metadata, NewFile, Node, Owner, Protected, RelPath, Rootfs, Timestamp, escape,
};
use crate::snapshot::is_image_xattr;

use super::error::Error;
use super::reader::{Entry, EntryKind, TarReader, malformed};

use place::Place;

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

/// Says whether an entry is left out: told where it would be, without links, and whether it is a directory.
pub type Sieve<'a> = &'a mut dyn FnMut(&RelPath, bool) -> bool;

/// Writes entries below a directory of a rootfs.
pub(super) struct Extractor<'a, 's> {
    rootfs: &'a Rootfs,
    /// Where the archive's root is.
    destination: RelPath,
    settings: Settings<'a>,
    /// The parents of the last entries, as they are written and opened, each below the one before it.
    parents: Vec<(RelPath, Dir)>,
    /// Is nothing below? Then an entry that would be another one on top of something ends the extraction.
    is_alone: bool,
    /// What this archive made, and the directories above: whiteouts spare them.
    touched: Option<HashSet<u128>>,
    /// Directories whose mode and time are set at the end.
    deferred: Vec<DeferredDir>,
    pub(super) entries: u64,
    pub(super) recorded: Vec<(RelPath, Owner)>,
    pub(super) warnings: Vec<String>,
    /// Says what is not written, where anything is not.
    pub(super) sieve: Option<Sieve<'s>>,
    /// The canonical paths made, where they are asked for.
    pub(super) made: Option<Vec<RelPath>>,
}

struct DeferredDir {
    path: RelPath,
    inode: (Device, u64),
    mode: u32,
    mtime: Timestamp,
}

impl<'a> Extractor<'a, '_> {
    pub(super) fn new(rootfs: &'a Rootfs, destination: RelPath, settings: Settings<'a>) -> Self {
        Self {
            rootfs,
            destination,
            settings,
            parents: Vec::new(),
            is_alone: false,
            touched: None,
            deferred: Vec::new(),
            entries: 0,
            recorded: Vec::new(),
            warnings: Vec::new(),
            sieve: None,
            made: None,
        }
    }

    /// Remembers what is made, so that whiteouts can spare it.
    pub(super) fn sparing_its_own(mut self) -> Self {
        self.touched = Some(HashSet::new());
        self
    }

    /// Takes only what comes out the same whatever is below: every directory above an entry is the archive's own, and no entry takes another's place.
    pub(super) fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// The directories that were made, before [`Self::finish`].
    pub(super) fn directories(&self) -> impl ExactSizeIterator<Item = &RelPath> {
        self.deferred.iter().map(|dir| &dir.path)
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
    pub(super) fn extract<R: BufRead>(
        &mut self,
        entry: &Entry,
        path: &RelPath,
        reader: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let fail = |source| failed(&entry.name, source);
        if path.is_root() {
            if self.is_alone {
                return Err(Error::NotAlone);
            }
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
        let found = self.take_parent(&above).map_err(fail)?;
        if self.is_alone && found.as_ref().is_none_or(|dir| dir.path() != &above) {
            return Err(Error::NotAlone);
        }
        if self
            .leaves_out(entry.kind, found.as_ref(), &above, name)
            .map_err(fail)?
        {
            if let Some(dir) = found {
                self.keep_parent(above, dir);
            }
            return Ok(());
        }
        let parent = match found {
            Some(dir) => Some(dir),
            None => self.make_parent(&above).map_err(fail)?,
        };
        let protected = self.settings.protected;
        let Some(parent) = parent.filter(|dir| !protected.covers(dir.path())) else {
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
                self.keep_parent(above, parent);
                return Ok(());
            }
        }
        let place = self
            .make_place(&parent, name, &canonical, entry.kind)
            .map_err(fail)?;
        if matches!(place, Place::Taken) {
            return Err(Error::NotAlone);
        }
        if let Place::Kept(why) = place {
            // Every image has directories for what is mounted: that is nothing to tell.
            if entry.kind != EntryKind::Dir {
                self.warn(format!("{canonical} {why}; left as it is"));
            }
            self.keep_parent(above, parent);
            return Ok(());
        }
        let is_emptied = matches!(place, Place::Emptied);
        if self.make(entry, &parent, name, &canonical, place, link, reader)? {
            self.touch(&canonical);
            if let Some(made) = &mut self.made {
                made.push(canonical);
            }
        }
        if is_emptied {
            self.parents.clear();
        } else {
            self.keep_parent(above, parent);
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the pieces of one entry, each found by its caller"
    )]
    fn make<R: BufRead>(
        &mut self,
        entry: &Entry,
        parent: &Dir,
        name: &[u8],
        canonical: &RelPath,
        place: Place,
        link: Option<(Dir, Vec<u8>)>,
        reader: &mut TarReader<R>,
    ) -> Result<bool, Error> {
        let fail = |source| failed(&entry.name, source);
        match entry.kind {
            EntryKind::File => {
                let file = match place {
                    Place::Made(file) => file,
                    Place::Free
                    | Place::Emptied
                    | Place::Dir(_)
                    | Place::Kept(_)
                    | Place::Taken => parent.new_file(name).map_err(fail)?,
                };
                self.fill(entry, canonical, file, reader)?;
            }
            EntryKind::Dir => self.directory(entry, parent, name, canonical, &place)?,
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
            Place::Free | Place::Made(_) | Place::Emptied | Place::Kept(_) | Place::Taken => {
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

    fn fill<R: BufRead>(
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
        let above = target.parent().unwrap_or_default();
        let dir = match self.rootfs.dir(&above) {
            Err(error) if self.is_alone && error.is_not_found() => return Err(Error::NotAlone),
            Ok(dir) if self.is_alone && dir.path() != &above => return Err(Error::NotAlone),
            answer => answer.map_err(fail)?,
        };
        let existing = dir.path().child(name);
        if existing == *canonical {
            return Err(malformed(&entry.name, "a hard link leads to itself"));
        }
        if self.settings.protected.covers(&existing) {
            self.warn(format!("{canonical} is a link to {existing}, which is mounted or the builder's own; left out"));
            return Ok(None);
        }
        match dir.lstat(name).map_err(fail)? {
            None if self.is_alone => Err(Error::NotAlone),
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
