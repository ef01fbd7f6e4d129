//! The digest of what a COPY takes out of the context: everything of the files that reaches the layer, but for times.
//!
//! A file counts with its name, its mode as `--chmod` leaves it, what it links to, and its bytes. Owners and extended
//! attributes of a context's files do not reach an image, and a checkout gives all files new times: neither counts. The
//! walk is that of `copy`: what is hidden there is not seen here.

use std::collections::HashMap;
use std::io::Read;

use crate::cache::KeyHasher;
use crate::oci::Digest;
use crate::plan::{ChmodSpec, CopySource};
use crate::rootfs::{Device, Dir, FileType, Metadata, RelPath};

use super::CopyError;
use super::sources::{SourceTree, find, reincludes};

/// Size of the reads of a file.
const READ_SIZE: usize = 256 * 1024;

/// Files by name, with what of them reaches the layer and the mode there, for who wants to know what changed.
pub(super) type Seen = Vec<(String, Digest, u32)>;

/// Digests what is taken; gives each file with its digest to `seen`.
pub(super) fn digest(
    sources: &[CopySource],
    chmod: Option<&ChmodSpec>,
    source: &SourceTree<'_>,
    seen: &mut Seen,
) -> Result<Digest, CopyError> {
    let mut walk = Walk {
        source,
        chmod,
        links: HashMap::new(),
        lines: Vec::new(),
        seen,
    };
    for spec in sources {
        match spec {
            CopySource::Inline { name, content } => {
                let digest = Digest::of(content.as_bytes());
                walk.add(b'i', name.as_bytes(), 0, digest.as_str().as_bytes());
            }
            // What is behind it is in the key by its checksum or commit.
            CopySource::Url(_) | CopySource::Repository(_) => {}
            CopySource::Path(path) | CopySource::Parents { root: path, .. } => {
                for found in find(source, path)? {
                    walk.links.clear();
                    if found.metadata.is_dir() {
                        walk.add(b'/', b"", 0, b"");
                        walk.children(&found.path, &RelPath::root())?;
                    } else {
                        let (dir, name) = source.rootfs.parent(&found.path)?;
                        let shown = RelPath::root().child(&found.name);
                        walk.entry(&dir, name, &shown, &found.metadata)?;
                    }
                    walk.add(b'.', b"", 0, b"");
                }
            }
        }
    }
    let mut hasher = KeyHasher::new("contents");
    hasher.list("entries", walk.lines);
    let key = hasher.finish();
    Ok(Digest::of(key.as_ref()))
}

struct Walk<'a> {
    source: &'a SourceTree<'a>,
    chmod: Option<&'a ChmodSpec>,
    /// Inodes that have several names, by the first of them.
    links: HashMap<(Device, u64), Vec<u8>>,
    lines: Vec<[u8; 32]>,
    seen: &'a mut Seen,
}

impl Walk<'_> {
    fn add(&mut self, kind: u8, path: &[u8], mode: u32, what: &[u8]) {
        let mut hasher = KeyHasher::new("entry");
        hasher
            .field("kind", [kind])
            .field("path", path)
            .number("mode", mode.into())
            .field("what", what);
        let key = hasher.finish();
        self.lines
            .push(key.as_ref().try_into().expect("a key has 32 bytes"));
        if !path.is_empty() {
            let name = String::from_utf8_lossy(path).into_owned();
            let mut content = KeyHasher::new("seen");
            content.field("kind", [kind]).field("path", path);
            content.field("what", what);
            let content = Digest::of(content.finish().as_ref());
            self.seen.push((name, content, mode));
        }
    }

    /// Adds what is in a directory of the source, under the names that it gets below the destination.
    fn children(&mut self, from: &RelPath, to: &RelPath) -> Result<bool, CopyError> {
        let mut directories = Vec::new();
        let mut has_any = false;
        {
            let dir = self.source.rootfs.open_dir(from)?;
            let mut names = dir.names()?;
            names.sort_unstable();
            for name in names {
                let Some(metadata) = dir.lstat(&name)? else {
                    continue;
                };
                if metadata.is_dir() {
                    directories.push((name, metadata));
                } else if !self.is_hidden(&from.child(&name)) {
                    self.entry(&dir, &name, &to.child(&name), &metadata)?;
                    has_any = true;
                }
            }
        }
        for (name, metadata) in directories {
            has_any |= self.nested(&from.child(&name), &to.child(&name), &metadata)?;
        }
        Ok(has_any)
    }

    fn is_hidden(&self, path: &RelPath) -> bool {
        self.source
            .ignore
            .is_some_and(|rules| rules.excludes(path.as_bytes()).is_some())
    }

    /// Adds a directory, unless it is hidden and shows nothing.
    fn nested(
        &mut self,
        from: &RelPath,
        to: &RelPath,
        metadata: &Metadata,
    ) -> Result<bool, CopyError> {
        let is_hidden = self.is_hidden(from);
        if is_hidden && !reincludes(self.source, from) {
            return Ok(false);
        }
        let before = (self.lines.len(), self.seen.len());
        let has_any = self.children(from, to)?;
        if is_hidden && !has_any {
            self.lines.truncate(before.0);
            self.seen.truncate(before.1);
            return Ok(false);
        }
        let mode = self.mode(metadata.mode, true);
        self.add(b'd', to.as_bytes(), mode, b"");
        Ok(true)
    }

    fn entry(
        &mut self,
        dir: &Dir,
        name: &[u8],
        to: &RelPath,
        metadata: &Metadata,
    ) -> Result<(), CopyError> {
        let path = to.as_bytes();
        if metadata.nlink > 1 && metadata.file_type != FileType::Socket {
            let inode = (metadata.dev, metadata.ino);
            if let Some(first) = self.links.get(&inode).cloned() {
                self.add(b'h', path, 0, &first);
                return Ok(());
            }
            self.links.insert(inode, path.to_vec());
        }
        let mode = self.mode(metadata.mode, false);
        match metadata.file_type {
            FileType::File => {
                let (mut file, _) = dir.open_listed(name, metadata)?;
                let mut digester = crate::oci::Digester::sha256();
                let mut buffer = vec![0; READ_SIZE.min(read_size(metadata.size))];
                loop {
                    let count = file.read(&mut buffer).map_err(|source| CopyError::Write {
                        path: dir.path().child(name).to_string(),
                        source,
                    })?;
                    if count == 0 {
                        break;
                    }
                    digester.update(&buffer[..count]);
                }
                self.add(b'f', path, mode, digester.finish().as_str().as_bytes());
            }
            FileType::Symlink => {
                let target = dir.read_link(name)?;
                self.add(b'l', path, 0, &target);
            }
            FileType::Fifo => self.add(b'p', path, mode, b""),
            FileType::Char => self.add(b'c', path, mode, device(metadata.rdev).as_bytes()),
            FileType::Block => self.add(b'b', path, mode, device(metadata.rdev).as_bytes()),
            // Neither gets into a layer.
            FileType::Socket | FileType::Dir => {}
        }
        Ok(())
    }

    fn mode(&self, mode: u32, is_dir: bool) -> u32 {
        self.chmod.map_or(mode, |spec| spec.apply(mode, is_dir))
    }
}

/// One byte more than the file has, so that its end is seen.
fn read_size(size: u64) -> usize {
    usize::try_from(size).unwrap_or(READ_SIZE).saturating_add(1)
}

fn device(device: Device) -> String {
    format!("{}:{}", device.major, device.minor)
}
