//! For people: each finding with the lines that it is about.

use std::fmt::Write as _;

use crate::cli::diagnostic::{self, Severity};

use super::Findings;

pub(super) fn write(findings: &Findings, has_color: bool) -> String {
    let mut text = String::new();
    for item in &findings.items {
        let severity = if item.is_error {
            Severity::Error
        } else {
            Severity::Warning
        };
        let span = item.span.unwrap_or_default();
        let rule = (item.rule != super::MISTAKE).then_some(item.rule);
        let shown = diagnostic::snippet(
            &diagnostic::Note {
                severity,
                rule,
                message: &item.message,
                hint: item.hint.as_deref(),
                span,
            },
            &findings.source,
            has_color,
        );
        let _ = writeln!(text, "{shown}\n");
    }
    let (errors, warnings) = (findings.count(true), findings.count(false));
    if errors + warnings == 0 {
        let _ = writeln!(text, "{}: nothing found", findings.path);
    } else {
        let _ = writeln!(
            text,
            "{}: {}, {}",
            findings.path,
            counted(errors, "error"),
            counted(warnings, "warning")
        );
    }
    text
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
