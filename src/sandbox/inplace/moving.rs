//! Moves what is in a directory out of it and back in, by renaming, around what must not move.
//!
//! Each single rename is atomic and nothing is ever copied or deleted on the way, so that after a kill at any point every entry is
//! in one of the two places, and the same move back can be made again. A directory that cannot be renamed (a mount below
//! it, `EXDEV` because it came with the container's image, `EBUSY`) is moved child by child; an empty stand-in with its attributes
//! (a skeleton) takes the children.

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown,
    fgetxattr, fsetxattr, fstat, futimens, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Called before each change of the file system, with what is about to happen; an error stops the move there and then.
pub(super) type Hook = dyn Fn(&'static str, &Path) -> io::Result<()> + Send + Sync;

/// Where a skeleton keeps the times of the directory it stands for: moving the children changes its own.
const TIMES: &str = "user.longshore.times";
/// A skeleton's name until it is complete.
const UNFINISHED: &str = ".longshore-skeleton";

/// Paths below the root that stay where they are, with everything below them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins(BTreeSet<PathBuf>);

impl Pins {
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(
            paths
                .into_iter()
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
        )
    }

    pub(super) fn holds(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    /// Whether something below `path` is pinned, and with it `path` as a directory.
    pub(super) fn holds_below(&self, path: &Path) -> bool {
        // Paths order by component: what is below a path follows it directly.
        self.0
            .range(path.to_owned()..)
            .find(|pin| *pin != path)
            .is_some_and(|pin| pin.starts_with(path))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter()
    }
}

/// One move.
pub(super) struct Move<'a> {
    pub(super) pins: &'a Pins,
    pub(super) hook: &'a Hook,
    /// Whether skeletons stand for all pinned directories when moving out, and vanish when moving in: for what was there
    /// before us, whose directories must be as they were. A stage's tree has only the directories that it made.
    pub(super) exact: bool,
    /// Takes what a stage has written below something that only looks like a directory of its own.
    pub(super) spill: &'a OwnedFd,
}

