//! `FROM --platform=$TARGETPLATFORM`.

use super::{Pass, Rule};

const TARGET: &str = "TARGETPLATFORM";

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let globals = super::evaluate::globals(pass.dockerfile, pass.facts, true);
    for from in &pass.evaluation.froms {
        let Some((value, taken)) = &from.platform else {
            continue;
        };
        let is_only = taken.len() == 1 && taken.contains(TARGET);
        if let Some(written) = from
            .stage
            .from
            .platform
            .as_ref()
            .filter(|_| is_only && globals.get(TARGET) == Some(value))
        {
            pass.report(
                rule,
                &from.stage.from.comments,
                written.span,
                format!("--platform={} is what happens anyway", written.value),
                "leave the flag out",
            );
        }
    }
}
