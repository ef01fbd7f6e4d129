//! FROM of an image that has no valid name unless build arguments are given.

use crate::dockerfile::word;

use super::{Pass, Rule, evaluate};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let defaults = evaluate::globals(pass.dockerfile, pass.facts, false);
    for stage in &pass.dockerfile.stages {
        let image = &stage.from.image;
        if !image.value.contains('$') {
            continue;
        }
        let expansion = word::expand(&image.value, pass.dockerfile.escape, &|name| {
            defaults.get(name).cloned()
        });
        let Ok(expansion) = expansion else { continue };
        if (pass.facts.is_reference)(&expansion.value) {
            continue;
        }
        let message = if expansion.value.is_empty() {
            format!(
                "without build arguments the image name {} is empty",
                image.value
            )
        } else {
            format!(
                "without build arguments the image name {} is \"{}\", which is not valid",
                image.value, expansion.value
            )
        };
        pass.report(
            rule,
            &stage.from.comments,
            image.span,
            message,
            "give the ARG in front of the first FROM a default",
        );
    }
}
