//! What FROM and `COPY --from` name.

use crate::dockerfile::{
    Copy, Dockerfile, InstructionKind, Span, Spanned, Stage, mount_from, nearest,
};
use crate::oci::{Platform, Reference};

use super::PlanError;
use super::environment::Environment;
use super::expand::expand;
use super::options::{ContextKind, NamedContext, Options};

/// The image that is nothing.
const SCRATCH: &str = "scratch";

/// A FROM, evaluated.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) source: Source,
    /// `--platform`, if given.
    pub(super) platform: Option<Platform>,
    /// Whether the ONBUILD triggers of its image are carried out: not those of an image that stands for a stage.
    pub(super) is_triggered: bool,
}

/// What a stage starts from or copies from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Scratch,
    /// A stage, by its number.
    Stage(usize),
    /// Something that is no stage, so it must be an image reference.
    Image(ImageName),
    /// The files of a named context, by its number.
    Files(usize),
}

/// An image, by name.
#[derive(Clone, Debug)]
pub(super) struct ImageName {
    /// The reference.
    pub(super) name: Spanned<String>,
    /// The named context that has it, if it is not in a registry.
    pub(super) layout: Option<usize>,
    /// For which platform, where the stage that it stands for says so.
    pub(super) platform: Option<Platform>,
}

/// What names mean: those of stages, and those that named contexts take over.
#[derive(Debug)]
pub(super) struct Names<'a> {
    dockerfile: &'a Dockerfile,
    contexts: &'a [NamedContext],
    /// What stands for each stage that has the name of a context.
    replaced: Vec<Option<Source>>,
    /// What the FROMs say, expanded.
    written: Vec<String>,
}

impl<'a> Names<'a> {
    pub(super) fn of(
        dockerfile: &'a Dockerfile,
        options: &'a Options,
        globals: &Environment,
    ) -> Result<Self, PlanError> {
        let mut names = Self {
            dockerfile,
            contexts: &options.contexts,
            replaced: Vec::new(),
            written: Vec::new(),
        };
        if names.contexts.is_empty() {
            return Ok(names);
        }
        for stage in &dockerfile.stages {
            let name = stage.name.as_ref().and_then(|name| {
                let lower = name.value.to_ascii_lowercase();
                let context = names.context(&lower)?;
                Some((Spanned::new(lower, name.span), context))
            });
            let replaced = match name {
                None => None,
                Some((name, context)) => Some(match names.source_of(&name, context) {
                    Source::Image(image) => {
                        let platform = platform(dockerfile, stage, globals)?;
                        let platform = platform.unwrap_or_else(|| options.target_platform.clone());
                        Source::Image(ImageName {
                            platform: Some(platform),
                            ..image
                        })
                    }
                    other => other,
                }),
            };
            names.replaced.push(replaced);
            let image = &stage.from.image;
            let image = expand(&image.value, globals, dockerfile.escape, image.span)?;
            names.written.push(image);
        }
        Ok(names)
    }

    /// Whether a named context stands for a stage: nothing of the stage is carried out then.
    pub(super) fn is_replaced(&self, stage: usize) -> bool {
        self.replaced.get(stage).is_some_and(Option::is_some)
    }

    /// What a stage is.
    fn stage(&self, number: usize) -> Source {
        let replaced = self.replaced.get(number).cloned().flatten();
        replaced.unwrap_or(Source::Stage(number))
    }

    /// What a name is that is no stage's.
    fn other(&self, name: &Spanned<String>) -> Source {
        match self.context(&name.value) {
            Some(context) => self.source_of(name, context),
            None if name.value == SCRATCH => Source::Scratch,
            None => Source::Image(ImageName {
                name: name.clone(),
                layout: None,
                platform: None,
            }),
        }
    }

    /// The context of a name; the last one counts.
    fn context(&self, name: &str) -> Option<usize> {
        if self.contexts.is_empty() {
            return None;
        }
        let name: Reference = name.parse().ok()?;
        self.contexts
            .iter()
            .rposition(|context| is_same_image(&context.name, &name))
    }

    fn source_of(&self, name: &Spanned<String>, context: usize) -> Source {
        let (name, layout) = match &self.contexts[context].kind {
            ContextKind::Files => return Source::Files(context),
            ContextKind::Scratch => return Source::Scratch,
            ContextKind::Image(reference) => (Spanned::new(reference.to_string(), name.span), None),
            ContextKind::Layout => (name.clone(), Some(context)),
        };
        Source::Image(ImageName {
            name,
            layout,
            platform: None,
        })
    }

