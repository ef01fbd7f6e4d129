//! What can go wrong between an isolation and its steps.

use rustix::io::Errno;
use std::path::PathBuf;

/// A failure of the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No isolation works on this machine.
    #[error("no isolation works here: {}", reasons.join("; "))]
    NoIsolation {
        /// One line for each rung that was tried.
        reasons: Vec<String>,
    },
    /// The isolation that was asked for does not work on this machine.
    #[error("isolation {isolation} does not work here: {reason}")]
    Refused {
        /// Which.
        isolation: &'static str,
        /// Why.
        reason: String,
    },
    /// This isolation has no way of running commands.
    #[error("cannot run commands here: {reason}")]
    RunRefused {
        /// Why.
        reason: String,
    },
    /// The command's program is not in the tree.
    #[error("{program}: {source}")]
    Exec {
        /// As it was given.
        program: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The child that prepares a RUN could not do it.
    #[error("cannot prepare the command's surroundings: {reason}")]
    Prepare {
        /// What failed and the kernel's answer.
        reason: String,
    },
    /// The child that prepares a RUN went away without a word.
    #[error("the process that prepares commands ended early ({status})")]
    ChildLost {
        /// How.
        status: String,
    },
    /// A mount pins a path that a step needs.
    #[error("{path} is mounted into this container, so the step cannot have its own; {way_out}", path = path.display())]
    Pinned {
        /// The path in the image.
        path: PathBuf,
        /// What the user can do.
        way_out: &'static str,
    },
    /// A mount hides what this build has put below it.
    #[error(
        "{path}, which this build made, is hidden from commands: {mount} is a mount of this container, or kept in its place for the build; \
         copy it elsewhere in the Dockerfile, give the job's container no {mount}, or build with --isolation=namespace",
        path = path.display(), mount = mount.display()
    )]
    Hidden {
        /// The path in the image.
        path: PathBuf,
        /// What hides it.
        mount: PathBuf,
    },
    /// What was set aside by an earlier build cannot be put back.
    #[error("the journal {path} cannot be used: {reason}", path = path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Calls came in the wrong order.
    #[error("the workspace is not in a state to {wanted}")]
    OutOfOrder {
        /// What was asked of it.
        wanted: &'static str,
    },
    /// A system call on a path failed.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Path {
        /// A verb: `create`, `mount`, ...
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A system call without a path failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// Standard output or error could not be passed on.
    #[error("cannot pass on the command's output: {source}")]
    Output {
        /// The receiver's answer.
        #[source]
        source: std::io::Error,
    },
}

impl SandboxError {
    pub(super) fn system(action: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::System {
            action,
            source: source.into(),
        }
    }

    pub(super) fn path(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Path {
            action,
            path: path.into(),
            source: source.into(),
        }
    }
}
