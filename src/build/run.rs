//! RUN: a command of the Dockerfile, in the isolation, with an environment made for it.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use crate::plan::{RunSecurity, RunStep, Step};
use crate::rootfs::{Owner, RelPath, Rootfs};
use crate::sandbox::{RunOutput, RunSpec, RunStatus, Workspace};

use super::engine::Engine;
use super::event::{Event, Events, Stream};
use super::last_lines::LastLines;
use super::{BuildError, mount, user};

/// The host name that a RUN sees, as in BuildKit.
const HOSTNAME: &str = "buildkitsandbox";

/// Runs the command of a step and says when it is over and none of its processes is left.
pub(super) fn run(
    (stage, step, run): (&str, &Step, &RunStep),
    workspace: &mut dyn Workspace,
    engine: &Engine<'_>,
) -> Result<(), BuildError> {
    let (request, services) = (engine.request, engine.services);
    let given = mount::give(engine, step, run)?;
    let span = step.origin.span;
    let identity = {
        let rootfs = Rootfs::open(workspace.root())?;
        user::identity(&rootfs, &run.user).map_err(|source| BuildError::User { span, source })?
    };
    let mut env = run.env.clone();
    if !env.iter().any(|(name, _)| name == "HOME") {
        let home = identity
            .home
            .unwrap_or_else(|| if identity.uid == 0 { "/root" } else { "/" }.to_owned());
        env.push(("HOME".to_owned(), home));
    }
    for (name, value) in &given.env {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    let placed = place_program(run, workspace)?;
    let mut argv = run.argv.clone();
    if let (Some(placed), Some((path, _))) = (&placed, &run.program) {
        for argument in argv.iter_mut().filter(|argument| *argument == path) {
            argument.clone_from(&placed.path);
        }
    }
    let spec = RunSpec {
        argv,
        env,
        workdir: run.workdir.clone(),
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups,
        hostname: run.hostname.as_deref().unwrap_or(HOSTNAME).to_owned(),
        hosts: request.hosts.clone(),
        resolv_conf: request.resolv_conf.clone(),
        network: mount::network(run),
        insecure: run.security == RunSecurity::Insecure,
        mounts: given.mounts.clone(),
    };
    let start = |source| BuildError::Start {
        display: step.display.clone(),
        span,
        source: Box::new(source),
    };
    let last = Mutex::new(LastLines::default());
    let sink = |stream| Output {
        stage,
        stream,
        events: &*services.events,
        last: &last,
    };
    let (mut stdout, mut stderr) = (sink(Stream::Stdout), sink(Stream::Stderr));
    let mut output = RunOutput {
        stdout: &mut stdout,
        stderr: &mut stderr,
        cancel: Some(&services.cancel),
    };
    let status = workspace.run(&spec, &mut output);
    if let Some(placed) = placed {
        placed.remove(workspace)?;
    }
    let failed = |outcome: String, code: u8| {
        let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        Err(BuildError::Run {
            display: step.display.clone(),
            stage: stage.to_owned(),
            span,
            outcome,
            code,
            output: last.finish(),
        })
    };
    match status.map_err(start)? {
        RunStatus::Exited(0) => Ok(()),
        RunStatus::Exited(code) => failed(format!("exit code {code}"), code),
        RunStatus::Signaled {
            signal,
            out_of_memory: true,
        } => failed(
            format!("killed by signal {signal}: memory ran out"),
            signal_code(signal),
        ),
        RunStatus::Signaled {
            signal,
            out_of_memory: false,
        } => failed(format!("killed by signal {signal}"), signal_code(signal)),
        RunStatus::Cancelled => Err(BuildError::Cancelled),
    }
}

/// A shell's convention: 128 and the signal's number.
fn signal_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(255)
}

/// A program out of a heredoc, put into the tree for the time of its RUN.
struct Placed {
    /// The file as the command names it.
    path: String,
    file: RelPath,
    directory: RelPath,
}

/// Where the programs of heredocs are for the time of their RUN; nothing of it gets into a layer.
const PROGRAMS: &str = ".longshore-pipes";

/// Puts the program of a heredoc with an interpreter line into the tree.
///
/// # Deviation
/// `BuildKit` mounts it below `/dev/pipes`. Here it is a file below `/.longshore-pipes`, written before the command
/// starts and removed after it ended, because not every isolation can mount.
fn place_program(
    run: &RunStep,
    workspace: &mut dyn Workspace,
) -> Result<Option<Placed>, BuildError> {
    let Some((path, content)) = &run.program else {
        return Ok(None);
    };
    let rootfs = Rootfs::open(workspace.root())?;
    let name = path.rsplit('/').next().unwrap_or("program");
    let directory = RelPath::parse(PROGRAMS).map_err(crate::rootfs::Error::from)?;
    let file = directory.child(name.as_bytes());
    let root = Owner::default();
    rootfs.create_dir_all(&directory, 0o755, Some(root))?;
    rootfs
        .create_file(&file, 0o755)?
        .write_all(content.as_bytes())
        .map_err(|source| BuildError::State {
            action: "write",
            path: file.to_string().into(),
            source,
        })?;
    rootfs.set_mode(&file, 0o755)?;
    Ok(Some(Placed {
        path: file.to_string(),
        file,
        directory,
    }))
}

impl Placed {
    fn remove(&self, workspace: &mut dyn Workspace) -> Result<(), BuildError> {
        let rootfs = Rootfs::open(workspace.root())?;
        rootfs.remove(&self.file)?;
        rootfs.remove(&self.directory)?;
        Ok(())
    }
}

/// Hands a command's output on as events, and keeps the last of it.
struct Output<'a> {
    stage: &'a str,
    stream: Stream,
    events: &'a dyn Events,
    last: &'a Mutex<LastLines>,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push(self.stream, bytes);
        drop(last);
        self.events.send(Event::StepOutput {
            stage: self.stage.to_owned(),
            stream: self.stream,
            bytes: bytes.to_vec(),
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
