//! Two stages of the same name.

use std::collections::HashSet;

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let mut seen = HashSet::new();
    for stage in &pass.dockerfile.stages {
        let Some(name) = &stage.name else { continue };
        if !seen.insert(name.value.as_str()) {
            pass.report(
                rule,
                &stage.from.comments,
                name.span,
                format!("there is a stage {} already", name.value),
                "give each stage a name of its own: a name means the last stage of that name",
            );
        }
    }
}
