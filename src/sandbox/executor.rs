//! The interface: what `build` asks of an isolation.

use super::SandboxError;
use super::agent::Agent;
use rustix::event::{EventfdFlags, eventfd};
use std::any::Any;
use std::fmt;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An isolation that was entered: makes the places in which stages are built.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Which isolation this is.
    fn isolation(&self) -> Isolation;

    /// One line for people: the isolation, how it came about, how trees are backed.
    fn describe(&self) -> String;

    /// What the user must be told once, before the first step runs.
    fn warnings(&self) -> Vec<String>;

    /// Whether files can be given their true owners here.
    fn ownership(&self) -> Ownership;

    /// Says why RUN is impossible here, before anything is unpacked.
    fn check_run(&self) -> Result<(), SandboxError>;

    /// Says why a RUN cannot have what is special about it here: no network, all that the builder may.
    fn check_special(&self, network: Network, insecure: bool) -> Result<(), SandboxError>;

    /// Makes a new, empty stage. `name` is for messages and directory names only.
    fn workspace(&self, name: &str) -> Result<Box<dyn Workspace>, SandboxError>;

    /// Continues on a finished stage's tree (`FROM stage`). With `still_needed`, `finished` stays readable as it is;
    /// without, its tree may be taken over and must not be read again.
    fn branch(
        &self,
        name: &str,
        finished: &FinishedStage,
        still_needed: bool,
    ) -> Result<Box<dyn Workspace>, SandboxError>;

    /// An empty tree in which a layer can be unpacked before those below it are there, for [`Workspace::adopt_layer`]. `None` where a layer
    /// is written onto the others.
    fn stage_layer(&self) -> Result<Option<StagedLayer>, SandboxError> {
        Ok(None)
    }

    /// A directory of this build on a file system of this machine; it is there until the executor goes.
    fn scratch(&self) -> &Path;

    /// Puts back what was set aside, so that files of the machine can be written. All workspaces and finished stages must
    /// be gone; no further ones may be made.
    fn restore(&self) -> Result<(), SandboxError>;

    /// Puts back what was set aside, unmounts, removes the build's temporary directories. All workspaces and finished
    /// stages must be gone. Dropping an executor does the same, silently.
    fn finish(self: Box<Self>) -> Result<(), SandboxError>;
}

/// A layer's tree that is made apart; removed unless a workspace takes it.
#[derive(Debug)]
pub struct StagedLayer {
    /// The directory around the tree.
    pub(super) holder: Option<PathBuf>,
    pub(super) tree: PathBuf,
}

impl StagedLayer {
    /// Where the layer is unpacked.
    pub fn tree(&self) -> &Path {
        &self.tree
    }
}

impl Drop for StagedLayer {
    fn drop(&mut self) {
        if let Some(holder) = self.holder.take() {
            // What stays goes with the build's directory.
            let _ = std::fs::remove_dir_all(holder);
        }
    }
}

/// One stage's tree while it is being built.
///
/// The order of calls: `open_layer` (and `seal_layer` or `abandon_layer`) for each base layer; then for each step
/// `begin_step`, the step's work, `changes`, `seal_step`; at the end `finish`. Dropping it throws the tree away.
pub trait Workspace: Send + fmt::Debug {
    /// The root of the tree as it is now. It moves: ask again after `open_layer`, `seal_layer`, `begin_step` and `run`.
    fn root(&self) -> &Path;

    /// Puts a base layer on the stack. On [`LayerSlot::Missing`] the caller applies the layer to `root()`, then calls
    /// `seal_layer` when every byte of it is verified, or `abandon_layer`. `chain_id` is the image-spec `ChainID`
    /// (`sha256:...`) of this layer on everything below it.
    fn open_layer(&mut self, chain_id: &str) -> Result<LayerSlot, SandboxError>;

    /// Takes a tree that was made apart in the place of what `open_layer` opened; `seal_layer` is still to be called.
    fn adopt_layer(&mut self, _staged: StagedLayer) -> Result<(), SandboxError> {
        Err(SandboxError::OutOfOrder {
            wanted: "take a layer that was made apart",
        })
    }

