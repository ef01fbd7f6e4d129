//! Errors to text: what failed, the lines of the Dockerfile, why, and what to do next.

use std::error::Error;
use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::build::BuildError;
use crate::dockerfile::{LineIndex, Span};

/// A Dockerfile's name and text, for showing its lines.
#[derive(Clone, Debug)]
pub(super) struct SourceText {
    /// Its path as the user knows it.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
}

impl SourceText {
    /// The line, from 1, on which `span` begins.
    pub(super) fn line(&self, span: Span) -> usize {
        LineIndex::new(self.text.as_bytes()).line(span.start)
    }
}

/// Lays out what ended a build.
pub(super) fn render(error: &BuildError, source: Option<&SourceText>, has_color: bool) -> String {
    if let (BuildError::Parse(errors), Some(source)) = (error, source) {
        let texts: Vec<String> = errors
            .errors
            .iter()
            .map(|error| {
                snippet(
                    &error.problem.to_string(),
                    error.span,
                    source,
                    error.hint.as_deref(),
                    has_color,
                )
            })
            .collect();
        return texts.join("\n");
    }
    let message = chain(error);
    match (error.span(), source) {
        (Some(span), Some(source)) => {
            snippet(&message, span, source, error.hint().as_deref(), has_color)
        }
        _ => plain(&message, error.hint().as_deref(), has_color),
    }
}

/// What ended a build, as messages and the places that they are about.
pub(super) fn messages(error: &BuildError) -> Vec<(String, Option<Span>)> {
    match error {
        BuildError::Parse(errors) => {
            let message = |error: &crate::dockerfile::ParseError| {
                (error.problem.to_string(), Some(error.span))
            };
            errors.errors.iter().map(message).collect()
        }
        error => vec![(chain(error), error.span())],
    }
}

/// Lays out an error that has no place in a Dockerfile.
pub(super) fn plain(message: &str, hint: Option<&str>, has_color: bool) -> String {
    let mut text = if has_color {
        format!("\x1b[1;31merror\x1b[0m: {message}")
    } else {
        format!("error: {message}")
    };
    if let Some(hint) = hint {
        let _ = write!(text, "\n  hint: {hint}");
    }
    text
}

/// An error and its causes, joined by colons; a cause whose text is in the one before is left out.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn snippet(
    message: &str,
    span: Span,
    source: &SourceText,
    hint: Option<&str>,
    has_color: bool,
) -> String {
    let length = source.text.len();
    let start = floor_boundary(&source.text, span.start.min(length));
    let end = floor_boundary(&source.text, span.end.clamp(start, length));
    // An instruction ends before its line end, and a long one is shown by its first lines.
    let shown = source.text[start..end].trim_end();
    let end = start + shown.len();
    let mut group = Level::ERROR.primary_title(message).element(
        Snippet::source(source.text.as_str())
            .path(source.name.as_str())
            .annotation(AnnotationKind::Primary.span(start..end)),
    );
    if let Some(hint) = hint {
        group = group.element(Level::HELP.message(hint));
    }
    let renderer = if has_color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.render(&[group])
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
