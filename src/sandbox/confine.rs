//! The confined half: prepares the surroundings, gives up what a RUN may not have, and becomes the command.

use super::executor::RunSpec;
use super::protocol::{Job, Place, Report, receive, send};
use super::{credentials, surroundings};
use crate::sys::seccomp;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit, setsid, umask,
};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) fn run(supervisor: &UnixStream) -> u8 {
    let report = match receive::<Job>(supervisor) {
        Ok(Some(job)) => confine(&job),
        Ok(None) => return 0,
        Err(error) => Report::Failed {
            reason: error.to_string(),
        },
    };
    // The supervisor learns from our end what it does not from our words.
    let _ = send(supervisor, &report);
    1
}

/// Returns only what went wrong.
fn confine(job: &Job) -> Report {
    match prepare(job) {
        Ok(()) => become_command(&job.spec),
        Err(error) => Report::Failed {
            reason: error.to_string(),
        },
    }
}

fn prepare(job: &Job) -> io::Result<()> {
    let spec = &job.spec;
    match &job.place {
        Place::Namespace(place) => surroundings::enter(place, spec)?,
        Place::Inplace => {}
    }
    setsid()?;
    let null = std::fs::File::options()
        .read(true)
        .open("/dev/null")
        .map_err(|error| context("open /dev/null", &error))?;
    rustix::stdio::dup2_stdin(&null)?;
    umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    // A core dump would be a file of the image. The hard limit stays: lowering it is for good.
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: getrlimit(Resource::Core).maximum,
        },
    )?;
    let workdir = Path::new(&spec.workdir);
    match std::env::set_current_dir(workdir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_workdir(workdir, spec.uid, spec.gid)
                .and_then(|()| std::env::set_current_dir(workdir))
        }
        other => other,
    }
    .map_err(|error| {
        context(
            &format!("enter the working directory {}", workdir.display()),
            &error,
        )
    })?;
    crate::sys::descriptors::close_all_on_exec()?;
    shut_off_kernel(job)?;
    credentials::give_up(spec)?;
    // After the change of ids, which clears it: a command does not outlive its supervisor.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Takes the caller's keys and the calls of privileged programs away.
fn shut_off_kernel(job: &Job) -> io::Result<()> {
    // A profile of the container that denies keyrings denies them to the command, too.
    match seccomp::join_new_session_keyring() {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            ) =>
        {
            return Err(context("make a session keyring", &error));
        }
        _ => {}
    }
    match &job.place {
        Place::Namespace(_) if !job.spec.insecure => seccomp::deny_calls()
            .map(drop)
            .map_err(|error| context("filter system calls", &error)),
        // In place the container's own profile is in force, and nothing could be added without `no_new_privs`.
        Place::Namespace(_) | Place::Inplace => Ok(()),
    }
}

fn become_command(spec: &RunSpec) -> Report {
    let Some((program, arguments)) = spec.argv.split_first() else {
        // A rehearsal: everything is in place, and there is nothing to become.
        return Report::Exited(0);
    };
    let path = spec
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or("", |(_, value)| value.as_str());
    let mut answer = rustix::io::Errno::NOENT.raw_os_error();
    for candidate in candidates(program, path) {
        let mut command = Command::new(&candidate);
        command
            .arg0(program)
            .args(arguments)
            .env_clear()
            .envs(spec.env.iter().map(|(name, value)| (name, value)));
        let error = command.exec();
        let errno = error
            .raw_os_error()
            .unwrap_or(rustix::io::Errno::INVAL.raw_os_error());
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {}
            // execvp(3): remembered, but a later directory may have one that works.
            ErrorKind::PermissionDenied => answer = errno,
            _ => {
                answer = errno;
                break;
            }
        }
    }
    Report::ExecFailed {
        program: program.clone(),
        errno: answer,
    }
}

/// Makes a working directory and what is missing above it, for the user of the command, as `BuildKit` does.
fn make_workdir(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let mut missing: Vec<&Path> = Vec::new();
    for above in path.ancestors() {
        match std::fs::metadata(above) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(above),
            Err(error) => return Err(error),
        }
    }
    for directory in missing.into_iter().rev() {
        std::fs::create_dir(directory)?;
        std::os::unix::fs::chown(directory, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// The files that `program` may mean, in order.
fn candidates(program: &str, path: &str) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    // A program without a slash must not be found in the working directory unless PATH says so; `./` keeps exec from searching.
    let in_directory = |directory: &str| {
        Path::new(if directory.is_empty() { "." } else { directory }).join(program)
    };
    if program.is_empty() {
        Vec::new()
    } else {
        path.split(':').map(in_directory).collect()
    }
}

fn context(action: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{action}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_as_execvp_does() {
        let paths = |program, path| {
            candidates(program, path)
                .into_iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(paths("sh", "/bin:/usr/bin"), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(paths("./sh", "/bin"), ["./sh"]);
        assert_eq!(paths("sh", ""), ["./sh"]);
        assert_eq!(paths("sh", "/bin::"), ["/bin/sh", "./sh", "./sh"]);
        assert!(paths("", "/bin").is_empty());
    }
}
