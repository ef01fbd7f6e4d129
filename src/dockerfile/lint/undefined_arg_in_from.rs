//! Variables in FROM that nothing declares.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for from in &pass.evaluation.froms {
        for (name, nearest, span) in &from.undeclared {
            let hint = match nearest {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => format!("declare it in front of the first FROM: ARG {name}"),
            };
            pass.report(
                rule,
                &from.stage.from.comments,
                *span,
                format!("the variable {name} in FROM is not declared"),
                hint,
            );
        }
    }
}
