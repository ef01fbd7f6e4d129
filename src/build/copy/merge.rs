//! What is in a directory, into another one.

use crate::rootfs::{Metadata, RelPath};

use super::Copier;
use crate::build::CopyError;
use crate::build::filter::FilterState;
use crate::build::sources::reincludes;

/// A directory that is copied when something in it is.
pub(super) struct Pending {
    from: RelPath,
    to: RelPath,
    metadata: Metadata,
    state: PendingState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PendingState {
    /// Nothing was copied into it.
    Waiting,
    /// It was there before.
    Found,
    /// It was made.
    Made,
}

impl Copier<'_> {
    /// Copies what is in a directory into one that is there, or that is made if something is copied: first what is no
    /// directory, while both are open, then the directories, so that few descriptors are open however deep the tree is.
    /// `inside` is the directory's path in the source that is copied, which the filter knows.
    pub(super) fn children(
        &mut self,
        from: &RelPath,
        to: &RelPath,
        inside: &RelPath,
        state: &FilterState,
    ) -> Result<(), CopyError> {
        let mut directories = Vec::new();
        {
            let source = self.source.rootfs.open_dir(from)?;
            let mut target = None;
            let mut names = source.names()?;
            names.sort_unstable();
            for name in names {
                let Some(metadata) = source.lstat(&name)? else {
                    continue;
                };
                if metadata.is_dir() {
                    directories.push((name, metadata));
                } else if !self.is_hidden(&from.child(&name))
                    && self.filter.judge(state, &inside.child(&name)).is_included
                {
                    self.has_matched = true;
                    self.make_pending()?;
                    let target = match &mut target {
                        Some(target) => target,
                        none => none.insert(self.destination.rootfs.open_dir(to)?),
                    };
                    self.entry((&source, &name), (target, &name), &metadata)?;
                }
            }
        }
        for (name, metadata) in directories {
            self.nested(
                [&from.child(&name), &to.child(&name), &inside.child(&name)],
                &metadata,
                state,
            )?;
        }
        Ok(())
    }

    /// Copies the directories on the way here that are not copied yet. One that is there gets the source's mode, as in
    /// BuildKit.
    fn make_pending(&mut self) -> Result<(), CopyError> {
        for at in 0..self.pending.len() {
            if self.pending[at].state != PendingState::Waiting {
                continue;
            }
            let (from, to) = (self.pending[at].from.clone(), self.pending[at].to.clone());
            let metadata = self.pending[at].metadata;
            let is_made = self.make_dir(&to)?;
            self.pending[at].state = if is_made {
                self.finish_dir(&from, &to, &metadata)?;
                PendingState::Made
            } else {
                if !self.destination.protected.covers(&to) {
                    self.destination.rootfs.set_mode(&to, metadata.mode)?;
                }
                PendingState::Found
            };
            self.copied.touched.push(to);
        }
        Ok(())
    }

    /// Makes a directory, unless it is there; says whether it did.
    fn make_dir(&self, path: &RelPath) -> Result<bool, CopyError> {
        match self.destination.rootfs.lstat(path)? {
            Some(there) if there.is_dir() => Ok(false),
            Some(_) => Err(CopyError::DirectoryOverFile {
                path: path.to_string(),
            }),
            None => {
                self.check_protected(path)?;
                self.destination.rootfs.create_dir(path, 0o700)?;
                Ok(true)
            }
        }
    }

    fn is_hidden(&self, path: &RelPath) -> bool {
        self.source
            .ignore
            .is_some_and(|rules| rules.excludes(path.as_bytes()).is_some())
    }

    /// Copies a directory found inside of a copied directory, unless it is hidden or filtered out. `places` are its path
    /// in the source tree, its path in the destination, and its path in what is copied.
    fn nested(
        &mut self,
        [from, to, inside]: [&RelPath; 3],
        metadata: &Metadata,
        state: &FilterState,
    ) -> Result<(), CopyError> {
        if self.is_hidden(from) && !(reincludes(self.source, from) && self.shows_something(from)?) {
            return Ok(());
        }
        let verdict = self.filter.judge(state, inside);
        if verdict.is_included {
            self.has_matched = true;
            self.make_pending()?;
            self.make_dir(to)?;
            self.copied.touched.push(to.clone());
            self.children(from, to, inside, &verdict.state)?;
            return self.finish_dir(from, to, metadata);
        }
        if !verdict.may_hold {
            return Ok(());
        }
        self.pending.push(Pending {
            from: from.clone(),
            to: to.clone(),
            metadata: *metadata,
            state: PendingState::Waiting,
        });
        self.children(from, to, inside, &verdict.state)?;
        let done = self.pending.pop();
        // What was put into it came after it got its time.
        if done.is_some_and(|done| done.state != PendingState::Waiting)
            && !self.destination.protected.covers(to)
        {
            self.destination
                .rootfs
                .set_mtime(to, self.destination.now)?;
        }
        Ok(())
    }

    /// Whether a hidden directory has something below that a later rule brings back.
    fn shows_something(&self, dir: &RelPath) -> Result<bool, CopyError> {
        let Some(rules) = self.source.ignore else {
            return Ok(true);
        };
        for name in self.source.rootfs.read_dir(dir)? {
            let child = dir.child(&name);
            if rules.excludes(child.as_bytes()).is_none() {
                return Ok(true);
            }
            let is_dir = self
                .source
                .rootfs
                .lstat(&child)?
                .is_some_and(|metadata| metadata.is_dir());
            if is_dir && reincludes(self.source, &child) && self.shows_something(&child)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives a directory its owner, mode, attributes and time, after everything was put into it.
    fn finish_dir(
        &mut self,
        from: &RelPath,
        path: &RelPath,
        metadata: &Metadata,
    ) -> Result<(), CopyError> {
        if self.destination.protected.covers(path) {
            return Ok(());
        }
        let (dir, name) = self.destination.rootfs.parent(path)?;
        let (source, source_name) = self.source.rootfs.parent(from)?;
        let owner = self.owner_of((&source, source_name), metadata);
        self.own(path, owner, || dir.set_owner(name, owner))?;
        for (key, value) in self.xattrs((&source, source_name))? {
            dir.set_xattr(name, &key, &value)?;
        }
        dir.set_mode(name, self.mode(metadata.mode, true))?;
        dir.set_mtime(name, metadata.mtime)?;
        Ok(())
    }
}
