//! The isolation `inplace`: a stage's tree lives at the container's own `/` while commands run in it.
//!
//! It is for containers in which nothing may be mounted or unshared. What was at `/` before is set aside and put back, by renaming
//! ([`area`], [`moving`]); only a stage that runs something is brought there at all. A machine's own `/` is refused.
//!
//! # Deviation
//! Files that the platform mounts stay readable by commands, `/etc/hosts` and `/etc/resolv.conf` are the container's, and there is no
//! network but the container's. The user is told once.

mod area;
mod hidden;
mod loose;
mod mounts;
mod moving;
mod workspace;

use super::enter::guard_process;
use super::executor::{Executor, FinishedStage, Isolation, Network, Ownership, Workspace};
use super::{SandboxError, cache_mounts, mountinfo};
use area::{Area, DIRECTORY};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use workspace::{FinishedTree, InplaceWorkspace};

/// What our image carries, and nothing else.
const MARKER: &str = "/longshore/image-marker";
/// Our program and its shell, below `/`.
const OURS: [&str; 3] = [DIRECTORY, "longshore", "busybox"];
/// Inode numbers of the mount namespace in which a machine boots: fixed since Linux 6.18 (linux/nsfs.h), before that
/// the first one that is handed out.
const FIRST_MOUNT_NAMESPACES: [u64; 2] = [0xEFFF_FFF8, 0xF000_0000];
/// What moving trees and becoming a RUN's user takes.
const NEEDED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP);
/// Mounts that every container has, and that hold no secrets.
const USUAL_MOUNTS: [&str; 6] = [
    "/proc",
    "/sys",
    "/dev",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
];

/// Says why this isolation is refused here.
pub(super) fn check(force: bool) -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("it takes root in a container".into());
    }
    let namespace = std::fs::metadata("/proc/self/ns/mnt")
        .map_err(|error| format!("/proc/self/ns/mnt: {error}"))?
        .ino();
    if FIRST_MOUNT_NAMESPACES.contains(&namespace) {
        return Err("this is a machine's own /, not a container's".into());
    }
    if !Path::new(MARKER).exists() {
        if !force {
            return Err(format!(
                "this is not longshore's image ({MARKER} is not there); in another container that may be used up, say --force"
            ));
        }
        let mounts = mountinfo::read().map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
        let kind = mounts
            .iter()
            .rev()
            .find(|mount| mount.point == Path::new("/"))
            .map(|mount| mount.kind.as_str());
        if kind != Some("overlay") {
            return Err("--force needs proof of a container: / is not an overlay here".into());
        }
    }
    let held = capabilities(None)
        .map_err(|error| format!("reading the capabilities: {error}"))?
        .effective;
    let missing = NEEDED.difference(held);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("capabilities are missing: {missing:?}"))
    }
}

/// Takes possession of `/`. `keep` names paths that stay where they are; what outlives builds in the state directory does, too.
pub(super) fn enter(keep: &[PathBuf], state_dir: &Path) -> Result<Box<dyn Executor>, SandboxError> {
    guard_process()?;
    let mounts = mount_points()?;
    let caches = state_dir.join(cache_mounts::DIRECTORY);
    let is_fixed = mounts.iter().any(|mount| caches.starts_with(mount))
        || OURS
            .iter()
            .any(|ours| caches.starts_with(Path::new("/").join(ours)));
    let mut keep = keep.to_vec();
    if !is_fixed {
        std::fs::create_dir_all(&caches)
            .map_err(|source| SandboxError::path("create", &caches, source))?;
        keep.push(caches);
    }
    let area = open_root(&mounts, &keep)?;
    Ok(Box::new(InplaceExecutor {
        area: Arc::new(area),
        mounts,
    }))
}

/// Puts back what a killed build has set aside in this container, if there is anything; true when there was.
///
/// Unlike a build it asks for no marker: our directory with its journal is mark enough.
pub fn restore() -> Result<bool, SandboxError> {
    if !Path::new("/").join(DIRECTORY).is_dir() {
        return Ok(false);
    }
    if let Err(reason) = check(true) {
        return Err(SandboxError::Refused {
            isolation: "inplace",
            reason,
        });
    }
    open_root(&mount_points()?, &[])?.close()?;
    Ok(true)
}

