//! `longshore debug`: what the parser, the expansion, the ignore rules and the plan make of something, as JSON on standard
//! output, so that any table of cases can be replayed.
//!
//! The form of the answers follows the code and may change with any version. Exit codes: 0 there is an answer; 1 there is
//! none, and the answer says why; 2 the command line is wrong.

use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::ignore::Ignore;
use crate::dockerfile::{self, Dockerfile, LineIndex, ParseErrors, Span, word};
use crate::oci::Platform;
use crate::plan::{self, Options, Plan, RunNetwork};

use super::env::Env;
use super::{diagnostic, print_error, resolve};

/// The flags of `longshore debug`.
#[derive(Debug, Args)]
pub(super) struct DebugArgs {
    /// What to look at.
    #[command(subcommand)]
    pub command: DebugCommand,
}

/// What `longshore debug` looks at. The form of the answers may change with any version.
#[derive(Debug, Subcommand)]
pub(super) enum DebugCommand {
    /// The syntax tree of a Dockerfile, or its mistakes
    Parse {
        /// The Dockerfile; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Words with their variables, quotes and escapes expanded
    Expand(ExpandArgs),
    /// Which paths of a context an ignore file hides, and by which rule
    Ignore(IgnoreArgs),
    /// The plan of a Dockerfile whose stages start from scratch: steps, configuration, history
    Plan(PlanArgs),
}

/// The flags of `longshore debug expand`.
#[derive(Debug, Args)]
pub(super) struct ExpandArgs {
    /// A variable; NAME alone takes its value from the environment
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub variables: Vec<String>,
    /// The escape character
    #[arg(long, value_name = "CHARACTER", default_value_t = '\\')]
    pub escape: char,
    /// Split the result at blanks, as EXPOSE does
    #[arg(long, conflicts_with = "heredoc")]
    pub split: bool,
    /// Keep quotes, as in the body of a heredoc
    #[arg(long)]
    pub heredoc: bool,
    /// The words [default: the lines of standard input]
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
}

/// The flags of `longshore debug ignore`.
#[derive(Debug, Args)]
pub(super) struct IgnoreArgs {
    /// The ignore file
    #[arg(long, value_name = "FILE", default_value = ".dockerignore")]
    pub rules: PathBuf,
    /// Paths of the context [default: the lines of standard input]
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
}

/// The flags of `longshore debug plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The Dockerfile; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A build argument; NAME alone takes its value from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// The stage to plan [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// The platform to build for [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// Runs the subcommand and returns its exit code.
pub(super) fn debug(command: &DebugCommand, env: &Env) -> u8 {
    let answer = match command {
        DebugCommand::Parse { file } => match read(file).map(|text| parse(&text)) {
            Ok(Ok(dockerfile)) => {
                print_tree(&dockerfile);
                return 0;
            }
            Ok(Err(mistakes)) => Ok(mistakes),
            Err(message) => Err(message),
        },
        DebugCommand::Expand(args) => lines_or(&args.words).map(|words| expand(args, &words, env)),
        DebugCommand::Ignore(args) => {
            let rules = read(&args.rules);
            rules.and_then(|rules| Ok(ignore(args, &rules, &lines_or(&args.paths)?)))
        }
        DebugCommand::Plan(args) => read(&args.file).map(|text| plan(args, &text, env)),
    };
    match answer {
        Ok(answer) => {
            super::print_line(&format!("{answer:#}"));
            u8::from(answer.get("error").is_some() || answer.get("errors").is_some())
        }
        Err(message) => {
            print_error(&diagnostic::plain(&message, None, false));
            super::USAGE
        }
    }
}

/// Reads a file, or standard input if it is called `-`.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot read {}: {error}", path.display());
    if path != Path::new("-") {
        return std::fs::read(path).map_err(failed);
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// What is given as arguments, else the lines of standard input.
fn lines_or(given: &[String]) -> Result<Vec<String>, String> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let bytes = read(Path::new("-"))?;
    let text = String::from_utf8(bytes).map_err(|_| "standard input is not UTF-8".to_owned())?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn parse(text: &[u8]) -> Result<Dockerfile, Value> {
    dockerfile::parse(text).map_err(|errors| parse_errors(&errors, text))
}

/// What a Dockerfile is.
#[derive(Serialize)]
struct Tree<'a> {
    dockerfile: &'a Dockerfile,
}

/// Writes a tree node by node: as one [`Value`], that of 8 MiB takes gigabytes.
fn print_tree(dockerfile: &Dockerfile) {
    let mut output = BufWriter::new(std::io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut output, &Tree { dockerfile });
    // A reader that went away has all it wanted.
    let _ = written
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(output))
        .and_then(|()| output.flush());
}

