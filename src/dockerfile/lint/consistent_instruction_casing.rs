//! Instructions in another case than most of the file.

use crate::dockerfile::span::{Span, Spanned};

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let keywords: Vec<(Span, &[Spanned<String>])> = pass
        .dockerfile
        .stages
        .iter()
        .flat_map(|stage| {
            let from = (stage.from.keyword, stage.from.comments.as_slice());
            let rest = stage.instructions.iter();
            let rest = rest.map(|one| (one.keyword, one.comments.as_slice()));
            std::iter::once(from).chain(rest)
        })
        .collect();
    let count = |is_so: fn(&u8) -> bool| {
        let all = keywords.iter();
        all.filter(|(span, _)| pass.written(*span).bytes().all(|byte| is_so(&byte)))
            .count()
    };
    let is_lower = count(u8::is_ascii_lowercase) > count(u8::is_ascii_uppercase);
    for (span, comments) in keywords {
        let written = pass.written(span);
        let (expected, name) = if is_lower {
            (written.to_lowercase(), "lower")
        } else {
            (written.to_uppercase(), "upper")
        };
        if written != expected {
            pass.report(
                rule,
                comments,
                span,
                format!("{written} is not in {name} case, as most instructions of the file are"),
                format!("write {expected}"),
            );
        }
    }
}
