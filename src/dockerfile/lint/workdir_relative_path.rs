//! A first WORKDIR that is relative.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (path, span, instruction) in &pass.evaluation.relative_workdirs {
        pass.report(
            rule,
            &instruction.comments,
            *span,
            format!("the relative WORKDIR {path} depends on the base image"),
            "begin it with a slash",
        );
    }
}
