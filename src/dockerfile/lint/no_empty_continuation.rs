//! Blank lines inside of an instruction.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for span in &pass.dockerfile.empty_continuations {
        pass.report(
            rule,
            &[],
            *span,
            "a blank line continues the instruction",
            "remove the line, or make it a comment",
        );
    }
}
