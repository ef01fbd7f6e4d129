//! What a command has mounted, made ready in the parent: overlays that take writes which nobody keeps, sockets of agents,
//! and the order in which the rest is mounted in the command's own namespace.

use super::SandboxError;
use super::agent::Lent;
use super::executor::{Mount, MountKind, Writes};
use super::namespace::Shared;
use super::overlay::{Mounted, Writable};
use super::plain::copy_tree;
use super::protocol::{PlaceMount, PlaceMountKind};
use super::stubs::StubKind;
use std::path::{Path, PathBuf};

/// What the isolation itself mounts: mount points below are made there, not in the tree.
const OWN: [&str; 3] = ["proc", "sys", "dev"];

/// Mounts that are ready, and what has to live as long as the command.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<PlaceMount>,
    /// The mount points that the tree must have, relative to its root.
    pub(super) points: Vec<(String, StubKind)>,
    /// An empty directory for files in memory.
    pub(super) staging: Option<PathBuf>,
    sockets: Vec<Lent>,
    overlays: Vec<Mounted>,
    directories: Vec<PathBuf>,
}

impl Prepared {
    pub(super) fn make(shared: &Shared, mounts: &[Mount]) -> Result<Self, SandboxError> {
        let mut prepared = Self::default();
        let mut mounts: Vec<&Mount> = mounts.iter().collect();
        // Those above first; among equals the later one covers the earlier one.
        mounts.sort_by_key(|mount| Path::new(&mount.target).components().count());
        for mount in mounts {
            let target = mount.target.trim_start_matches('/').to_owned();
            let (kind, stub) = prepared.one(shared, mount)?;
            let is_below = |above: &str| {
                target
                    .strip_prefix(above)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            let is_in_tree = !OWN.iter().any(|own| is_below(own) || target == *own)
                && !prepared.mounts.iter().any(|other| is_below(&other.target));
            if is_in_tree {
                prepared.points.push((target.clone(), stub));
            }
            prepared.mounts.push(PlaceMount { target, kind });
        }
        Ok(prepared)
    }

    fn one(
        &mut self,
        shared: &Shared,
        mount: &Mount,
    ) -> Result<(PlaceMountKind, StubKind), SandboxError> {
        Ok(match &mount.kind {
            MountKind::Bind { source, writes } => {
                let found = std::fs::symlink_metadata(source)
                    .map_err(|error| SandboxError::path("look at", source, error))?;
                let stub = if found.is_dir() {
                    StubKind::Directory
                } else {
                    StubKind::File
                };
                let source = match writes {
                    Writes::Discarded => self.throwaway(shared, source, found.is_dir())?,
                    Writes::Refused | Writes::Kept => source.clone(),
                };
                let read_only = *writes == Writes::Refused;
                (PlaceMountKind::Bind { source, read_only }, stub)
            }
            MountKind::Tmpfs { size, read_only } => {
                let (size, read_only) = (*size, *read_only);
                (
                    PlaceMountKind::Tmpfs { size, read_only },
                    StubKind::Directory,
                )
            }
            MountKind::File {
                content,
                mode,
                uid,
                gid,
            } => {
                if self.staging.is_none() {
                    let staging = shared.build.fresh_directory("staging")?;
                    self.directories.push(staging.clone());
                    self.staging = Some(staging);
                }
                let (content, mode, uid, gid) = (content.clone(), *mode, *uid, *gid);
                let kind = PlaceMountKind::File {
                    content,
                    mode,
                    uid,
                    gid,
                };
                (kind, StubKind::File)
            }
            MountKind::Agent {
                agent,
                mode,
                uid,
                gid,
            } => {
                let source = shared.build.fresh_name("agent");
                self.sockets
                    .push(Lent::make(agent, &source, (*mode, *uid, *gid))?);
                let read_only = false;
                (PlaceMountKind::Bind { source, read_only }, StubKind::File)
            }
        })
    }

    /// A view of `source` whose changes go elsewhere; a copy where there is no overlayfs.
    fn throwaway(
        &mut self,
        shared: &Shared,
        source: &Path,
        is_directory: bool,
    ) -> Result<PathBuf, SandboxError> {
        if let Some(options) = shared.overlay.filter(|_| is_directory) {
            let upper = shared.build.fresh_directory("discarded")?;
            self.directories.push(upper.clone());
            super::namespace::adopt_root_attributes(source, &upper)?;
            let work = shared.build.fresh_directory("work")?;
            self.directories.push(work.clone());
            let writable = Writable {
                upper: &upper,
                work: &work,
            };
            let point = shared.build.fresh_name("writable");
            // An overlay of overlays has a limit of depth: then it is a copy as well.
            if let Ok(mounted) = options.mount(&[source.to_owned()], Some(writable), &point) {
                self.overlays.push(mounted);
                return Ok(point);
            }
        }
        let copy = shared.build.fresh_name("copied");
        self.directories.push(copy.clone());
        copy_tree(source, &copy)
            .map_err(|error| SandboxError::path("copy a mount's files to", &copy, error))?;
        Ok(copy)
    }

    /// Takes everything away after the command has ended.
    pub(super) fn remove(self) -> Result<(), SandboxError> {
        drop(self.sockets);
        drop(self.overlays);
        for path in self.directories {
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(|source| SandboxError::path("remove", &path, source))?;
        }
        Ok(())
    }
}