fn open_root(mounts: &[PathBuf], keep: &[PathBuf]) -> Result<Area, SandboxError> {
    let root = openat(
        CWD,
        "/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|source| SandboxError::path("open", "/", source))?;
    let below = |path: &PathBuf| path.strip_prefix("/").unwrap_or(path).to_owned();
    let fixed = OURS
        .iter()
        .map(PathBuf::from)
        .chain(mounts.iter().map(below))
        .collect::<Vec<_>>();
    let keep = keep.iter().map(below).collect::<Vec<_>>();
    Area::open(root, Path::new("/"), &fixed, &keep, Arc::new(|_, _| Ok(())))
}

fn mount_points() -> Result<Vec<PathBuf>, SandboxError> {
    let mounts = mountinfo::read()
        .map_err(|source| SandboxError::path("read", "/proc/self/mountinfo", source))?;
    Ok(mounts
        .into_iter()
        .map(|mount| mount.point)
        .filter(|point| point != Path::new("/"))
        .collect())
}

/// The isolation `inplace`.
#[derive(Debug)]
struct InplaceExecutor {
    area: Arc<Area>,
    mounts: Vec<PathBuf>,
}

impl Executor for InplaceExecutor {
    fn isolation(&self) -> Isolation {
        Isolation::Inplace
    }

    fn describe(&self) -> String {
        "in place: the container's own / is set aside while commands run, and put back".into()
    }

    fn warnings(&self) -> Vec<String> {
        let readable: Vec<_> = self
            .mounts
            .iter()
            .filter(|mount| !USUAL_MOUNTS.iter().any(|usual| mount.starts_with(usual)))
            .filter(|mount| {
                !OURS
                    .iter()
                    .any(|ours| mount.starts_with(Path::new("/").join(ours)))
            })
            .map(|mount| mount.display().to_string())
            .collect();
        if readable.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "commands of this build can read what is mounted into this container: {}",
            readable.join(", ")
        )]
    }

    fn ownership(&self) -> Ownership {
        Ownership::Real
    }

    fn check_run(&self) -> Result<(), SandboxError> {
        Ok(())
    }

    fn check_special(&self, network: Network, insecure: bool) -> Result<(), SandboxError> {
        if network == Network::None {
            return Err(SandboxError::RunRefused {
                reason: "--network=none needs a network namespace, and in place there is no network but the container's: build with --isolation=namespace".into(),
            });
        }
        if insecure {
            return Err(SandboxError::RunRefused {
                reason: "--security=insecure has nothing to grant in place, where a command has the container's rights already: build with --isolation=namespace as root".into(),
            });
        }
        Ok(())
    }

    fn workspace(&self, name: &str) -> Result<Box<dyn Workspace>, SandboxError> {
        let number = self.area.make_tree()?;
        Ok(Box::new(InplaceWorkspace::on(&self.area, name, number)))
    }

    fn branch(
        &self,
        name: &str,
        finished: &FinishedStage,
        still_needed: bool,
    ) -> Result<Box<dyn Workspace>, SandboxError> {
        let tree = finished
            .tree
            .downcast_ref::<FinishedTree>()
            .ok_or(super::namespace::FOREIGN_STAGE)?;
        Ok(Box::new(InplaceWorkspace::branch(
            &self.area,
            name,
            tree,
            still_needed,
        )?))
    }

    fn scratch(&self) -> &Path {
        self.area.scratch_path()
    }

    fn restore(&self) -> Result<(), SandboxError> {
        self.area.restore()
    }

    fn finish(self: Box<Self>) -> Result<(), SandboxError> {
        self.area.close()
    }
}

impl Drop for InplaceExecutor {
    fn drop(&mut self) {
        // After `finish` there is nothing left to do; else the journal lets the next start try again.
        let _ = self.area.close();
    }
}
