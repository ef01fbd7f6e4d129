//! COPY and ADD of files that the ignore file hides.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let Some(ignore) = pass.facts.context.and_then(|context| context.ignore) else {
        return;
    };
    if ignore.has_reincludes {
        // What is below a hidden directory may be taken back: nobody knows without the files.
        return;
    }
    for copied in &pass.evaluation.copies {
        let path = super::shell::clean_path(&copied.path);
        if is_remote(&copied.path) {
            continue;
        }
        let hidden = if path.is_empty() {
            ignore
                .everything
                .map(|(text, line)| (text.to_owned(), line))
        } else {
            (ignore.excluded_by)(&path)
        };
        if let Some((text, line)) = hidden {
            let keyword = copied.instruction.kind.keyword();
            pass.report(
                rule,
                &copied.instruction.comments,
                copied.span,
                format!(
                    "{keyword} of \"{}\", which the ignore file hides",
                    copied.path
                ),
                format!(
                    "remove the rule \"{text}\" ({}:{line}), or take it back with `!{path}`",
                    ignore.name
                ),
            );
        }
    }
}

/// Whether ADD gets it from elsewhere.
pub(super) fn is_remote(source: &str) -> bool {
    source.starts_with("git@") || source.contains("://")
}
