//! The objects of a repository: a pack goes in, commits, trees and blobs come out, each checked against its name.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use git2::{Indexer, ObjectType, Odb, OdbObject, Oid};

use super::error::GitError;
use super::pack::{Fault, Guard, Limits};

/// The most tags that may point at one another.
const TAGS_MAX: usize = 16;
/// The largest commit, tag, tree or `.gitmodules`, in bytes.
const TALK_OBJECT_MAX: usize = 64 << 20;
/// The largest file, in bytes: each is held in memory once. GitHub and GitLab.com take files of up to 100 MiB.
const BLOB_MAX: usize = 512 << 20;
/// The largest pack, in bytes.
const PACK_MAX: u64 = 32 << 30;
/// The most objects: libgit2 keeps some 150 bytes of each in memory.
const OBJECTS_MAX: u32 = 5_000_000;
/// The most bytes of all objects together, unpacked: each is unpacked once to learn its name.
const UNPACKED_MAX: u64 = 512 << 30;

/// The objects that were fetched.
pub(super) struct Objects {
    database: Odb<'static>,
    directory: PathBuf,
    url: String,
}

/// What is read of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) tree: String,
    /// Seconds since 1970.
    pub(super) committed: i64,
}

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File {
        is_executable: bool,
    },
    Link,
    Tree,
    /// A commit of another repository.
    Submodule,
}

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub(super) name: Vec<u8>,
    pub(super) kind: EntryKind,
    pub(super) id: String,
}

impl Objects {
    /// Makes an empty store in a new directory.
    pub(super) fn create(directory: &Path, url: &str) -> Result<Self, GitError> {
        std::fs::create_dir_all(directory.join("pack")).map_err(|source| GitError::Write {
            url: url.to_owned(),
            action: "make a directory for objects",
            source,
        })?;
        let database = Odb::new().map_err(|error| damaged(url, &error))?;
        Ok(Self {
            database,
            directory: directory.to_owned(),
            url: url.to_owned(),
        })
    }

    /// The directory, laid out as `.git/objects`.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts to take a pack.
    pub(super) fn receive(&self) -> Result<Receiving<'_>, GitError> {
        let directory = self.directory.join("pack");
        let indexer = Indexer::new(None, &directory, 0o444, false)
            .map_err(|error| damaged(&self.url, &error))?;
        Ok(Receiving {
            objects: self,
            indexer,
            guard: Guard::new(Limits {
                objects: OBJECTS_MAX,
                object: BLOB_MAX as u64,
                unpacked: UNPACKED_MAX,
            }),
            received: 0,
        })
    }

    /// Reads a commit, or the commit that a tag leads to.
    pub(super) fn commit(&self, id: &str) -> Result<Commit, GitError> {
        let mut id = id.to_owned();
        for _ in 0..TAGS_MAX {
            let object = self.read(&id, TALK_OBJECT_MAX)?;
            match object.kind() {
                ObjectType::Commit => return self.parse_commit(&id, object.data()),
                ObjectType::Tag => {
                    id = header(object.data(), "object ")
                        .filter(|id| super::source::is_full_commit(id))
                        .ok_or_else(|| self.malformed(&format!("the tag {id} names no object")))?
                        .to_owned();
                }
                _ => {
                    return Err(self.malformed(&format!("{id} is neither a commit nor a tag")));
                }
            }
        }
        Err(self.malformed("a tag of a tag of a tag, without end"))
    }

    fn parse_commit(&self, id: &str, bytes: &[u8]) -> Result<Commit, GitError> {
        let malformed = || self.malformed(&format!("the commit {id} has no tree or time"));
        let tree = header(bytes, "tree ")
            .filter(|id| super::source::is_full_commit(id))
            .ok_or_else(malformed)?;
        // `committer NAME <MAIL> SECONDS ZONE`
        let committer = bytes
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix(b"committer "))
            .ok_or_else(malformed)?;
        let after_mail = committer
            .rsplit(|byte| *byte == b'>')
            .next()
            .unwrap_or_default();
        let committed = std::str::from_utf8(after_mail)
            .ok()
            .and_then(|text| text.split_whitespace().next())
            .and_then(|seconds| seconds.parse::<i64>().ok())
            .ok_or_else(malformed)?;
        Ok(Commit {
            id: id.to_owned(),
            tree: tree.to_owned(),
            committed: committed.max(0),
        })
    }

    /// Reads a tree.
    pub(super) fn tree(&self, id: &str) -> Result<Vec<TreeEntry>, GitError> {
        let object = self.read(id, TALK_OBJECT_MAX)?;
        if object.kind() != ObjectType::Tree {
            return Err(self.malformed(&format!("{id} is not a tree")));
        }
        parse_tree(object.data())
            .ok_or_else(|| self.malformed(&format!("the tree {id} cannot be read")))
    }

    /// Reads a file.
    pub(super) fn blob(&self, id: &str) -> Result<OdbObject<'_>, GitError> {
        let object = self.read(id, BLOB_MAX)?;
        if object.kind() != ObjectType::Blob {
            return Err(self.malformed(&format!("{id} is not a file")));
        }
        Ok(object)
    }

    /// Whether an object is there.
    pub(super) fn has(&self, id: &str) -> bool {
        Oid::from_str(id).is_ok_and(|id| self.database.exists(id))
    }

    fn read(&self, id: &str, limit: usize) -> Result<OdbObject<'_>, GitError> {
        let failed = |error: git2::Error| damaged(&self.url, &error);
        let oid = Oid::from_str(id).map_err(failed)?;
        let (size, _) = self.database.read_header(oid).map_err(failed)?;
        if size > limit {
            return Err(GitError::TooLarge {
                url: self.url.clone(),
                limit: limit as u64,
                what: "bytes in one object",
            });
        }
        self.database.read(oid).map_err(failed)
    }

    fn malformed(&self, reason: &str) -> GitError {
        GitError::Objects {
            url: self.url.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// A pack on its way in.
pub(super) struct Receiving<'a> {
    objects: &'a Objects,
    indexer: Indexer<'static>,
    guard: Guard,
    received: u64,
}

impl Receiving<'_> {
    /// Takes some bytes of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), GitError> {
        self.received += bytes.len() as u64;
        if self.received > PACK_MAX {
            return Err(GitError::TooLarge {
                url: self.objects.url.clone(),
                limit: PACK_MAX,
                what: "bytes of objects",
            });
        }
        self.guard
            .check(bytes)
            .map_err(|fault| self.refused(fault))?;
        self.indexer
            .write_all(bytes)
            .map_err(|error| GitError::Objects {
                url: self.objects.url.clone(),
                reason: crate::http::printable(&error.to_string(), 300),
            })
    }

    /// Checks it and makes its objects readable.
    pub(super) fn finish(self) -> Result<(), GitError> {
        self.guard.finish().map_err(|fault| self.refused(fault))?;
        let url = &self.objects.url;
        let failed = |error: git2::Error| damaged(url, &error);
        self.indexer.commit().map_err(failed)?;
        let Some(directory) = self.objects.directory.to_str() else {
            return Err(self
                .objects
                .malformed("the directory for objects is not UTF-8"));
        };
        let database = &self.objects.database;
        database.add_disk_alternate(directory).map_err(failed)
    }

    fn refused(&self, fault: Fault) -> GitError {
        match fault {
            Fault::Malformed(reason) => self.objects.malformed(reason),
            Fault::TooLarge { limit, what } => GitError::TooLarge {
                url: self.objects.url.clone(),
                limit,
                what,
            },
        }
    }
}

