//! GitLab's code quality report (`artifacts:reports:codequality`).

use serde_json::{Value, json};

use super::Findings;
use super::sarif::fingerprints;

/// Rules whose findings let a secret out.
const LEAKS: [&str; 3] = ["SecretsUsedInArgOrEnv", "CredentialInUrl", "CopyShipsGit"];

pub(super) fn write(findings: &Findings) -> String {
    let report: Vec<Value> = fingerprints(findings)
        .into_iter()
        .zip(&findings.items)
        .map(|(fingerprint, item)| {
            let (start, end) = findings.range(item);
            let description = match &item.hint {
                Some(hint) => format!("{}: {hint}", item.message),
                None => item.message.clone(),
            };
            let severity = if item.rule == super::MISTAKE {
                "blocker"
            } else if item.is_error || LEAKS.contains(&item.rule) {
                "major"
            } else {
                "minor"
            };
            json!({
                "description": description,
                "check_name": item.rule,
                "fingerprint": fingerprint,
                "severity": severity,
                "location": {
                    "path": findings.path,
                    "lines": {"begin": start.line, "end": end.line},
                },
            })
        })
        .collect();
    format!("{:#}\n", Value::Array(report))
}
