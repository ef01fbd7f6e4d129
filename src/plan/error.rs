//! Why there is no plan.

use crate::dockerfile::word::WordError;
use crate::dockerfile::{MountError, ParseErrors, Span};
use crate::oci::{DigestError, PlatformError, ReferenceError};

use super::ChmodError;

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The syntax is right, and longshore cannot do it.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What it is, as the user wrote it: `RUN --mount`.
        what: String,
        /// Where.
        span: Span,
    },
    /// Variables, quotes or escapes that cannot be expanded.
    #[error("cannot expand the value: {source}")]
    Expansion {
        /// What is wrong.
        source: WordError,
        /// Where.
        span: Span,
    },
    /// The image name of a FROM is empty once its variables are expanded.
    #[error("the image name \"{}\" is empty once its variables are expanded", written.escape_debug())]
    BlankBase {
        /// The name as written.
        written: String,
        /// Where.
        span: Span,
    },
    /// What a FROM or `COPY --from` names is neither a stage nor an image reference.
    #[error("{source}")]
    Reference {
        /// What is wrong with the reference.
        source: ReferenceError,
        /// A stage with nearly that name.
        nearest: Option<String>,
        /// Where.
        span: Span,
    },
    /// `FROM --platform` names no platform.
    #[error("{source}")]
    Platform {
        /// What is wrong with it.
        source: PlatformError,
        /// Where.
        span: Span,
    },
    /// The Dockerfile has no stage like the target.
    #[error("the Dockerfile has no stage \"{}\" to build", target.escape_debug())]
    UnknownTarget {
        /// What was asked for.
        target: String,
        /// A stage with nearly that name.
        nearest: Option<String>,
        /// The stages that there are.
        stages: Vec<String>,
        /// The FROM of the last stage, which is built if no target is given.
        span: Span,
    },
    /// `COPY --from` with a number that is no stage.
    #[error("there is no stage number {index}: the Dockerfile has stages 0 to {last}")]
    StageIndex {
        /// The number as written.
        index: String,
        /// The number of the last stage.
        last: usize,
        /// Where.
        span: Span,
    },
    /// Stages that copy from each other.
    #[error("the stages depend on each other in a circle: {}", stages.join(" -> "))]
    Cycle {
        /// The stages of the circle; the last one is the first one again.
        stages: Vec<String>,
        /// The instruction that closes the circle.
        span: Span,
    },
    /// A stage copies from one that comes later.
    #[error("stage \"{from}\" comes after stage \"{stage}\", which copies from it")]
    LaterStage {
        /// The stage that is copied from.
        from: String,
        /// The stage that copies.
        stage: String,
        /// Where.
        span: Span,
    },
    /// An image that the outline did not name, or whose config was not given.
    #[error("the config of the image {image} is not known")]
    MissingConfig {
        /// The image.
        image: String,
        /// Where it is named.
        span: Span,
    },
    /// An ONBUILD trigger of a base image that is no instruction.
    #[error("the base image's trigger \"ONBUILD {}\" is no valid instruction: {source}", trigger.escape_debug())]
    Trigger {
        /// The trigger.
        trigger: String,
        /// What is wrong with it.
        source: ParseErrors,
        /// The FROM.
        span: Span,
    },
    /// A name in ENV is empty once its variables are expanded.
    #[error("the name \"{}\" in ENV is empty once its variables are expanded", written.escape_debug())]
    BlankName {
        /// The name as written.
        written: String,
        /// Where.
        span: Span,
    },
    /// EXPOSE of something that is no port.
    #[error("\"{}\" is not a port to expose: {reason}", word.escape_debug())]
    Port {
        /// The word after expansion.
        word: String,
        /// What is wrong with it.
        reason: String,
        /// Where.
        span: Span,
    },
    /// VOLUME with an empty path.
    #[error("the path \"{}\" in VOLUME is empty once its variables are expanded", written.escape_debug())]
    BlankVolume {
        /// The path as written.
        written: String,
        /// Where.
        span: Span,
    },
    /// STOPSIGNAL with something else.
    #[error("\"{}\" is not a signal", signal.escape_debug())]
    Signal {
        /// The word after expansion.
        signal: String,
        /// Where.
        span: Span,
    },
    /// `--chmod` with something else.
    #[error("{source}")]
    Chmod {
        /// What is wrong with it.
        source: ChmodError,
        /// Where.
        span: Span,
    },
    /// COPY of a URL or a git repository.
    #[error("COPY cannot copy \"{}\": only ADD takes URLs and git repositories", location.escape_debug())]
    RemoteCopy {
        /// The source.
        location: String,
        /// Where.
        span: Span,
    },
    /// `ADD --checksum` where it does not stand for one download.
    #[error("--checksum goes with one source, a URL or a git repository")]
    ChecksumOfWhat {
        /// Where.
        span: Span,
    },
    /// `ADD --checksum` with something else.
    #[error("{source}")]
    Checksum {
        /// What is wrong with it.
        source: DigestError,
        /// Where.
        span: Span,
    },
    /// `RUN --mount` with something else.
    #[error("{source}")]
    Mount {
        /// What is wrong with it.
        source: MountError,
        /// Where.
        span: Span,
    },
    /// `RUN []`.
    #[error("RUN has no command")]
    EmptyRun {
        /// Where.
        span: Span,
    },
}

