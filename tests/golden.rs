//! The tables of tests/fixtures/dockerfile, replayed: what the parser, the expansion, the ignore rules, the plan and the checks
//! make of each row is what BuildKit makes of it, as recorded by tests/reference/golden.sh.
//!
//! Where we differ on purpose the row has a `"deviation"` that says why, with what is expected here instead in `"ours"`.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;

use longshore::build::{self, Known};
use longshore::context::Context;
use longshore::context::ignore::Ignore;
use longshore::dockerfile::{self, LineIndex, word};
use longshore::oci::Platform;
use longshore::plan::{self, Options, PlanError};
use serde_json::{Value, json};

/// Reads a table.
fn rows(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/dockerfile")
        .join(name)
        .with_extension("jsonl");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Compares what `ours` makes of every row with what is recorded, and tells all differences at once.
fn replay(name: &str, rows: &[Value], ours: impl Fn(&Value) -> Value) {
    assert!(rows.len() > 20, "{name} has only {} rows", rows.len());
    let mut differences = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let found = ours(row);
        for (key, value) in found.as_object().unwrap() {
            let recorded = row.get(key).cloned().unwrap_or(Value::Null);
            let expected = row.get("ours").and_then(|ours| ours.get(key)).cloned();
            if let Some(expected) = &expected {
                assert!(
                    row["deviation"].is_string(),
                    "{name} row {number}: a deviation without a reason"
                );
                assert_ne!(
                    *expected, recorded,
                    "{name} row {number}: no deviation any more"
                );
            }
            let expected = expected.unwrap_or(recorded);
            if *value != expected {
                differences.push(format!(
                    "{name} row {}: {row}\n  {key}: {value}\n  expected: {expected}",
                    number + 1
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences.join("\n")
    );
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn options(row: &Value) -> Options {
    let args = row.get("args").and_then(Value::as_object);
    let args = args.into_iter().flatten();
    let platform: Platform = "linux/amd64".parse().unwrap();
    Options {
        target: None,
        build_args: args
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        target_platform: platform.clone(),
        is_platform_explicit: false,
        build_platform: platform,
        labels: Vec::new(),
        network: longshore::plan::RunNetwork::Default,
        contexts: Vec::new(),
    }
}

/// The error and its line, if a Dockerfile is refused.
fn refused(text: &str, options: &Options) -> Option<usize> {
    let lines = LineIndex::new(text.as_bytes());
    let parsed = match dockerfile::parse(text.as_bytes()) {
        Ok(parsed) => parsed,
        Err(errors) => return Some(errors.errors[0].line),
    };
    let planned = plan::outline(&parsed, options, &[])
        .and_then(|outline| plan::plan(&parsed, &outline, &[], options));
    match planned {
        Ok(_) | Err(PlanError::Unsupported { .. } | PlanError::MissingConfig { .. }) => None,
        Err(error) => Some(lines.line(error.span().start)),
    }
}

#[test]
fn dockerfiles_are_accepted_and_refused_as_by_the_reference() {
    replay("parse", &rows("parse"), |row| {
        let refused = refused(text(row, "text"), &options(row));
        let mut found = json!({"error": refused.is_some()});
        // The reference does not name a line for every mistake.
        if let (Some(line), true) = (refused, row.get("line").is_some()) {
            found["line"] = json!(line);
        }
        found
    });
}

#[test]
fn words_are_expanded_as_by_the_reference() {
    let rows = rows("expand");
    let scope = dockerfile_scope(&rows[0]);
    replay("expand", &rows[1..], |row| {
        let lookup = |name: &str| {
            scope
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        };
        match word::expand(text(row, "word").trim(), '\\', &lookup) {
            Ok(expansion) => json!({"error": false, "value": expansion.value}),
            Err(_) => json!({"error": true}),
        }
    });
}

/// The variables of the table's first line, as ENV sets them.
fn dockerfile_scope(row: &Value) -> Vec<(String, String)> {
    let pairs = row["scope"].as_object().unwrap().iter();
    let pairs = pairs.map(|(name, value)| {
        let value = word::expand(value.as_str().unwrap(), '\\', &|_| None)
            .unwrap()
            .value;
        (name.clone(), value)
    });
    let path = (
        "PATH".to_owned(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    );
    std::iter::once(path).chain(pairs).collect()
}

#[test]
fn contexts_are_filtered_as_by_the_reference() {
    replay("ignore", &rows("ignore"), |row| {
        let Ok(ignore) = Ignore::parse(text(row, "rules").as_bytes(), ".dockerignore") else {
            return json!({"error": true});
        };
        let paths = row["paths"].as_array().unwrap().iter();
        let paths = paths.map(|path| path.as_str().unwrap());
        let mut kept: Vec<&str> = paths
            .filter(|path| ignore.excludes(path.as_bytes()).is_none())
            .collect();
        kept.sort_unstable();
        json!({"error": false, "kept": kept})
    });
}

#[test]
fn plans_have_the_config_and_the_history_of_the_reference() {
    replay("plan", &rows("plan"), |row| {
        let options = options(row);
        let planned = dockerfile::parse(text(row, "text").as_bytes())
            .ok()
            .and_then(|parsed| {
                let outline = plan::outline(&parsed, &options, &[]).ok()?;
                plan::plan(&parsed, &outline, &[], &options).ok()
            });
        let Some(plan) = planned else {
            return json!({"error": true});
        };
        let target = &plan.stages[plan.target];
        let mut history: Vec<String> = Vec::new();
        let mut stage = Some(target);
        while let Some(one) = stage {
            let own = one.steps.iter().map(|step| step.created_by.clone());
            let own = own.filter(|text| !text.is_empty());
            history.splice(0..0, own);
            stage = match one.base {
                plan::StageBase::Stage(number) => plan.stages.get(number),
                _ => None,
            };
        }
        json!({"error": false, "config": target.config.config, "history": history})
    });
}

#[test]
fn checks_find_what_those_of_the_reference_find() {
    replay("lint", &rows("lint"), |row| {
        let text = text(row, "text");
        let directory = tempfile::tempdir().unwrap();
        for path in row
            .get("paths")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let path = directory.path().join(path.as_str().unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(directory.path().join("Dockerfile"), text).unwrap();
        if let Some(rules) = row.get("rules") {
            std::fs::write(
                directory.path().join(".dockerignore"),
                rules.as_str().unwrap(),
            )
            .unwrap();
        }
        let mut context = Context::open(directory.path().to_owned(), None).unwrap();
        context.read_dockerfile(Path::new("Dockerfile")).unwrap();
        let parsed = dockerfile::parse(text.as_bytes()).unwrap();
        let known = Known {
            context: Some(&context),
            ..Known::default()
        };
        let Ok(report) = build::check(&parsed, text.as_bytes(), &options(row), known) else {
            // A configuration that cannot be read: the reference does not say so in its list.
            return json!({"warnings": []});
        };
        let lines = LineIndex::new(text.as_bytes());
        let of_buildkit = report
            .findings
            .iter()
            .filter(|finding| finding.rule.url.is_some());
        let mut found: Vec<(&str, usize)> = of_buildkit
            .map(|finding| (finding.rule.name, lines.line(finding.span.start)))
            .collect();
        found.sort_unstable();
        json!({"warnings": found})
    });
}
