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
                let message = error.problem.to_string();
                let advice = error.advice();
                let note = Note::error(&message, error.span, advice.as_deref());
                snippet(&note, source, has_color)
            })
            .collect();
        return texts.join("\n");
    }
    let message = chain(error);
    match (error.span(), source) {
        (Some(span), Some(source)) => {
            let hint = error.hint();
            snippet(
                &Note::error(&message, span, hint.as_deref()),
                source,
                has_color,
            )
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

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Nothing is built.
    Error,
    /// It is probably not meant.
    Warning,
}

/// What is said about a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note<'a> {
    /// How bad it is.
    pub(super) severity: Severity,
    /// The rule that says so.
    pub(super) rule: Option<&'a str>,
    /// What is wrong.
    pub(super) message: &'a str,
    /// What to do.
    pub(super) hint: Option<&'a str>,
    /// Where.
    pub(super) span: Span,
}

impl<'a> Note<'a> {
    fn error(message: &'a str, span: Span, hint: Option<&'a str>) -> Self {
        Self {
            severity: Severity::Error,
            rule: None,
            message,
            hint,
            span,
        }
    }
}

/// Lays out a note with the lines that it is about.
pub(super) fn snippet(note: &Note<'_>, source: &SourceText, has_color: bool) -> String {
    let text = source.text.as_str();
    let start = floor_boundary(text, note.span.start.min(text.len()));
    let end = trimmed_end(text, note.span);
    // Only the lines that are shown are handed on: the file may be large.
    let first = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let last = text[end..].find('\n').map_or(text.len(), |at| end + at);
    let line = text[..first].bytes().filter(|byte| *byte == b'\n').count() + 1;
    let level = match note.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = match note.rule {
        Some(rule) => format!("{}: {}", rule, note.message),
        None => note.message.to_owned(),
    };
    let mut group = level.primary_title(message).element(
        Snippet::source(&text[first..last])
            .line_start(line)
            .path(source.name.as_str())
            .annotation(AnnotationKind::Primary.span(start - first..end - first)),
    );
    if let Some(hint) = note.hint {
        group = group.element(Level::HELP.message(hint));
    }
    let renderer = if has_color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.render(&[group])
}

/// The end of a place without white space: an instruction ends before its line end.
pub(super) fn trimmed_end(text: &str, span: Span) -> usize {
    let start = floor_boundary(text, span.start.min(text.len()));
    let end = floor_boundary(text, span.end.clamp(start, text.len()));
    start + text[start..end].trim_end().len()
}

/// The character boundary at or before a place.
pub(super) fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
