//! Stages that are called as what is no stage.

use super::{Pass, Rule};

const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for stage in &pass.dockerfile.stages {
        let name = stage.name.as_ref();
        if let Some(name) = name.filter(|name| RESERVED.contains(&name.value.as_str())) {
            pass.report(
                rule,
                &stage.from.comments,
                name.span,
                format!("{} is reserved and no name for a stage", name.value),
                "choose another name",
            );
        }
    }
}
