//! ONBUILD: instructions that a base brings along.

use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Span, parse_instruction};
use crate::oci::ImageConfig;

use super::PlanError;

/// An instruction that a base brings along.
#[derive(Clone, Debug)]
pub(super) struct Trigger {
    pub(super) text: String,
    pub(super) instruction: Instruction,
    /// The FROM, if the instruction is written in an image: places in it mean nothing in this Dockerfile.
    pub(super) place: Option<Span>,
}

/// The triggers of an image that the FROM at `span` sets off.
pub(super) fn of_image(config: &ImageConfig, span: Span) -> Result<Vec<Trigger>, PlanError> {
    let texts = config.config.on_build.iter();
    texts
        .map(|text| {
            let instruction = parse_instruction(text).map_err(|source| PlanError::Trigger {
                trigger: text.clone(),
                source,
                span,
            })?;
            if let InstructionKind::Onbuild(_) = instruction.kind {
                return Err(PlanError::Unsupported {
                    what: "ONBUILD ONBUILD".to_owned(),
                    span,
                });
            }
            Ok(Trigger {
                text: text.clone(),
                instruction,
                place: Some(span),
            })
        })
        .collect()
}

/// The triggers of a stage of this Dockerfile.
pub(super) fn of_stage(dockerfile: &Dockerfile, number: usize) -> Vec<Trigger> {
    let instructions = dockerfile.stages[number].instructions.iter();
    instructions
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::Onbuild(onbuild) => Some(Trigger {
                text: onbuild.trigger.clone(),
                instruction: (*onbuild.instruction).clone(),
                place: None,
            }),
            _ => None,
        })
        .collect()
}
