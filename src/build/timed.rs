//! `--snapshot-mode=time`: what changed according to modification times, and to nothing else.

use std::collections::BTreeSet;

use crate::rootfs::{self, RelPath, Rootfs, Timestamp};
use crate::snapshot::{Change, ChangeKind, Changes};

/// Leaves out what kept its modification time, and the directories above that nothing is left below of. `before` tells
/// the time that a path had before the step.
pub(super) fn only_newer(
    changes: &Changes,
    after: &Rootfs,
    before: impl Fn(&RelPath) -> Result<Option<Timestamp>, rootfs::Error>,
) -> Result<Changes, rootfs::Error> {
    let mut kept: Vec<Change> = Vec::new();
    let mut parents: Vec<&Change> = Vec::new();
    for change in changes {
        let is_kept = match change.kind {
            ChangeKind::Added | ChangeKind::Deleted => true,
            ChangeKind::Modified => {
                after.lstat(&change.path)?.map(|there| there.mtime) != before(&change.path)?
            }
            ChangeKind::Parent => {
                parents.push(change);
                false
            }
        };
        if is_kept {
            kept.push(change.clone());
        }
    }
    let mut above = BTreeSet::new();
    for change in &kept {
        let mut path = change.path.parent();
        while let Some(parent) = path {
            path = parent.parent();
            if !above.insert(parent) {
                break;
            }
        }
    }
    kept.extend(
        parents
            .into_iter()
            .filter(|change| above.contains(&change.path))
            .cloned(),
    );
    Ok(Changes::new(kept))
}
