//! What ended a build, told to everybody who wants to know: the log, annotations at a file's line, the CI system's summary.

use crate::build::BuildError;
use crate::ci::{CiError, Severity};
use crate::sandbox::SandboxError;

use super::ci::Platform;
use super::last_output::LastOutput;
use super::render::Renderer;
use super::{USAGE, UsageError, diagnostic, usage};

/// What ended a build.
pub(super) enum Failure {
    /// What was typed cannot be.
    Usage(UsageError),
    /// No isolation could be entered.
    Isolation(SandboxError),
    /// A signal ended the build: the exit code that says which, as a shell's.
    Cancelled(u8),
    /// The engine says why.
    Build(Box<BuildError>),
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl From<CiError> for Failure {
    fn from(error: CiError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        Self::Isolation(error)
    }
}

impl Failure {
    /// Tells of it, and returns the exit code.
    pub(super) fn tell(&self, renderer: &Renderer, platform: &Platform) -> u8 {
        let has_color = renderer.style.has_color;
        let (text, code) = match self {
            Self::Usage(error) => (usage(error, has_color), USAGE),
            Self::Isolation(error) => {
                let hint = "`longshore doctor` tells what this machine allows";
                let text = diagnostic::plain(&diagnostic::chain(error), Some(hint), has_color);
                (text, 1)
            }
            Self::Cancelled(code) => {
                let text = BuildError::Cancelled.to_string();
                (diagnostic::plain(&text, None, has_color), *code)
            }
            Self::Build(error) => {
                let text = diagnostic::render(error, renderer.source().as_ref(), has_color);
                (text, error.exit_code())
            }
        };
        let output = match self {
            Self::Build(error) => renderer.last_output(error),
            Self::Usage(_) | Self::Isolation(_) | Self::Cancelled(_) => LastOutput::default(),
        };
        renderer.error_of_command(&text, &output);
        let messages = match self {
            Self::Usage(error) => vec![(diagnostic::chain(error), None)],
            Self::Isolation(error) => vec![(diagnostic::chain(error), None)],
            Self::Cancelled(_) => Vec::new(),
            Self::Build(error) => diagnostic::messages(error),
        };
        for (message, span) in messages {
            renderer.annotate(Severity::Error, &output.after(&message), span);
        }
        platform.publish_failure(&output.below(&text), renderer);
        code
    }
}
