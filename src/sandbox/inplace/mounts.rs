//! What a command has mounted, where nothing can be mounted: put into the tree before it runs, and taken away when it has ended.
//!
//! What has the name already waits beside the tree meanwhile. A kill at any point leaves it all to [`super::area`], which throws a killed
//! build's trees away, and what is noted in [`super::loose`]; nothing of anybody else's is ever moved, since paths that are mounted or kept are refused.
//!
//! # Deviation
//! Files of the context, a stage or an image are copies: the command can write to them, and it is thrown away. A cache is a link to its
//! directory. A tmpfs is a directory without a limit. A secret is a file on the container's file system for the time of its
//! command, as safe as anything else of a command in place.

use super::super::SandboxError;
use super::super::agent::Lent;
use super::super::executor::{Mount, MountKind, Writes};
use super::super::plain::copy_tree;
use super::super::stubs::{StubKind, Stubs, modification, times};
use super::area::Area;
use super::loose::{self, FREE};
use crate::rootfs::{self, Leaf, Protected, RelPath, Rootfs};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timestamps, fstat, futimens, openat, renameat, statat,
};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

/// What to do about a path that is taken.
const WAY_OUT: &str = "mount elsewhere in the Dockerfile, unmount it from the job's container, or build with --isolation=namespace";

/// All that stands in the tree for a command.
#[derive(Debug, Default)]
pub(super) struct Placed {
    made: Vec<One>,
    sockets: Vec<Lent>,
}

/// One thing that was put into the tree.
#[derive(Debug)]
struct One {
    parent: OwnedFd,
    name: PathBuf,
    /// Where that waits which has the name.
    aside: Option<PathBuf>,
    /// The parent's times before, and its modification after.
    before: Timestamps,
    after: (i64, i64),
    /// The directories above that were missing.
    stubs: Stubs,
}

impl Placed {
    /// Puts everything into the tree at the area's root.
    pub(super) fn make(area: &Area, mounts: &[Mount]) -> Result<Self, SandboxError> {
        let mut placed = Self::default();
        let mut mounts: Vec<&Mount> = mounts.iter().collect();
        mounts.sort_by_key(|mount| Path::new(&mount.target).components().count());
        for mount in mounts {
            if let Err(error) = placed.add(area, mount) {
                placed.remove(area)?;
                return Err(error);
            }
        }
        Ok(placed)
    }

    fn add(&mut self, area: &Area, mount: &Mount) -> Result<(), SandboxError> {
        let root = area.root_path();
        let explain = |source: io::Error| SandboxError::path("mount", &mount.target, source);
        let of_tree = |error: rootfs::Error| explain(io::Error::other(error.to_string()));
        let tree = Rootfs::open(root).map_err(of_tree)?;
        let target =
            RelPath::parse(mount.target.as_bytes()).map_err(|error| of_tree(error.into()))?;
        let target = tree.resolve(&target, Leaf::Follow).map_err(of_tree)?;
        let target = PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes()));
        check(area, &target)?;
        if target.starts_with(FREE) {
            loose::note(&area.loose_path(), root, &target)?;
        }
        let (Some(name), Some(above)) = (target.file_name(), target.parent()) else {
            return Err(explain(io::ErrorKind::InvalidInput.into()));
        };
        let above_text = above.to_string_lossy();
        let stubs = if above.as_os_str().is_empty() {
            Stubs::default()
        } else {
            Stubs::make(root, &[(&above_text, StubKind::Directory)])?
        };
        let parent = openat(
            CWD,
            root.join(above),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| explain(error.into()))?;
        let before = times(&fstat(&parent).map_err(|error| explain(error.into()))?);
        // From here on there is something to take back, whatever happens.
        self.made.push(One {
            parent,
            name: name.into(),
            aside: None,
            before,
            after: (0, 0),
            stubs,
        });
        let count = self.made.len();
        let one = self.made.last_mut().expect("it was pushed just now");
        match statat(&one.parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {
                let aside = area.scratch_path().join(format!("aside-{count}"));
                renameat(&one.parent, name, CWD, &aside).map_err(|error| explain(error.into()))?;
                one.aside = Some(aside);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(explain(error.into())),
        }
        let path = root.join(&target);
        match &mount.kind {
            MountKind::Agent {
                agent,
                mode,
                uid,
                gid,
            } => self
                .sockets
                .push(Lent::make(agent, &path, (*mode, *uid, *gid))?),
            kind => put(kind, &path).map_err(explain)?,
        }
        one.after = modification(&one.parent).map_err(|error| explain(error.into()))?;
        Ok(())
    }

    /// Takes everything away again, the last first.
    pub(super) fn remove(self, area: &Area) -> Result<(), SandboxError> {
        drop(self.sockets);
        let mut outcome = Ok(());
        for one in self.made.into_iter().rev() {
            // The rest goes all the same: secrets may be among it.
            let removed = one.remove();
            outcome = outcome.and(removed);
        }
        outcome?;
        loose::forget(&area.loose_path())
    }
}

impl One {
    fn remove(self) -> Result<(), SandboxError> {
        let name = self.name.clone();
        self.take_back()
            .map_err(|source| SandboxError::path("take away the mount", name, source))
    }

    fn take_back(self) -> io::Result<()> {
        let old = fstat(&self.parent)?;
        let is_untouched = modification(&self.parent)? == self.after;
        let inside = |error: rootfs::Error| io::Error::other(error.to_string());
        // By the directory's descriptor: whatever the command has made of the path that led here.
        let parent = Rootfs::from_fd(self.parent.try_clone()?);
        let name = RelPath::parse(self.name.as_os_str().as_bytes()).map_err(io::Error::other)?;
        parent
            .remove_all(&name, &Protected::none())
            .map_err(inside)?;
        if let Some(aside) = &self.aside {
            match renameat(CWD, aside, &self.parent, &self.name) {
                // The command has removed the directory, and with it what was in it.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let now = times(&old);
        match futimens(&self.parent, if is_untouched { &self.before } else { &now }) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        self.stubs
            .remove()
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

/// Refuses paths that are somebody else's: mounts, what is kept in its place, our own directories, and what lies above or below one.
fn check(area: &Area, target: &Path) -> Result<(), SandboxError> {
    let pins = area.pins();
    let covering = target
        .ancestors()
        .find(|above| !above.as_os_str().is_empty() && pins.holds(above));
    let is_free = target.starts_with(FREE) && !pins.holds(target) && !pins.holds_below(target);
    let path = match covering {
        Some(path) if !is_free => path.to_owned(),
        None if pins.holds_below(target) => target.to_owned(),
        Some(_) | None => return Ok(()),
    };
    Err(SandboxError::Pinned {
        path: Path::new("/").join(path),
        way_out: WAY_OUT,
    })
}

fn put(kind: &MountKind, path: &Path) -> io::Result<()> {
    match kind {
        MountKind::Bind {
            source,
            writes: Writes::Kept,
        } => symlink(source, path),
        MountKind::Bind {
            source,
            writes: Writes::Refused | Writes::Discarded,
        } => copy_tree(source, path),
        MountKind::Tmpfs { .. } => {
            DirBuilder::new().mode(0o700).create(path)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o1777))
        }
        MountKind::File {
            content,
            mode,
            uid,
            gid,
        } => {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(content.expose())?;
            fchown(&file, Some(*uid), Some(*gid))?;
            file.set_permissions(PermissionsExt::from_mode(*mode))
        }
        // Its socket lives longer than this call.
        MountKind::Agent { .. } => Ok(()),
    }
}