    /// Declares the layer from `open_layer` complete: from here on other stages and builds may share it.
    fn seal_layer(&mut self) -> Result<(), SandboxError>;

    /// Throws away the half-applied layer from `open_layer`.
    fn abandon_layer(&mut self) -> Result<(), SandboxError>;

    /// Declares that what the tree holds now is the base, and what comes on it is made by this build: where mounts can hide a part of it.
    fn end_base(&mut self) -> Result<(), SandboxError> {
        Ok(())
    }

    /// Opens a place for the next step's changes.
    fn begin_step(&mut self, kind: StepKind) -> Result<(), SandboxError>;

    /// Where the step's changes are found. For [`ChangeSource::Upper`] valid as long as the value lives, also after
    /// `seal_step`, so that the layer can be packed while the next step runs.
    fn changes(&self) -> Result<ChangeSource, SandboxError>;

    /// Freezes the step's changes under the next step.
    fn seal_step(&mut self) -> Result<(), SandboxError>;

    /// Runs a command in the tree. When this returns, none of its processes is left. Refused with [`SandboxError::Hidden`] where
    /// the command would see something else in the place of what this build has made.
    fn run(
        &mut self,
        spec: &RunSpec,
        output: &mut RunOutput<'_>,
    ) -> Result<RunStatus, SandboxError>;

    /// Paths that are mounts or ours: never in a layer, never deleted, never written.
    fn protected(&self) -> Result<Vec<ProtectedPath>, SandboxError>;

    /// Ends the stage; the tree stays readable for `COPY --from` and for branching.
    fn finish(self: Box<Self>) -> Result<FinishedStage, SandboxError>;
}

/// The isolations, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A mount namespace of our own (and a user namespace where we are not the real root).
    Namespace,
    /// The container's own `/`, with what was there set aside and put back.
    Inplace,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "namespace",
            Self::Inplace => "inplace",
        })
    }
}

/// Whether the owners of files can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// `chown` works for the whole range of ids that an image may use.
    Real,
    /// Only one id exists: owners have to be recorded beside the tree.
    SingleId,
}

/// Whether a base layer has to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerSlot {
    /// It was extracted earlier and is on the stack now.
    Present,
    /// It is not there: apply it to the workspace's root.
    Missing,
}

/// What a step is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// We write files ourselves (COPY, ADD, WORKDIR).
    Files,
    /// [`Workspace::run`] will be called. In place, this is when the tree moves to `/`.
    Run,
}

/// Where the changes of a step are found.
#[derive(Debug, Clone)]
pub enum ChangeSource {
    /// An overlay's upper directory holds candidates; the lower tree says what was before.
    Upper(UpperView),
    /// The whole tree has to be compared with an index taken after `begin_step`.
    Scan {
        /// Its root.
        root: PathBuf,
    },
}

/// A step's upper directory and the tree below it; both stay as they are while this value (or a clone) lives.
#[derive(Clone)]
pub struct UpperView {
    pub(super) upper: PathBuf,
    pub(super) lower: PathBuf,
    /// Keeps the directories and mounts alive.
    pub(super) _held: Arc<dyn Any + Send + Sync>,
}

impl UpperView {
    /// The directory of changes. Deletions are 0:0 character devices; replaced directories carry
    /// `trusted.overlay.opaque` or `user.overlay.opaque` = `y`.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// The merged tree as it was before the step. Empty where there was nothing.
    pub fn lower(&self) -> &Path {
        &self.lower
    }
}

impl fmt::Debug for UpperView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpperView")
            .field("upper", &self.upper)
            .field("lower", &self.lower)
            .finish_non_exhaustive()
    }
}

/// A path of the tree (absolute, in the image's terms) which a layer must leave alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedPath {
    /// `/proc`, `/etc/resolv.conf`, ...
    pub path: PathBuf,
    /// Why, and how much of it.
    pub protection: Protection,
}

