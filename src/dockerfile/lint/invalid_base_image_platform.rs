//! Base images for another platform than the one that is built.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for from in &pass.evaluation.froms {
        let mismatch = (pass.facts.base)(from.number).and_then(|base| base.mismatch);
        if let Some((actual, wanted)) = mismatch {
            let image = &from.stage.from.image;
            pass.report(
                rule,
                &from.stage.from.comments,
                image.span,
                format!("the base image is for {actual}, the build for {wanted}"),
                format!(
                    "name an image for {wanted}, or say FROM --platform={actual} if that is meant"
                ),
            );
        }
    }
}
