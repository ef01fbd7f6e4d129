//! The judge: is what is there now what was there before?

use crate::rootfs::{FileType, Metadata};

/// What metadata cannot tell. Each question is asked only when nothing before it has decided.
pub trait Evidence {
    /// Why a question could not be answered.
    type Error;
    /// Are the attributes that belong to an image the same?
    fn same_xattrs(&mut self) -> Result<bool, Self::Error>;
    /// Do both links lead to the same target?
    fn same_target(&mut self) -> Result<bool, Self::Error>;
    /// Do both files hold the same bytes? False where that is not known.
    fn same_content(&mut self) -> Result<bool, Self::Error>;
}

/// Judges by type, mode, owner, device, size, modification time, attributes, target and content, in this order.
///
/// A directory's size and times say nothing: they follow from what is in it.
///
/// # Deviation
/// `BuildKit` trusts equal modification times with nanoseconds and compares no attribute but the file capability. Here
/// content decides whenever metadata is equal, and every attribute of an image counts: a file that was rewritten and
/// given back its time is a change.
pub fn differs<E: Evidence>(
    before: &Metadata,
    after: &Metadata,
    evidence: &mut E,
) -> Result<bool, E::Error> {
    if before.file_type != after.file_type
        || before.mode != after.mode
        || before.owner != after.owner
    {
        return Ok(true);
    }
    let same = match after.file_type {
        FileType::Dir => evidence.same_xattrs()?,
        FileType::File => {
            before.size == after.size
                && before.mtime == after.mtime
                && evidence.same_xattrs()?
                && (after.size == 0 || evidence.same_content()?)
        }
        FileType::Symlink => before.mtime == after.mtime && evidence.same_target()?,
        FileType::Char | FileType::Block => {
            before.rdev == after.rdev && before.mtime == after.mtime
        }
        FileType::Fifo => before.mtime == after.mtime,
        // No layer holds sockets.
        FileType::Socket => true,
    };
    Ok(!same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::{Device, Owner, Timestamp};
    use std::convert::Infallible;

    /// Answers for the three questions; a question not expected is a failed test.
    struct Answers(Option<bool>, Option<bool>, Option<bool>);

    impl Evidence for Answers {
        type Error = Infallible;
        fn same_xattrs(&mut self) -> Result<bool, Infallible> {
            Ok(self.0.expect("attributes asked for"))
        }
        fn same_target(&mut self) -> Result<bool, Infallible> {
            Ok(self.1.expect("target asked for"))
        }
        fn same_content(&mut self) -> Result<bool, Infallible> {
            Ok(self.2.expect("content asked for"))
        }
    }

    fn metadata(file_type: FileType) -> Metadata {
        Metadata {
            file_type,
            mode: 0o644,
            owner: Owner { uid: 1, gid: 2 },
            size: 10,
            mtime: Timestamp { secs: 5, nanos: 6 },
            ctime: Timestamp { secs: 7, nanos: 8 },
            dev: Device { major: 8, minor: 1 },
            ino: 42,
            nlink: 1,
            rdev: Device { major: 1, minor: 3 },
            is_mount_root: false,
        }
    }

    #[test]
    fn judges_in_order_and_asks_only_where_in_doubt() {
        use FileType::{Char, Dir, Fifo, File, Symlink};
        type Edit = fn(&mut Metadata);
        let none = Answers(None, None, None);
        let cases: Vec<(FileType, Edit, Answers, bool)> = vec![
            (File, |m| m.mode = 0o755, Answers(None, None, None), true),
            (File, |m| m.owner.uid = 9, Answers(None, None, None), true),
            (File, |m| m.size = 11, Answers(None, None, None), true),
            (File, |m| m.mtime.nanos = 7, Answers(None, None, None), true),
            (
                File,
                |m| m.file_type = Symlink,
                Answers(None, None, None),
                true,
            ),
            (File, |m| m.ino = 1, Answers(Some(false), None, None), true),
            (
                File,
                |m| m.ino = 1,
                Answers(Some(true), None, Some(false)),
                true,
            ),
            (
                File,
                |m| m.nlink = 2,
                Answers(Some(true), None, Some(true)),
                false,
            ),
            (
                Dir,
                |m| m.mtime.secs = 9,
                Answers(Some(true), None, None),
                false,
            ),
            (
                Dir,
                |m| m.size = 4096,
                Answers(Some(false), None, None),
                true,
            ),
            (
                Symlink,
                |m| m.ino = 1,
                Answers(None, Some(false), None),
                true,
            ),
            (
                Symlink,
                |m| m.ino = 1,
                Answers(None, Some(true), None),
                false,
            ),
            (Char, |m| m.rdev.minor = 5, Answers(None, None, None), true),
            (Fifo, |m| m.ino = 5, none, false),
        ];
        for (index, (file_type, edit, mut answers, expect)) in cases.into_iter().enumerate() {
            let before = metadata(file_type);
            let mut after = before;
            edit(&mut after);
            let Ok(got) = differs(&before, &after, &mut answers);
            assert_eq!(got, expect, "case {index}");
        }
    }
}
