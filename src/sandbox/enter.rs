//! The choice of an isolation, and the way into it.

use super::executor::{Executor, Ownership};
use super::namespace::{Backing, NamespaceExecutor, Shared};
use super::probe::{Findings, SINGLE_ID, probe};
use super::store::BuildDirectory;
use super::{SandboxError, identity};
use crate::sys::namespace::unshare;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{
    DumpableBehavior, geteuid, getpid, set_child_subreaper, set_dumpable_behavior,
};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which isolation the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The strongest that works.
    #[default]
    Auto,
    /// Namespaces, or an error.
    Namespace,
    /// The container's own `/`, or an error.
    Inplace,
}

/// How to enter an isolation.
#[derive(Debug, Clone)]
pub struct EnterOptions {
    /// Which one.
    pub choice: Choice,
    /// Where layers and the build's own directories are kept; made if it is missing.
    pub state_dir: PathBuf,
    /// In place: be content with proof of a container where our image's marker is not found.
    pub force: bool,
    /// In place: absolute paths that stay where they are while `/` is used, as mounts do: the context, and where
    /// outputs are written.
    pub keep: Vec<PathBuf>,
}

/// One way of isolating, as the machine may offer it; strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rung {
    /// Root that may mount: a mount namespace.
    Root,
    /// Root that may not: a user namespace with all ids one to one.
    IdentityMap,
    /// An ordinary user: a user namespace with subordinate ids.
    SubordinateIds,
    /// An ordinary user with one id: no commands.
    SingleId,
    /// Root in a container: its own `/`.
    Inplace,
}

/// What `doctor` says about one rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RungReport {
    /// The rung in words.
    pub name: &'static str,
    /// Whether a build could use it.
    pub works: bool,
    /// How well it works, or why it does not.
    pub detail: String,
    /// What would make it work.
    pub advice: Option<&'static str>,
}

/// Enters the isolation that was chosen. To be called once, with no other thread in the process, and before any
/// credential is read: the process is not dumpable afterwards.
pub fn enter(options: &EnterOptions) -> Result<Box<dyn Executor>, SandboxError> {
    make_state_directory(&options.state_dir)?;
    let mut reasons = Vec::new();
    for rung in rungs(options.choice) {
        let checked = match rung {
            Rung::Inplace => super::inplace::check(options.force).map(|()| None),
            _ => probe(rung, &options.state_dir)
                .and_then(|findings| usable(rung, findings))
                .map(Some),
        };
        match checked {
            Ok(Some(findings)) => return enter_namespace(rung, &findings, &options.state_dir),
            Ok(None) => return super::inplace::enter(&options.keep, &options.state_dir),
            Err(reason) => reasons.push(format!("{}: {reason}", rung.name())),
        }
    }
    Err(SandboxError::NoIsolation { reasons })
}

/// Tries every rung that this user could stand on, and changes nothing.
pub fn probe_all(options: &EnterOptions) -> Result<Vec<RungReport>, SandboxError> {
    make_state_directory(&options.state_dir)?;
    Ok(rungs(options.choice)
        .into_iter()
        .map(|rung| report(rung, options))
        .collect())
}

fn report(rung: Rung, options: &EnterOptions) -> RungReport {
    let found = match rung {
        Rung::Inplace => super::inplace::check(options.force)
            .map(|()| "the container's own / is set aside and put back".to_owned()),
        _ => probe(rung, &options.state_dir)
            .and_then(|findings| usable(rung, findings))
            .map(|findings| findings.in_words()),
    };
    let works = found.is_ok();
    let detail = found.unwrap_or_else(|reason| reason);
    RungReport {
        name: rung.name(),
        works,
        detail,
        advice: (!works).then(|| rung.advice()),
    }
}

/// A rung without commands is none, except the one that promises none.
fn usable(rung: Rung, findings: Findings) -> Result<Findings, String> {
    match &findings.own_processes {
        Err(reason) if rung != Rung::SingleId => Err(reason.clone()),
        _ => Ok(findings),
    }
}

impl Findings {
    fn in_words(&self) -> String {
        if self
            .own_processes
            .as_ref()
            .is_err_and(|reason| reason == SINGLE_ID)
        {
            return format!("stages of COPY only: {SINGLE_ID}");
        }
        let trees = match &self.overlay {
            Ok(_) => "layers are stacked by overlayfs".to_owned(),
            Err(reason) => format!("trees are copied ({reason})"),
        };
        let commands = match &self.own_processes {
            Ok(true) => "commands have their own processes".to_owned(),
            Ok(false) => {
                "commands see the outer processes, since a fresh /proc is refused".to_owned()
            }
            Err(reason) => format!("no commands ({reason})"),
        };
        format!("{trees}; {commands}")
    }
}