impl Move<'_> {
    /// Moves everything in `place` into `store`.
    pub(super) fn out(&self, place: &OwnedFd, store: &OwnedFd) -> io::Result<()> {
        if self.exact {
            Attributes::of(place)?.keep_on(store)?;
        }
        self.out_below(place, store, Path::new(""))
    }

    fn out_below(&self, place: &OwnedFd, store: &OwnedFd, below: &Path) -> io::Result<()> {
        let attributes = Attributes::of(place)?;
        for name in names(place)? {
            let path = below.join(&name);
            if self.pins.holds(&path) {
                continue;
            }
            if self.pins.holds_below(&path) {
                let inner = open_directory(place, &name)?;
                if let Some(target) = self.stand_in(&inner, store, &name, &path)? {
                    self.out_below(&inner, &target, &path)?;
                }
                continue;
            }
            (self.hook)("move out", &path)?;
            match renameat(place, &name, store, &name) {
                Ok(()) => {}
                Err(error @ (Errno::XDEV | Errno::BUSY | Errno::NOTEMPTY | Errno::EXIST)) => {
                    let inner = open_directory(place, &name)
                        .map_err(|_| explain("move out", &path, error))?;
                    let target = self.skeleton(&Attributes::of(&inner)?, store, &name, &path)?;
                    self.out_below(&inner, &target, &path)?;
                    (self.hook)("remove", &path)?;
                    match unlinkat(place, &name, AtFlags::REMOVEDIR) {
                        // Somebody else's mount is on it: it stays, as a pinned one does.
                        Ok(()) | Err(Errno::BUSY | Errno::NOTEMPTY | Errno::EXIST) => {}
                        Err(error) => return Err(explain("remove", &path, error)),
                    }
                }
                Err(error) => return Err(explain("move out", &path, error)),
            }
        }
        attributes.apply(store)
    }

    /// Where the children of a pinned directory go; `None` when it has none that move.
    fn stand_in(
        &self,
        inner: &OwnedFd,
        store: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> io::Result<Option<OwnedFd>> {
        match open_directory(store, name) {
            Ok(target) => return Ok(Some(target)),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => {
                // The stage has a link or a file there, which the mount has hidden: what was written behind it is not its.
                let spilled = OsString::from_vec([b"spilled-", name.as_bytes()].concat());
                return self
                    .skeleton(&Attributes::of(inner)?, self.spill, &spilled, path)
                    .map(Some);
            }
            Err(error) => return Err(explain("open the store of", path, error)),
        }
        if self.exact || self.has_movable(inner, path)? {
            return self
                .skeleton(&Attributes::of(inner)?, store, name, path)
                .map(Some);
        }
        Ok(None)
    }

    fn has_movable(&self, directory: &OwnedFd, path: &Path) -> io::Result<bool> {
        for name in names(directory)? {
            let path = path.join(&name);
            if self.pins.holds(&path) {
                continue;
            }
            if !self.pins.holds_below(&path)
                || self.has_movable(&open_directory(directory, &name)?, &path)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes (or finds) a directory that appears complete with its attributes.
    fn skeleton(
        &self,
        attributes: &Attributes,
        store: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> io::Result<OwnedFd> {
        if let Ok(found) = open_directory(store, name) {
            return Ok(found);
        }
        (self.hook)("make a stand-in for", path)?;
        match mkdirat(store, UNFINISHED, Mode::RWXU) {
            // Left by a kill between the two.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(explain("make a stand-in for", path, error)),
        }
        let made = open_directory(store, OsStr::new(UNFINISHED))?;
        if self.exact {
            attributes.keep_on(&made)?;
        } else {
            // A stage's directory carries nothing that could get into a layer; a killed build's stages are thrown away.
            attributes.apply(&made)?;
        }
        (self.hook)("name the stand-in for", path)?;
        renameat(store, UNFINISHED, store, name)
            .map_err(|error| explain("name the stand-in for", path, error))?;
        Ok(made)
    }

    /// Moves everything in `store` into `place`. What a pin stands in the way of stays in `store`.
    pub(super) fn back(&self, store: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
        self.back_below(store, place, Path::new(""))
    }

    fn back_below(&self, store: &OwnedFd, place: &OwnedFd, below: &Path) -> io::Result<()> {
        let attributes = Attributes::kept_on(store)?;
        for name in names(store)? {
            let path = below.join(&name);
            if self.pins.holds(&path) {
                continue;
            }
            if self.exact && name == UNFINISHED {
                // It has no name yet, so nothing was moved into it.
                (self.hook)("remove an unfinished stand-in in", below)?;
                unlinkat(store, &name, AtFlags::REMOVEDIR)
                    .map_err(|error| explain("remove", &path, error))?;
                continue;
            }
            let there = match statat(place, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => {
                    (self.hook)("move back", &path)?;
                    renameat(store, &name, place, &name)
                        .map_err(|error| explain("move back", &path, error))?;
                    if let Ok(arrived) = open_directory(place, &name) {
                        Attributes::kept_on(&arrived)?.arrive(&arrived)?;
                    }
                    continue;
                }
                Err(error) => return Err(explain("look at", &path, error)),
            };
            let Ok(from) = open_directory(store, &name) else {
                continue;
            };
            if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                continue;
            }
            self.back_below(&from, &open_directory(place, &name)?, &path)?;
            if self.exact {
                (self.hook)("remove the stand-in for", &path)?;
                match unlinkat(store, &name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                    Err(error) => return Err(explain("remove the stand-in for", &path, error)),
                }
            }
        }
        attributes.apply(place)
    }
}

/// What makes one directory look like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    mode: Mode,
    uid: u32,
    gid: u32,
    times: [i64; 4],
}

impl Attributes {
    fn of(directory: &OwnedFd) -> io::Result<Self> {
        let stat = fstat(directory)?;
        let nanoseconds = |value| i64::try_from(value).unwrap_or_default();
        let times = [
            stat.st_atime,
            nanoseconds(stat.st_atime_nsec),
            stat.st_mtime,
            nanoseconds(stat.st_mtime_nsec),
        ];
        Ok(Self {
            mode: Mode::from_raw_mode(stat.st_mode),
            uid: stat.st_uid,
            gid: stat.st_gid,
            times,
        })
    }

    /// The attributes of a directory, with the times that were kept on it.
    fn kept_on(directory: &OwnedFd) -> io::Result<Self> {
        let mut attributes = Self::of(directory)?;
        let mut value = [0_u8; 32];
        if fgetxattr(directory, TIMES, &mut value[..]) == Ok(value.len()) {
            for (time, bytes) in attributes.times.iter_mut().zip(value.chunks_exact(8)) {
                *time = i64::from_ne_bytes(bytes.try_into().unwrap_or_default());
            }
        }
        Ok(attributes)
    }

    fn keep_on(self, directory: &OwnedFd) -> io::Result<()> {
        let value: Vec<u8> = self
            .times
            .iter()
            .flat_map(|time| time.to_ne_bytes())
            .collect();
        // Where there are no attributes, the times are lost only by a kill while children move.
        let _ = fsetxattr(directory, TIMES, &value, XattrFlags::empty());
        self.apply(directory)
    }

    fn apply(self, directory: &OwnedFd) -> io::Result<()> {
        fchown(
            directory,
            Some(Uid::from_raw(self.uid)),
            Some(Gid::from_raw(self.gid)),
        )?;
        fchmod(directory, self.mode)?;
        futimens(directory, &self.timestamps())?;
        Ok(())
    }

    /// Ends a directory's life as a skeleton, if it was one.
    fn arrive(self, directory: &OwnedFd) -> io::Result<()> {
        if rustix::fs::fremovexattr(directory, TIMES).is_ok() {
            futimens(directory, &self.timestamps())?;
        }
        Ok(())
    }

    fn timestamps(self) -> Timestamps {
        let [access, access_fraction, modification, modification_fraction] = self.times;
        Timestamps {
            last_access: Timespec {
                tv_sec: access,
                tv_nsec: access_fraction,
            },
            last_modification: Timespec {
                tv_sec: modification,
                tv_nsec: modification_fraction,
            },
        }
    }
}

/// The names in a directory, in a fixed order.
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Opens a directory that is really there, not one that a link leads to.
pub(super) fn open_directory(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn explain(action: &str, path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(
        error.kind(),
        format!("{action} /{}: {error}", path.display()),
    )
}