    /// The contexts that nothing in the Dockerfile names.
    pub(super) fn unused(&self) -> Vec<String> {
        let stages = &self.dockerfile.stages;
        let names = stages.iter().filter_map(|stage| stage.name.as_ref());
        let mut named: Vec<String> = names.map(|name| name.value.to_ascii_lowercase()).collect();
        named.extend(self.written.iter().cloned());
        let instructions = stages.iter().flat_map(|stage| &stage.instructions);
        named.extend(
            instructions
                .flat_map(|instruction| froms(&instruction.kind))
                .map(|(Named::Copy(name) | Named::Mount(name))| name.value),
        );
        let used: Vec<usize> = named.iter().filter_map(|name| self.context(name)).collect();
        let unused = |(number, _): &(usize, &NamedContext)| !used.contains(number);
        let contexts = self.contexts.iter().enumerate().filter(unused);
        contexts.map(|(_, context)| context.label.clone()).collect()
    }
}

/// Evaluates all FROMs.
pub(super) fn bases(names: &Names<'_>, globals: &Environment) -> Result<Vec<Base>, PlanError> {
    let stages = names.dockerfile.stages.iter().enumerate();
    stages
        .map(|(number, stage)| base(names, number, stage, globals))
        .collect()
}

/// # Deviation
/// BuildKit finds the stage of a FROM only by its name in lower case, and so no stage for `FROM Build` although a stage has
/// just that name. Here the case does not count, as it does not in `COPY --from` and `--target` of both.
fn base(
    names: &Names<'_>,
    number: usize,
    stage: &Stage,
    globals: &Environment,
) -> Result<Base, PlanError> {
    if let Some(Some(source)) = names.replaced.get(number) {
        return Ok(Base {
            source: source.clone(),
            platform: None,
            is_triggered: false,
        });
    }
    let dockerfile = names.dockerfile;
    let written = &stage.from.image;
    let image = expand(&written.value, globals, dockerfile.escape, written.span)?;
    if image.is_empty() {
        return Err(PlanError::BlankBase {
            written: written.value.clone(),
            span: written.span,
        });
    }
    let platform = platform(dockerfile, stage, globals)?;
    let parent = stage_named(dockerfile, &image, number);
    let source = match parent {
        Some(parent) => names.stage(parent),
        None => names.other(&Spanned::new(image, written.span)),
    };
    Ok(Base {
        source,
        platform,
        is_triggered: !parent.is_some_and(|parent| names.is_replaced(parent)),
    })
}

/// The `--platform` of a stage.
fn platform(
    dockerfile: &Dockerfile,
    stage: &Stage,
    globals: &Environment,
) -> Result<Option<Platform>, PlanError> {
    let Some(platform) = &stage.from.platform else {
        return Ok(None);
    };
    let text = expand(&platform.value, globals, dockerfile.escape, platform.span)?;
    let parsed = text.parse().map_err(|source| PlanError::Platform {
        source,
        span: platform.span,
    })?;
    Ok(Some(parsed))
}

/// The last stage of a name among the first `count`. Names are compared without regard to case.
pub(super) fn stage_named(dockerfile: &Dockerfile, name: &str, count: usize) -> Option<usize> {
    dockerfile.stages[..count].iter().rposition(|stage| {
        let known = stage.name.as_ref();
        known.is_some_and(|known| known.value.eq_ignore_ascii_case(name))
    })
}

/// What a `COPY --from` names: a stage by number, a stage by name, anywhere in the file, or an image.
pub(super) fn copy_source(names: &Names<'_>, from: &Spanned<String>) -> Result<Source, PlanError> {
    let name = from.value.as_str();
    let count = names.dockerfile.stages.len();
    let digits = name.strip_prefix(['+', '-']).unwrap_or(name);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match name.parse::<usize>() {
            Ok(number) if number < count => Ok(names.stage(number)),
            _ => Err(PlanError::StageIndex {
                index: name.to_owned(),
                last: count - 1,
                span: from.span,
            }),
        };
    }
    Ok(match stage_named(names.dockerfile, name, count) {
        Some(stage) => names.stage(stage),
        None => names.other(from),
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
    pub(super) fn source(&self, names: &Names<'_>) -> Result<Source, PlanError> {
        match self {
            Self::Copy(name) => copy_source(names, name),
            Self::Mount(name) => Ok(mount_source(names, name)),
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
pub(super) fn mount_source(names: &Names<'_>, from: &Spanned<String>) -> Source {
    let count = names.dockerfile.stages.len();
    match stage_named(names.dockerfile, &from.value, count) {
        Some(stage) => names.stage(stage),
        None => names.other(from),
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
