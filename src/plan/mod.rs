//! Dockerfile, base configs and build arguments to a plan: what each step does, with every variable evaluated.
//!
//! The semantics are BuildKit's. [`outline`] finds the stages that the target needs and the images that those name;
//! [`plan`] evaluates them: scopes of ARG and ENV, the final configuration of every stage, the history entry of every
//! step, ONBUILD triggers spliced in. Syntax that the engine cannot execute is an error here, never ignored.
//!
//! This room does no I/O, reads no clock, and knows no credential. What it returns is printable: see [`Plan`].

mod chmod;
mod display;
mod environment;
mod error;
mod expand;
mod golang;
mod magic;
mod mount;
mod options;
mod outline;
mod path;
mod ports;
mod remote;
mod run;
mod settings;
mod signals;
mod sources;
mod stage;
mod step;
mod transfer;
mod triggers;

pub use chmod::{ChmodError, ChmodSpec};
pub use environment::automatic_args;
pub use error::{PlanError, PlanWarning};
pub use magic::MULTI_PLATFORM;
pub use options::{ContextKind, NamedContext, Options};
pub use outline::{ImageUse, Outline, OutlineBase, OutlineStage, outline};
pub use step::{
    CacheMount, CopyFrom, CopySource, CopyStep, MountAccess, MountKind, Origin, Pinned, Plan,
    RepositorySource, RunMount, RunNetwork, RunSecurity, RunStep, StageBase, StagePlan, Step,
    StepKind, Unpack, UrlSource, WorkdirStep,
};

use crate::dockerfile::{Dockerfile, InstructionKind};
use crate::oci::ImageConfig;

use sources::Names;
use stage::Scope;

/// The comment of every history entry that a build adds.
pub const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// Evaluates the stages that the target needs.
///
/// `images[i]` is the config of image `i` of the outline, which must be complete: see [`outline`].
///
/// # Panics
/// May panic if the outline is that of another Dockerfile.
pub fn plan(
    dockerfile: &Dockerfile,
    outline: &Outline,
    images: &[ImageConfig],
    options: &Options,
) -> Result<Plan, PlanError> {
    let mut places = vec![None; outline.stages.len()];
    let reachable = outline.stages.iter().enumerate();
    let reachable = reachable.filter(|(_, stage)| stage.reachable);
    let numbers: Vec<usize> = reachable.map(|(number, _)| number).collect();
    for (place, number) in numbers.iter().enumerate() {
        places[*number] = Some(place);
    }
    let globals = environment::globals(dockerfile, options)?;
    let scope = Scope {
        dockerfile,
        options,
        outline,
        images,
        names: Names::of(dockerfile, options, &globals)?,
        build_args: environment::build_args(options),
        places,
        globals,
    };
    // In the order of the Dockerfile, every stage comes after those that it needs.
    let mut done = Vec::with_capacity(numbers.len());
    for number in numbers {
        let stage = stage::evaluate(&scope, number, &done)?;
        done.push(stage);
    }
    let mut stages: Vec<StagePlan> = done.into_iter().map(|stage| stage.plan).collect();
    let target = scope.places[outline.target].expect("the target of an outline is reachable");
    finish(&mut stages[target].config, options);
    let unused_contexts = scope.names.unused();
    let unused_contexts =
        (!unused_contexts.is_empty()).then_some(PlanWarning::UnusedContexts(unused_contexts));
    Ok(Plan {
        stages,
        target,
        warnings: unused_build_args(dockerfile, options)
            .into_iter()
            .chain(unused_contexts)
            .chain(magic::without_effect(options))
            .collect(),
    })
}

/// What only the image to publish gets: the labels of the command line, and the platform that was asked for.
fn finish(config: &mut ImageConfig, options: &Options) {
    config.config.labels.extend(options.labels.iter().cloned());
    let mut platform = config.platform();
    if options.is_platform_explicit {
        let target = &options.target_platform;
        let is_same = platform.os == target.os && platform.architecture == target.architecture;
        platform.os.clone_from(&target.os);
        platform.architecture.clone_from(&target.architecture);
        if target.variant.is_some() || !is_same {
            platform.variant.clone_from(&target.variant);
        }
        if target.os_version.is_some() || !is_same {
            platform.os_version.clone_from(&target.os_version);
        }
    }
    let platform = platform.normalized();
    config.os = platform.os;
    config.architecture = platform.architecture;
    config.variant = platform.variant;
    config.os_version = platform.os_version;
}

/// Build arguments that nothing in the Dockerfile declares, stages that are not needed included: a pipeline may pass
/// the same arguments for every target.
fn unused_build_args(dockerfile: &Dockerfile, options: &Options) -> Option<PlanWarning> {
    let in_stages = dockerfile
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions);
    let in_stages = in_stages.filter_map(|instruction| match &instruction.kind {
        InstructionKind::Arg(arg) => Some(arg),
        _ => None,
    });
    let all = dockerfile
        .meta_args
        .iter()
        .map(|instruction| &instruction.arg);
    let all = all.chain(in_stages).flat_map(|arg| &arg.declarations);
    let declared: Vec<&str> = all.map(|one| one.name.value.as_str()).collect();
    let is_unused = |name: &&str| !environment::is_predefined(name) && !declared.contains(name);
    let given = environment::build_args(options).into_keys();
    let unused: Vec<String> = given.filter(is_unused).map(str::to_owned).collect();
    (!unused.is_empty()).then_some(PlanWarning::UnusedBuildArgs(unused))
}

#[cfg(test)]
mod tests;
