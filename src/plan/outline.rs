//! Which stages the target needs, and which images those name.

use crate::dockerfile::Span;
use crate::oci::{Platform, Reference};

/// Which stages are reachable from the target and which images they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The number of the stage to build.
    pub target: usize,
    /// All stages of the file.
    pub stages: Vec<OutlineStage>,
    /// The images that reachable stages name, each once per platform. A later outline of the same Dockerfile, with
    /// more configs known, begins with the same images.
    pub images: Vec<ImageUse>,
}

/// One stage of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineStage {
    /// The name, or `stage-N`.
    pub name: String,
    /// Whether the target needs it.
    pub reachable: bool,
    /// What it starts from; absent where the stage is not reachable.
    pub base: Option<OutlineBase>,
    /// The platform it is built for; absent where the stage is not reachable.
    pub platform: Option<Platform>,
    /// From FROM to the end of the last instruction.
    pub span: Span,
}

/// What a stage starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlineBase {
    /// Nothing.
    Scratch,
    /// An image: an index into [`Outline::images`].
    Image(usize),
    /// An earlier stage, by its number.
    Stage(usize),
}

/// An image that a reachable stage names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// The image.
    pub reference: Reference,
    /// For which platform.
    pub platform: Platform,
    /// Where it is named first.
    pub span: Span,
    /// Whether a stage starts from it; else files are only copied out of it.
    pub is_base: bool,
}
