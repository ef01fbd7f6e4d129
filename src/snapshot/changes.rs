//! The answer of a snapshot: sorted paths, each with what happened to it.

use crate::rootfs::{Dir, FileType, Protected, RelPath, Rootfs};

use super::Error;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It was there and is different.
    Modified,
    /// It is gone, with all below it.
    Deleted,
    /// It is a directory above a change, itself unchanged.
    Parent,
}

/// One path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The canonical path.
    pub path: RelPath,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What changed, in the order of a layer: a directory before what it holds, never the root itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// Sorts changes, drops the root and doubles, and adds the directories above.
    pub fn new(mut changes: Vec<Change>) -> Self {
        changes.retain(|change| !change.path.is_root());
        let is_sorted = changes.is_sorted_by(|a, b| a.path < b.path);
        if !is_sorted {
            changes.sort_by(|a, b| a.path.cmp(&b.path));
            // Of several things that happened to one path, the last told stands.
            changes.reverse();
            changes.dedup_by(|a, b| a.path == b.path);
            changes.reverse();
        }
        let mut all: Vec<Change> = Vec::with_capacity(changes.len());
        for change in changes {
            let missing: Vec<_> = match all.last() {
                Some(last) if is_sibling(&last.path, &change.path) => Vec::new(),
                last => change
                    .path
                    .ancestors_below_root()
                    .filter(|above| !last.is_some_and(|last| last.path.starts_with(above)))
                    .collect(),
            };
            all.extend(missing.into_iter().map(|path| Change {
                path,
                kind: ChangeKind::Parent,
            }));
            all.push(change);
        }
        Self(all)
    }

    /// Takes paths that a step wrote itself as added; what is protected, or a socket, or not there, is left out.
    pub fn from_paths(
        rootfs: &Rootfs,
        protected: &Protected,
        touched: impl IntoIterator<Item = RelPath>,
    ) -> Result<Self, Error> {
        let mut changes = Vec::new();
        // The directory of the last path: the next one is mostly in it, too.
        let mut known: Option<(RelPath, Option<Dir>)> = None;
        for path in touched {
            let Some(name) = path.file_name() else {
                continue;
            };
            if protected.covers(&path) {
                continue;
            }
            let parent = path.parent().unwrap_or_default();
            let dir = match known.take() {
                Some((at, dir)) if at == parent => dir,
                _ => match rootfs.open_dir(&parent) {
                    Ok(dir) => Some(dir),
                    Err(error) if error.is_not_found() => None,
                    Err(error) => return Err(error.into()),
                },
            };
            let stat = match &dir {
                Some(dir) => dir.lstat(name)?,
                None => None,
            };
            if stat.is_some_and(|s| s.file_type != FileType::Socket && !s.is_mount_root) {
                changes.push(Change {
                    path,
                    kind: ChangeKind::Added,
                });
            }
            known = Some((parent, dir));
        }
        Ok(Self::new(changes))
    }

    /// Is there nothing for a layer to hold?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts the paths, the directories above changes included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Iterates in the order of a layer.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Are both in the same directory? The usual case, answered without taking paths apart.
fn is_sibling(a: &RelPath, b: &RelPath) -> bool {
    let above = |p: &RelPath| p.as_bytes().iter().rposition(|&b| b == b'/');
    match (above(a), above(b)) {
        (Some(x), Some(y)) => a.as_bytes()[..x] == b.as_bytes()[..y],
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::ChangeKind::{Added, Deleted, Modified, Parent};
    use super::*;

    #[test]
    fn directories_above_come_once_and_first() {
        let change = |path: &str, kind| Change {
            path: RelPath::parse(path).unwrap(),
            kind,
        };
        let changes = Changes::new(vec![
            change("usr/lib/x", Added),
            change("", Modified),
            change("usr-local/y", Added),
            change("usr/lib/w/deep", Deleted),
            change("usr/lib", Added),
            change("usr/lib", Modified),
            change("a", Added),
        ]);
        let expect = vec![
            change("a", Added),
            change("usr", Parent),
            change("usr/lib", Modified),
            change("usr/lib/w", Parent),
            change("usr/lib/w/deep", Deleted),
            change("usr/lib/x", Added),
            change("usr-local", Parent),
            change("usr-local/y", Added),
        ];
        assert_eq!(changes, Changes(expect));
    }
}
