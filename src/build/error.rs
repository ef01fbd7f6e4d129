//! What can end a build, with the place in the Dockerfile where there is one and what to do next.

use std::path::PathBuf;

use crate::context::git::GitError;
use crate::context::glob::BadGlob;
use crate::context::ignore::IgnoreError;
use crate::dockerfile::Span;
use crate::oci::{Digest, Reference, ReferenceError};
use crate::{
    cache, context, dockerfile, http, layer, output, plan, registry, rootfs, sandbox, snapshot,
};

use super::absence::Absence;
use super::last_lines::LastLine;

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

/// A COPY, ADD or WORKDIR that failed, and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{display}")]
pub struct CopyFailure {
    /// The instruction.
    pub display: String,
    /// Where it is.
    pub span: Span,
    /// Why.
    #[source]
    pub source: Box<CopyError>,
}

/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source is not there.
    #[error("\"{path}\" is not in {tree}")]
    Missing {
        /// As written.
        path: String,
        /// Where it was looked for.
        tree: String,
        /// The word.
        span: Span,
        /// Why, and what there is instead.
        absence: Box<Absence>,
    },
    /// A pattern is malformed.
    #[error("\"{pattern}\" is not a valid pattern")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why not.
        #[source]
        source: BadGlob,
    },
    /// A pattern of `--exclude` or `--parents` is malformed; the line is its number.
    #[error("{}", .0)]
    Filter(Box<IgnoreError>),
    /// A name in `--chown` of a copy that does not look at the image.
    #[error(
        "--link copies without looking at the image, so \"{chown}\" in --chown cannot be looked up there"
    )]
    LinkedName {
        /// As written.
        chown: String,
    },
    /// A file could not be downloaded.
    #[error("cannot download {url}")]
    Download {
        /// The URL, without a password.
        url: String,
        /// Why.
        #[source]
        source: Box<DownloadError>,
    },
    /// A repository could not be fetched.
    #[error(transparent)]
    Repository(Box<GitError>),
    /// A file cannot take a directory's place.
    #[error("cannot copy a file over the directory {path}")]
    FileOverDirectory {
        /// The directory.
        path: String,
    },
    /// A directory cannot take a file's place.
    #[error("cannot copy a directory over {path}, which is not a directory")]
    DirectoryOverFile {
        /// What is there.
        path: String,
    },
    /// The destination is mounted or belongs to the builder.
    #[error(
        "{path} is mounted into this container or belongs to the builder, and a copy may not write there"
    )]
    Mounted {
        /// The path.
        path: String,
    },
    /// Content could not be copied.
    #[error("cannot write {path}")]
    Write {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An archive could not be extracted.
    #[error("cannot extract \"{path}\"")]
    Extract {
        /// The archive.
        path: String,
        /// Why.
        #[source]
        source: Box<layer::Error>,
    },
    /// A user or group is not in the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// A tree could not be read or changed.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
}

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The URL is none.
    #[error("it is not a valid URL: {0}")]
    Url(String),
    /// No answer, or none to the end.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// An answer that says that there is no file.
    #[error("the server answered {status}")]
    Status {
        /// The status.
        status: http::StatusCode,
    },
    /// The file ended early, or did not end.
    #[error("the server announced {expected} bytes and sent {received}")]
    Length {
        /// The length in the answer's head.
        expected: u64,
        /// What came.
        received: u64,
    },
    /// A secret that is no header.
    #[error(
        "the secret {id} cannot stand in a header: it is empty, or has other than printable ASCII characters"
    )]
    Secret {
        /// The secret's id.
        id: String,
    },
    /// The file is larger than anything that belongs into an image.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The bytes are others than `--checksum` says.
    #[error("its digest is {found}, not {expected} as --checksum says")]
    Checksum {
        /// The digest of what came.
        found: Digest,
        /// What was asked for.
        expected: Digest,
    },
    /// The file could not be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The build was called off.
    #[error("the build was called off")]
    Cancelled,
}

