//! One stage, evaluated instruction by instruction.

use std::collections::BTreeMap;

use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Span, Spanned};
use crate::oci::{ImageConfig, Platform};

use super::environment::{DEFAULT_PATH, Environment};
use super::sources::Names;
use super::triggers::{self, Trigger};
use super::{
    CopyFrom, CopySource, CopyStep, Options, Origin, Outline, OutlineBase, PlanError, StageBase,
    StagePlan, Step, StepKind, Unpack, expand, path,
};

/// The shell of images that set none.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What all stages see.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a Options,
    pub(super) outline: &'a Outline,
    pub(super) images: &'a [ImageConfig],
    pub(super) names: Names<'a>,
    pub(super) globals: Environment,
    pub(super) build_args: BTreeMap<&'a str, &'a str>,
    /// Where each stage of the Dockerfile is in the plan.
    pub(super) places: Vec<Option<usize>>,
}

/// A stage, and what stages that start from it inherit.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) plan: StagePlan,
    environment: Environment,
    arguments: Vec<(String, String)>,
}

/// A stage in the making.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub(super) scope: &'a Scope<'a>,
    /// The number of the stage in the Dockerfile.
    pub(super) number: usize,
    pub(super) config: ImageConfig,
    /// ENV and ARG together: the last writer wins.
    pub(super) environment: Environment,
    /// The ARGs that were declared, in order, with their values.
    pub(super) arguments: Vec<(String, String)>,
    /// Whether this stage has had a CMD.
    pub(super) has_cmd: bool,
    /// The FROM, while a trigger of an image is evaluated: its own places mean nothing in this Dockerfile.
    place: Option<Span>,
}

/// What an instruction comes to: its history entry, and what is to be done.
pub(super) type Outcome = Result<(String, StepKind), PlanError>;

/// Evaluates a stage. `done` are the stages before it.
pub(super) fn evaluate(
    scope: &Scope<'_>,
    number: usize,
    done: &[Evaluated],
) -> Result<Evaluated, PlanError> {
    let written = &scope.dockerfile.stages[number];
    let outlined = &scope.outline.stages[number];
    let platform = outlined.platform.clone();
    let platform = platform.unwrap_or_else(|| scope.options.target_platform.clone());
    if platform.os == "windows" {
        return Err(PlanError::Unsupported {
            what: format!("building for {platform}"),
            span: written.from.span,
        });
    }
    let (base, mut state, triggers) = begin(scope, number, &platform, done)?;
    let mut steps = Vec::new();
    if let Some(OutlineBase::Files(context)) = outlined.base {
        let image = &written.from.image;
        steps.push(all_files(image, written.from.span, context));
    }
    let triggers = if outlined.is_triggered {
        triggers
    } else {
        Vec::new()
    };
    let instructions = if scope.names.is_replaced(number) {
        &[][..]
    } else {
        &written.instructions[..]
    };
    for trigger in triggers {
        state.place = trigger.place;
        let origin = Origin {
            span: trigger.place.unwrap_or(trigger.instruction.span),
            trigger: Some(trigger.text),
        };
        steps.push(state.step(&trigger.instruction, origin)?);
    }
    state.place = None;
    for instruction in instructions {
        let origin = Origin {
            span: instruction.span,
            trigger: None,
        };
        steps.push(state.step(instruction, origin)?);
    }
    Ok(Evaluated {
        plan: StagePlan {
            number,
            name: outlined.name.clone(),
            base,
            platform,
            steps,
            config: state.config,
            span: written.span,
        },
        environment: state.environment,
        arguments: state.arguments,
    })
}

/// What a stage begins with that starts from the files of a named context: they are its first layer.
///
/// # Deviation
/// BuildKit writes no history for that layer, so that its entries name the wrong layers from then on.
fn all_files(image: &Spanned<String>, from: Span, context: usize) -> Step {
    Step {
        origin: Origin {
            span: from,
            trigger: None,
        },
        display: format!("FROM {}", image.value),
        created_by: format!("FROM {} # buildkit", image.value),
        kind: StepKind::Copy(CopyStep {
            instruction: "COPY",
            from: CopyFrom::Named(context),
            sources: vec![CopySource::Path(Spanned::new(".".to_owned(), image.span))],
            destination: "/".to_owned(),
            chown: None,
            chmod: None,
            exclude: Vec::new(),
            link: false,
            unpack: Unpack::Never,
            span: from,
        }),
    }
}

