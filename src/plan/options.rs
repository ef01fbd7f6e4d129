//! What the user asked for, apart from the Dockerfile.

use crate::oci::{Platform, Reference};

use super::RunNetwork;

/// What the user asked for, apart from the Dockerfile.
#[derive(Clone, Debug)]
pub struct Options {
    /// The stage to build, by name or number; the last one if absent.
    pub target: Option<String>,
    /// `--build-arg NAME=value`, in order; the last one of a name counts.
    pub build_args: Vec<(String, String)>,
    /// The platform of the image.
    pub target_platform: Platform,
    /// Whether the user asked for that platform. If so, the image says it is for it whatever its base says; if not,
    /// the image is for what its base is for.
    pub is_platform_explicit: bool,
    /// The platform that the build runs on.
    pub build_platform: Platform,
    /// `--label key=value`, in order; only the target stage gets them.
    pub labels: Vec<(String, String)>,
    /// The network of RUN steps that do not ask for another one.
    pub network: RunNetwork,
    /// `--build-context`, in order; the last one of a name counts.
    pub contexts: Vec<NamedContext>,
}

/// What stands for a name in FROM, `COPY --from` and `RUN --mount=from=`, and for the stage of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedContext {
    /// The name: one of an image, so that `alpine` and `docker.io/library/alpine:latest` are the same.
    pub name: Reference,
    /// The name as the user wrote it.
    pub label: String,
    /// What it is.
    pub kind: ContextKind,
}

/// What a named context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// Files.
    Files,
    /// An image of a registry.
    Image(Reference),
    /// An image that lies in files.
    Layout,
    /// Nothing: the image `scratch`.
    Scratch,
}