impl PlanError {
    /// Where in the Dockerfile.
    pub fn span(&self) -> Span {
        match self {
            Self::Unsupported { span, .. }
            | Self::Expansion { span, .. }
            | Self::BlankBase { span, .. }
            | Self::Reference { span, .. }
            | Self::Platform { span, .. }
            | Self::UnknownTarget { span, .. }
            | Self::StageIndex { span, .. }
            | Self::Cycle { span, .. }
            | Self::LaterStage { span, .. }
            | Self::MissingConfig { span, .. }
            | Self::Trigger { span, .. }
            | Self::BlankName { span, .. }
            | Self::Port { span, .. }
            | Self::BlankVolume { span, .. }
            | Self::Signal { span, .. }
            | Self::Chmod { span, .. }
            | Self::RemoteCopy { span, .. }
            | Self::ChecksumOfWhat { span }
            | Self::Checksum { span, .. }
            | Self::Mount { span, .. }
            | Self::EmptyRun { span } => *span,
        }
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownTarget {
                nearest: None,
                stages,
                ..
            } => Some(format!("the stages are {}", stages.join(", "))),
            Self::UnknownTarget {
                nearest: Some(nearest),
                ..
            }
            | Self::Reference {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean {nearest}?")),
            Self::BlankBase { .. } => Some(
                "give the ARG in front of the first FROM a default, or pass --build-arg".to_owned(),
            ),
            Self::LaterStage { from, .. } => Some(format!("move stage {from} up")),
            Self::Expansion {
                source: WordError::Required { name, .. },
                ..
            } => Some(format!("set {name} with ARG or ENV before, or pass --build-arg {name}=...")),
            Self::Expansion { .. } => Some("a literal $ is written \\$; ${NAME:-default}, ${NAME:+other}, ${NAME:?message}, ${NAME#pattern} and ${NAME/pattern/other} are known".to_owned()),
            Self::Platform { .. } => Some("write for example linux/amd64".to_owned()),
            Self::StageIndex { .. } => Some("name the stage: FROM image AS name, then --from=name".to_owned()),
            Self::Cycle { .. } => Some("take out one of the copies, or move what both need into a stage of its own".to_owned()),
            Self::BlankVolume { .. } | Self::BlankName { .. } => Some("set the variable with ARG or ENV before".to_owned()),
            Self::Signal { .. } => Some("write a name such as SIGTERM, or a number".to_owned()),
            Self::Chmod { .. } => Some("write for example --chmod=755".to_owned()),
            Self::Port { .. } => Some("write ports as 8080, 8080/udp or 8000-8010".to_owned()),
            Self::EmptyRun { .. } => Some("write a command, or remove the line".to_owned()),
            Self::RemoteCopy { .. } => Some("use ADD".to_owned()),
            Self::ChecksumOfWhat { .. } => {
                Some("give every source that has a checksum an ADD of its own".to_owned())
            }
            Self::Mount { source, .. } => source.hint(),
            Self::Reference { nearest: None, .. } => Some("write for example alpine:3.22 or registry.example.com/team/app:1.0".to_owned()),
            Self::Trigger { .. } => Some("start from another image, or from a version of this one that is built with the trigger repaired".to_owned()),
            Self::Checksum { .. } => Some("write sha256: and the 64 hexadecimal digits that sha256sum prints, or for a git repository its commit".to_owned()),
            Self::Unsupported { .. } => Some("there is no way around it but to leave it out, or to build this image with another program".to_owned()),
            Self::MissingConfig { .. } => None,
        }
    }
}

/// What is legal and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanWarning {
    /// Build arguments that no ARG of the Dockerfile declares.
    #[error("no ARG declares the build arguments {}", .0.join(", "))]
    UnusedBuildArgs(Vec<String>),
    /// Named contexts that the Dockerfile does not name.
    #[error("nothing in the Dockerfile names the build contexts {}", .0.join(", "))]
    UnusedContexts(Vec<String>),
    /// A build argument that means something to BuildKit and nothing here.
    #[error("the build argument {name} has no effect: {instead}")]
    WithoutEffect {
        /// Its name.
        name: &'static str,
        /// Why, and what to do instead.
        instead: &'static str,
    },
}
