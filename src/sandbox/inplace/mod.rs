//! The isolation `inplace`.

use super::SandboxError;
use super::executor::Executor;

pub(super) fn check(_force: bool) -> Result<(), String> {
    Err("temporarily absent".into())
}

pub(super) fn enter(_force: bool) -> Result<Box<dyn Executor>, SandboxError> {
    Err(SandboxError::Refused {
        isolation: "inplace",
        reason: "temporarily absent".into(),
    })
}
