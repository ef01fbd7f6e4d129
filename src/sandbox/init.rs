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
    let name = argv0.to_str()?;
    let half: fn(&UnixStream) -> u8 = match name {
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
    if [SUPERVISE, CONFINE].contains(&name) {
        // A fresh exec is dumpable again; these two hold the arguments of a build, and capabilities, in sight of its commands.
        // The others have to open their own id maps, which an undumpable process may not.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok()?;
    }
    Some(half(&UnixStream::from(stream)))
}

/// Starts a half of this program with one end of a socket as its standard input, out of reach of the terminal's keys: what
/// interrupts us decides when we end it. The confined half makes a session of its own, which a group's leader could not.
pub(super) fn spawn(half: &str, stdout: Stdio, stderr: Stdio) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(half)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(stdout)
        .stderr(stderr);
    if half != CONFINE {
        command.process_group(0);
    }
    Ok((command.spawn()?, ours))
}
