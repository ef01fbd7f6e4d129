//! A directory tree whose paths cannot escape: every access to a path inside an image goes through it.
//!
//! A [`Rootfs`] is a directory descriptor. Paths are [`RelPath`]s; symbolic links are followed inside the root only,
//! the last component never unless asked. Everything is done by descriptor or by a name in an opened directory
//! ([`Dir`]), never by a joined path, and never through a magic link of `/proc`.
//!
//! The room does not know what a layer is. It does not ask [`Protected`] before it acts, except where it removes
//! whole trees: who walks or extracts does, for only they know what to do instead.

mod copy;
mod dir;
mod error;
mod metadata;
mod new_file;
mod path;
mod protected;
mod read_dir;
mod remove;
mod resolve;
mod xattr;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

pub use copy::{copy_contents, next_extent};
pub use dir::{Dir, Node};
pub use error::Error;
pub use metadata::{Device, FileType, Metadata, Owner, Timestamp};
pub use new_file::NewFile;
pub use path::{PathError, RelPath, escape};
pub use protected::Protected;
pub use remove::Removed;
pub use resolve::{Leaf, open_chrooted};

use resolve::{DIR_HANDLE, Missing};

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// How paths are resolved; tests force the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolver {
    Kernel,
    Walk,
}

/// A directory tree whose paths cannot escape.
#[derive(Debug)]
pub struct Rootfs {
    root: OwnedFd,
    resolver: Resolver,
}

