//! Changes into a layer, in one pass.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use tar::EntryType;

use crate::oci::{Compression, Digest};
use crate::rootfs::{Device, Dir, FileType, Metadata, Owner, RelPath, Rootfs, Timestamp, escape};
use crate::snapshot::{ChangeKind, Changes, image_xattrs};

use super::compress::{self, BlockWriter, Settings};
use super::error::Error;
use super::ownership::Ownership;
use super::writer::{NewEntry, write_end, write_header, write_padding};

/// Files are read so many bytes at a time.
const READ_BYTES: usize = 128 << 10;

/// How a layer is written.
#[derive(Debug, Clone, Copy)]
pub struct PackOptions<'a> {
    /// The compression.
    pub compression: Compression,
    /// Its level; the compression's own default where `None`: 6 for gzip, 3 for zstd.
    pub level: Option<i32>,
    /// How many blocks are compressed at once. It does not change the bytes.
    pub threads: NonZeroUsize,
    /// Owners and modes that stand over those on disk.
    pub ownership: Option<&'a Ownership>,
    /// No entry is newer than this.
    pub newest_mtime: Option<Timestamp>,
}

impl Default for PackOptions<'_> {
    fn default() -> Self {
        Self {
            compression: Compression::Gzip,
            level: None,
            threads: NonZeroUsize::MIN,
            ownership: None,
            newest_mtime: None,
        }
    }
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the bytes written.
    pub digest: Digest,
    /// The digest of the tar.
    pub diff_id: Digest,
    /// The number of bytes written.
    pub size: u64,
    /// The size of the tar in bytes.
    pub uncompressed: u64,
    /// The compression.
    pub compression: Compression,
    /// The number of entries.
    pub entries: u64,
    /// What a user should know: files that changed while they were read.
    pub warnings: Vec<String>,
}

/// Writes changes of a rootfs as a layer.
///
/// The same tree gives the same bytes. What has vanished since it was found is left out; a file that grows or shrinks
/// while it is read is cut or filled to the size that its header says.
pub fn pack(
    changes: &Changes,
    rootfs: &Rootfs,
    options: &PackOptions<'_>,
    sink: impl Write + Send,
) -> Result<Packed, Error> {
    let settings = Settings {
        compression: options.compression,
        level: options.level,
        threads: options.threads,
    };
    let ((entries, warnings), compressed) = compress::through(settings, sink, |out| {
        let mut packer = Packer {
            rootfs,
            options,
            out,
            directory: None,
            links: HashMap::new(),
            entries: 0,
            warnings: Vec::new(),
            buffer: vec![0; READ_BYTES + 1],
        };
        for change in changes {
            packer.change(&change.path, change.kind)?;
        }
        write_end(packer.out).map_err(Error::Sink)?;
        Ok((packer.entries, packer.warnings))
    })?;
    Ok(Packed {
        digest: compressed.digest,
        diff_id: compressed.diff_id,
        size: compressed.size,
        uncompressed: compressed.uncompressed,
        compression: options.compression,
        entries,
        warnings,
    })
}

struct Packer<'a> {
    rootfs: &'a Rootfs,
    options: &'a PackOptions<'a>,
    out: &'a mut BlockWriter,
    /// The directory of the last change: the next one is mostly in it, too.
    directory: Option<(RelPath, Dir)>,
    /// The first name of each inode that has several.
    links: HashMap<(Device, u64), RelPath>,
    entries: u64,
    warnings: Vec<String>,
    buffer: Vec<u8>,
}

