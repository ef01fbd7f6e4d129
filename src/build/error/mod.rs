//! What can end a build, with the place in the Dockerfile where there is one and what to do next.

mod copy;
mod hint;

use std::path::PathBuf;

use crate::dockerfile::Span;
use crate::oci::{Reference, ReferenceError};
use crate::{
    cache, context, dockerfile, http, layer, output, plan, registry, rootfs, sandbox, snapshot,
};

use super::last_lines::LastLine;

pub use copy::{CopyError, CopyFailure, DownloadError, UserError};

/// What ended a build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The context is not to be had.
    #[error(transparent)]
    Context(#[from] context::ContextError),
    /// A named context is not to be had.
    #[error("the build context {label} cannot be used")]
    NamedContext {
        /// Its name.
        label: String,
        /// Why.
        source: Box<context::ContextError>,
    },
    /// The image of a named context is not to be had.
    #[error("the build context {label} cannot be used")]
    NamedImage {
        /// Its name.
        label: String,
        /// Where the Dockerfile names it.
        span: Span,
        /// Why.
        source: Box<output::Error>,
    },
    /// The Dockerfile has mistakes.
    #[error("the Dockerfile cannot be parsed")]
    Parse(#[from] dockerfile::ParseErrors),
    /// The configuration of the checks is not valid.
    #[error(transparent)]
    CheckConfig(#[from] dockerfile::lint::ConfigError),
    /// Checks found something, and `error=true` makes that a failure.
    #[error("checks failed: {rules}")]
    Checks {
        /// The names of the rules.
        rules: String,
        /// Where the first of them found something.
        span: Span,
        /// What to do there.
        hint: String,
    },
    /// The Dockerfile asks for what cannot be.
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    /// An HTTP client could not be made.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// A base image could not be had.
    #[error("cannot get {reference}")]
    Image {
        /// The image.
        reference: Reference,
        /// Where it is named.
        span: Span,
        /// Why.
        #[source]
        source: Box<registry::Error>,
    },
    /// A registry would not take the image.
    #[error("cannot push to {reference}")]
    Push {
        /// The destination.
        reference: Reference,
        /// Why.
        #[source]
        source: Box<registry::Error>,
    },
    /// A base image's configuration and manifest contradict each other.
    #[error("{reference} is broken: {reason}")]
    BrokenImage {
        /// The image.
        reference: Reference,
        /// Where it is named.
        span: Span,
        /// What does not fit.
        reason: String,
    },
    /// A layer of a base image could not be unpacked.
    #[error("cannot unpack layer {digest} of {reference}")]
    Unpack {
        /// The image.
        reference: Reference,
        /// The layer, shortened.
        digest: String,
        /// Why.
        #[source]
        source: Box<layer::Error>,
    },
    /// The entries of the image could not be written down.
    #[error(transparent)]
    Embed(cache::Error),
    /// A cache that must be written could not be.
    #[error("the image is there, and cache {place} was not written")]
    NotKept {
        /// The cache.
        place: String,
        /// Why.
        #[source]
        source: Box<cache::Error>,
    },
    /// A layer out of a cache could not be fetched: the build is done again without caches.
    #[error("cannot get layer {digest} out of a cache")]
    CachedFetch {
        /// The layer, shortened.
        digest: String,
        /// Why.
        #[source]
        source: Box<registry::Error>,
    },
    /// A layer out of a cache could not be unpacked: the build is done again without caches.
    #[error("cannot unpack layer {digest} out of a cache")]
    CachedUnpack {
        /// The layer, shortened.
        digest: String,
        /// Why.
        #[source]
        source: Box<layer::Error>,
    },
    /// A layer out of a cache could not be pushed: the build is done again without caches.
    #[error("cannot push layer {digest} out of a cache")]
    CachedPush {
        /// The layer, shortened.
        digest: String,
        /// Why.
        #[source]
        source: Box<output::Error>,
    },
    /// A COPY, ADD or WORKDIR failed.
    #[error(transparent)]
    Copy(CopyFailure),
    /// A RUN's command failed.
    #[error("{display}: {outcome}")]
    Run {
        /// The instruction.
        display: String,
        /// The stage that it is in.
        stage: String,
        /// Where it is.
        span: Span,
        /// How it ended.
        outcome: String,
        /// The exit code to hand on.
        code: u8,
        /// What it wrote last, to both streams.
        output: Vec<LastLine>,
    },
    /// A RUN's command could not be started.
    #[error("{display}: cannot start the command")]
    Start {
        /// The instruction.
        display: String,
        /// Where it is.
        span: Span,
        /// Why.
        #[source]
        source: Box<sandbox::SandboxError>,
    },
    /// A RUN asks for what it cannot have.
    #[error("{display}: cannot be run as it asks")]
    Mount {
        /// The instruction.
        display: String,
        /// Where it is.
        span: Span,
        /// Why.
        #[source]
        source: super::MountFailure,
    },
    /// A user or group is not in the image.
    #[error("USER cannot be resolved")]
    User {
        /// Where it is named.
        span: Span,
        /// What is wrong.
        #[source]
        source: UserError,
    },
    /// The changes of a step could not be made into a layer.
    #[error("cannot make a layer of the changes of {display}")]
    Layer {
        /// The instruction.
        display: String,
        /// Why.
        #[source]
        source: Box<layer::Error>,
    },
    /// The changes of a step could not be found.
    #[error("cannot find the changes of {display}")]
    Snapshot {
        /// The instruction.
        display: String,
        /// Why.
        #[source]
        source: Box<snapshot::Error>,
    },
    /// The isolation failed.
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    /// A tree could not be read or changed.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// An output could not be written.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// A file of the builder's own could not be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    State {
        /// A verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A path to ignore is no path inside an image.
    #[error("--ignore-path {path}: {source}")]
    IgnorePath {
        /// As given.
        path: String,
        /// Why not.
        source: rootfs::PathError,
    },
    /// A signal called the build off.
    #[error("cancelled: nothing was tagged")]
    Cancelled,
    /// A name could not be made.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl BuildError {
    /// Where in the Dockerfile it went wrong.
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Plan(error) => Some(error.span()),
            Self::CheckConfig(error) => error.span,
            Self::Image { span, .. }
            | Self::BrokenImage { span, .. }
            | Self::Run { span, .. }
            | Self::Start { span, .. }
            | Self::NamedImage { span, .. }
            | Self::Mount { span, .. }
            | Self::Checks { span, .. }
            | Self::User { span, .. } => Some(*span),
            Self::Copy(failure) => match &*failure.source {
                CopyError::Missing { span, .. } => Some(*span),
                _ => Some(failure.span),
            },
            Self::Parse(_)
            | Self::Context(_)
            | Self::NamedContext { .. }
            | Self::Http(_)
            | Self::Push { .. }
            | Self::Unpack { .. }
            | Self::CachedFetch { .. }
            | Self::CachedUnpack { .. }
            | Self::CachedPush { .. }
            | Self::Embed(_)
            | Self::NotKept { .. }
            | Self::Layer { .. }
            | Self::Snapshot { .. }
            | Self::Sandbox(_)
            | Self::Rootfs(_)
            | Self::Output(_)
            | Self::State { .. }
            | Self::IgnorePath { .. }
            | Self::Cancelled
            | Self::Reference(_) => None,
        }
    }

    /// Whether a layer out of a cache was to blame, so that the build can be done without.
    pub(super) fn is_cache_fault(&self) -> bool {
        matches!(
            self,
            Self::CachedFetch { .. } | Self::CachedUnpack { .. } | Self::CachedPush { .. }
        )
    }

    /// The exit code of the program: a failing RUN's own, else 1. Which signal called a build off, the caller knows.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Run { code, .. } => *code,
            _ => 1,
        }
    }
}
