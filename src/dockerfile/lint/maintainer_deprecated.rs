//! MAINTAINER.

use crate::dockerfile::ast::InstructionKind;

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for instruction in pass
        .dockerfile
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions)
    {
        if let InstructionKind::Maintainer(maintainer) = &instruction.kind {
            pass.report(
                rule,
                &instruction.comments,
                instruction.span,
                "MAINTAINER is deprecated",
                format!(
                    "write LABEL org.opencontainers.image.authors={:?}",
                    maintainer.name.value
                ),
            );
        }
    }
}
