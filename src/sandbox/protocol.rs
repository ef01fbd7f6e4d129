//! What this process and its re-executed halves say to each other over a socket: length-framed JSON.

use super::executor::{Content, RunSpec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

/// A command and where to run it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) spec: RunSpec,
}

/// Where a command runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Place {
    /// In namespaces of its own, with this tree as its root.
    Namespace(NamespacePlace),
    /// In the container's own `/`.
    Inplace,
}

/// What the surroundings of a command in its own namespaces are made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NamespacePlace {
    /// The tree.
    pub(super) root: PathBuf,
    /// Whether there is a PID namespace with a fresh `/proc`; otherwise the outer `/proc` is bound.
    pub(super) own_processes: bool,
    /// Whether we are in a user namespace, where devices can only be bound.
    pub(super) user_namespace: bool,
    /// A file to bind over `/etc/hosts`.
    pub(super) hosts: Option<PathBuf>,
    /// A file to bind over `/etc/resolv.conf`.
    pub(super) resolv_conf: Option<PathBuf>,
    /// What else to mount, those above before those below.
    pub(super) mounts: Vec<PlaceMount>,
    /// An empty directory for files in memory.
    pub(super) staging: Option<PathBuf>,
}

/// One mount, prepared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PlaceMount {
    /// Relative to the tree's root.
    pub(super) target: String,
    pub(super) kind: PlaceMountKind,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum PlaceMountKind {
    Bind {
        source: PathBuf,
        read_only: bool,
    },
    Tmpfs {
        size: Option<u64>,
        read_only: bool,
    },
    File {
        content: Content,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// What became of a job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Failed { reason: String },
    ExecFailed { program: String, errno: i32 },
    Exited(u8),
    Signaled(i32),
}

/// The byte that asks the supervising half to end its command gently; a closed socket asks for the quick way.
pub(super) const CALL_OFF: u8 = b'!';

/// The largest message that is believed, in bytes. Arguments and environment of one exec stay below 6 MiB.
const LARGEST_MESSAGE: usize = 64 << 20;

pub(super) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| io::Error::from(ErrorKind::FileTooLarge))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&body)
}

/// Reads one message; `None` when the other side has closed before one began.
pub(super) fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST_MESSAGE {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        let mut wire = Vec::new();
        send(&mut wire, &Report::Exited(3)).unwrap();
        send(
            &mut wire,
            &Report::Failed {
                reason: "a\0b".into(),
            },
        )
        .unwrap();
        let mut rest = wire.as_slice();
        assert!(matches!(
            receive(&mut rest).unwrap(),
            Some(Report::Exited(3))
        ));
        assert!(
            matches!(receive(&mut rest).unwrap(), Some(Report::Failed { reason }) if reason == "a\0b")
        );
        assert!(receive::<Report>(&mut rest).unwrap().is_none());
        assert!(receive::<Report>(&[0xff; 9][..]).is_err());
        assert!(receive::<Report>(&wire[..6]).is_err());
    }
}
