//! Tries an isolation in a child that does the whole thing, since a kernel that lets one step succeed may refuse the next.

use super::enter::Rung;
use super::executor::{Network, RunOutput, RunSpec, RunStatus};
use super::namespace::Shared;
use super::overlay::{OverlayOptions, Writable};
use super::protocol::{receive, send};
use super::store::BuildDirectory;
use super::{SandboxError, init};
use rustix::fs::{Gid, Uid, chown};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What to try.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    rung: Rung,
    state_dir: PathBuf,
}

/// What works on a rung that can be entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Findings {
    /// The options that overlayfs takes on the state directory, or why it takes none.
    pub(super) overlay: Result<OverlayOptions, String>,
    /// Whether commands get a PID namespace and a fresh `/proc`, or why commands cannot be run at all.
    pub(super) own_processes: Result<bool, String>,
}

/// Tries a rung; the reason when it cannot be entered.
pub(super) fn probe(rung: Rung, state_dir: &Path) -> Result<Findings, String> {
    let lost = |error: io::Error| format!("the probe failed: {error}");
    let (mut child, socket) =
        init::spawn(init::PROBE, Stdio::null(), Stdio::null()).map_err(lost)?;
    let sent = send(
        &socket,
        &Trial {
            rung,
            state_dir: state_dir.to_owned(),
        },
    );
    let answer = sent.and_then(|()| receive::<Result<Findings, String>>(&socket));
    drop(socket);
    let status = child.wait().map_err(lost)?;
    answer
        .map_err(lost)?
        .unwrap_or_else(|| Err(format!("the probe ended early ({status})")))
}

/// The probe half.
pub(super) fn run(parent: &UnixStream) -> u8 {
    let answer = match receive::<Trial>(parent) {
        Ok(Some(trial)) => attempt(&trial).map_err(|error| match error {
            SandboxError::Refused { reason, .. } => reason,
            other => other.to_string(),
        }),
        Ok(None) => return 0,
        Err(error) => Err(error.to_string()),
    };
    // Without a parent there is nobody to tell.
    let _ = send(parent, &answer);
    0
}

fn attempt(trial: &Trial) -> Result<Findings, SandboxError> {
    trial.rung.enter_namespaces()?;
    let build = BuildDirectory::make(&trial.state_dir, !trial.rung.is_user_namespace())?;
    if trial.rung == Rung::SingleId {
        return Ok(Findings {
            overlay: Err(SINGLE_ID.into()),
            own_processes: Err(SINGLE_ID.into()),
        });
    }
    try_owner(&build)?;
    let overlay = try_overlay(&build, trial.rung.is_user_namespace());
    let own_processes = try_command(build, trial.rung.is_user_namespace());
    Ok(Findings {
        overlay,
        own_processes,
    })
}

/// Why there is only COPY with a single id.
pub(super) const SINGLE_ID: &str = "this user has a single id: files cannot have other owners, and commands of an image expect more; \
     grant subordinate ids in /etc/subuid and /etc/subgid, and install newuidmap";

fn try_owner(build: &BuildDirectory) -> Result<(), SandboxError> {
    let path = build.fresh_directory("owner")?;
    chown(&path, Some(Uid::from_raw(1)), Some(Gid::from_raw(1)))
        .map_err(|source| SandboxError::path("change the owner of", &path, source))
}

/// Mounts, writes, and deletes what is below.
fn try_overlay(build: &BuildDirectory, in_user_namespace: bool) -> Result<OverlayOptions, String> {
    let attempt = |volatile| {
        let options = OverlayOptions {
            in_user_namespace,
            volatile,
        };
        let directory = |prefix| {
            build
                .fresh_directory(prefix)
                .map_err(|error| error.to_string())
        };
        let (bottom, lower, upper, work) = (
            directory("bottom")?,
            directory("lower")?,
            directory("upper")?,
            directory("work")?,
        );
        let explain = |what: &str, error: &dyn std::fmt::Display| {
            format!("overlayfs on the state directory: {what}: {error}")
        };
        fs::write(lower.join("old"), "").map_err(|error| explain("write", &error))?;
        let mounted = options
            .mount(
                &[bottom, lower],
                Some(Writable {
                    upper: &upper,
                    work: &work,
                }),
                &build.fresh_name("merged"),
            )
            .map_err(|error| explain("mount", &error))?;
        fs::write(mounted.point().join("new"), "").map_err(|error| explain("write", &error))?;
        fs::remove_file(mounted.point().join("old")).map_err(|error| explain("delete", &error))?;
        let whiteout = fs::symlink_metadata(upper.join("old"))
            .map_err(|error| explain("find a whiteout", &error))?;
        if std::os::unix::fs::FileTypeExt::is_char_device(&whiteout.file_type()) {
            Ok(options)
        } else {
            Err(explain("find a whiteout", &"it is not a 0:0 device"))
        }
    };
    attempt(true).or_else(|_| attempt(false))
}

/// Prepares everything for a command that is empty, first with a PID namespace and a fresh `/proc`, then without.
fn try_command(build: BuildDirectory, user_namespace: bool) -> Result<bool, String> {
    let tree = build
        .fresh_directory("tree")
        .map_err(|error| error.to_string())?;
    let mut shared = Shared {
        build,
        own_processes: true,
        user_namespace,
        run_refused: None,
        overlay: None,
    };
    let spec = RunSpec {
        argv: Vec::new(),
        env: Vec::new(),
        workdir: "/".into(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        hostname: "probe".into(),
        hosts: Some(String::new()),
        resolv_conf: None,
        network: Network::Host,
        insecure: false,
        mounts: Vec::new(),
    };
    let mut attempt = |own_processes| {
        shared.own_processes = own_processes;
        let mut output = RunOutput {
            stdout: &mut io::sink(),
            stderr: &mut io::sink(),
            cancel: None,
        };
        match shared.run(&tree, &spec, &mut output) {
            Ok(RunStatus::Exited(0)) => Ok(own_processes),
            Ok(status) => Err(format!("a command cannot be run: {status:?}")),
            Err(error) => Err(error.to_string()),
        }
    };
    attempt(true).or_else(|_| attempt(false))
}