/// How much of a protected path is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// A mount point: it and everything below it.
    Mount,
    /// A directory of this program: it and everything below it.
    Ours,
    /// A directory that exists only because a mount below it pins it there: the directory itself is no addition,
    /// what else appears in it is.
    Pinned,
}

/// A finished stage's tree, readable until the value is dropped.
pub struct FinishedStage {
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) tree: Arc<dyn Any + Send + Sync>,
}

impl FinishedStage {
    /// The root of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name that its workspace was made with.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for FinishedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinishedStage")
            .field("name", &self.name)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// One command to run in a workspace.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct RunSpec {
    /// The program and its arguments. A program without a slash is looked up in PATH of `env`.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: Vec<(String, String)>,
    /// The working directory in the tree, absolute; it is made if it is missing.
    pub workdir: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The host name that the command sees, where the isolation has a name of its own to give.
    pub hostname: String,
    /// What `/etc/hosts` reads as, where it can be bound over. `None` leaves the tree's own.
    pub hosts: Option<String>,
    /// What `/etc/resolv.conf` reads as, where it can be bound over. `None` leaves the tree's own.
    pub resolv_conf: Option<String>,
    /// Which network the command has.
    pub network: Network,
    /// Whether it may do what the builder may, and sees the machine's devices.
    pub insecure: bool,
    /// What is mounted while it runs. The isolation makes of it what the command's surroundings need.
    #[serde(skip)]
    pub mounts: Vec<Mount>,
}

/// Something that a command sees at a path while it runs; nothing of it stays in the tree.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where: absolute, in the image's terms, clean, not `/`.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// The kinds of mounts.
#[derive(Debug, Clone)]
pub enum MountKind {
    /// A file or directory of this machine.
    Bind {
        /// Which: a path without links.
        source: PathBuf,
        /// What becomes of writes.
        writes: Writes,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// The most that it holds, in bytes.
        size: Option<u64>,
        /// Whether nothing can be put into it.
        read_only: bool,
    },
    /// A file in memory that cannot be written.
    File {
        /// What it holds.
        content: Content,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A socket through which the SSH agent can be asked for its keys' names and signatures, and nothing else.
    Agent {
        /// The agent.
        agent: Agent,
        /// The socket's permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// What becomes of writes to a mounted file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// They are refused; where that is not possible, thrown away.
    Refused,
    /// They are seen by the command, and thrown away when it ends.
    Discarded,
    /// They stay.
    Kept,
}

/// The content of a file that may be a secret: never printed.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Content(Vec<u8>);

impl Content {
    /// Wraps bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Gives the bytes, to be written where they belong.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

impl fmt::Debug for RunSpec {
    /// Leaves out the environment: arguments of a build may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSpec")
            .field("argv", &self.argv)
            .field("workdir", &self.workdir)
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

/// The network of a RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Network {
    /// The builder's own.
    Host,
    /// A loopback interface only.
    None,
}

/// Where a command's output goes while it runs, and how it is called off.
pub struct RunOutput<'a> {
    /// Receives standard output as it comes, in pieces of any length.
    pub stdout: &'a mut (dyn Write + Send),
    /// Receives standard error likewise.
    pub stderr: &'a mut (dyn Write + Send),
    /// Ends the command when it is cancelled: SIGTERM to its process group, SIGKILL to all three seconds later.
    pub cancel: Option<&'a Cancel>,
}

impl fmt::Debug for RunOutput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOutput")
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// It returned this exit code.
    Exited(u8),
    /// A signal ended it. `out_of_memory` when the kernel counted an out-of-memory kill in our control group meanwhile.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether memory had run out.
        out_of_memory: bool,
    },
    /// It was called off.
    Cancelled,
}

/// A switch that calls off running commands; clones share it.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<OwnedFd>);

impl Cancel {
    /// Makes a switch that is off.
    pub fn new() -> Result<Self, SandboxError> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|source| SandboxError::system("make an event descriptor", source))?;
        Ok(Self(Arc::new(fd)))
    }

    /// Turns it on, for good.
    pub fn cancel(&self) {
        // A full counter is as readable as one, and nothing else can go wrong with an eventfd.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
