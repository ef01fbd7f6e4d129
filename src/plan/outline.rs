//! Which stages the target needs, and which images those name.

use crate::dockerfile::{Dockerfile, Span};
use crate::oci::{ImageConfig, Platform, Reference};

use super::environment::globals;
use super::sources::{
    self, Base, ImageName, Named, Names, Source, bases, froms, is_same_image, stage_label,
    stage_named,
};
use super::{Options, PlanError, triggers};

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
    /// Whether the ONBUILD triggers of its image are carried out: not those of an image that stands for a stage.
    pub is_triggered: bool,
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
    /// The files of a named context: an index into [`Options::contexts`].
    Files(usize),
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
    /// The named context that has it, if it is not in a registry: an index into [`Options::contexts`].
    pub layout: Option<usize>,
}

/// Finds the stages that the target needs, and the images that they name.
///
/// `known[i]` is the config of image `i` of the outline so far: start with none, and call again with the configs of all
/// images until the list of images no longer grows. ONBUILD triggers of a base may name further images.
pub fn outline(
    dockerfile: &Dockerfile,
    options: &Options,
    known: &[ImageConfig],
) -> Result<Outline, PlanError> {
    let globals = globals(dockerfile, options)?;
    let names = Names::of(dockerfile, options, &globals)?;
    let bases = bases(&names, &globals)?;
    let count = dockerfile.stages.len();
    check_circles(dockerfile, &names)?;
    let mut walk = Walk {
        dockerfile,
        options,
        names,
        bases,
        is_reachable: vec![false; count],
        is_triggered: vec![false; count],
        stage_bases: vec![None; count],
        platforms: vec![None; count],
        images: Vec::new(),
    };
    let target = find_target(dockerfile, options)?;
    walk.reach(target)?;
    let mut at = 0;
    while at < known.len() && at < walk.images.len() {
        while let Some(number) = walk.untriggered(at) {
            walk.pull_triggers(number, known)?;
        }
        at += 1;
    }
    let stages = dockerfile
        .stages
        .iter()
        .enumerate()
        .map(|(number, stage)| OutlineStage {
            name: stage_label(dockerfile, number),
            reachable: walk.is_reachable[number],
            base: walk.stage_bases[number],
            is_triggered: walk.bases[number].is_triggered,
            platform: walk.platforms[number].take(),
            span: stage.span,
        });
    Ok(Outline {
        target,
        stages: stages.collect(),
        images: walk.images,
    })
}

/// The stage to build: by name, else by number, else the last one.
fn find_target(dockerfile: &Dockerfile, options: &Options) -> Result<usize, PlanError> {
    let count = dockerfile.stages.len();
    let Some(target) = options
        .target
        .as_deref()
        .filter(|target| !target.is_empty())
    else {
        return Ok(count - 1);
    };
    if let Some(number) = stage_named(dockerfile, target, count) {
        return Ok(number);
    }
    match target.parse::<usize>() {
        Ok(number) if number < count => Ok(number),
        _ => Err(PlanError::UnknownTarget {
            target: target.to_owned(),
            nearest: sources::nearest_stage(dockerfile, target),
            stages: (0..count)
                .map(|number| stage_label(dockerfile, number))
                .collect(),
            span: dockerfile.stages[count - 1].from.span,
        }),
    }
}

/// Refuses stages that copy from each other in a circle, needed or not.
fn check_circles(dockerfile: &Dockerfile, names: &Names<'_>) -> Result<(), PlanError> {
    let count = dockerfile.stages.len();
    let mut edges: Vec<Vec<(usize, Span)>> = vec![Vec::new(); count];
    for (number, stage) in dockerfile.stages.iter().enumerate() {
        if names.is_replaced(number) {
            continue;
        }
        for from in stage.instructions.iter().flat_map(|one| froms(&one.kind)) {
            if let Source::Stage(other) = from.source(names)? {
                edges[number].push((other, from.span()));
            }
        }
    }
    let mut all = edges.iter().enumerate();
    if all.all(|(number, edges)| edges.iter().all(|(other, _)| *other < number)) {
        return Ok(());
    }
    // What leads to no circle leaves, until nothing leaves; what is left is on a circle or leads to one.
    let mut is_left = vec![true; count];
    while let Some(gone) = (0..count)
        .find(|number| is_left[*number] && edges[*number].iter().all(|(other, _)| !is_left[*other]))
    {
        is_left[gone] = false;
    }
    let Some(mut at) = is_left.iter().position(|left| *left) else {
        return Ok(());
    };
    let mut path = vec![at];
    loop {
        let (next, span) = *edges[at]
            .iter()
            .find(|(other, _)| is_left[*other])
            .expect("every stage that is left leads to another one that is left");
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            let names = path[start..].iter().chain([&next]);
            return Err(PlanError::Cycle {
                stages: names
                    .map(|number| stage_label(dockerfile, *number))
                    .collect(),
                span,
            });
        }
        path.push(next);
        at = next;
    }
}

/// Collects stages and images. Images are only ever added at the end, in an order that does not depend on how many
/// configs are known: triggers are pulled image by image.
struct Walk<'a> {
    dockerfile: &'a Dockerfile,
    options: &'a Options,
    names: Names<'a>,
    bases: Vec<Base>,
    is_reachable: Vec<bool>,
    /// Whether the triggers of the stage's base image were looked at.
    is_triggered: Vec<bool>,
    stage_bases: Vec<Option<OutlineBase>>,
    platforms: Vec<Option<Platform>>,
    images: Vec<ImageUse>,
}

