//! `FROM --platform=linux/amd64`.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for from in &pass.evaluation.froms {
        let Some((value, taken)) = from.platform.as_ref().filter(|(_, taken)| taken.is_empty())
        else {
            continue;
        };
        debug_assert!(taken.is_empty());
        let Some((os, architecture)) = (pass.facts.platform)(value) else {
            continue;
        };
        let name = from
            .stage
            .name
            .as_ref()
            .map_or("", |name| name.value.as_str());
        if name.contains(&os) || name.contains(&architecture) {
            // A stage that says in its name for what it is, is for that on purpose.
            continue;
        }
        if let Some(written) = &from.stage.from.platform {
            pass.report(
                rule,
                &from.stage.from.comments,
                written.span,
                format!("the stage is always for {value}, whatever is built"),
                "leave the flag out, use $BUILDPLATFORM, or name the platform in the stage's name",
            );
        }
    }
}
