//! One opened directory, and what can be done to the names in it. No operation follows a link.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, StatxFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::Error;
use super::metadata::{Device, FileType, Metadata, Owner, Timestamp};
use super::new_file::NewFile;
use super::path::RelPath;
use super::protected::Protected;
use super::remove::{self, Removed};
use super::resolve::DIR_HANDLE;
use super::{read_dir, xattr};

/// An opened directory inside a root.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: RelPath,
}

/// A node that is not a file, directory or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
}

impl Dir {
    pub(super) fn new(fd: OwnedFd, path: RelPath) -> Self {
        Self { fd, path }
    }

    /// Returns where the directory was when it was opened, canonical if it came from `Rootfs::dir`.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Stats the directory itself.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        statx(self.fd(), b"").map_err(|e| Error::io("stat", &self.path, e))
    }

    /// Stats a name, or answers `None` where there is nothing.
    pub fn lstat(&self, name: &[u8]) -> Result<Option<Metadata>, Error> {
        match statx(self.fd(), name) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("stat", name, error)),
        }
    }

    /// Opens a directory in this one.
    pub fn open_dir(&self, name: &[u8]) -> Result<Self, Error> {
        let fd = rustix::fs::openat(&self.fd, name, DIR_HANDLE, Mode::empty())
            .map_err(|e| self.error("open directory", name, e))?;
        Ok(Self::new(fd, self.path.child(name)))
    }

    /// Lists the names in kernel order.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, Error> {
        let fd =
            read_dir::reopen(self.fd()).map_err(|e| Error::io("read directory", &self.path, e))?;
        let mut names = Vec::new();
        read_dir::for_each(fd.as_fd(), |name| names.push(name.to_vec()))
            .map_err(|e| Error::io("read directory", &self.path, e))?;
        Ok(names)
    }

    /// Opens a regular file for reading; anything else is refused without opening it, so that a pipe cannot block.
    pub fn open_file(&self, name: &[u8]) -> Result<File, Error> {
        let listed = statx(self.fd(), name).map_err(|e| self.error("open", name, e))?;
        self.open_listed(name, &listed).map(|(file, _)| file)
    }

    /// Opens a regular file like `open_file`, its metadata known from just before; returns those of what was opened.
    pub fn open_listed(&self, name: &[u8], listed: &Metadata) -> Result<(File, Metadata), Error> {
        let found = |m: &Metadata| Error::NotAFile {
            path: self.path.child(name).to_string(),
            found: m.file_type,
        };
        if !listed.is_file() {
            return Err(found(listed));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|e| self.error("open", name, e))?;
        let opened = statx(fd.as_fd(), b"").map_err(|e| self.error("open", name, e))?;
        if !opened.is_file() {
            return Err(found(&opened));
        }
        Ok((File::from(fd), opened))
    }

    /// Reads the target of a symbolic link, byte by byte as it was stored.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, Error> {
        rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|e| self.error("read link", name, e))
    }

    /// Creates a new file; the name must be free.
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<File, Error> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(File::from)
            .map_err(|e| self.error("create file", name, e))
    }

    /// Creates a new file that is to be finished by descriptor; until then only its owner may read it.
    pub fn new_file(&self, name: &[u8]) -> Result<NewFile, Error> {
        let file = self.create_file(name, 0o600)?;
        Ok(NewFile::new(file, self.path.child(name)))
    }

    /// Removes a name and all below it, but nothing that is kept or mounted.
    pub fn remove_all(&self, name: &[u8], kept: &Protected) -> Result<Removed, Error> {
        remove::remove_all(self, name, kept)
    }

    /// Opens this directory once more.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)
            .map_err(|e| Error::io("open directory", &self.path, e))?;
        Ok(Self::new(fd, self.path.clone()))
    }

    /// Creates a new directory; the name must be free. The mode is subject to the umask: see `set_mode`.
    pub fn create_dir(&self, name: &[u8], mode: u32) -> Result<(), Error> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))
            .map_err(|e| self.error("create directory", name, e))
    }

    /// Creates a symbolic link with exactly this target.
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> Result<(), Error> {
        rustix::fs::symlinkat(target, &self.fd, name)
            .map_err(|e| self.error("create symbolic link", name, e))
    }

    /// Gives `existing` in `from` a second name here; a symbolic link is linked itself.
    pub fn hard_link(&self, name: &[u8], from: &Self, existing: &[u8]) -> Result<(), Error> {
        rustix::fs::linkat(&from.fd, existing, &self.fd, name, AtFlags::empty())
            .map_err(|e| self.error("create hard link", name, e))
    }

    /// Creates a pipe or device; a character device 0:0 is refused, for overlayfs would take it as a deletion.
    pub fn create_node(&self, name: &[u8], node: Node, mode: u32) -> Result<(), Error> {
        let (file_type, device) = match node {
            Node::Fifo => (rustix::fs::FileType::Fifo, Device::default()),
            Node::Char(device) if device == Device::default() => {
                return Err(Error::WhiteoutDevice {
                    path: self.path.child(name).to_string(),
                });
            }
            Node::Char(device) => (rustix::fs::FileType::CharacterDevice, device),
            Node::Block(device) => (rustix::fs::FileType::BlockDevice, device),
        };
        let number = rustix::fs::makedev(device.major, device.minor);
        rustix::fs::mknodat(&self.fd, name, file_type, Mode::from_raw_mode(mode), number)
            .map_err(|e| self.error("create device", name, e))
    }

    /// Removes a name that is not a directory.
    pub fn remove(&self, name: &[u8]) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
            .map_err(|e| self.error("remove", name, e))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, name: &[u8]) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(|e| self.error("remove directory", name, e))
    }

    /// Moves a name to another directory of the same root, replacing what is there as `rename` does.
    pub fn rename(&self, name: &[u8], to: &Self, new_name: &[u8]) -> Result<(), Error> {
        rustix::fs::renameat(&self.fd, name, &to.fd, new_name)
            .map_err(|e| self.error("rename", name, e))
    }

    /// Changes the owner.
    pub fn set_owner(&self, name: &[u8], owner: Owner) -> Result<(), Error> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(&self.fd, name, Some(uid), Some(gid), leaf_flags(name))
            .map_err(|e| self.error("change the owner of", name, e))
    }

    /// Changes the permission bits; a symbolic link has none and is left alone.
    pub fn set_mode(&self, name: &[u8], mode: u32) -> Result<(), Error> {
        self.chmod(name, mode)
            .map_err(|e| self.error("change the mode of", name, e))
    }

    fn chmod(&self, name: &[u8], mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        let handle = match name {
            b"" => rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)?,
            name => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&self.fd, name, flags, Mode::empty())?
            }
        };
        let stat = statx(handle.as_fd(), b"")?;
        if stat.file_type == FileType::Symlink {
            return Ok(());
        }
        // The link in /proc leads to the inode that the descriptor holds, whatever its name is by now.
        match rustix::fs::chmod(xattr::proc_path(handle.as_fd(), b""), mode) {
            Err(Errno::NOENT | Errno::NOTDIR) if stat.is_dir() || stat.is_file() => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let name = if name.is_empty() { b"." } else { name };
                let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
                rustix::fs::fchmod(fd, mode)
            }
            answer => answer,
        }
    }

    /// Sets the modification time, and the access time to the same.
    pub fn set_mtime(&self, name: &[u8], mtime: Timestamp) -> Result<(), Error> {
        rustix::fs::utimensat(&self.fd, name, &both_times(mtime), leaf_flags(name))
            .map_err(|e| self.error("set the times of", name, e))
    }

    /// Lists the names of extended attributes; none where the file system has no such thing.
    pub fn xattr_names(&self, name: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        xattr::list(self.fd(), name).map_err(|e| self.error("list attributes of", name, e))
    }

    /// Reads an extended attribute.
    pub fn xattr(&self, name: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        xattr::get(self.fd(), name, key).map_err(|e| self.error("read an attribute of", name, e))
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&self, name: &[u8], key: &[u8], value: &[u8]) -> Result<(), Error> {
        xattr::set(self.fd(), name, key, value)
            .map_err(|e| self.error("set an attribute of", name, e))
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, name: &[u8], key: &[u8]) -> Result<(), Error> {
        xattr::remove(self.fd(), name, key)
            .map_err(|e| self.error("remove an attribute of", name, e))
    }

    fn error(&self, action: &'static str, name: &[u8], source: Errno) -> Error {
        let path = match name {
            b"" => self.path.clone(),
            name => self.path.child(name),
        };
        Error::io(action, &path, source)
    }
}

/// Sets both times of an opened file.
pub(super) fn both_times(mtime: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.secs,
        tv_nsec: mtime.nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Stats a name in a directory, or the descriptor itself where the name is empty: one system call.
pub(super) fn statx(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Metadata, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | leaf_flags(name);
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    rustix::fs::statx(dir, path, flags, StatxFlags::BASIC_STATS).map(Metadata::from)
}

fn leaf_flags(name: &[u8]) -> AtFlags {
    if name.is_empty() {
        AtFlags::EMPTY_PATH
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    }
}