fn damaged(url: &str, error: &git2::Error) -> GitError {
    GitError::Objects {
        url: url.to_owned(),
        reason: crate::http::printable(error.message(), 300),
    }
}

/// The value of a line in front of the message of a commit or tag.
fn header<'a>(bytes: &'a [u8], name: &str) -> Option<&'a str> {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.is_empty())
        .find(|line| line.starts_with(name.as_bytes()))?;
    std::str::from_utf8(&line[name.len()..]).ok()
}

/// Parses `MODE NAME\0ID` one after the other; `None` if anything is not so.
fn parse_tree(mut bytes: &[u8]) -> Option<Vec<TreeEntry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let mode = std::str::from_utf8(&bytes[..space]).ok()?;
        let mode = u32::from_str_radix(mode, 8).ok()?;
        let rest = &bytes[space + 1..];
        let end = rest.iter().position(|byte| *byte == 0)?;
        let id = rest.get(end + 1..end + 21)?;
        let kind = match mode & 0o170_000 {
            0o040_000 => EntryKind::Tree,
            0o100_000 => EntryKind::File {
                is_executable: mode & 0o100 != 0,
            },
            0o120_000 => EntryKind::Link,
            0o160_000 => EntryKind::Submodule,
            _ => return None,
        };
        entries.push(TreeEntry {
            name: rest[..end].to_vec(),
            kind,
            id: hex::encode(id),
        });
        bytes = &rest[end + 21..];
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_parse() {
        let mut bytes = b"100755 run\0".to_vec();
        bytes.extend([0xab; 20]);
        bytes.extend(b"40000 dir\0");
        bytes.extend([1; 20]);
        let entries = parse_tree(&bytes).expect("a tree");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].name, b"run");
        assert_eq!(entries[0].id, "ab".repeat(20));
        assert_eq!(
            entries[0].kind,
            EntryKind::File {
                is_executable: true
            }
        );
        assert_eq!(entries[1].kind, EntryKind::Tree);
        for cut in 1..bytes.len() {
            if cut != 31 {
                assert!(parse_tree(&bytes[..cut]).is_none(), "{cut}");
            }
        }
        assert!(parse_tree(b"20000 device\0aaaaaaaaaaaaaaaaaaaa").is_none());
    }

    #[test]
    fn headers_end_at_the_message() {
        let commit = b"tree abc\ncommitter x\n\nobject def\n";
        assert_eq!(header(commit, "tree "), Some("abc"));
        assert_eq!(header(commit, "object "), None);
    }
}
