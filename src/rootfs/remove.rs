//! Removal of whole trees: fd-relative, of any depth, and never through a mount point.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::dir::{Dir, statx};
use super::error::Error;
use super::metadata::{Device, FileType};
use super::path::RelPath;
use super::protected::Protected;
use super::read_dir;

/// Is what was to be removed gone altogether?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Nothing of it is left, or nothing was there.
    All,
    /// Protected or mounted paths at or below it are left.
    KeptMounts,
}

/// A directory that is being emptied. Its parent is reached again through `..` and known by its inode, so that any
/// depth takes one descriptor.
struct Level {
    name: Vec<u8>,
    inode: (Device, u64),
    subdirs: Vec<Vec<u8>>,
    keeps: bool,
}

/// Removes a name and all below it, but not what is `kept`, nor what is mounted.
pub(super) fn remove_all(parent: &Dir, name: &[u8], kept: &Protected) -> Result<Removed, Error> {
    let top = parent.path().child(name);
    match parent.lstat(name)? {
        None => return Ok(Removed::All),
        Some(_) if kept.covers(&top) => return Ok(Removed::KeptMounts),
        Some(stat) if stat.is_mount_root => return Ok(Removed::KeptMounts),
        Some(stat) if stat.file_type != FileType::Dir => {
            return match parent.remove(name) {
                Ok(()) => Ok(Removed::All),
                Err(Error::Io { source, .. }) if is_busy(&source) => Ok(Removed::KeptMounts),
                Err(error) => Err(error),
            };
        }
        Some(_) => {}
    }
    let mut path = top;
    let mut levels: Vec<Level> = Vec::new();
    let (mut fd, level) = enter(parent.fd(), name, &path, kept)?;
    levels.push(level);
    loop {
        let level = levels
            .last_mut()
            .expect("the loop ends when the last level is left");
        if let Some(subdir) = level.subdirs.pop() {
            path = path.child(&subdir);
            let stat = statx(fd.as_fd(), &subdir).map_err(|e| Error::io("stat", &path, e))?;
            if stat.is_mount_root || kept.covers(&path) {
                level.keeps = true;
                path = path.parent().unwrap_or_default();
                continue;
            }
            let (child, level) = enter(fd.as_fd(), &subdir, &path, kept)?;
            levels.push(level);
            fd = child;
            continue;
        }
        let done = levels.pop().expect("checked above");
        let Some(above) = levels.last_mut() else {
            return Ok(if leave(parent.fd(), &done, &path)? {
                Removed::All
            } else {
                Removed::KeptMounts
            });
        };
        let up = rustix::fs::openat(
            fd.as_fd(),
            "..",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Error::io("leave directory", &path, e))?;
        let stat = statx(up.as_fd(), b"").map_err(|e| Error::io("stat", &path, e))?;
        if (stat.dev, stat.ino) != above.inode {
            return Err(Error::io("remove the moved directory", &path, Errno::STALE));
        }
        above.keeps |= !leave(up.as_fd(), &done, &path)?;
        fd = up;
        path = path.parent().unwrap_or_default();
    }
}

/// Opens a directory and removes all in it but its directories.
fn enter(
    parent: std::os::fd::BorrowedFd<'_>,
    name: &[u8],
    path: &RelPath,
    kept: &Protected,
) -> Result<(OwnedFd, Level), Error> {
    let fail = |e: Errno| Error::io("remove directory", path, e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        // Our own directory without its read bit: only root may pass it by.
        Err(Errno::ACCESS) => {
            let handle = Dir::new(
                rustix::fs::openat(parent, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .map_err(fail)?,
                path.parent().unwrap_or_default(),
            );
            handle.set_mode(name, 0o700)?;
            rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(fail)?
        }
        answer => answer.map_err(fail)?,
    };
    let stat = statx(fd.as_fd(), b"").map_err(fail)?;
    let mut level = Level {
        name: name.to_vec(),
        inode: (stat.dev, stat.ino),
        subdirs: Vec::new(),
        keeps: false,
    };
    let mut names = Vec::new();
    read_dir::for_each(fd.as_fd(), |name| names.push(name.to_vec())).map_err(fail)?;
    if stat.mode & 0o300 != 0o300 && !names.is_empty() {
        // Without its write bit only root could empty it.
        let _ = rustix::fs::fchmod(&fd, Mode::from_raw_mode(stat.mode | 0o700));
    }
    for name in names {
        if !kept.is_empty() && kept.covers(&path.child(&name)) {
            level.keeps = true;
            continue;
        }
        match rustix::fs::unlinkat(fd.as_fd(), name.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => level.subdirs.push(name),
            Err(Errno::BUSY) => level.keeps = true,
            Err(error) => return Err(Error::io("remove", &path.child(&name), error)),
        }
    }
    Ok((fd, level))
}

/// Removes an emptied directory. Answers false where something in it, or it itself, had to stay.
fn leave(
    parent: std::os::fd::BorrowedFd<'_>,
    level: &Level,
    path: &RelPath,
) -> Result<bool, Error> {
    if level.keeps {
        return Ok(false);
    }
    match rustix::fs::unlinkat(parent, level.name.as_slice(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::BUSY) => Ok(false),
        Err(error) => Err(Error::io("remove directory", path, error)),
    }
}

fn is_busy(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ResourceBusy
}
