//! Names in `# check=` that are no checks.

use crate::dockerfile::ast::DirectiveKind;
use crate::dockerfile::span::{Span, Spanned};
use crate::dockerfile::suggest;

use super::config::{Config, inline};
use super::{Pass, RULES, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let dockerfile = pass.dockerfile;
    for directive in &dockerfile.directives {
        if directive.kind == DirectiveKind::Check {
            let value = &directive.value;
            judge(pass, rule, &[], &value.value, value.span);
        }
    }
    let froms = dockerfile.stages.iter().map(|stage| &stage.from.comments);
    let rest = dockerfile
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions);
    for comments in froms.chain(rest.map(|one| &one.comments)) {
        if let Some((comment, (value, _))) = first_inline(comments) {
            judge(pass, rule, comments, value, comment.span);
        }
    }
}

fn first_inline(comments: &[Spanned<String>]) -> Option<(&Spanned<String>, (&str, usize))> {
    comments
        .iter()
        .find_map(|comment| Some((comment, inline(comment)?)))
}

fn judge(
    pass: &mut Pass<'_>,
    rule: &'static Rule,
    comments: &[Spanned<String>],
    value: &str,
    span: Span,
) {
    let config = match Config::parse(value, Some(span)) {
        Ok(config) => config,
        Err(error) => {
            pass.report(
                rule,
                comments,
                span,
                error.to_string(),
                "write for example # check=skip=JSONArgsRecommended;error=true",
            );
            return;
        }
    };
    let known = || RULES.iter().map(|rule| rule.name);
    for name in config
        .names()
        .filter(|name| !known().any(|known| known == *name))
    {
        let place = pass.written(span).find(name).map_or(span, |at| {
            Span::new(span.start + at, span.start + at + name.len())
        });
        let hint = match suggest::nearest_name(name, known()) {
            Some(near) => format!("did you mean {near}?"),
            None => "`longshore check --help` names the checks".to_owned(),
        };
        pass.report(
            rule,
            comments,
            place,
            format!("there is no check {name}"),
            hint,
        );
    }
}
