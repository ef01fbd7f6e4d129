//! A tree of objects into a directory, by names that cannot leave it.

use std::io::Write as _;

use git2::OdbObject;

use crate::rootfs::{Dir, RelPath, Rootfs, Timestamp, escape};

use super::error::GitError;
use super::objects::{EntryKind, Objects, TreeEntry};

/// What a checkout may hold, over all repositories of one fetch.
const ENTRIES_MAX: u64 = 10_000_000;
const BYTES_MAX: u64 = 100 << 30;
const DEPTH_MAX: usize = 1024;
/// The longest target of a link, in bytes, the NUL at its end not counted (`PATH_MAX`).
const LINK_MAX: usize = 4095;
/// A pointer of Git LFS is smaller than this.
const LFS_POINTER_MAX: usize = 1024;
/// How it begins.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// A submodule that a tree names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gitlink {
    /// Where it is, from the top of its repository.
    pub(super) path: RelPath,
    /// Its commit.
    pub(super) commit: String,
}

/// Writes trees into one directory.
pub(super) struct Checkout<'a> {
    pub(super) rootfs: &'a Rootfs,
    /// Whether pointers of Git LFS are taken as the files.
    pub(super) takes_lfs_pointers: bool,
    /// What was written, for the index of a repository that is kept.
    pub(super) staged: Option<Vec<(RelPath, TreeEntry)>>,
    entries: u64,
    bytes: u64,
}

/// One tree on its way to the disk.
struct Writing<'a> {
    objects: &'a Objects,
    url: &'a str,
    time: Timestamp,
    links: Vec<Gitlink>,
}

impl<'a> Checkout<'a> {
    pub(super) fn new(rootfs: &'a Rootfs, takes_lfs_pointers: bool) -> Self {
        Self {
            rootfs,
            takes_lfs_pointers,
            staged: None,
            entries: 0,
            bytes: 0,
        }
    }

    /// Writes a tree into the directory `at`, which is empty, and returns the submodules in it, whose directories it
    /// makes.
    pub(super) fn write(
        &mut self,
        objects: &Objects,
        tree: &str,
        at: &RelPath,
        committed: i64,
        url: &str,
    ) -> Result<Vec<Gitlink>, GitError> {
        let mut writing = Writing {
            objects,
            url,
            time: Timestamp {
                secs: committed,
                nanos: 0,
            },
            links: Vec::new(),
        };
        let dir = self.rootfs.dir(at)?;
        self.write_tree(&mut writing, tree, &dir, &RelPath::root())?;
        Ok(writing.links)
    }

