//! Starts a command through the supervising half, and carries its output while it runs.

use super::executor::{RunOutput, RunStatus};
use super::protocol::{CALL_OFF, Job, Report, receive, send};
use super::{SandboxError, init};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

/// How much output is carried at once, in bytes: a pipe's whole capacity.
const PIECE: usize = 64 << 10;

/// Runs one command to its end.
pub(super) fn launch(job: &Job, output: &mut RunOutput<'_>) -> Result<RunStatus, SandboxError> {
    let kills_before = memory_kills();
    let (child, socket) = init::spawn(init::SUPERVISE, Stdio::piped(), Stdio::piped())
        .map_err(|source| SandboxError::path("execute", "/proc/self/exe", source))?;
    let mut running = Running { child, socket };
    // A supervisor that died early cannot read; how it ended is told below.
    let _ = send(&running.socket, job);
    let (report, cancelled) = running.carry(output)?;
    let status = running
        .child
        .wait()
        .map_err(|source| SandboxError::system("wait for a child", source))?;
    match report {
        Some(Report::Failed { reason }) => Err(SandboxError::Prepare { reason }),
        Some(Report::ExecFailed { program, errno }) => Err(SandboxError::Exec {
            program,
            source: Errno::from_raw_os_error(errno),
        }),
        Some(_) if cancelled => Ok(RunStatus::Cancelled),
        Some(Report::Exited(code)) => Ok(RunStatus::Exited(code)),
        Some(Report::Signaled(signal)) => Ok(RunStatus::Signaled {
            signal,
            out_of_memory: memory_kills() > kills_before,
        }),
        None => Err(SandboxError::ChildLost {
            status: status.to_string(),
        }),
    }
}

/// The supervising half; ended, with all its command's processes, when this is dropped.
struct Running {
    child: Child,
    socket: UnixStream,
}

impl Running {
    /// Passes output on until the command has ended. Returns what was reported, and whether we called it off.
    fn carry(
        &mut self,
        output: &mut RunOutput<'_>,
    ) -> Result<(Option<Report>, bool), SandboxError> {
        let mut pipes = [
            self.child.stdout.take().map(OwnedFd::from),
            self.child.stderr.take().map(OwnedFd::from),
        ]
        .map(|pipe| pipe.map(File::from));
        let mut buffer = vec![0; PIECE];
        let mut report = None;
        let mut speaking = true;
        let mut cancelled = false;
        while speaking || pipes.iter().any(Option::is_some) {
            let ready = self.wait_for_news(
                &pipes,
                speaking,
                output.cancel.filter(|_| !cancelled).map(AsFd::as_fd),
            )?;
            for (index, sink) in [&mut *output.stdout, &mut *output.stderr]
                .into_iter()
                .enumerate()
            {
                if ready.pipes[index] && !carry_piece(&mut pipes[index], &mut buffer, sink)? {
                    pipes[index] = None;
                }
            }
            if ready.cancel {
                cancelled = true;
                // It may have ended at this very moment.
                let _ = (&self.socket).write_all(&[CALL_OFF]);
            }
            if ready.socket {
                match receive(&self.socket)
                    .map_err(|source| SandboxError::system("read a child's report", source))?
                {
                    Some(received) => report = Some(received),
                    None => speaking = false,
                }
            }
        }
        Ok((report, cancelled))
    }

    fn wait_for_news(
        &self,
        pipes: &[Option<File>; 2],
        speaking: bool,
        cancel: Option<rustix::fd::BorrowedFd<'_>>,
    ) -> Result<News, SandboxError> {
        let sources = [
            pipes[0].as_ref().map(AsFd::as_fd),
            pipes[1].as_ref().map(AsFd::as_fd),
            speaking.then_some(self.socket.as_fd()),
            cancel,
        ];
        let mut watched: Vec<_> = sources
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(SandboxError::system("wait for a command", error)),
        }
        let mut events = watched.iter().map(|fd| !fd.revents().is_empty());
        let [out, err, socket, cancel] =
            sources.map(|source| source.is_some() && events.next().unwrap_or(false));
        Ok(News {
            pipes: [out, err],
            socket,
            cancel,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A supervisor whose socket closes kills everything and ends; then there is a status to collect.
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.child.wait();
    }
}

struct News {
    pipes: [bool; 2],
    socket: bool,
    cancel: bool,
}

/// Passes on what a pipe holds; false at its end.
fn carry_piece(
    pipe: &mut Option<File>,
    buffer: &mut [u8],
    sink: &mut (dyn Write + Send),
) -> Result<bool, SandboxError> {
    let Some(pipe) = pipe else { return Ok(false) };
    let count = match pipe.read(buffer) {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
        Err(source) => return Err(SandboxError::system("read a command's output", source)),
    };
    sink.write_all(&buffer[..count])
        .map_err(|source| SandboxError::Output { source })?;
    Ok(count > 0)
}

/// How often the kernel has killed for want of memory in our control group; 0 where it does not say.
fn memory_kills() -> u64 {
    [
        "/sys/fs/cgroup/memory.events",
        "/sys/fs/cgroup/memory/memory.oom_control",
    ]
    .iter()
    .find_map(|path| std::fs::read_to_string(path).ok())
    .and_then(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    })
    .unwrap_or(0)
}