impl Rootfs {
    /// Opens a directory of the builder's own file system as a root.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| Error::Root {
            path: escape(path.as_os_str().as_encoded_bytes()),
            source: e.into(),
        })?;
        Ok(Self::from_fd(fd))
    }

    /// Takes an opened directory as a root.
    pub fn from_fd(root: OwnedFd) -> Self {
        // `None` for any reason means that this kernel, or its seccomp profile, refuses the call.
        let resolver = match resolve::openat2(root.as_fd(), &RelPath::root(), DIR_HANDLE) {
            Some(_) => Resolver::Kernel,
            None => Resolver::Walk,
        };
        Self { root, resolver }
    }

    /// Makes the same root resolve without `openat2`, as under old seccomp profiles.
    #[must_use]
    pub fn without_openat2(mut self) -> Self {
        self.resolver = Resolver::Walk;
        self
    }

    /// Opens the same root once more.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let root = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)
            .map_err(|e| Error::io("open", &RelPath::root(), e))?;
        Ok(Self {
            root,
            resolver: self.resolver,
        })
    }

    /// Opens a directory inside this root as a root of its own.
    pub fn subtree(&self, path: &RelPath) -> Result<Self, Error> {
        let handle = self.open_dir(path)?;
        let root =
            read_dir::reopen(handle.fd()).map_err(|e| Error::io("open directory", path, e))?;
        Ok(Self {
            root,
            resolver: self.resolver,
        })
    }

    /// Opens a directory, links followed inside the root. Its path is as given.
    pub fn open_dir(&self, path: &RelPath) -> Result<Dir, Error> {
        if self.resolver == Resolver::Kernel {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            if let Some(answer) = resolve::openat2(self.root.as_fd(), path, flags) {
                let fd = answer.map_err(|e| Error::io("open directory", path, e))?;
                return Ok(Dir::new(fd, path.clone()));
            }
        }
        self.dir(path)
    }

    /// Opens a directory, links followed inside the root. Its path is canonical.
    pub fn dir(&self, path: &RelPath) -> Result<Dir, Error> {
        let walked = resolve::walk(self.root.as_fd(), path, Leaf::Follow, Missing::Refuse)
            .map_err(|e| Error::io("open directory", path, e))?;
        match walked.dir {
            Some(fd) => Ok(Dir::new(fd, walked.canonical)),
            None => Err(Error::io("open directory", path, Errno::NOTDIR)),
        }
    }

    /// Opens a directory below one that [`Rootfs::dir`] of the same root opened, as `dir` would by the whole path.
    pub fn dir_below(&self, above: &Dir, path: &RelPath) -> Result<Dir, Error> {
        let fail = |e| Error::io("open directory", &above.path().join(path), e);
        let start = (above.fd(), above.path());
        let walked = resolve::walk_on(self.root.as_fd(), start, path).map_err(fail)?;
        match walked.dir {
            Some(fd) => Ok(Dir::new(fd, walked.canonical)),
            None => Err(fail(Errno::NOTDIR)),
        }
    }

    /// Opens the directory that holds a path and returns the name in it; empty for the root itself.
    pub fn parent<'p>(&self, path: &'p RelPath) -> Result<(Dir, &'p [u8]), Error> {
        match path.file_name() {
            None => Ok((self.open_dir(path)?, b"")),
            Some(name) => Ok((self.open_dir(&path.parent().unwrap_or_default())?, name)),
        }
    }

    /// Like `parent`, with the links of the last component followed.
    fn leaf(&self, path: &RelPath, leaf: Leaf) -> Result<(Dir, Vec<u8>), Error> {
        match leaf {
            Leaf::Keep => self.parent(path).map(|(dir, name)| (dir, name.to_vec())),
            Leaf::Follow => {
                let path = self.resolve_existing(path)?;
                self.parent(&path).map(|(dir, name)| (dir, name.to_vec()))
            }
        }
    }

    fn resolve_existing(&self, path: &RelPath) -> Result<RelPath, Error> {
        resolve::walk(self.root.as_fd(), path, Leaf::Follow, Missing::Refuse)
            .map(|walked| walked.canonical)
            .map_err(|e| Error::io("find", path, e))
    }

    /// Returns the path without symbolic links. What does not exist is appended as it is written.
    pub fn resolve(&self, path: &RelPath, leaf: Leaf) -> Result<RelPath, Error> {
        resolve::walk(self.root.as_fd(), path, leaf, Missing::Append)
            .map(|walked| walked.canonical)
            .map_err(|e| Error::io("resolve", path, e))
    }

    /// Stats a path, the last link not followed; `None` where it, or a directory on the way, is not there.
    pub fn lstat(&self, path: &RelPath) -> Result<Option<Metadata>, Error> {
        self.stat_leaf(path, Leaf::Keep)
    }

    /// Stats a path with all links followed inside the root; `None` where nothing is.
    pub fn stat(&self, path: &RelPath) -> Result<Option<Metadata>, Error> {
        self.stat_leaf(path, Leaf::Follow)
    }

    fn stat_leaf(&self, path: &RelPath, leaf: Leaf) -> Result<Option<Metadata>, Error> {
        match self.leaf(path, leaf) {
            Ok((dir, name)) if name.is_empty() => dir.metadata().map(Some),
            Ok((dir, name)) => dir.lstat(&name),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the names in a directory, sorted by bytes.
    pub fn read_dir(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = self.open_dir(path)?.names()?;
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a regular file for reading. Pipes, devices and the rest are refused without a wait.
    pub fn open_file(&self, path: &RelPath, leaf: Leaf) -> Result<File, Error> {
        let (dir, name) = self.leaf(path, leaf)?;
        if name.is_empty() {
            return Err(Error::NotAFile {
                path: path.to_string(),
                found: FileType::Dir,
            });
        }
        dir.open_file(&name)
    }

    /// Reads the target of a symbolic link.
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, Error> {
        let (dir, name) = self.parent(path)?;
        dir.read_link(name)
    }

    /// Creates a file, removing first what has its name and is not a directory.
    pub fn create_file(&self, path: &RelPath, mode: u32) -> Result<File, Error> {
        let (dir, name) = self.make_room(path)?;
        dir.create_file(name, mode)
    }

    /// Creates a directory; the name must be free.
    pub fn create_dir(&self, path: &RelPath, mode: u32) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        dir.create_dir(name, mode)?;
        dir.set_mode(name, mode)
    }

    /// Creates a directory and what is missing above it, each with this mode and owner.
    ///
    /// Links to directories count as directories. Returns the canonical paths that were created, outermost first.
    pub fn create_dir_all(
        &self,
        path: &RelPath,
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<Vec<RelPath>, Error> {
        let target = self.resolve(path, Leaf::Follow)?;
        let mut created = Vec::new();
        for path in target.ancestors_below_root().chain([target.clone()]) {
            let (dir, name) = self.parent(&path)?;
            if name.is_empty() {
                continue;
            }
            match dir.lstat(name)? {
                Some(stat) if stat.is_dir() => continue,
                Some(_) => return Err(Error::io("create directory", &path, Errno::NOTDIR)),
                None => {}
            }
            dir.create_dir(name, mode)?;
            if let Some(owner) = owner {
                dir.set_owner(name, owner)?;
            }
            dir.set_mode(name, mode)?;
            created.push(path);
        }
        Ok(created)
    }

    /// Creates a symbolic link, removing first what has its name and is not a directory.
    pub fn symlink(&self, path: &RelPath, target: &[u8]) -> Result<(), Error> {
        let (dir, name) = self.make_room(path)?;
        dir.symlink(name, target)
    }

    /// Gives an existing file a second name, removing first what has that name and is not a directory.
    pub fn hard_link(&self, path: &RelPath, existing: &RelPath) -> Result<(), Error> {
        let (from, from_name) = self.parent(existing)?;
        from.lstat(from_name)?
            .ok_or_else(|| Error::io("link to", existing, Errno::NOENT))?;
        if path == existing {
            return Err(Error::io("link to itself", path, Errno::EXIST));
        }
        let (dir, name) = self.make_room(path)?;
        dir.hard_link(name, &from, from_name)
    }

    /// Creates a pipe or device, removing first what has its name and is not a directory.
    pub fn create_node(&self, path: &RelPath, node: Node, mode: u32) -> Result<(), Error> {
        let (dir, name) = self.make_room(path)?;
        dir.create_node(name, node, mode)?;
        dir.set_mode(name, mode)
    }

    fn make_room<'p>(&self, path: &'p RelPath) -> Result<(Dir, &'p [u8]), Error> {
        let (dir, name) = self.parent(path)?;
        if name.is_empty() {
            return Err(Error::io("replace", path, Errno::ISDIR));
        }
        match dir.lstat(name)? {
            Some(stat) if !stat.is_dir() => dir.remove(name)?,
            Some(_) => return Err(Error::io("replace", path, Errno::ISDIR)),
            None => {}
        }
        Ok((dir, name))
    }

    /// Removes a path that is not a directory, or an empty directory.
    pub fn remove(&self, path: &RelPath) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        match dir.lstat(name)? {
            Some(stat) if stat.is_dir() => dir.remove_dir(name),
            _ => dir.remove(name),
        }
    }

    /// Removes a path and all below it, but nothing that is kept or mounted. What is not there is removed already.
    pub fn remove_all(&self, path: &RelPath, kept: &Protected) -> Result<Removed, Error> {
        let Some(name) = path.file_name() else {
            return self.clear(kept);
        };
        match self.dir(&path.parent().unwrap_or_default()) {
            Ok(parent) => remove::remove_all(&parent, name, kept),
            Err(error) if error.is_not_found() => Ok(Removed::All),
            Err(error) => Err(error),
        }
    }

    /// Removes all in the root, but nothing that is kept or mounted.
    fn clear(&self, kept: &Protected) -> Result<Removed, Error> {
        let root = self.dir(&RelPath::root())?;
        let mut removed = Removed::All;
        for name in root.names()? {
            if remove::remove_all(&root, &name, kept)? == Removed::KeptMounts {
                removed = Removed::KeptMounts;
            }
        }
        Ok(removed)
    }

    /// Moves a path, replacing what is there as `rename` does.
    pub fn rename(&self, from: &RelPath, to: &RelPath) -> Result<(), Error> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        from_dir.rename(from_name, &to_dir, to_name)
    }

    /// Changes the owner; a link's own.
    pub fn set_owner(&self, path: &RelPath, owner: Owner) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        dir.set_owner(name, owner)
    }

    /// Changes the permission bits; a link has none.
    pub fn set_mode(&self, path: &RelPath, mode: u32) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        dir.set_mode(name, mode)
    }

    /// Sets the modification time; a link's own.
    pub fn set_mtime(&self, path: &RelPath, mtime: Timestamp) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        dir.set_mtime(name, mtime)
    }

    /// Reads all extended attributes; a link's own.
    pub fn xattrs(&self, path: &RelPath) -> Result<Xattrs, Error> {
        let (dir, name) = self.parent(path)?;
        let mut all = Vec::new();
        for key in dir.xattr_names(name)? {
            if let Some(value) = dir.xattr(name, &key)? {
                all.push((key, value));
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Sets an extended attribute; a link's own.
    pub fn set_xattr(&self, path: &RelPath, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        dir.set_xattr(name, key, value)
    }

    /// Removes an extended attribute; a link's own.
    pub fn remove_xattr(&self, path: &RelPath, key: &[u8]) -> Result<(), Error> {
        let (dir, name) = self.parent(path)?;
        dir.remove_xattr(name, key)
    }

    /// Lends the descriptor of the root, for a mount or a `chroot`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

#[cfg(test)]
mod tests;
