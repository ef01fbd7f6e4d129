//! Runs a build step's processes in an image's tree, as strongly isolated as the machine allows.
//!
//! [`enter`] chooses the isolation by trying it in a probe child and moves this process into it, once, before any thread
//! exists. What it returns is an [`Executor`]: it makes a [`Workspace`] for each stage, which stacks base layers, gives every step a
//! place for its changes, and runs the RUN commands. [`scrub`] empties the environment that `/proc` shows; [`init`] is the
//! child half, since this program re-executes itself instead of forking.
//!
//! This room never falls back from an isolation to the bare host, never runs a program of the image as the builder, and
//! leaves no process of a step alive. It reads no environment and no argv.

mod agent;
mod cache_mounts;
mod confine;
mod credentials;
mod enter;
mod error;
mod executor;
mod identity;
pub mod init;
mod inplace;
mod launch;
mod mountinfo;
mod mounting;
mod mounts;
mod namespace;
mod order;
mod overlay;
mod plain;
mod probe;
mod protocol;
pub mod scrub;
mod store;
mod stubs;
mod supervise;
mod surroundings;

pub use agent::Agent;
pub use cache_mounts::{Beginning, CacheMounts, HeldCache, Identity as CacheIdentity, Sharing};
pub use enter::{Choice, EnterOptions, RungReport, enter, probe_all};
pub use error::SandboxError;
pub use executor::{
    Cancel, ChangeSource, Content, Executor, FinishedStage, Isolation, LayerSlot, Mount, MountKind,
    Network, Ownership, ProtectedPath, Protection, RunOutput, RunSpec, RunStatus, StagedLayer,
    StepKind, UpperView, Workspace, Writes,
};
pub use inplace::restore;