fn parse_errors(errors: &ParseErrors, text: &[u8]) -> Value {
    let lines = LineIndex::new(text);
    let errors: Vec<Value> = errors
        .errors
        .iter()
        .map(|error| {
            error_at(
                &error.problem.to_string(),
                error.hint.clone(),
                error.span,
                text,
                &lines,
            )
        })
        .collect();
    json!({ "errors": errors })
}

fn error_at(
    message: &str,
    hint: Option<String>,
    span: Span,
    text: &[u8],
    lines: &LineIndex,
) -> Value {
    let position = lines.position(text, span.start);
    json!({"message": message, "hint": hint, "span": span, "line": position.line, "column": position.column})
}

fn expand(args: &ExpandArgs, words: &[String], env: &Env) -> Value {
    let scope = match resolve::pairs_of(&args.variables, env) {
        Ok(scope) => scope,
        Err(error) => return json!({"error": error.to_string()}),
    };
    let lookup = |name: &str| {
        let mut pairs = scope.iter().rev();
        pairs
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let words = words.iter().map(|text| {
        let expanded = if args.heredoc {
            word::expand_heredoc(text, &lookup).map(|found| (json!(found.value), found.undefined))
        } else if args.split {
            word::expand_words(text, args.escape, &lookup)
                .map(|found| (json!(found.words), found.undefined))
        } else {
            word::expand(text, args.escape, &lookup)
                .map(|found| (json!(found.value), found.undefined))
        };
        match expanded {
            Ok((value, undefined)) => json!({"word": text, "value": value, "undefined": undefined}),
            Err(error) => json!({"word": text, "error": error.to_string()}),
        }
    });
    Value::Array(words.collect())
}

fn ignore(args: &IgnoreArgs, rules: &[u8], paths: &[String]) -> Value {
    let ignore = match Ignore::parse(rules, &args.rules.display().to_string()) {
        Ok(ignore) => ignore,
        Err(error) => return json!({"error": error.to_string()}),
    };
    let paths = paths.iter().map(|path| {
        let rule = ignore.excludes(path.as_bytes());
        json!({
            "path": path,
            "excluded": rule.is_some(),
            "rule": rule.map(|rule| json!({"line": rule.line, "text": rule.text})),
        })
    });
    Value::Array(paths.collect())
}

fn plan(args: &PlanArgs, text: &[u8], env: &Env) -> Value {
    let build_args = match resolve::pairs_of(&args.build_arg, env) {
        Ok(pairs) => pairs,
        Err(error) => return json!({"error": error.to_string()}),
    };
    let platform = match &args.platform {
        Some(platform) => match platform.parse::<Platform>() {
            Ok(platform) => platform,
            Err(error) => return json!({"error": error.to_string()}),
        },
        None => Platform::host(),
    };
    let dockerfile = match dockerfile::parse(text) {
        Ok(dockerfile) => dockerfile,
        Err(errors) => return parse_errors(&errors, text),
    };
    let options = Options {
        target: args.target.clone(),
        build_args,
        target_platform: platform,
        is_platform_explicit: args.platform.is_some(),
        build_platform: Platform::host(),
        labels: Vec::new(),
        network: RunNetwork::Default,
        contexts: Vec::new(),
    };
    let planned = plan::outline(&dockerfile, &options, &[])
        .and_then(|outline| plan::plan(&dockerfile, &outline, &[], &options));
    let lines = LineIndex::new(text);
    match planned {
        Ok(plan) => shown(&plan, &lines),
        Err(error) => {
            let error = error_at(&error.to_string(), error.hint(), error.span(), text, &lines);
            json!({ "errors": [error] })
        }
    }
}

fn shown(plan: &Plan, lines: &LineIndex) -> Value {
    let stages = plan.stages.iter().map(|stage| {
        let steps = stage.steps.iter().map(|step| {
            json!({
                "line": lines.line(step.origin.span.start),
                "display": step.display,
                "createdBy": step.created_by,
                "kind": kind(&step.kind),
            })
        });
        json!({
            "name": stage.name,
            "base": base(&stage.base),
            "platform": stage.platform.to_string(),
            "steps": steps.collect::<Vec<_>>(),
            "config": stage.config,
        })
    });
    json!({"target": plan.target, "stages": stages.collect::<Vec<_>>()})
}

fn base(base: &plan::StageBase) -> Value {
    match base {
        plan::StageBase::Scratch => json!("scratch"),
        plan::StageBase::Image(image) => json!({ "image": image }),
        plan::StageBase::Stage(stage) => json!({ "stage": stage }),
    }
}

fn kind(kind: &plan::StepKind) -> &'static str {
    match kind {
        plan::StepKind::Metadata => "metadata",
        plan::StepKind::Silent => "silent",
        plan::StepKind::Workdir(_) => "workdir",
        plan::StepKind::Run(_) => "run",
        plan::StepKind::Copy(_) => "copy",
    }
}
