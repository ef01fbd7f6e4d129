//! AS in another case than its FROM.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for stage in &pass.dockerfile.stages {
        let Some(span) = stage.from.as_keyword else {
            continue;
        };
        let (from, written) = (pass.written(stage.from.keyword), pass.written(span));
        let expected = if from == from.to_lowercase() {
            "as"
        } else if from == from.to_uppercase() {
            "AS"
        } else {
            // What is wrong here is FROM: that is for another rule.
            continue;
        };
        if written != expected {
            pass.report(
                rule,
                &stage.from.comments,
                span,
                format!("{written} is not in the case of {from}"),
                format!("write {expected}"),
            );
        }
    }
}
