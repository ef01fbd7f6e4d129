//! JSON in the manner of BuildKit's `--call=check,format=json`, with columns, hints and levels: see docs/check.md.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Findings, Item};

/// Raised when a key changes its meaning or goes.
const VERSION: u32 = 1;

pub(super) fn write(findings: &Findings) -> String {
    let (errors, warnings): (Vec<&Item>, Vec<&Item>) = findings
        .items
        .iter()
        .partition(|item| item.rule == super::MISTAKE);
    let errors: Vec<Value> = errors
        .into_iter()
        .map(|item| error(findings, item))
        .collect();
    let warnings: Vec<Value> = warnings
        .into_iter()
        .map(|item| {
            json!({
                "ruleName": item.rule,
                "description": item.description,
                "url": item.url,
                "detail": item.message,
                "hint": item.hint,
                "level": if item.is_error { "error" } else { "warning" },
                "location": location(findings, item),
            })
        })
        .collect();
    let mut report = json!({
        "version": VERSION,
        "warnings": warnings,
        "errors": errors,
        "sources": [{
            "filename": findings.path,
            "language": "Dockerfile",
            "data": STANDARD.encode(&findings.source.text),
        }],
    });
    if let Some(first) = errors.first() {
        report["buildError"] = json!({"message": first["message"], "location": first["location"]});
    }
    format!("{report:#}\n")
}

fn error(findings: &Findings, item: &Item) -> Value {
    json!({"message": item.message, "hint": item.hint, "location": location(findings, item)})
}

/// Lines count from 1, characters from 0, as in BuildKit.
fn location(findings: &Findings, item: &Item) -> Value {
    let (start, end) = findings.range(item);
    json!({
        "sourceIndex": 0,
        "ranges": [{
            "start": {"line": start.line, "character": start.column - 1},
            "end": {"line": end.line, "character": end.column - 1},
        }],
    })
}