fn enter_namespace(
    rung: Rung,
    findings: &Findings,
    state_dir: &Path,
) -> Result<Box<dyn Executor>, SandboxError> {
    rung.enter_namespaces()?;
    guard_process()?;
    let build = BuildDirectory::make(state_dir, !rung.is_user_namespace())?;
    let shared = Shared {
        build,
        own_processes: matches!(findings.own_processes, Ok(true)),
        user_namespace: rung.is_user_namespace(),
        run_refused: (rung == Rung::SingleId).then(|| SINGLE_ID.to_owned()),
        overlay: findings.overlay.as_ref().ok().copied(),
    };
    Ok(Box::new(NamespaceExecutor {
        shared: Arc::new(shared),
        backing: findings
            .overlay
            .as_ref()
            .map_or(Backing::Plain, |&options| Backing::Overlay(options)),
        ownership: if rung == Rung::SingleId {
            Ownership::SingleId
        } else {
            Ownership::Real
        },
        summary: format!("{}: {}", rung.name(), findings.in_words()),
    }))
}

/// Nothing of ours is to be read through `/proc`, and orphans of commands come to us.
pub(super) fn guard_process() -> Result<(), SandboxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|source| SandboxError::system("become undumpable", source))?;
    set_child_subreaper(Some(getpid()))
        .map_err(|source| SandboxError::system("become a subreaper", source))
}

fn make_state_directory(path: &Path) -> Result<(), SandboxError> {
    std::fs::create_dir_all(path).map_err(|source| SandboxError::path("create", path, source))
}

fn rungs(choice: Choice) -> Vec<Rung> {
    let namespaces: &[Rung] = if !geteuid().is_root() {
        &[Rung::SubordinateIds, Rung::SingleId]
    } else if capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_ADMIN))
    {
        &[Rung::Root, Rung::IdentityMap]
    } else {
        &[Rung::IdentityMap]
    };
    match choice {
        Choice::Inplace => vec![Rung::Inplace],
        Choice::Auto if geteuid().is_root() => [namespaces, &[Rung::Inplace]].concat(),
        Choice::Auto | Choice::Namespace => namespaces.to_vec(),
    }
}

impl Rung {
    /// Moves this process (of one thread) into the rung's namespaces, out of reach of the host's mounts.
    pub(super) fn enter_namespaces(self) -> Result<(), SandboxError> {
        match self {
            Self::Root => {
                unshare(UnshareFlags::NEWNS)
                    .map_err(|source| SandboxError::system("make a mount namespace", source))?;
            }
            Self::IdentityMap => identity::enter(&identity::identity_maps()?)?,
            Self::SubordinateIds => {
                let maps =
                    identity::subordinate_maps().map_err(|reason| SandboxError::Refused {
                        isolation: "namespace",
                        reason,
                    })?;
                identity::enter(&maps)?;
            }
            Self::SingleId => return identity::enter(&identity::single_maps()),
            Self::Inplace => {
                return Err(SandboxError::OutOfOrder {
                    wanted: "enter namespaces in place",
                });
            }
        }
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .map_err(|source| SandboxError::system("make the mounts of the namespace private", source))
    }

    pub(super) fn is_user_namespace(self) -> bool {
        matches!(
            self,
            Self::IdentityMap | Self::SubordinateIds | Self::SingleId
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Root => "namespace, as root",
            Self::IdentityMap => "namespace, as root of a user namespace",
            Self::SubordinateIds => "namespace, with subordinate ids",
            Self::SingleId => "namespace, with a single id",
            Self::Inplace => "in place",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Root => {
                "run as root with CAP_SYS_ADMIN and an AppArmor profile that allows mount"
            }
            Self::IdentityMap => {
                "run with the seccomp profile Unconfined (docker: --security-opt seccomp=unconfined), hostUsers: false on Kubernetes"
            }
            Self::SubordinateIds => {
                "install newuidmap (package uidmap), grant ids in /etc/subuid and /etc/subgid, allow user namespaces"
            }
            Self::SingleId => {
                "allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
            }
            Self::Inplace => "run as root in a container of longshore's image",
        }
    }
}