impl Walk<'_> {
    /// Adds a stage and all that it needs.
    fn reach(&mut self, number: usize) -> Result<(), PlanError> {
        let mut found = Vec::new();
        let mut waiting = vec![number];
        while let Some(number) = waiting.pop() {
            if std::mem::replace(&mut self.is_reachable[number], true) {
                continue;
            }
            found.push(number);
            if let Source::Stage(parent) = self.bases[number].source {
                waiting.push(parent);
            }
            for from in self.froms(number) {
                if let Source::Stage(other) = self.source(number, &from)? {
                    waiting.push(other);
                }
            }
        }
        // What a stage needs comes before it, so that its parent's platform is known by now.
        found.sort_unstable();
        found
            .into_iter()
            .try_for_each(|number| self.add_stage(number))
    }

    /// What a stage takes files from, its parent's triggers first.
    fn froms(&self, number: usize) -> Vec<Named> {
        if self.names.is_replaced(number) {
            return Vec::new();
        }
        let brought = match self.bases[number].source {
            Source::Stage(parent) => triggers::of_stage(self.dockerfile, parent),
            Source::Scratch | Source::Image(_) | Source::Files(_) => Vec::new(),
        };
        let brought = brought.iter().map(|trigger| &trigger.instruction);
        let own = &self.dockerfile.stages[number].instructions;
        let all = brought.chain(own);
        all.flat_map(|one| froms(&one.kind)).collect()
    }

    /// What an instruction in a stage takes files from; never a stage that comes later.
    fn source(&self, number: usize, from: &Named) -> Result<Source, PlanError> {
        let source = from.source(&self.names)?;
        match source {
            Source::Stage(other) if other >= number => Err(PlanError::LaterStage {
                from: stage_label(self.dockerfile, other),
                stage: stage_label(self.dockerfile, number),
                span: from.span(),
            }),
            Source::Scratch if matches!(from, Named::Copy(_)) => Err(PlanError::Unsupported {
                what: "COPY --from=scratch".to_owned(),
                span: from.span(),
            }),
            Source::Stage(_) | Source::Image(_) | Source::Files(_) | Source::Scratch => Ok(source),
        }
    }

    /// Settles base and platform of a stage, and adds the images that it names.
    fn add_stage(&mut self, number: usize) -> Result<(), PlanError> {
        let target = &self.options.target_platform;
        let Base {
            source, platform, ..
        } = self.bases[number].clone();
        let (base, platform) = match source {
            // BuildKit builds for the target from nothing, whatever --platform says.
            Source::Scratch => (OutlineBase::Scratch, Some(target.clone())),
            Source::Files(context) => (OutlineBase::Files(context), Some(target.clone())),
            Source::Stage(parent) => (OutlineBase::Stage(parent), self.platforms[parent].clone()),
            Source::Image(name) => {
                let given = name.platform.clone().or(platform);
                let platform = given.unwrap_or_else(|| target.clone());
                let image = self.add_image(&name, platform.clone(), true)?;
                (OutlineBase::Image(image), Some(platform))
            }
        };
        self.stage_bases[number] = Some(base);
        self.platforms[number] = platform;
        for from in self.froms(number) {
            self.add_copied_image(number, &from)?;
        }
        Ok(())
    }

    fn add_copied_image(&mut self, number: usize, from: &Named) -> Result<(), PlanError> {
        if let Source::Image(name) = self.source(number, from)? {
            let platform = name.platform.as_ref();
            let platform = platform.unwrap_or(&self.options.target_platform).clone();
            self.add_image(&name, platform, false)?;
        }
        Ok(())
    }

    fn add_image(
        &mut self,
        name: &ImageName,
        platform: Platform,
        is_base: bool,
    ) -> Result<usize, PlanError> {
        let reference = sources::reference(self.dockerfile, &name.name)?;
        let found = find_image(&self.images, &reference, name.layout, &platform);
        if let Some(found) = found {
            self.images[found].is_base |= is_base;
            return Ok(found);
        }
        self.images.push(ImageUse {
            reference,
            platform,
            span: name.name.span,
            is_base,
            layout: name.layout,
        });
        Ok(self.images.len() - 1)
    }

    /// The first stage that starts from one of the images up to `last`, and whose triggers were not looked at.
    fn untriggered(&self, last: usize) -> Option<usize> {
        (0..self.stage_bases.len()).find(|number| {
            !self.is_triggered[*number]
                && matches!(self.stage_bases[*number], Some(OutlineBase::Image(image)) if image <= last)
        })
    }

    fn pull_triggers(&mut self, number: usize, known: &[ImageConfig]) -> Result<(), PlanError> {
        self.is_triggered[number] = true;
        let Some(OutlineBase::Image(image)) = self.stage_bases[number] else {
            return Ok(());
        };
        if !self.bases[number].is_triggered {
            return Ok(());
        }
        let place = self.dockerfile.stages[number].from.span;
        for trigger in triggers::of_image(&known[image], place)? {
            for from in froms(&trigger.instruction.kind) {
                let from = from.at(place);
                if let Source::Stage(other) = self.source(number, &from)? {
                    self.reach(other)?;
                }
                self.add_copied_image(number, &from)?;
            }
        }
        Ok(())
    }
}

/// Finds an image among those that are used already.
pub(super) fn find_image(
    images: &[ImageUse],
    reference: &Reference,
    layout: Option<usize>,
    platform: &Platform,
) -> Option<usize> {
    images.iter().position(|image| {
        is_same_image(&image.reference, reference)
            && image.layout == layout
            && image.platform == *platform
    })
}
