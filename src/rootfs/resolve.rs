//! From a path to a descriptor, with every symbolic link scoped to the root.
//!
//! Two ways with one meaning: `openat2(RESOLVE_IN_ROOT)`, and a walk by components for kernels and seccomp profiles
//! that refuse it. The walk also tells the canonical path, which the kernel's way cannot.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::path::RelPath;

/// The kernel's `PATH_MAX` with its NUL; longer paths are walked.
const KERNEL_PATH_BYTES_MAX: usize = 4095;
/// Symbolic links followed before a path counts as a loop.
const LINKS_MAX: usize = 255;
/// `openat2` answers EAGAIN when a rename or a mount anywhere on the machine raced with a `..`; after so many the walk decides.
const RACES_MAX: usize = 16;

/// A directory for `*at` calls: no permission to read it is needed.
pub(super) const DIR_HANDLE: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What to do with the last component when it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Follow it, inside the root.
    Follow,
    /// Take the link itself.
    Keep,
}

/// What to do when a part of a path does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Refuse,
    Append,
}

/// Where a walk ended.
pub(super) struct Walked {
    /// The path without symbolic links.
    pub(super) canonical: RelPath,
    /// The directory there, if the path ended at one.
    pub(super) dir: Option<OwnedFd>,
}

/// Opens a directory or file below `root` in the kernel's way. `None` means: walk instead.
pub(super) fn openat2(
    root: BorrowedFd<'_>,
    path: &RelPath,
    flags: OFlags,
) -> Option<Result<OwnedFd, Errno>> {
    let bytes = match path.as_bytes() {
        b"" => b".",
        bytes if bytes.len() > KERNEL_PATH_BYTES_MAX => return None,
        bytes => bytes,
    };
    ask_kernel(root, bytes, flags)
}

/// The kernel's answer. `None` where it has no such call, or others' renames raced with a `..` again and again.
fn ask_kernel(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Option<Result<OwnedFd, Errno>> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RACES_MAX {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return None,
            answer => return Some(answer),
        }
    }
    None
}

/// Opens what is at a path as it is written, `..` and a leading slash too, as a chroot at `root` would: in the kernel's way, or by
/// the walk where the kernel has none, as gVisor's.
pub fn open_chrooted(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let kernel = if path.is_empty() { b"." } else { path };
    ask_kernel(root, kernel, flags).unwrap_or_else(|| open_walking(root, path, flags))
}

/// The same by the walk. What is opened is not replaced by others meanwhile: no command runs yet, or any more.
pub(super) fn open_walking(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let parts = path
        .split(|&b| b == b'/')
        .filter(|p| !matches!(*p, b"" | b"."));
    let pending = parts.map(<[u8]>::to_vec).collect();
    let walked = walk_parts(root, pending, Leaf::Follow, Missing::Refuse)?;
    if let Some(dir) = walked.dir {
        return rustix::fs::openat(dir, ".", flags, Mode::empty());
    }
    let parent = walked.canonical.parent().unwrap_or_default();
    let parent = walk(root, &parent, Leaf::Follow, Missing::Refuse)?;
    let parent = parent.dir.ok_or(Errno::NOTDIR)?;
    let name = walked.canonical.file_name().unwrap_or_default();
    rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Walks from the root by components, following links inside it.
pub(super) fn walk(
    root: BorrowedFd<'_>,
    path: &RelPath,
    leaf: Leaf,
    missing: Missing,
) -> Result<Walked, Errno> {
    let pending = path.components().map(<[u8]>::to_vec).collect();
    walk_parts(root, pending, leaf, missing)
}

fn walk_parts(
    root: BorrowedFd<'_>,
    pending: VecDeque<Vec<u8>>,
    leaf: Leaf,
    missing: Missing,
) -> Result<Walked, Errno> {
    let walk = Walk {
        root,
        at: None,
        canonical: RelPath::root(),
        pending,
        links: 0,
    };
    go(walk, leaf, missing)
}

/// Walks on from an opened directory, whose canonical path is given, to one below it.
pub(super) fn walk_on(
    root: BorrowedFd<'_>,
    above: (BorrowedFd<'_>, &RelPath),
    path: &RelPath,
) -> Result<Walked, Errno> {
    let walk = Walk {
        root,
        at: Some(rustix::io::fcntl_dupfd_cloexec(above.0, 0)?),
        canonical: above.1.clone(),
        pending: path.components().map(<[u8]>::to_vec).collect(),
        links: 0,
    };
    go(walk, Leaf::Follow, Missing::Refuse)
}

fn go(mut walk: Walk<'_>, leaf: Leaf, missing: Missing) -> Result<Walked, Errno> {
    let root = walk.root;
    while let Some(name) = walk.pending.pop_front() {
        if name == b".." {
            walk.go_up()?;
            continue;
        }
        let here = walk.at.as_ref().map_or(root, AsFd::as_fd);
        match rustix::fs::openat(here, name.as_slice(), DIR_HANDLE, Mode::empty()) {
            Ok(dir) => {
                walk.canonical = walk.canonical.child(&name);
                walk.at = Some(dir);
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let is_last = walk.pending.is_empty();
                if is_last && leaf == Leaf::Keep {
                    return Ok(walk.ends_without_dir(&name));
                }
                match rustix::fs::readlinkat(here, name.as_slice(), Vec::new()) {
                    Ok(target) => walk.follow(target.as_bytes())?,
                    Err(Errno::INVAL) if is_last => return Ok(walk.ends_without_dir(&name)),
                    Err(Errno::INVAL) => return Err(Errno::NOTDIR),
                    Err(error) => return Err(error),
                }
            }
            Err(Errno::NOENT) if missing == Missing::Append => {
                walk.pending.push_front(name);
                return Ok(walk.appends_the_rest());
            }
            Err(Errno::INTR) => walk.pending.push_front(name),
            Err(error) => return Err(error),
        }
    }
    let dir = match walk.at {
        Some(dir) => dir,
        None => rustix::io::fcntl_dupfd_cloexec(root, 0)?,
    };
    Ok(Walked {
        canonical: walk.canonical,
        dir: Some(dir),
    })
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directory reached; the root itself where `None`.
    at: Option<OwnedFd>,
    canonical: RelPath,
    pending: VecDeque<Vec<u8>>,
    links: usize,
}

impl Walk<'_> {
    fn follow(&mut self, target: &[u8]) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        if target.starts_with(b"/") {
            self.at = None;
            self.canonical = RelPath::root();
        }
        let parts = target.split(|&b| b == b'/');
        for part in parts.rev().filter(|p| !matches!(*p, b"" | b".")) {
            self.pending.push_front(part.to_vec());
        }
        Ok(())
    }

    /// Goes to the parent by walking down again: an opened `..` could lead out after a rename.
    fn go_up(&mut self) -> Result<(), Errno> {
        self.canonical = self.canonical.parent().unwrap_or_default();
        self.at = None;
        for name in self.canonical.components() {
            let here = self.at.as_ref().map_or(self.root, AsFd::as_fd);
            self.at = Some(rustix::fs::openat(here, name, DIR_HANDLE, Mode::empty())?);
        }
        Ok(())
    }

    fn ends_without_dir(self, name: &[u8]) -> Walked {
        Walked {
            canonical: self.canonical.child(name),
            dir: None,
        }
    }

    fn appends_the_rest(self) -> Walked {
        let mut canonical = self.canonical;
        for name in self.pending {
            canonical = if name == b".." {
                canonical.parent().unwrap_or_default()
            } else {
                canonical.child(&name)
            };
        }
        Walked {
            canonical,
            dir: None,
        }
    }
}
