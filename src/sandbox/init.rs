//! The halves of this program that run in children: it re-executes itself instead of forking, so that a child starts with
//! one thread, no memory of its parent's secrets, and only the descriptors it was given.
//!
//! A half is chosen by the name it is called with, and believes it only when its standard input is a socket.

use super::{confine, identity, probe, supervise};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The half that starts a command, watches over it, and ends what it leaves behind.
pub(super) const SUPERVISE: &str = "longshore-init";
/// The half that prepares the surroundings and becomes the command.
pub(super) const CONFINE: &str = "longshore-exec";
/// The half that writes the id maps of its parent's new user namespace.
pub(super) const IDENTITY: &str = "longshore-idmap";
/// The half that tries an isolation.
pub(super) const PROBE: &str = "longshore-probe";

/// Runs the child half that `argv0` names, and returns its exit code; `None` when this is no child.
///
/// To be called first of all, before any thread exists.
pub fn dispatch(argv0: &OsStr) -> Option<u8> {
    let half: fn(UnixStream) -> u8 = match argv0.to_str()? {
        SUPERVISE => supervise::run,
        CONFINE => confine::run,
        IDENTITY => identity::run_helper,
        PROBE => probe::run,
        _ => return None,
    };
    let socket = rustix::net::sockopt::socket_type(io::stdin()).is_ok();
    let stream = socket
        .then(|| io::stdin().as_fd().try_clone_to_owned().ok())
        .flatten()?;
    // A fresh exec is dumpable again; this child may hold arguments of the build, and capabilities. The helper for id maps holds
    // neither, and needs to open files of its parent only.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    Some(half(UnixStream::from(stream)))
}

/// Starts a half of this program in a process group of its own, with one end of a socket as its standard input.
pub(super) fn spawn(half: &str, stdout: Stdio, stderr: Stdio) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new("/proc/self/exe")
        .arg0(half)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()?;
    Ok((child, ours))
}