/// Why a user or group means nothing in an image.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No entry in `/etc/passwd`.
    #[error("user \"{}\" is not in the image's /etc/passwd", name.escape_debug())]
    NoUser {
        /// The name.
        name: String,
    },
    /// No entry in `/etc/group`.
    #[error("group \"{}\" is not in the image's /etc/group", name.escape_debug())]
    NoGroup {
        /// The name.
        name: String,
    },
    /// The number is above 2147483647.
    #[error("user or group id {text} is too large: the largest is 2147483647")]
    TooLarge {
        /// As written.
        text: String,
    },
    /// The file could not be read.
    #[error("cannot read /{path} of the image")]
    Read {
        /// Which.
        path: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tree could not be read.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
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

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::CheckConfig(_) => {
                Some("for example: # check=skip=JSONArgsRecommended;error=true".to_owned())
            }
            Self::Checks { hint, .. } => {
                Some(format!("{hint}; # check=skip=NAME leaves a check out"))
            }
            Self::Image { source, .. }
            | Self::Push { source, .. }
            | Self::Output(
                output::Error::Push { source }
                | output::Error::PartlyPushed { source, .. }
                | output::Error::Fetch { source },
            ) => registry_hint(source),
            Self::Copy(failure) => copy_hint(&failure.source, &failure.display),
            Self::Context(error) => context_hint(error),
            Self::NamedContext { source, .. } => context_hint(source),
            Self::Mount { source, .. } => source.hint(),
            Self::User { source, .. } => user_hint(source),
            _ => None,
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

/// Hints about copies; the instruction is as it was written.
fn copy_hint(error: &CopyError, instruction: &str) -> Option<String> {
    let hint = match error {
        CopyError::Missing { path, absence, .. }
            if !absence.is_certain() && leads_above(instruction, path) =>
        {
            "nothing above the context can be copied, `..` stops at its root: make the outer directory the context, or name it \
             with --build-context NAME=DIRECTORY and copy --from=NAME"
        }
        CopyError::Missing { absence, .. } => return Some(absence.hint()),
        CopyError::LinkedName { .. } => "give numbers, or leave --link out",
        CopyError::Mounted { .. } => {
            "unmount it from the job's container, or build with --isolation=namespace"
        }
        CopyError::FileOverDirectory { path } => {
            return Some(format!(
                "choose another destination, or remove {path} in a RUN before"
            ));
        }
        CopyError::DirectoryOverFile { path } => {
            return Some(format!(
                "choose another destination, or remove the file {path} in a RUN before"
            ));
        }
        CopyError::Pattern { .. } | CopyError::Filter(_) => {
            "a pattern has *, ? and [a-z]; a backslash in front of a character takes its meaning away"
        }
        CopyError::Extract { .. } => {
            "check that the archive is whole; --unpack=false adds it as the file that it is"
        }
        CopyError::Download { source, .. } => return download_hint(source),
        CopyError::User(error) => return user_hint(error),
        CopyError::Repository(_) | CopyError::Write { .. } | CopyError::Rootfs(_) => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a download that failed.
fn download_hint(error: &DownloadError) -> Option<String> {
    let hint = match error {
        DownloadError::Url(_) => "write for example https://example.com/file.tar.gz",
        DownloadError::Status { .. } => {
            "check the URL; a token for it is given with --secret id=HTTP_AUTH_TOKEN_<host>,src=FILE"
        }
        DownloadError::Checksum { .. } => {
            "if the file was changed on purpose, write its new digest into --checksum; if not, do not trust it"
        }
        DownloadError::Http(_)
        | DownloadError::Length { .. }
        | DownloadError::Secret { .. }
        | DownloadError::TooLarge { .. }
        | DownloadError::Write { .. }
        | DownloadError::Cancelled => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a user or group that means nothing.
fn user_hint(error: &UserError) -> Option<String> {
    let hint = match error {
        UserError::NoUser { .. } => "create the user in a RUN before, or use its number",
        UserError::NoGroup { .. } => "create the group in a RUN before, or use its number",
        UserError::TooLarge { .. } => "use a smaller number",
        UserError::Read { .. } | UserError::Rootfs(_) => return None,
    };
    Some(hint.to_owned())
}

/// Whether an instruction names a path as if it lay above the context; what is left of it is the path.
fn leads_above(instruction: &str, path: &str) -> bool {
    let mut words = instruction.split_whitespace().chain(instruction.split('"'));
    words.any(|word| word.starts_with("../") && word.trim_start_matches("../") == path)
}

/// Hints about contexts.
fn context_hint(error: &context::ContextError) -> Option<String> {
    match error {
        context::ContextError::Extract { source, .. } => match **source {
            layer::Error::Limit { what, .. } if what.starts_with("bytes") => {
                Some("--context-limit=SIZE allows more".to_owned())
            }
            _ => None,
        },
        context::ContextError::NoDockerfile { alike, .. } if alike.is_empty() => {
            Some("--dockerfile names another file, --context the directory that has it".to_owned())
        }
        context::ContextError::NoDockerfile { alike, .. } => Some(format!(
            "the context has {}: --dockerfile names one of its files",
            alike.join(", ")
        )),
        _ => None,
    }
}

/// What to do about an answer of a registry.
fn registry_hint(error: &registry::Error) -> Option<String> {
    match error {
        registry::Error::Unauthorized { credential: None, registry, misses, .. } => {
            let mut hint = "no credential was found for this registry".to_owned();
            for miss in misses {
                hint.push_str(": ");
                hint.push_str(miss);
            }
            hint.push_str("; put one into config.json (DOCKER_CONFIG) or DOCKER_AUTH_CONFIG, or see what `longshore auth ");
            hint.push_str(registry);
            hint.push_str("` says");
            Some(hint)
        }
        registry::Error::Unauthorized { credential: Some(source), .. } => {
            Some(format!("the credential came from {source}: check that it is valid and may do this"))
        }
        registry::Error::Http { .. } => {
            Some("check the registry's name and that it can be reached from here; one that speaks plain HTTP needs --insecure-registry=HOST".to_owned())
        }
        _ => None,
    }
}
