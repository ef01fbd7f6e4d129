//! Workflow commands that GitHub Actions turns into annotations.

use std::fmt::Write as _;

use super::{Findings, Item};

/// So many annotations of a kind GitHub shows for one step; the rest would be lost without a word.
const SHOWN_MAX: usize = 10;

pub(super) fn write(findings: &Findings) -> String {
    let mut text = String::new();
    for is_error in [true, false] {
        let items = findings
            .items
            .iter()
            .filter(|item| item.is_error == is_error);
        let items: Vec<&Item> = items.collect();
        let kind = if is_error { "error" } else { "warning" };
        let shown = if items.len() > SHOWN_MAX {
            SHOWN_MAX - 1
        } else {
            items.len()
        };
        for item in &items[..shown] {
            annotation(&mut text, findings, item, kind);
        }
        let Some(next) = items.get(shown) else {
            continue;
        };
        let (start, _) = findings.range(next);
        let rest: Vec<String> = items[shown..]
            .iter()
            .map(|item| {
                format!(
                    "line {}: {}: {}",
                    findings.range(item).0.line,
                    item.rule,
                    item.message
                )
            })
            .collect();
        let _ = writeln!(
            text,
            "::{kind} file={},line={},title={}::{}",
            property(&findings.path),
            start.line,
            property(&format!("{} more", rest.len())),
            message(&rest.join("\n"))
        );
    }
    text
}

fn annotation(text: &mut String, findings: &Findings, item: &Item, kind: &str) {
    let (start, end) = findings.range(item);
    let _ = write!(
        text,
        "::{kind} file={},line={}",
        property(&findings.path),
        start.line
    );
    // Columns have a meaning within one line only.
    let _ = if start.line == end.line {
        write!(text, ",col={},endColumn={}", start.column, end.column)
    } else {
        write!(text, ",endLine={}", end.line)
    };
    let body = match &item.hint {
        Some(hint) => format!("{}\n{hint}", item.message),
        None => item.message.clone(),
    };
    let _ = writeln!(text, ",title={}::{}", property(item.rule), message(&body));
}

/// Escapes the text behind `::`.
fn message(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes a value between `::` and `::`.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_command_is_escaped() {
        assert_eq!(message("100% a\r\nb: c, d"), "100%25 a%0D%0Ab: c, d");
        assert_eq!(property("a:b,c%\n"), "a%3Ab%2Cc%25%0A");
    }
}
