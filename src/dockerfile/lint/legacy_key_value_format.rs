//! `ENV key value`.

use crate::dockerfile::ast::InstructionKind;

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (number, stage) in pass.dockerfile.stages.iter().enumerate() {
        if !(pass.facts.is_needed)(number) {
            continue;
        }
        for instruction in &stage.instructions {
            let pairs = match &instruction.kind {
                InstructionKind::Env(env) if env.is_legacy => &env.pairs,
                InstructionKind::Label(label) if label.is_legacy => &label.pairs,
                _ => continue,
            };
            let (name, key) = (
                instruction.kind.keyword(),
                pairs.first().map(|pair| &pair.key),
            );
            let Some(key) = key else { continue };
            pass.report(
                rule,
                &instruction.comments,
                instruction.span,
                format!("{name} with a blank between name and value is the old form"),
                format!(
                    "write {name} {}=value; a value with blanks needs quotes",
                    key.value
                ),
            );
        }
    }
}
