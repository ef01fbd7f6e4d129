//! The order of calls on a stage that is one directory.

use super::SandboxError;

/// What is open in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    /// Neither of the others.
    Nothing,
    /// A layer that is being applied.
    Layer,
    /// A step.
    Step,
}

/// Holds callers to the order that [`super::Workspace`] states.
#[derive(Debug)]
pub(super) struct Order(Opened);

impl Order {
    pub(super) fn new() -> Self {
        Self(Opened::Nothing)
    }

    /// Goes from one to the next, and refuses from anywhere else.
    pub(super) fn step(
        &mut self,
        from: Opened,
        to: Opened,
        wanted: &'static str,
    ) -> Result<(), SandboxError> {
        self.require(from, wanted)?;
        self.0 = to;
        Ok(())
    }

    /// Refuses from anywhere but there.
    pub(super) fn require(&self, there: Opened, wanted: &'static str) -> Result<(), SandboxError> {
        if self.0 == there {
            Ok(())
        } else {
            Err(SandboxError::OutOfOrder { wanted })
        }
    }

    pub(super) fn open_layer(&mut self) -> Result<(), SandboxError> {
        self.step(Opened::Nothing, Opened::Layer, "open a layer")
    }

    pub(super) fn seal_layer(&mut self) -> Result<(), SandboxError> {
        self.step(Opened::Layer, Opened::Nothing, "seal a layer")
    }

    /// What was applied is mixed with the layers below: the stage ends here, and its directory with the build.
    pub(super) fn abandon_layer(&mut self) -> Result<(), SandboxError> {
        self.require(Opened::Layer, "abandon a layer")
    }

    pub(super) fn begin_step(&mut self) -> Result<(), SandboxError> {
        self.step(Opened::Nothing, Opened::Step, "begin a step")
    }

    pub(super) fn seal_step(&mut self) -> Result<(), SandboxError> {
        self.step(Opened::Step, Opened::Nothing, "seal a step")
    }

    pub(super) fn finish(&self) -> Result<(), SandboxError> {
        self.require(Opened::Nothing, "finish")
    }
}