/// The state in front of the first instruction, and the triggers to begin with.
fn begin<'a>(
    scope: &'a Scope<'a>,
    number: usize,
    platform: &Platform,
    done: &[Evaluated],
) -> Result<(StageBase, State<'a>, Vec<Trigger>), PlanError> {
    let from = scope.dockerfile.stages[number].from.span;
    let mut state = State {
        scope,
        number,
        config: ImageConfig::scratch(platform),
        environment: Environment::default(),
        arguments: Vec::new(),
        has_cmd: false,
        place: None,
    };
    let not_outlined = || PlanError::MissingConfig {
        image: scope.dockerfile.stages[number].from.image.value.clone(),
        span: from,
    };
    let (base, triggers) = match scope.outline.stages[number].base {
        None => return Err(not_outlined()),
        Some(OutlineBase::Scratch | OutlineBase::Files(_)) => {
            "/".clone_into(&mut state.config.config.working_dir);
            (StageBase::Scratch, Vec::new())
        }
        Some(OutlineBase::Image(image)) => {
            let config = scope.images.get(image).ok_or_else(not_outlined)?;
            let triggers = triggers::of_image(config, from)?;
            state.config = inherited(config);
            (StageBase::Image(image), triggers)
        }
        Some(OutlineBase::Stage(parent)) => {
            let place = scope.places[parent];
            let place = place.filter(|place| *place < done.len());
            let place = place.ok_or_else(not_outlined)?;
            state.config = done[place].plan.config.clone();
            state.environment = done[place].environment.clone();
            state.arguments.clone_from(&done[place].arguments);
            let triggers = triggers::of_stage(scope.dockerfile, parent);
            (StageBase::Stage(place), triggers)
        }
    };
    let config = &mut state.config.config;
    config.on_build.clear();
    if !config.env.iter().any(|entry| entry.starts_with("PATH=")) {
        config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !config.working_dir.is_empty() {
        config.working_dir = path::workdir(&config.working_dir, &config.working_dir);
    }
    // An ENV of the parent is stronger than an ARG that the parent had after it.
    state.environment.set_all(&config.env);
    Ok((base, state, triggers))
}

/// What an image built from another one keeps of its config: what the specifications define, as in BuildKit. Other
/// keys tell how the base itself was built (`container_config`, inline caches), and would be wrong of its children.
fn inherited(config: &ImageConfig) -> ImageConfig {
    let mut config = config.clone();
    config.created = None;
    config.extra.retain(|key, _| key == "os.features");
    config.config.extra.clear();
    config
}

impl State<'_> {
    fn step(&mut self, instruction: &Instruction, origin: Origin) -> Result<Step, PlanError> {
        let (created_by, kind) = self.dispatch(instruction)?;
        Ok(Step {
            origin,
            display: super::remote::without_logins(&instruction.text),
            created_by,
            kind,
        })
    }

    fn dispatch(&mut self, instruction: &Instruction) -> Outcome {
        match &instruction.kind {
            InstructionKind::Add(add) => self.add(add, instruction.span),
            InstructionKind::Arg(arg) => self.arg(arg),
            InstructionKind::Cmd(cmd) => Ok(self.cmd(cmd)),
            InstructionKind::Copy(copy) => self.copy(copy, instruction.span),
            InstructionKind::Entrypoint(entrypoint) => Ok(self.entrypoint(entrypoint)),
            InstructionKind::Env(env) => self.env(env),
            InstructionKind::Expose(expose) => self.expose(expose),
            InstructionKind::Healthcheck(check) => Ok(self.healthcheck(check)),
            InstructionKind::Label(label) => self.label(label),
            InstructionKind::Maintainer(maintainer) => Ok(self.maintainer(maintainer)),
            InstructionKind::Onbuild(onbuild) => Ok(self.onbuild(onbuild)),
            InstructionKind::Run(run) => self.run(run, instruction.span),
            InstructionKind::Shell(shell) => Ok(self.set_shell(shell)),
            InstructionKind::Stopsignal(stopsignal) => self.stopsignal(stopsignal),
            InstructionKind::User(user) => self.user(user),
            InstructionKind::Volume(volume) => self.volume(volume),
            InstructionKind::Workdir(workdir) => self.workdir(workdir),
        }
    }

    /// Expands a word with the variables as they are now.
    pub(super) fn expand(&self, word: &Spanned<String>) -> Result<String, PlanError> {
        let escape = self.scope.dockerfile.escape;
        expand::expand(&word.value, &self.environment, escape, self.at(word.span))
    }

    /// Where to point at for a part of the instruction at hand.
    pub(super) fn at(&self, span: Span) -> Span {
        self.place.unwrap_or(span)
    }

    /// Puts the shell in front of a command line.
    pub(super) fn with_shell(&self, command: &str) -> Vec<String> {
        let shell = self.config.config.shell.as_deref().unwrap_or_default();
        let mut argv = if shell.is_empty() {
            DEFAULT_SHELL.map(str::to_owned).to_vec()
        } else {
            shell.to_vec()
        };
        argv.push(command.to_owned());
        argv
    }

    /// The working directory; `/` where the image has none.
    pub(super) fn current_dir(&self) -> &str {
        match self.config.config.working_dir.as_str() {
            "" => "/",
            dir => dir,
        }
    }
}
