//! Names of stages that are not in lower case.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for stage in &pass.dockerfile.stages {
        let Some(name) = &stage.name else { continue };
        let written = pass.written(name.span);
        if written != written.to_lowercase() {
            pass.report(
                rule,
                &stage.from.comments,
                name.span,
                format!("the stage name {written} is not in lower case"),
                format!("write {}", name.value),
            );
        }
    }
}
