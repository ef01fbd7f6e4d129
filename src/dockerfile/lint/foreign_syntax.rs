//! `# syntax=` with a frontend that is not Docker's own.

use crate::dockerfile::ast::DirectiveKind;

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let mut directives = pass.dockerfile.directives.iter();
    let Some(syntax) = directives.find(|directive| directive.kind == DirectiveKind::Syntax) else {
        return;
    };
    let image = syntax.value.value.split(' ').next().unwrap_or_default();
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let name = name.split('@').next().unwrap_or(name);
    let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let is_official = matches!(
        repository,
        "docker/dockerfile" | "docker/dockerfile-upstream"
    );
    if is_official && !tag.contains("labs") && !tag.contains("experimental") {
        return;
    }
    let message = if is_official {
        format!(
            "the frontend {image} has experimental features, and longshore knows the stable ones"
        )
    } else {
        format!(
            "the frontend {image} is not run: longshore reads the file itself, as docker/dockerfile would"
        )
    };
    pass.report(
        rule,
        &[],
        syntax.value.span,
        message,
        "write # syntax=docker/dockerfile:1, or remove the line",
    );
}
