//! The plan: stages and their steps, as values.

use crate::dockerfile::{Span, Spanned};
use crate::oci::{ImageConfig, Platform};

use super::{ChmodSpec, PlanWarning};

/// What to do to build the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The stages that the target needs, each after those that it needs itself.
    pub stages: Vec<StagePlan>,
    /// The stage to publish: an index into `stages`.
    pub target: usize,
    /// What is legal and probably not meant.
    pub warnings: Vec<PlanWarning>,
}

/// One stage, evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct StagePlan {
    /// The number of the stage in the Dockerfile.
    pub number: usize,
    /// The name, or `stage-N`.
    pub name: String,
    /// What it starts from.
    pub base: StageBase,
    /// The platform it is built for.
    pub platform: Platform,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// The final configuration: the base's with every change applied. `rootfs` and `history` are still those of the
    /// image (or of nothing) at the bottom; whoever executes the steps appends to them.
    pub config: ImageConfig,
    /// From FROM to the end of the last instruction.
    pub span: Span,
}

/// What a stage starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageBase {
    /// Nothing.
    Scratch,
    /// An image: an index into the outline's images.
    Image(usize),
    /// An earlier stage: an index into the plan's stages.
    Stage(usize),
}

/// Where a step was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The instruction; for a trigger of an image's ONBUILD, the FROM that set it off.
    pub span: Span,
    /// The trigger's text, if an ONBUILD brought the step.
    pub trigger: Option<String>,
}

/// One instruction, evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it was written.
    pub origin: Origin,
    /// The instruction as written, on one line.
    pub display: String,
    /// What the history says of it, as BuildKit words it. Empty where the step makes no history entry.
    pub created_by: String,
    /// What it does.
    pub kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Nothing but a history entry without a layer; the configuration is evaluated already.
    Metadata,
    /// Nothing, not even a history entry.
    Silent,
    /// Makes a directory.
    Workdir(WorkdirStep),
    /// Runs a process.
    Run(RunStep),
    /// Copies files.
    Copy(CopyStep),
}

/// A WORKDIR that makes a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkdirStep {
    /// The directory: absolute, clean, never `/`.
    pub path: String,
    /// USER at this point, verbatim; empty for root. The directory belongs to it.
    pub user: String,
}

/// A RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStep {
    /// What to execute, the shell included; never empty.
    pub argv: Vec<String>,
    /// A file that must be there while the process runs, read-only and mode 0755: path and content. The shell gets
    /// its path as the command.
    pub program: Option<(String, String)>,
    /// The environment: the image's ENV, the ARGs in scope, proxies; each name once.
    pub env: Vec<(String, String)>,
    /// Names in `env` that the Dockerfile and its images do not know: proxies of the machine, which change nothing of
    /// what the command is to make.
    pub undeclared: Vec<String>,
    /// The working directory: absolute and clean.
    pub workdir: String,
    /// USER at this point, verbatim; empty for root.
    pub user: String,
    /// Whether a shell runs it.
    pub shell_form: bool,
}

/// A COPY or an ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyStep {
    /// `COPY` or `ADD`.
    pub instruction: &'static str,
    /// Where the sources are.
    pub from: CopyFrom,
    /// What to copy, in order; at least one.
    pub sources: Vec<CopySource>,
    /// Absolute and clean, below the working directory; ends with a slash where the destination must be a directory.
    pub destination: String,
    /// Who shall own the copies, if given: `user[:group]`, names or numbers.
    pub chown: Option<Spanned<String>>,
    /// The mode of the copies, if given.
    pub chmod: Option<Spanned<ChmodSpec>>,
    /// What happens to archives.
    pub unpack: Unpack,
    /// The whole instruction.
    pub span: Span,
}

/// Where a copy's sources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFrom {
    /// In the build context.
    Context,
    /// In an earlier stage: an index into the plan's stages.
    Stage(usize),
    /// In an image: an index into the outline's images.
    Image(usize),
}

/// One source of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or a pattern below the root of the source: expanded, relative, clean, `.` for the root itself.
    Path(Spanned<String>),
    /// A file whose content is in the Dockerfile.
    Inline {
        /// The file's name.
        name: String,
        /// The file's content, expanded where it is to be.
        content: String,
    },
}

/// What a copy does with a source that is an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// Local archives are extracted, other files are copied (ADD).
    Auto,
    /// Archives are copied like any file (COPY, `ADD --unpack=false`).
    Never,
}
