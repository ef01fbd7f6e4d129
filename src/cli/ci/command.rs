//! `longshore ci`: says what was found and what a build would do.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::ci::{Ci, Found};

use super::super::env::Env;
use super::super::flags::BuildArgs;
use super::super::{print_line, report_usage};
use super::Platform;

/// The flags of `longshore ci`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CiCommandArgs {
    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: CiFormat,
    /// The flags of a build.
    #[command(flatten)]
    pub build: BuildArgs,
}

/// How `longshore ci` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum CiFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// `longshore ci`: says what was found and what a build would do.
pub(in crate::cli) fn command(args: CiCommandArgs, env: &Env) -> u8 {
    let mut build = args.build;
    let platform = match Platform::find(&mut build, false, env) {
        Ok(platform) => platform,
        Err(error) => return report_usage(&error),
    };
    let name = platform.ci.map_or("none", Ci::name);
    let secrets: Vec<&str> = platform
        .defaults
        .secrets
        .iter()
        .copied()
        .filter(|name| env.text(name).is_some())
        .collect();
    if args.format == CiFormat::Json {
        let found = |found: &Found| json!({"value": found.value, "source": found.source});
        let facts: serde_json::Map<String, Value> = platform
            .facts
            .table()
            .into_iter()
            .map(|(name, fact)| (name.replace(' ', "_"), found(fact)))
            .collect();
        let decided: Vec<Value> = platform
            .decided
            .iter()
            .map(|(what, one)| json!({"what": what, "value": one.value, "source": one.source}))
            .collect();
        let text = json!({
            "ci": name,
            "facts": facts,
            "image": platform.defaults.image.as_ref().map(found),
            "version": platform.version,
            "build": decided,
            "secrets": secrets,
            "notices": platform.notices,
        });
        print_line(&format!("{text:#}"));
        return 0;
    }
    let mut text = format!("CI system: {name}\n");
    let mut table = |title: &str, rows: Vec<(String, String, String)>| {
        let _ = writeln!(text, "\n{title}");
        if rows.is_empty() {
            text.push_str("  nothing\n");
        }
        for (name, value, source) in rows {
            let _ = writeln!(text, "  {name}: {value}  ({source})");
        }
    };
    let row =
        |name: &str, found: &Found| (name.to_owned(), found.value.clone(), found.source.clone());
    let mut facts: Vec<_> = platform
        .facts
        .table()
        .into_iter()
        .map(|(name, found)| row(name, found))
        .collect();
    facts.extend(
        platform
            .defaults
            .image
            .as_ref()
            .map(|found| row("image", found)),
    );
    table("What it says:", facts);
    table(
        "What a build with these flags would do:",
        platform
            .decided
            .iter()
            .map(|(name, found)| row(name, found))
            .collect(),
    );
    if !secrets.is_empty() {
        let _ = writeln!(text, "\nMasked in the log: {}", secrets.join(", "));
    }
    for notice in &platform.notices {
        let _ = writeln!(text, "\nnotice: {notice}");
    }
    print_line(text.trim_end());
    0
}
