//! Comments above a stage or an ARG that do not begin with its name.

use crate::dockerfile::ast::{Arg, InstructionKind};
use crate::dockerfile::span::Spanned;

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let dockerfile = pass.dockerfile;
    for instruction in &dockerfile.meta_args {
        describe(
            pass,
            rule,
            &instruction.comments,
            "ARG",
            &names(&instruction.arg),
        );
    }
    for stage in &dockerfile.stages {
        if let Some(name) = &stage.name {
            describe(
                pass,
                rule,
                &stage.from.comments,
                "FROM",
                &[name.value.as_str()],
            );
        }
        for instruction in &stage.instructions {
            if let InstructionKind::Arg(arg) = &instruction.kind {
                describe(pass, rule, &instruction.comments, "ARG", &names(arg));
            }
        }
    }
}

fn names(arg: &Arg) -> Vec<&str> {
    arg.declarations
        .iter()
        .map(|one| one.name.value.as_str())
        .collect()
}

fn describe(
    pass: &mut Pass<'_>,
    rule: &'static Rule,
    comments: &[Spanned<String>],
    keyword: &str,
    names: &[&str],
) {
    let (Some(comment), Some(first)) = (comments.last(), names.first()) else {
        return;
    };
    let word = comment.value.split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return;
    }
    let name = if names.len() == 1 { first } else { "NAME" };
    pass.report(
        rule,
        comments,
        comment.span,
        format!("the comment above {keyword} is no description of {name}"),
        format!("write `# {name} description`, or put an empty comment line in between"),
    );
}
