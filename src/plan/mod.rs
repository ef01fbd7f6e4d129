//! Dockerfile, base configs and build arguments to a plan: what each step does, with every variable evaluated.
//!
//! The semantics are BuildKit's. [`outline`] finds the stages that the target needs and the images that those name;
//! [`plan`] evaluates them: scopes of ARG and ENV, the final configuration of every stage, the history entry of every
//! step, ONBUILD triggers spliced in. Syntax that the engine cannot execute is an error here, never ignored.
//!
//! This room does no I/O, reads no clock, and knows no credential. What it returns is printable: see [`Plan`].

mod chmod;
mod error;
mod options;
mod outline;
mod step;

pub use chmod::{ChmodError, ChmodSpec};
pub use error::{PlanError, PlanWarning};
pub use options::Options;
pub use outline::{ImageUse, Outline, OutlineBase, OutlineStage};
pub use step::{
    CopyFrom, CopySource, CopyStep, Origin, Plan, RunStep, StageBase, StagePlan, Step, StepKind,
    Unpack, WorkdirStep,
};

/// The comment of every history entry that a build adds.
pub const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";
