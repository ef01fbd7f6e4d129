//! What a command's mounts put where nothing goes with the tree: into the container's own memory, below `/dev`.
//!
//! Each path is noted before it is made, and the note goes when all has been taken away: by it the next start finds what a killed
//! build has left.

use super::super::SandboxError;
use crate::rootfs::{self, Protected, RelPath, Rootfs};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where paths may be mounted over although they are mounts themselves.
pub(super) const FREE: &str = "dev";

/// Notes what is about to be made for `target`, relative to the root: the first part of it that is not there.
pub(super) fn note(file: &Path, root: &Path, target: &Path) -> Result<(), SandboxError> {
    let mut parts: Vec<&Path> = target
        .ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .collect();
    parts.reverse();
    let is_missing = |part: &&Path| root.join(part).symlink_metadata().is_err();
    let Some(missing) = parts.into_iter().find(is_missing) else {
        return Ok(());
    };
    let mut line = missing.as_os_str().as_bytes().to_vec();
    line.push(0);
    append(file, &line).map_err(|source| SandboxError::path("write", file, source))
}

fn append(file: &Path, line: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.append(true).create(true).mode(0o600).open(file)?;
    file.write_all(line)?;
    file.sync_all()
}

/// Removes the note: all has been taken away.
pub(super) fn forget(file: &Path) -> Result<(), SandboxError> {
    match fs::remove_file(file) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SandboxError::path("remove", file, source)),
    }
}

/// Removes what is noted, and the note.
pub(super) fn remove(file: &Path, root: &Path) -> Result<(), SandboxError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SandboxError::path("read", file, source)),
    };
    let failed = |error: rootfs::Error| {
        SandboxError::path(
            "remove what is noted in",
            file,
            io::Error::other(error.to_string()),
        )
    };
    let tree = Rootfs::open(root).map_err(failed)?;
    // What stands behind the last zero was being written, and not made yet.
    let lines = text.split_inclusive(|byte| *byte == 0);
    for line in lines.filter_map(|line| line.strip_suffix(&[0])) {
        // A command can write here as well: nothing else is removed for it.
        let Ok(path) = RelPath::parse(line) else {
            continue;
        };
        if path.components().next() == Some(FREE.as_bytes()) && path.depth() > 1 {
            tree.remove_all(&path, &Protected::none()).map_err(failed)?;
        }
    }
    forget(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (root, file) = (directory.path().join("root"), directory.path().join("note"));
        fs::create_dir_all(root.join("dev/shm")).unwrap();
        fs::write(root.join("dev/shm/theirs"), "").unwrap();
        fs::write(root.join("etc"), "").unwrap();
        for path in ["dev/deep/er/secret", "dev/shm/secret", "dev/shm/theirs"] {
            note(&file, &root, Path::new(path)).unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), b"dev/deep\0dev/shm/secret\0");
        fs::create_dir_all(root.join("dev/deep/er")).unwrap();
        fs::write(root.join("dev/deep/er/secret"), "").unwrap();
        fs::write(root.join("dev/shm/secret"), "").unwrap();
        append(&file, b"etc\0dev\0dev/../etc\0/etc\0\0dev/shm/theirs").unwrap();
        remove(&file, &root).unwrap();
        let left = |path: &str| root.join(path).exists();
        assert!(!left("dev/deep") && !left("dev/shm/secret") && !file.exists());
        assert!(left("dev/shm/theirs") && left("etc"));
        remove(&file, &root).unwrap();
        forget(&file).unwrap();
    }
}
