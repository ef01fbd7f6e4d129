//! What the ignore rules hide goes when they are known, if it had to be written before.
//!
//! An archive on standard input passes once: its rules may come late, others may win over them, and a hard link may name what
//! they hide. So [`super::sieve`] cannot hold anything back there. Here all that is known, and the disk has the space again
//! before the build needs it.

use crate::rootfs::{FileType, RelPath, Rootfs, Timestamp};

use super::ignore::{DirState, Ignore};

/// Nothing is removed deeper than this: what stays is hidden all the same.
const DEPTH_MAX: usize = 256;

/// Removes the files that the rules hide and the directories that hold nothing else. Links stay: a way to what is not hidden may
/// lead over them. The times of what is not hidden do not change.
pub(super) fn prune(rootfs: &Rootfs, rules: &Ignore) {
    let root = rootfs.open_dir(&RelPath::root());
    let metadata = root.and_then(|root| root.metadata());
    if let Ok(metadata) = metadata
        && !rules.is_empty()
    {
        below(
            rootfs,
            rules,
            &RelPath::root(),
            &rules.root(),
            metadata.mtime,
        );
    }
}

/// Returns whether the directory is empty now. What cannot be read or removed stays, and is hidden all the same.
fn below(
    rootfs: &Rootfs,
    rules: &Ignore,
    path: &RelPath,
    state: &DirState,
    mtime: Timestamp,
) -> bool {
    if path.depth() > DEPTH_MAX {
        return false;
    }
    let Ok(names) = rootfs.read_dir(path) else {
        return false;
    };
    let (mut directories, mut has_removed, mut is_empty) = (Vec::new(), false, true);
    // No directory is open while those below it are looked at: a tree may be deeper than files may be open.
    for name in names {
        let entry = path.child(&name);
        let decision = rules.decide(state, entry.as_bytes());
        let is_hidden = decision.excluded_by.is_some();
        match rootfs.lstat(&entry) {
            Ok(Some(metadata)) if metadata.is_dir() => {
                directories.push((entry, is_hidden, decision.state, metadata.mtime));
            }
            Ok(Some(metadata))
                if is_hidden
                    && metadata.file_type != FileType::Symlink
                    && rootfs.remove(&entry).is_ok() =>
            {
                has_removed = true;
            }
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => is_empty = false,
        }
    }
    for (entry, is_hidden, state, mtime) in directories {
        let is_gone = below(rootfs, rules, &entry, &state, mtime)
            && is_hidden
            && rootfs.remove(&entry).is_ok();
        has_removed |= is_gone;
        is_empty &= is_gone;
    }
    if has_removed && !is_empty {
        let restored = match rootfs.open_dir(path) {
            Ok(dir) => dir.set_mtime(b".", mtime),
            Err(error) => Err(error),
        };
        // Who may remove files from a directory and not set its time does not own it; we made it.
        debug_assert!(restored.is_ok(), "{restored:?}");
    }
    is_empty
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_hidden_goes_and_nothing_else_changes() {
        let scratch = tempfile::tempdir().expect("a directory");
        let root = scratch.path();
        for dir in ["empty", "hidden/deep", "kept/node", "part/all"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        let files = [
            "a",
            "hidden/deep/x",
            "kept/node/y",
            "kept/z",
            "part/all/x",
            "part/back",
            "part/x",
        ];
        for file in files {
            fs::write(root.join(file), "text").expect("a file");
        }
        fs::hard_link(root.join("hidden/deep/x"), root.join("linked")).expect("a link");
        symlink("../kept", root.join("part/way")).expect("a link");
        for dir in ["", "kept", "part"] {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
            let dir = fs::File::open(root.join(dir)).expect("a directory");
            dir.set_times(fs::FileTimes::new().set_modified(time))
                .expect("its time");
        }
        let rules = b"empty\nhidden\nkept/node\npart\n!part/back\n";
        let rules = Ignore::parse(rules, "rules").expect("rules");
        prune(&Rootfs::open(root).expect("a root"), &rules);
        let left = |dir: &str| {
            let entries = fs::read_dir(root.join(dir)).expect("a directory");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<_> = names
                .map(|name| name.into_string().expect("text"))
                .collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(left(""), "a kept linked part");
        assert_eq!(left("kept"), "z");
        assert_eq!(left("part"), "back way");
        for dir in ["", "kept", "part"] {
            let metadata = fs::metadata(root.join(dir)).expect("a directory");
            assert_eq!(metadata.mtime(), 1000, "{dir}");
        }
    }
}
