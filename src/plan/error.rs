//! Why there is no plan.

use crate::dockerfile::Span;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The syntax is right, and longshore cannot do it.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What it is, as the user wrote it: `RUN --mount`.
        what: String,
        /// Where.
        span: Span,
    },
}

impl PlanError {
    /// Where in the Dockerfile.
    pub fn span(&self) -> Span {
        match self {
            Self::Unsupported { span, .. } => *span,
        }
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } => None,
        }
    }
}

/// What is legal and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanWarning {
    /// A build argument that no ARG of a reachable stage, nor one before the first FROM, declares.
    UnusedBuildArgs(Vec<String>),
}
