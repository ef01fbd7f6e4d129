//! What FROM and `COPY --from` name.

use crate::dockerfile::{
    Copy, Dockerfile, InstructionKind, Span, Spanned, Stage, mount_from, nearest,
};
use crate::oci::{Platform, Reference};

use super::PlanError;
use super::environment::Environment;
use super::expand::expand;

/// The image that is nothing.
const SCRATCH: &str = "scratch";

/// A FROM, evaluated.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) source: Source,
    /// `--platform`, if given.
    pub(super) platform: Option<Platform>,
}

/// What a stage starts from or copies from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Scratch,
    /// A stage, by its number.
    Stage(usize),
    /// Something that is no stage, so it must be an image reference.
    Image(Spanned<String>),
}

/// Evaluates all FROMs.
pub(super) fn bases(
    dockerfile: &Dockerfile,
    globals: &Environment,
) -> Result<Vec<Base>, PlanError> {
    let stages = dockerfile.stages.iter().enumerate();
    stages
        .map(|(number, stage)| base(dockerfile, number, stage, globals))
        .collect()
}

fn base(
    dockerfile: &Dockerfile,
    number: usize,
    stage: &Stage,
    globals: &Environment,
) -> Result<Base, PlanError> {
    let written = &stage.from.image;
    let image = expand(&written.value, globals, dockerfile.escape, written.span)?;
    if image.is_empty() {
        return Err(PlanError::BlankBase {
            written: written.value.clone(),
            span: written.span,
        });
    }
    let platform = match &stage.from.platform {
        None => None,
        Some(platform) => {
            let text = expand(&platform.value, globals, dockerfile.escape, platform.span)?;
            let parsed = text.parse().map_err(|source| PlanError::Platform {
                source,
                span: platform.span,
            })?;
            Some(parsed)
        }
    };
    let source = match stage_named(dockerfile, &image, number) {
        Some(parent) => Source::Stage(parent),
        None if image == SCRATCH => Source::Scratch,
        None => Source::Image(Spanned::new(image, written.span)),
    };
    Ok(Base { source, platform })
}

/// The last stage of a name among the first `count`. Names are compared without regard to case.
pub(super) fn stage_named(dockerfile: &Dockerfile, name: &str, count: usize) -> Option<usize> {
    dockerfile.stages[..count].iter().rposition(|stage| {
        let known = stage.name.as_ref();
        known.is_some_and(|known| known.value.eq_ignore_ascii_case(name))
    })
}

/// What a `COPY --from` names: a stage by number, a stage by name, anywhere in the file, or an image.
pub(super) fn copy_source(
    dockerfile: &Dockerfile,
    from: &Spanned<String>,
) -> Result<Source, PlanError> {
    let name = from.value.as_str();
    let count = dockerfile.stages.len();
    let digits = name.strip_prefix(['+', '-']).unwrap_or(name);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match name.parse::<usize>() {
            Ok(number) if number < count => Ok(Source::Stage(number)),
            _ => Err(PlanError::StageIndex {
                index: name.to_owned(),
                last: count - 1,
                span: from.span,
            }),
        };
    }
    Ok(match stage_named(dockerfile, name, count) {
        Some(stage) => Source::Stage(stage),
        None if name == SCRATCH => Source::Scratch,
        None => Source::Image(from.clone()),
    })
}

/// Where an instruction takes files from.
#[derive(Clone, Debug)]
pub(super) enum Named {
    /// `COPY --from`.
    Copy(Spanned<String>),
    /// `RUN --mount=from=`.
    Mount(Spanned<String>),
}

impl Named {
    /// Where it was written.
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Copy(name) | Self::Mount(name) => name.span,
        }
    }

    /// The same, as if it were written elsewhere.
    pub(super) fn at(&self, span: Span) -> Self {
        let moved = |name: &Spanned<String>| Spanned::new(name.value.clone(), span);
        match self {
            Self::Copy(name) => Self::Copy(moved(name)),
            Self::Mount(name) => Self::Mount(moved(name)),
        }
    }

    /// What it names.
    pub(super) fn source(&self, dockerfile: &Dockerfile) -> Result<Source, PlanError> {
        match self {
            Self::Copy(name) => copy_source(dockerfile, name),
            Self::Mount(name) => Ok(mount_source(dockerfile, name)),
        }
    }
}

/// All that an instruction takes files from, but for the context.
pub(super) fn froms(kind: &InstructionKind) -> Vec<Named> {
    match kind {
        InstructionKind::Copy(copy) => {
            let from = copy_from_of(copy);
            from.cloned().map(Named::Copy).into_iter().collect()
        }
        InstructionKind::Run(run) => {
            let named = run.mounts.iter().filter_map(|mount| {
                // What cannot be read was refused by the parser.
                let name = mount_from(&mount.value).ok().flatten()?;
                Some(Named::Mount(Spanned::new(name, mount.span)))
            });
            named.collect()
        }
        _ => Vec::new(),
    }
}

/// What `from` of a mount names: a stage by name, nothing at all, or an image. A number is no stage here, as in BuildKit.
pub(super) fn mount_source(dockerfile: &Dockerfile, from: &Spanned<String>) -> Source {
    let count = dockerfile.stages.len();
    match stage_named(dockerfile, &from.value, count) {
        Some(stage) => Source::Stage(stage),
        None if from.value == SCRATCH => Source::Scratch,
        None => Source::Image(from.clone()),
    }
}

/// The `--from` of a COPY; an empty one is as good as none.
pub(super) fn copy_from_of(copy: &Copy) -> Option<&Spanned<String>> {
    copy.from.as_ref().filter(|from| !from.value.is_empty())
}

/// Reads an image reference where no stage has that name.
pub(super) fn reference(
    dockerfile: &Dockerfile,
    name: &Spanned<String>,
) -> Result<Reference, PlanError> {
    name.value.parse().map_err(|source| PlanError::Reference {
        source,
        nearest: nearest_stage(dockerfile, &name.value),
        span: name.span,
    })
}

/// Whether two references name the same image: the digest counts if there is one, else the tag.
pub(super) fn is_same_image(left: &Reference, right: &Reference) -> bool {
    left.name() == right.name() && left.manifest_name() == right.manifest_name()
}

/// The stage whose name is nearly `name`.
pub(super) fn nearest_stage(dockerfile: &Dockerfile, name: &str) -> Option<String> {
    let names = dockerfile
        .stages
        .iter()
        .filter_map(|stage| stage.name.as_ref());
    nearest(name, names.map(|name| name.value.as_str()))
}

/// A stage's name, or `stage-N`.
pub(super) fn stage_label(dockerfile: &Dockerfile, number: usize) -> String {
    let stage = dockerfile.stages.get(number);
    let name = stage.and_then(|stage| stage.name.as_ref());
    name.map_or_else(|| format!("stage-{number}"), |name| name.value.clone())
}
