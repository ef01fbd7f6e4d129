//! Variables that are not set where they are used.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for used in &pass.evaluation.undefined {
        let name = &used.name;
        let hint = match &used.nearest {
            _ if used.is_global => {
                format!(
                    "ARGs in front of the first FROM are seen by FROM only: add ARG {name} to this stage"
                )
            }
            Some(nearest) => format!("did you mean ${nearest}?"),
            None if used.may_be_inherited => format!(
                "set it with ENV or ARG, unless the base image does; ${{{name}:-}} says that it may be empty"
            ),
            None => "set it with ENV or ARG before".to_owned(),
        };
        pass.report(
            rule,
            &used.instruction.comments,
            used.span,
            format!("the variable ${name} is not set here"),
            hint,
        );
    }
}