impl Packer<'_> {
    fn change(&mut self, path: &RelPath, kind: ChangeKind) -> Result<(), Error> {
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        if kind == ChangeKind::Deleted {
            return self.whiteout(path, name);
        }
        let parent = path.parent().unwrap_or_default();
        if self
            .directory
            .as_ref()
            .is_none_or(|(known, _)| *known != parent)
        {
            match self.rootfs.open_dir(&parent) {
                Ok(dir) => self.directory = Some((parent, dir)),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(failed(path, error)),
            }
        }
        let Some((_, dir)) = self.directory.take() else {
            return Ok(());
        };
        let outcome = self.present(path, &dir, name);
        self.directory = Some((path.parent().unwrap_or_default(), dir));
        outcome
    }

    fn present(&mut self, path: &RelPath, dir: &Dir, name: &[u8]) -> Result<(), Error> {
        let Some(stat) = dir.lstat(name).map_err(|e| failed(path, e))? else {
            return Ok(());
        };
        if stat.file_type == FileType::Socket || stat.is_whiteout() {
            return Ok(());
        }
        if stat.nlink > 1 && !stat.is_dir() {
            let inode = (stat.dev, stat.ino);
            if let Some(first) = self.links.get(&inode) {
                let first = first.clone();
                let entry = self.entry(path, &stat, EntryType::Link);
                return self.put(&NewEntry {
                    name: path.as_bytes(),
                    link_name: first.as_bytes(),
                    ..entry
                });
            }
            self.links.insert(inode, path.clone());
        }
        let mut xattrs = match stat.file_type {
            FileType::File | FileType::Dir => image_xattrs(dir, name)?,
            _ => Vec::new(),
        };
        // A record's key ends at the first `=`, so no such name can be written.
        xattrs.retain(|(key, _)| !key.contains(&b'='));
        match stat.file_type {
            FileType::File => self.file(path, dir, name, &stat, &xattrs),
            FileType::Dir => {
                let with_slash = [path.as_bytes(), b"/"].concat();
                let entry = self.entry(path, &stat, EntryType::Directory);
                self.put(&NewEntry {
                    name: &with_slash,
                    xattrs: &xattrs,
                    ..entry
                })
            }
            FileType::Symlink => {
                let target = dir.read_link(name).map_err(|e| failed(path, e))?;
                let entry = self.entry(path, &stat, EntryType::Symlink);
                self.put(&NewEntry {
                    name: path.as_bytes(),
                    link_name: &target,
                    ..entry
                })
            }
            FileType::Char | FileType::Block | FileType::Fifo => {
                let entry_type = match stat.file_type {
                    FileType::Char => EntryType::Char,
                    FileType::Block => EntryType::Block,
                    _ => EntryType::Fifo,
                };
                let entry = self.entry(path, &stat, entry_type);
                self.put(&NewEntry {
                    name: path.as_bytes(),
                    device: stat.rdev,
                    ..entry
                })
            }
            FileType::Socket => Ok(()),
        }
    }

    fn entry(&self, path: &RelPath, stat: &Metadata, entry_type: EntryType) -> NewEntry<'static> {
        let recorded = self.options.ownership;
        let mtime = match self.options.newest_mtime {
            Some(newest) => stat.mtime.min(newest),
            None => stat.mtime,
        };
        NewEntry {
            name: b"",
            entry_type,
            link_name: b"",
            mode: recorded.and_then(|o| o.mode(path)).unwrap_or(stat.mode),
            owner: recorded.and_then(|o| o.owner(path)).unwrap_or(stat.owner),
            size: 0,
            mtime,
            device: Device::default(),
            xattrs: &[],
        }
    }

    fn put(&mut self, entry: &NewEntry<'_>) -> Result<(), Error> {
        self.entries += 1;
        write_header(self.out, entry).map_err(Error::Sink)
    }

    /// Writes `.wh.NAME` (image-spec layer.md "Whiteouts").
    fn whiteout(&mut self, path: &RelPath, name: &[u8]) -> Result<(), Error> {
        let marker = [b".wh.", name].concat();
        let marker = path.parent().unwrap_or_default().child(&marker);
        self.put(&NewEntry {
            name: marker.as_bytes(),
            entry_type: EntryType::Regular,
            link_name: b"",
            mode: 0,
            owner: Owner::default(),
            size: 0,
            mtime: Timestamp::default(),
            device: Device::default(),
            xattrs: &[],
        })
    }

    fn file(
        &mut self,
        path: &RelPath,
        dir: &Dir,
        name: &[u8],
        stat: &Metadata,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), Error> {
        let mut file = match stat.size {
            0 => None,
            _ => Some(dir.open_listed(name, stat).map_err(|e| failed(path, e))?.0),
        };
        let entry = self.entry(path, stat, EntryType::Regular);
        self.put(&NewEntry {
            name: path.as_bytes(),
            size: stat.size,
            xattrs,
            ..entry
        })?;
        let mut rest = stat.size;
        let mut has_more = false;
        while let Some(file) = file.as_mut().filter(|_| rest > 0) {
            // The last piece asks for one byte more: a small file is read, and its end seen, in one call.
            let most = match usize::try_from(rest) {
                Ok(rest) if rest <= READ_BYTES => rest + 1,
                Ok(_) | Err(_) => READ_BYTES,
            };
            let length = match file.read(&mut self.buffer[..most]) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(Error::Content {
                        action: "read",
                        entry: path.to_string(),
                        source,
                    });
                }
            };
            has_more = length as u64 > rest;
            let taken = if has_more { length - 1 } else { length };
            self.out
                .write_all(&self.buffer[..taken])
                .map_err(Error::Sink)?;
            rest -= taken as u64;
        }
        if rest > 0 || has_more {
            self.warnings.push(format!(
                "{path} changed its size while it was read; the layer has the {} bytes that it had before",
                stat.size
            ));
            io::copy(&mut io::repeat(0).take(rest), self.out).map_err(Error::Sink)?;
        }
        write_padding(self.out, stat.size).map_err(Error::Sink)
    }
}

fn failed(path: &RelPath, source: crate::rootfs::Error) -> Error {
    Error::Entry {
        entry: escape(path.as_bytes()),
        source,
    }
}
