//! A file that was just created and is still open: its attributes are set through its descriptor.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{Gid, Mode, Uid, XattrFlags};

use super::dir::both_times;
use super::error::Error;
use super::metadata::{Owner, Timestamp};
use super::path::RelPath;

/// A new file, written and finished by descriptor, so that nothing can take its place meanwhile.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: RelPath,
}

impl NewFile {
    pub(super) fn new(file: File, path: RelPath) -> Self {
        Self { file, path }
    }

    /// Changes the owner. Do this first: it takes capabilities and the setuid bit away.
    pub fn set_owner(&self, owner: Owner) -> Result<(), Error> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::fchown(&self.file, Some(uid), Some(gid))
            .map_err(|e| Error::io("change the owner of", &self.path, e))
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        rustix::fs::fsetxattr(&self.file, key, value, XattrFlags::empty())
            .map_err(|e| Error::io("set an attribute of", &self.path, e))
    }

    /// Changes the permission bits.
    pub fn set_mode(&self, mode: u32) -> Result<(), Error> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))
            .map_err(|e| Error::io("change the mode of", &self.path, e))
    }

    /// Sets the modification time. Do this last.
    pub fn set_mtime(&self, mtime: Timestamp) -> Result<(), Error> {
        rustix::fs::futimens(&self.file, &both_times(mtime))
            .map_err(|e| Error::io("set the times of", &self.path, e))
    }

    /// Makes the file this long; what was not written is a hole.
    pub fn set_len(&self, size: u64) -> Result<(), Error> {
        self.file
            .set_len(size)
            .map_err(|e| Error::io("set the length of", &self.path, e))
    }

    /// Lends the opened file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
