//! An SSH agent, lent to a command: it may ask for the keys' names and for signatures, and cannot add, remove or lock keys.
//!
//! The command gets a socket of ours. Each request that comes in is looked at before it is passed on
//! (draft-miller-ssh-agent section 3), so that the agent sees our user and never the command's.

use super::SandboxError;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Requests that are passed on: `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST`.
const PASSED_ON: [u8; 2] = [11, 13];
/// `SSH_AGENT_FAILURE`, as a whole answer.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// The longest message, in bytes: that of OpenSSH's agent.
const LONGEST: u32 = 256 * 1024;

/// An agent's socket, wherever its name leads later.
#[derive(Debug, Clone)]
pub struct Agent(Arc<OwnedFd>);

impl Agent {
    /// Takes hold of a socket by its path.
    pub fn open(path: &Path) -> Result<Self, SandboxError> {
        let found = std::fs::metadata(path)
            .map_err(|source| SandboxError::path("use the SSH agent at", path, source))?;
        if !found.file_type().is_socket() {
            let source = io::Error::new(ErrorKind::InvalidInput, "it is no socket");
            return Err(SandboxError::path("use the SSH agent at", path, source));
        }
        let socket = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| SandboxError::path("open", path, source))?;
        Ok(Self(Arc::new(socket)))
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// A socket that leads to an agent; gone when this is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    path: PathBuf,
    stop: Arc<OwnedFd>,
    accepting: Option<JoinHandle<()>>,
}

impl Lent {
    /// Makes the socket at `path`, which must be free.
    pub(super) fn make(
        agent: &Agent,
        path: &Path,
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<Self, SandboxError> {
        let explain = |source: io::Error| SandboxError::path("make the socket", path, source);
        let listener = bind(path).map_err(explain)?;
        chown(path, Some(uid), Some(gid)).map_err(explain)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(explain)?;
        listener.set_nonblocking(true).map_err(explain)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|source| SandboxError::system("make an event descriptor", source))?;
        let stop = Arc::new(stop);
        let (agent, stopped) = (agent.clone(), Arc::clone(&stop));
        let accepting = std::thread::Builder::new()
            .name("ssh-agent".to_owned())
            .spawn(move || accept(&listener, &agent, &stopped))
            .map_err(|source| SandboxError::system("start a thread", source))?;
        Ok(Self {
            path: path.to_owned(),
            stop,
            accepting: Some(accepting),
        })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Nothing can go wrong with an eventfd that is written once.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(accepting) = self.accepting.take() {
            // A thread that panicked serves nobody any more.
            let _ = accepting.join();
        }
        // It may be gone with the directory around it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Through a descriptor of its directory, since the path of a socket is 107 bytes long at most.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let directory = openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    UnixListener::bind(short)
}

fn accept(listener: &UnixListener, agent: &Agent, stop: &OwnedFd) {
    loop {
        let mut watched = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !watched[1].revents().is_empty() {
            return;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let agent = agent.clone();
        // Ends when the command closes its end, which it does at the latest when it is gone. Without a thread it is closed now.
        let _ = std::thread::Builder::new().spawn(move || {
            // The command sees its end closed.
            let _ = stream
                .set_nonblocking(false)
                .and_then(|()| serve(&stream, &agent));
        });
    }
}

fn serve(mut command: &UnixStream, agent: &Agent) -> io::Result<()> {
    let mut agent = agent.connect()?;
    while let Some(request) = read_message(&mut command)? {
        // The first byte after the length says what is asked.
        if request.get(4).is_some_and(|kind| PASSED_ON.contains(kind)) {
            agent.write_all(&request)?;
            let Some(answer) = read_message(&mut agent)? else {
                return Ok(());
            };
            command.write_all(&answer)?;
        } else {
            command.write_all(&FAILURE)?;
        }
    }
    Ok(())
}

/// A message with its length in front; `None` at the end.
fn read_message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let count = u32::from_be_bytes(length);
    if count > LONGEST {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut message = length.to_vec();
    message.resize(4 + count as usize, 0);
    from.read_exact(&mut message[4..])?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_get_through() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let real = UnixListener::bind(&path).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = real.accept().unwrap();
            let mut seen = Vec::new();
            while let Some(request) = read_message(&mut stream).unwrap() {
                seen.push(request[4]);
                stream.write_all(&[0, 0, 0, 2, 12, 7]).unwrap();
            }
            seen
        });
        let agent = Agent::open(&path).unwrap();
        // Its name may lead elsewhere by now.
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let socket = directory.path().join("lent");
        let lent = Lent::make(&agent, &socket, (0o600, uid, gid)).unwrap();
        let mut command = UnixStream::connect(&socket).unwrap();
        let mut ask = |kind: u8| {
            command.write_all(&[0, 0, 0, 1, kind]).unwrap();
            read_message(&mut command).unwrap().unwrap()
        };
        assert_eq!(ask(11), [0, 0, 0, 2, 12, 7]);
        // Remove all keys.
        assert_eq!(ask(19), FAILURE);
        assert_eq!(ask(13), [0, 0, 0, 2, 12, 7]);
        drop(command);
        assert_eq!(answering.join().unwrap(), [11, 13]);
        drop(lent);
        assert!(!socket.exists());
        assert!(Agent::open(directory.path()).is_err());
    }
}
