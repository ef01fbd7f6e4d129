//! The supervising half: starts the confined half, relays what becomes of it, and returns only when none of the command's
//! processes is left.

use super::init;
use super::protocol::{CALL_OFF, Job, Place, Report, receive, send};
use crate::sys::namespace::unshare;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, wait,
};
use rustix::thread::UnshareFlags;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a command that was called off may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);
/// How often to look where the kernel has no process descriptors to wait on.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(super) fn run(parent: &UnixStream) -> u8 {
    let report = match supervise(parent) {
        Ok(Some(report)) => report,
        Ok(None) => return 0,
        Err(error) => Report::Failed {
            reason: error.to_string(),
        },
    };
    // Without a parent there is nobody to tell.
    let _ = send(parent, &report);
    0
}

fn supervise(parent: &UnixStream) -> io::Result<Option<Report>> {
    let Some(job) = receive::<Job>(parent)? else {
        return Ok(None);
    };
    // Orphans of the command come to us instead of to whatever process 1 is here.
    set_child_subreaper(Some(getpid()))?;
    let own_processes = matches!(&job.place, Place::Namespace(place) if place.own_processes);
    if own_processes {
        unshare(UnshareFlags::NEWPID).map_err(|error| explain("make a PID namespace", error))?;
    }
    let (mut child, socket) = init::spawn(init::CONFINE, Stdio::inherit(), Stdio::inherit())?;
    // From here on only the command holds the pipes, so that they end when it does.
    release_output()?;
    let outcome = relay(parent, &mut child, &socket, &job);
    // Whatever happened above: in a PID namespace the death of its first process ends all others; elsewhere they are ours.
    let _ = child.kill();
    let _ = child.wait();
    end_all_children()?;
    outcome.map(Some)
}

fn relay(
    parent: &UnixStream,
    child: &mut Child,
    socket: &UnixStream,
    job: &Job,
) -> io::Result<Report> {
    // A child that died early cannot read; why is told by its status.
    let _ = send(socket, job);
    if let Ok(Some(report)) = receive::<Report>(socket) {
        return Ok(report);
    }
    let status = watch(parent, child)?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Report::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Report::Signaled(signal.unwrap_or_default()),
    })
}

/// Waits for the command's end, or for the parent's word to end it.
fn watch(mut parent: &UnixStream, child: &mut Child) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
    let mut parent_speaks = true;
    let mut deadline: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            let _ = kill_process_group(pid, Signal::KILL);
            return {
                child.kill()?;
                child.wait()
            };
        }
        let left = deadline.map(|deadline| deadline - now);
        let patience = if handle.is_some() {
            left
        } else {
            Some(left.unwrap_or(LOOK_EVERY).min(LOOK_EVERY))
        };
        if !wait_for_news(handle.as_ref(), parent_speaks.then_some(parent), patience)? {
            continue;
        }
        let mut word = [0];
        match parent.read(&mut word) {
            Ok(1) if word[0] == CALL_OFF => {
                let _ = kill_process_group(pid, Signal::TERM);
                deadline.get_or_insert(now + GRACE);
            }
            // The parent is gone.
            _ => {
                parent_speaks = false;
                deadline = Some(now);
            }
        }
    }
}

/// Sleeps until the child ends, the parent speaks, or patience does; true when the parent has spoken.
fn wait_for_news(
    child: Option<&OwnedFd>,
    parent: Option<&UnixStream>,
    patience: Option<Duration>,
) -> io::Result<bool> {
    let mut watched = Vec::with_capacity(2);
    if let Some(parent) = parent {
        watched.push(PollFd::new(parent, PollFlags::IN));
    }
    if let Some(child) = child {
        watched.push(PollFd::new(child, PollFlags::IN));
    }
    let timeout = patience.map(|patience| Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    });
    match poll(&mut watched, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(parent.is_some() && !watched[0].revents().is_empty())
}

fn release_output() -> io::Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Kills every child, and every orphan that thereby becomes one, until there is none.
pub(super) fn end_all_children() -> io::Result<()> {
    loop {
        match wait(WaitOptions::NOHANG) {
            // One was reaped: its own children may have become ours.
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(None) => {
                for pid in children_of(getpid())? {
                    // It may have ended meanwhile; it cannot have been replaced, since only we reap it.
                    let _ = kill_process(pid, Signal::KILL);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The processes whose parent is `parent`, by reading all of `/proc`.
fn children_of(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        // A process that ends between the two reads is no child any more.
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else {
            continue;
        };
        if parent_in_stat(&stat) == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// The fourth field of `proc_pid_stat(5)`. The second may hold spaces and parentheses, and bytes of any kind.
fn parent_in_stat(stat: &[u8]) -> Option<Pid> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let field = stat[after_name..]
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        .nth(1)?;
    Pid::from_raw(std::str::from_utf8(field).ok()?.parse().ok()?)
}

fn explain(action: &str, error: rustix::io::Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{action}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        let parent = |stat: &str| parent_in_stat(stat.as_bytes()).map(Pid::as_raw_pid);
        assert_eq!(parent("12 (sh) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent("12 (a) S 9 (b) R 8 12"), Some(8));
        assert_eq!(parent("1 (init) S 0 1"), None);
        assert_eq!(parent("garbage"), None);
    }
}
