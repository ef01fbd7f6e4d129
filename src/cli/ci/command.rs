//! `longshore ci`: says what was found and what a build would do.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::ci::{Ci, Found};

use super::super::env::Env;
use super::super::flags::BuildArgs;
use super::super::resolve::context_text;
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
    let typed = begun(&build);
    let platform = match Platform::find(&mut build, false, env) {
        Ok(platform) => platform,
        Err(error) => return report_usage(&error),
    };
    let name = platform.ci.map_or("none", Ci::name);
    let mut does = typed;
    does.extend(platform.decided.iter().cloned());
    does.extend(handed_back(&build, &platform));
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
        let decided: Vec<Value> = does
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
        does.iter().map(|(name, found)| row(name, found)).collect(),
    );
    if let Some(name) = build.destination.first() {
        let _ = writeln!(
            text,
            "\nWhose credential a push would use: longshore auth {name}"
        );
    }
    if !secrets.is_empty() {
        let _ = writeln!(text, "\nMasked in the log: {}", secrets.join(", "));
    }
    for notice in &platform.notices {
        let _ = writeln!(text, "\nnotice: {notice}");
    }
    print_line(text.trim_end());
    0
}

/// What is built, in any case.
fn begun(build: &BuildArgs) -> Vec<(&'static str, Found)> {
    let context = match (&build.context, &build.context_directory, &build.bucket) {
        (Some(_), _, _) => "--context",
        (None, Some(_), _) => "the argument",
        (None, None, Some(_)) => "--bucket",
        (None, None, None) => "the working directory",
    };
    let dockerfile = build.dockerfile.display().to_string();
    let by = if dockerfile == "Dockerfile" {
        "there, else in the context"
    } else {
        "--dockerfile"
    };
    let mut does = vec![
        ("context", Found::new(context_text(build, false), context)),
        ("Dockerfile", Found::new(dockerfile, by)),
    ];
    does.extend(
        build
            .destination
            .iter()
            .map(|name| ("destination", Found::new(name, "--destination"))),
    );
    does
}

/// Where what was made is written and told, beside a registry.
fn handed_back(build: &BuildArgs, platform: &Platform) -> Vec<(&'static str, Found)> {
    let mut does = Vec::new();
    let mut written = |path: Option<String>, by: &str| {
        does.extend(path.map(|path| ("image", Found::new(path, by))));
    };
    let text = |path: &std::path::PathBuf| path.display().to_string();
    written(build.tar_path.as_ref().map(text), "--tar-path");
    written(
        build.oci_layout_path.as_ref().map(text),
        "--oci-layout-path",
    );
    if build.destination.is_empty() && does.is_empty() {
        let nothing = "no destination: --push, --images or --destination names one";
        does.push(("image", Found::new("image.oci", nothing)));
    }
    let places = platform.ci.map(|ci| ci.places(&platform.around));
    does.extend(
        places
            .unwrap_or_default()
            .into_iter()
            .map(|place| ("outputs", place)),
    );
    for (_, path) in &platform.outputs {
        let path = path.display().to_string();
        does.push(("outputs", Found::new(path, "--ci-output")));
    }
    does
}
