//! Mount points in a tree: made before a command runs, gone afterwards, so that they reach no layer.

use super::SandboxError;
use crate::rootfs::open_chrooted;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, fstat, futimens, mkdirat, open, openat,
    readlinkat, statat, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How many links are followed on the way to one mount point, as the kernel counts.
const MOST_LINKS: usize = 40;

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StubKind {
    Directory,
    File,
}

/// The mount points that were missing.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    made: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    name: PathBuf,
    kind: StubKind,
    inode: u64,
    /// The parent's times before and after the stub was made.
    before: Timestamps,
    after: (i64, i64),
}

impl Stubs {
    /// Sees to it that each of `wanted` (relative to `root`) exists, without ever leaving `root`.
    pub(super) fn make(root: &Path, wanted: &[(&str, StubKind)]) -> Result<Self, SandboxError> {
        let directory = open(
            root,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|source| SandboxError::path("open", root, source))?;
        let mut stubs = Self { made: Vec::new() };
        for (path, kind) in wanted {
            let mut links = 0;
            stubs
                .ensure(&directory, Path::new(path), *kind, &mut links)
                .map_err(|source| {
                    SandboxError::path("make a mount point for", Path::new("/").join(path), source)
                })?;
        }
        Ok(stubs)
    }

    fn ensure(
        &mut self,
        root: &OwnedFd,
        path: &Path,
        kind: StubKind,
        links: &mut usize,
    ) -> Result<(), Errno> {
        match open_in(root, path, OFlags::PATH) {
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let (Some(name), parent_path) = (path.file_name(), path.parent().unwrap_or(Path::new("")))
        else {
            return Err(Errno::NOENT);
        };
        self.ensure(root, parent_path, StubKind::Directory, links)?;
        let parent = open_in(root, parent_path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        match readlinkat(&parent, name, Vec::new()) {
            Ok(target) => {
                *links += 1;
                if *links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
                // Joined, not resolved: what opens it keeps `..` and absolute targets inside the root.
                let target = target
                    .strip_prefix("/")
                    .map_or_else(|_| parent_path.join(target), Path::to_owned);
                return self.ensure(root, &target, kind, links);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let old = fstat(&parent)?;
        match kind {
            StubKind::Directory => mkdirat(&parent, name, Mode::from_raw_mode(0o755))?,
            StubKind::File => {
                openat(
                    &parent,
                    name,
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o644),
                )?;
            }
        }
        let inode = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
        let after = modification(&parent)?;
        self.made.push(Stub {
            parent,
            name: PathBuf::from(name),
            kind,
            inode,
            before: times(&old),
            after,
        });
        Ok(())
    }

    /// Removes what is still as it was made. A directory that the command has filled, or a file that it has put in the
    /// place of ours, stays.
    pub(super) fn remove(self) -> Result<(), SandboxError> {
        for stub in self.made.into_iter().rev() {
            stub.remove().map_err(|source| {
                SandboxError::path("remove the mount point", &stub.name, source)
            })?;
        }
        Ok(())
    }
}

impl Stub {
    fn remove(&self) -> Result<(), Errno> {
        let untouched = modification(&self.parent)? == self.after;
        let found = match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        let kind = match self.kind {
            StubKind::Directory => FileType::Directory,
            StubKind::File => FileType::RegularFile,
        };
        let changed = self.kind == StubKind::File && found.st_size != 0;
        if found.st_ino != self.inode || FileType::from_raw_mode(found.st_mode) != kind || changed {
            return Ok(());
        }
        let now = times(&fstat(&self.parent)?);
        let flags = if self.kind == StubKind::Directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match unlinkat(&self.parent, &self.name, flags) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error),
        }
        // The directory looks as if the mount point had never been; a change by the command itself keeps its own time.
        futimens(&self.parent, if untouched { &self.before } else { &now })
    }
}

fn open_in(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_chrooted(root.as_fd(), path.as_os_str().as_bytes(), flags)
}

pub(super) fn modification(directory: &OwnedFd) -> Result<(i64, i64), Errno> {
    let stat = fstat(directory)?;
    Ok((
        stat.st_mtime,
        i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    ))
}

pub(super) fn times(stat: &rustix::fs::Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.try_into().unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const WANTED: [(&str, StubKind); 3] = [
        ("proc", StubKind::Directory),
        ("etc/hosts", StubKind::File),
        ("etc/resolv.conf", StubKind::File),
    ];

    fn listing(root: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut pending = vec![root.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                names.push(
                    entry
                        .path()
                        .strip_prefix(root)
                        .unwrap()
                        .display()
                        .to_string(),
                );
                if entry.file_type().unwrap().is_dir() {
                    pending.push(entry.path());
                }
            }
        }
        names.sort();
        names
    }

    #[test]
    fn nothing_is_left_and_times_are_as_before() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        symlink(
            "../run/resolve/stub.conf",
            root.path().join("etc/resolv.conf"),
        )
        .unwrap();
        let etc = fs::File::open(root.path().join("etc")).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        etc.set_modified(old).unwrap();
        let before = listing(root.path());

        let stubs = Stubs::make(root.path(), &WANTED).unwrap();
        assert_eq!(
            listing(root.path()),
            [
                "etc",
                "etc/hosts",
                "etc/resolv.conf",
                "proc",
                "run",
                "run/resolve",
                "run/resolve/stub.conf"
            ]
        );
        stubs.remove().unwrap();
        assert_eq!(listing(root.path()), before);
        assert_eq!(etc.metadata().unwrap().modified().unwrap(), old);
    }

    #[test]
    fn what_the_command_made_stays() {
        let root = tempfile::tempdir().unwrap();
        let stubs = Stubs::make(root.path(), &WANTED).unwrap();
        fs::write(root.path().join("etc/passwd"), "x").unwrap();
        let changed = fs::metadata(root.path().join("etc"))
            .unwrap()
            .modified()
            .unwrap();
        stubs.remove().unwrap();
        assert_eq!(listing(root.path()), ["etc", "etc/passwd"]);
        assert_eq!(
            fs::metadata(root.path().join("etc"))
                .unwrap()
                .modified()
                .unwrap(),
            changed
        );
    }

    #[test]
    fn links_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        symlink(outside.path().join("x"), root.path().join("etc/hosts")).unwrap();
        symlink("loop", root.path().join("proc")).unwrap();
        symlink("proc", root.path().join("loop")).unwrap();
        assert!(Stubs::make(root.path(), &WANTED[..1]).is_err());
        Stubs::make(root.path(), &WANTED[1..2])
            .unwrap()
            .remove()
            .unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