    fn write_tree(
        &mut self,
        writing: &mut Writing<'_>,
        tree: &str,
        dir: &Dir,
        path: &RelPath,
    ) -> Result<(), GitError> {
        if path.depth() > DEPTH_MAX {
            return Err(too_large(
                writing.url,
                DEPTH_MAX as u64,
                "nested directories",
            ));
        }
        for entry in writing.objects.tree(tree)? {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(too_large(writing.url, ENTRIES_MAX, "files"));
            }
            if let Some(reason) = refusal(&entry.name) {
                return Err(GitError::Refused {
                    url: writing.url.to_owned(),
                    path: escape(&[path.as_bytes(), b"/", &entry.name].concat()),
                    reason: reason.to_owned(),
                });
            }
            self.write_entry(writing, &entry, dir, &path.child(&entry.name))?;
            if let Some(staged) = &mut self.staged {
                staged.push((path.child(&entry.name), entry));
            }
        }
        Ok(())
    }

    fn write_entry(
        &mut self,
        writing: &mut Writing<'_>,
        entry: &TreeEntry,
        dir: &Dir,
        path: &RelPath,
    ) -> Result<(), GitError> {
        let name = &entry.name[..];
        match entry.kind {
            EntryKind::File { is_executable } => {
                let blob = self.blob(writing, &entry.id)?;
                if !self.takes_lfs_pointers && is_lfs_pointer(blob.data()) {
                    return Err(GitError::Lfs {
                        url: writing.url.to_owned(),
                        path: path.to_string(),
                    });
                }
                let file = dir.new_file(name)?;
                file.file()
                    .write_all(blob.data())
                    .map_err(|source| GitError::Write {
                        url: writing.url.to_owned(),
                        action: "write a file",
                        source,
                    })?;
                file.set_mode(if is_executable { 0o755 } else { 0o644 })?;
                file.set_mtime(writing.time)?;
            }
            EntryKind::Link => {
                let blob = self.blob(writing, &entry.id)?;
                let target = blob.data();
                if target.is_empty() || target.len() > LINK_MAX || target.contains(&0) {
                    return Err(GitError::Refused {
                        url: writing.url.to_owned(),
                        path: path.to_string(),
                        reason: "the target of the link is none".to_owned(),
                    });
                }
                dir.symlink(name, target)?;
                dir.set_mtime(name, writing.time)?;
            }
            EntryKind::Tree => {
                dir.create_dir(name, 0o755)?;
                dir.set_mode(name, 0o755)?;
                self.write_tree(writing, &entry.id, &dir.open_dir(name)?, path)?;
                dir.set_mtime(name, writing.time)?;
            }
            EntryKind::Submodule => {
                dir.create_dir(name, 0o755)?;
                dir.set_mode(name, 0o755)?;
                dir.set_mtime(name, writing.time)?;
                writing.links.push(Gitlink {
                    path: path.clone(),
                    commit: entry.id.clone(),
                });
            }
        }
        Ok(())
    }

    fn blob<'o>(&mut self, writing: &Writing<'o>, id: &str) -> Result<OdbObject<'o>, GitError> {
        let blob = writing.objects.blob(id)?;
        self.bytes += blob.len() as u64;
        if self.bytes > BYTES_MAX {
            return Err(too_large(writing.url, BYTES_MAX, "bytes of files"));
        }
        Ok(blob)
    }
}

/// Finds a directory of a tree. Every step of the path must be a directory: a link is not followed.
pub(super) fn subtree(
    objects: &Objects,
    tree: &str,
    path: &str,
    url: &str,
) -> Result<String, GitError> {
    let mut tree = tree.to_owned();
    for name in path.split('/') {
        let found = objects
            .tree(&tree)?
            .into_iter()
            .find(|entry| entry.name == name.as_bytes());
        let failed = |reason| GitError::Subdir {
            url: url.to_owned(),
            path: path.to_owned(),
            reason,
        };
        tree = match found {
            Some(entry) if entry.kind == EntryKind::Tree => entry.id,
            Some(entry) if entry.kind == EntryKind::Link => {
                return Err(failed("a link stands there, which is not followed"));
            }
            Some(entry) if entry.kind == EntryKind::Submodule => {
                return Err(failed("a submodule stands there"));
            }
            Some(_) => return Err(failed("a file stands there")),
            None => return Err(failed("there is nothing of that name")),
        };
    }
    Ok(tree)
}

/// Why a name of a tree is refused, if it is.
fn refusal(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        Some("it is no name of a file")
    } else if name.eq_ignore_ascii_case(b".git") {
        Some("a repository may not bring a .git of its own")
    } else if name.len() > 255 {
        Some("its name is longer than 255 bytes")
    } else {
        None
    }
}

fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.len() < LFS_POINTER_MAX && bytes.starts_with(LFS_POINTER)
}

fn too_large(url: &str, limit: u64, what: &'static str) -> GitError {
    GitError::TooLarge {
        url: url.to_owned(),
        limit,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b".git", b".GIT", b".Git"] {
            assert!(refusal(name).is_some(), "{}", escape(name));
        }
        assert!(refusal(&[b'x'; 256]).is_some());
        for name in [&b"a"[..], b".gitmodules", b"...", b"git~1", b"\xff\n"] {
            assert!(refusal(name).is_none(), "{}", escape(name));
        }
    }

    #[test]
    fn pointers_of_lfs_are_recognized() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
        assert!(is_lfs_pointer(pointer));
        assert!(!is_lfs_pointer(b"version 2\n"));
    }
}
