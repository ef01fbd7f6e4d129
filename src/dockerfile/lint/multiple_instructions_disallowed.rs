//! CMD, ENTRYPOINT and HEALTHCHECK that a later one of the same stage takes the place of.

use std::collections::HashMap;

use crate::dockerfile::ast::{Instruction, InstructionKind};

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (number, stage) in pass.dockerfile.stages.iter().enumerate() {
        if !(pass.facts.is_needed)(number) {
            continue;
        }
        let mut last: HashMap<&str, &Instruction> = HashMap::new();
        for instruction in &stage.instructions {
            if !matches!(
                instruction.kind,
                InstructionKind::Cmd(_)
                    | InstructionKind::Entrypoint(_)
                    | InstructionKind::Healthcheck(_)
            ) {
                continue;
            }
            let name = instruction.kind.keyword();
            if let Some(lost) = last.insert(name, instruction) {
                pass.report(
                    rule,
                    &lost.comments,
                    lost.span,
                    format!("this {name} has no effect: the stage has a later one"),
                    "remove it",
                );
            }
        }
    }
}
