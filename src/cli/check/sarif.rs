//! SARIF 2.1.0, for code scanning.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::dockerfile::lint::RULES;

use super::{Findings, Item, MISTAKE, MISTAKE_DESCRIPTION};

pub(super) fn write(findings: &Findings) -> String {
    let mut rules: Vec<Value> = RULES
        .iter()
        .map(|rule| rule_of(rule.name, rule.description, rule.url, "warning"))
        .collect();
    rules.push(rule_of(MISTAKE, MISTAKE_DESCRIPTION, None, "error"));
    let results: Vec<Value> = fingerprints(findings)
        .into_iter()
        .zip(&findings.items)
        .map(|(fingerprint, item)| result(findings, item, &fingerprint))
        .collect();
    let report = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "longshore",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{report:#}\n")
}

fn rule_of(name: &str, description: &str, url: Option<&str>, level: &str) -> Value {
    let mut rule = json!({
        "id": name,
        "shortDescription": {"text": description},
        "help": {"text": format!("{description}. See docs/checks/{name}.md.")},
        "defaultConfiguration": {"level": level},
    });
    if let Some(url) = url {
        rule["helpUri"] = json!(url);
    }
    rule
}

fn result(findings: &Findings, item: &Item, fingerprint: &str) -> Value {
    let (start, end) = findings.range(item);
    let mut rules = RULES.iter();
    let index = rules
        .position(|rule| rule.name == item.rule)
        .unwrap_or(RULES.len());
    let text = match &item.hint {
        Some(hint) => format!("{}: {hint}", item.message),
        None => item.message.clone(),
    };
    json!({
        "ruleId": item.rule,
        "ruleIndex": index,
        "level": if item.is_error { "error" } else { "warning" },
        "message": {"text": text},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&findings.path)},
            "region": {
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            },
        }}],
        "partialFingerprints": {"longshore/v1": fingerprint},
    })
}

/// A path as a relative URI reference.
fn uri(path: &str) -> String {
    use std::fmt::Write as _;
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// A name for each finding that stays while lines above come and go: of the rule, the file, the text of the line, and the
/// number of equal ones before.
pub(super) fn fingerprints(findings: &Findings) -> Vec<String> {
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    findings
        .items
        .iter()
        .map(|item| {
            let (start, _) = findings.range(item);
            let span = findings.lines.line_span(start.line);
            let line = findings
                .source
                .text
                .get(span.start..span.end)
                .unwrap_or_default();
            let key = [item.rule, &findings.path, line.trim(), &item.message].join("\0");
            let count = seen.entry(key.clone()).or_default();
            let digest = Sha256::digest(format!("{key}\0{count}"));
            *count += 1;
            hex::encode(&digest[..16])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_uris() {
        let check = |path: &str, expect: &str| assert_eq!(uri(path), expect);
        check("docker/Dockerfile", "docker/Dockerfile");
        check("a b/Döckerfile", "a%20b/D%C3%B6ckerfile");
        check("/x/Dockerfile", "file:///x/Dockerfile");
    }
}
