//! The plan: stages and their steps, as values.

use crate::dockerfile::{Sharing, Span, Spanned};
use crate::oci::{Digest, ImageConfig, Platform};

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
    /// What is mounted while it runs, in the order of the Dockerfile.
    pub mounts: Vec<RunMount>,
    /// `--network`.
    pub network: RunNetwork,
    /// `--security`.
    pub security: RunSecurity,
    /// The host name to see, where the user gave one and there is one to give.
    pub hostname: Option<String>,
}

/// What a RUN has mounted while it runs; nothing of it gets into a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// What it is and where.
    pub kind: MountKind,
    /// The `--mount`.
    pub span: Span,
}

/// The kinds of mounts. A target is absolute and clean, and never `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files that the command reads. What it writes there is thrown away.
    Bind {
        /// Where they are; nothing at all for `scratch`.
        from: Option<CopyFrom>,
        /// The file or directory: relative, clean, `.` for the root itself.
        source: String,
        /// Where the command sees it.
        target: String,
        /// Whether it may not even write.
        read_only: bool,
    },
    /// A directory that outlives the build.
    Cache(CacheMount),
    /// Memory.
    Tmpfs {
        /// Where.
        target: String,
        /// The most that it holds, in bytes.
        size: Option<u64>,
        /// Whether it is of no use.
        read_only: bool,
    },
    /// A secret.
    Secret {
        /// Its name on the command line.
        id: String,
        /// The file, if it is to be one.
        target: Option<String>,
        /// The variable, if it is to be one.
        env: Option<String>,
        /// Whether there must be one.
        required: bool,
        /// Owner and mode of the file.
        access: MountAccess,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Its name on the command line.
        id: String,
        /// The socket, if it was said where.
        target: Option<String>,
        /// Whether there must be one.
        required: bool,
        /// Owner and mode of the socket.
        access: MountAccess,
    },
}

/// A directory that outlives the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    /// Its name; the target if none was given.
    pub id: String,
    /// What others that use it at the same time see.
    pub sharing: Sharing,
    /// What it holds at first.
    pub from: Option<CopyFrom>,
    /// The directory of it: relative, clean, `.` for all of it.
    pub source: String,
    /// Where the command sees it.
    pub target: String,
    /// Whether the command may only read.
    pub read_only: bool,
    /// Owner and mode of the directory.
    pub access: MountAccess,
}

/// Owner and mode, where they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAccess {
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// The network of a RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// What the build has.
    #[default]
    Default,
    /// A loopback interface only.
    None,
    /// The builder's own.
    Host,
}

/// How much a RUN may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunSecurity {
    /// What a container may.
    #[default]
    Sandbox,
    /// What the builder may.
    Insecure,
}

impl RunMount {
    /// Where the files are that it shows, if it shows any.
    pub fn from(&self) -> Option<CopyFrom> {
        match &self.kind {
            MountKind::Bind { from, .. } | MountKind::Cache(CacheMount { from, .. }) => *from,
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => None,
        }
    }
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
    /// Patterns, in the language of ignore files and relative to each source, of what is left out of its directories.
    pub exclude: Vec<Spanned<String>>,
    /// Whether the layer is made without looking at what is below it (`--link`).
    pub link: bool,
    /// What happens to archives.
    pub unpack: Unpack,
    /// The whole instruction.
    pub span: Span,
}

/// Where a copy's sources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyFrom {
    /// In the build context.
    Context,
    /// In an earlier stage: an index into the plan's stages.
    Stage(usize),
    /// In an image: an index into the outline's images.
    Image(usize),
    /// In a named context of files: an index into [`super::Options::contexts`].
    Named(usize),
}

/// One source of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or a pattern below the root of the source: expanded, relative, clean, `.` for the root itself.
    Path(Spanned<String>),
    /// What a pattern matches below a directory, with the directories on the way (`--parents`).
    Parents {
        /// The directory, as [`CopySource::Path`]: what is left of `/./`, else the root.
        root: Spanned<String>,
        /// The pattern, in the language of ignore files; the name of the directory on the way is part of it.
        pattern: String,
        /// Whether it names one path, which must be there.
        is_literal: bool,
    },
    /// A file whose content is in the Dockerfile.
    Inline {
        /// The file's name.
        name: String,
        /// The file's content, expanded where it is to be.
        content: String,
    },
    /// A file behind a URL.
    Url(UrlSource),
    /// The files of a git repository.
    Repository(RepositorySource),
}

/// A file behind a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlSource {
    /// The URL, `http` or `https`; it may carry a password.
    pub url: Spanned<String>,
    /// The file's name: the last of the URL's path.
    pub name: String,
    /// What the file's bytes must come to.
    pub checksum: Option<Digest>,
}

/// The files of a git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositorySource {
    /// The address, with the reference and directory; it may carry a password.
    pub url: Spanned<String>,
    /// Whether `.git` comes along, where that is said.
    pub keeps_git_dir: Option<bool>,
    /// What the commit must be: its first digits, or all.
    pub checksum: Option<Spanned<String>>,
    /// What that is, once the server was asked.
    pub pinned: Option<Pinned>,
}

/// What a repository's address stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The commit.
    pub commit: String,
    /// What else decides about the files: repository, directory, submodules, `.git`.
    pub taken: String,
}

/// What a copy does with a source that is an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// Local archives are extracted; other files, and all from a URL, are copied (ADD).
    Auto,
    /// Archives from a URL are extracted, too (`ADD --unpack`).
    Always,
    /// Archives are copied like any file (COPY, `ADD --unpack=false`).
    Never,
}
