//! `longshore check`: what is wrong or doubtful in a Dockerfile, without building it.
//!
//! It reads the Dockerfile, the ignore file and the names in the context; it asks no registry and needs no isolation.
//! Rules that need the configuration of a base image run in `longshore build` only.
//!
//! Exit codes: 0 nothing found, or warnings only; 1 the Dockerfile has mistakes, or there are warnings and `error=true`
//! is asked for; 2 the command line is wrong.

mod github;
mod gitlab;
mod json;
mod sarif;
mod text;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::build::{self, BuildError, Known};
use crate::context::{Context, Source};
use crate::dockerfile::lint::{CHECK_ARG, RULES, Rule};
use crate::dockerfile::{self, LineIndex, Position, Span};
use crate::oci::Platform;
use crate::plan::{self, Options};

use super::diagnostic::SourceText;
use super::env::Env;
use super::{USAGE, UsageError, diagnostic, print_error, resolve};

/// The flags of `longshore check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing found, or warnings only; 1 the Dockerfile has mistakes, or there are warnings and \
error=true is asked for; 2 the command line is wrong."
)]
pub(in crate::cli) struct CheckArgs {
    /// The Dockerfile: a path, looked up in the working directory first, then in the context; `-` for standard input; or an
    /// http or https URL
    #[arg(
        short = 'f',
        long,
        visible_alias = "file",
        value_name = "PATH",
        default_value = "Dockerfile"
    )]
    pub dockerfile: PathBuf,
    /// The build context, a directory [default: .]
    #[arg(short = 'c', long, value_name = "DIR")]
    pub context: Option<String>,
    /// The directory of the context to use as its root
    #[arg(long, value_name = "PATH")]
    pub context_sub_path: Option<PathBuf>,
    /// A build argument; NAME alone takes its value from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// The stage to check, with those that it needs [default: all]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// The platform to build for, os/architecture[/variant] [default: this machine's]
    #[arg(long, visible_alias = "platform", value_name = "PLATFORM")]
    pub custom_platform: Option<String>,
    /// Which checks run, instead of what `# check=` says: skip=A,B;error=true;experimental=C
    #[arg(long, value_name = "OPTIONS")]
    pub check: Option<String>,
    /// How the findings are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: CheckFormat,
    /// Where the findings are written [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// List the checks
    #[arg(long)]
    pub list: bool,
    /// The directory to check, as a positional argument in docker's manner
    #[arg(value_name = "CONTEXT", conflicts_with = "context")]
    pub context_directory: Option<String>,
}

/// How `longshore check` writes what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum CheckFormat {
    /// For people, with the lines
    #[default]
    Text,
    /// JSON, as BuildKit's with columns and hints
    Json,
    /// SARIF 2.1.0
    Sarif,
    /// GitLab's code quality report
    Gitlab,
    /// Annotations of GitHub Actions
    Github,
}

/// What was found, ready to be written in any format.
struct Findings {
    /// The Dockerfile, as the platform that shows the findings knows it: relative to the working directory.
    path: String,
    /// Its text.
    source: SourceText,
    lines: LineIndex,
    /// The mistakes, then the warnings, each in the order of their places.
    items: Vec<Item>,
}

/// One finding.
struct Item {
    /// The name of the rule, or [`MISTAKE`].
    rule: &'static str,
    description: &'static str,
    url: Option<&'static str>,
    message: String,
    hint: Option<String>,
    /// Without one, the whole file is meant.
    span: Option<Span>,
    is_error: bool,
}

/// The name under which mistakes are reported, that make a build impossible.
const MISTAKE: &str = "DockerfileError";
/// What that means.
const MISTAKE_DESCRIPTION: &str = "the Dockerfile can be built";

impl Findings {
    fn range(&self, item: &Item) -> (Position, Position) {
        let text = self.source.text.as_bytes();
        let span = item.span.unwrap_or_default();
        let end = diagnostic::trimmed_end(&self.source.text, span);
        (
            self.lines.position(text, span.start),
            self.lines.position(text, end),
        )
    }

    fn count(&self, is_error: bool) -> usize {
        let items = self.items.iter();
        items.filter(|item| item.is_error == is_error).count()
    }
}

/// Runs the subcommand and returns its exit code.
pub(super) fn check(args: &CheckArgs, env: &Env, has_color: bool) -> u8 {
    if args.list {
        super::print_line(list().trim_end());
        return 0;
    }
    let findings = match find(args, env) {
        Ok(found) => found,
        Err(Failure::Usage(error)) => return super::report_usage(&error),
        Err(Failure::Context(error)) => {
            let hint = error.hint();
            print_error(&diagnostic::plain(
                &diagnostic::chain(&*error),
                hint.as_deref(),
                false,
            ));
            return 1;
        }
    };
    let (findings, is_error) = findings;
    let code = u8::from(is_error && !findings.items.is_empty() || findings.count(true) > 0);
    let text = match args.format {
        CheckFormat::Text => text::write(&findings, has_color && args.output.is_none()),
        CheckFormat::Json => json::write(&findings),
        CheckFormat::Sarif => sarif::write(&findings),
        CheckFormat::Gitlab => gitlab::write(&findings),
        CheckFormat::Github => github::write(&findings),
    };
    let Some(file) = &args.output else {
        if !text.is_empty() {
            super::print_line(text.trim_end());
        }
        return code;
    };
    match std::fs::write(file, &text) {
        Ok(()) => code,
        Err(error) => {
            let message = format!("cannot write {}: {error}", file.display());
            print_error(&diagnostic::plain(&message, None, false));
            1
        }
    }
}

enum Failure {
    Usage(UsageError),
    Context(Box<BuildError>),
}

fn find(args: &CheckArgs, env: &Env) -> Result<(Findings, bool), Failure> {
    let platform = match &args.custom_platform {
        Some(text) => text
            .parse::<Platform>()
            .map_err(|error| Failure::Usage(UsageError::flag("--custom-platform", error)))?,
        None => Platform::host(),
    };
    let mut build_args = resolve::pairs_of(&args.build_arg, env).map_err(Failure::Usage)?;
    if let Some(check) = &args.check {
        build_args.push((CHECK_ARG.to_owned(), check.clone()));
    }
    let directory = match (&args.context, &args.context_directory) {
        (Some(text), _) | (None, Some(text)) => text.as_str(),
        (None, None) => ".",
    };
    let source = Source::parse(directory)
        .map_err(|error| Failure::Usage(UsageError::flag("--context", error)))?;
    let Source::Directory(directory) = &source else {
        let reason = "check reads a directory: fetch or extract the context first";
        return Err(Failure::Usage(UsageError::flag("--context", reason)));
    };
    let failed = |error: crate::context::ContextError| Failure::Context(Box::new(error.into()));
    let sub_path = args.context_sub_path.as_deref();
    let mut context = Context::open(directory.clone(), sub_path).map_err(failed)?;
    let (file, path) = if args.dockerfile == Path::new("-") {
        let file = context.stdin_dockerfile().map_err(failed)?;
        let path = file.name.clone();
        (file, path)
    } else {
        let file = context.read_dockerfile(&args.dockerfile).map_err(failed)?;
        let path = shown_path(args, directory, &file.name);
        (file, path)
    };
    let mut findings = Findings {
        source: SourceText {
            name: path.clone(),
            text: String::from_utf8_lossy(&file.bytes).into_owned(),
        },
        path,
        lines: LineIndex::new(&file.bytes),
        items: Vec::new(),
    };
    let options = Options {
        target: args.target.clone(),
        build_args,
        target_platform: platform,
        is_platform_explicit: args.custom_platform.is_some(),
        build_platform: Platform::host(),
        labels: Vec::new(),
        network: crate::plan::RunNetwork::Default,
        contexts: Vec::new(),
    };
    let is_error = inspect(
        &mut findings,
        &file.bytes,
        &context,
        &options,
        args.target.is_some(),
    );
    Ok((findings, is_error))
}

/// Parses, outlines and checks; returns whether warnings are errors.
fn inspect(
    findings: &mut Findings,
    text: &[u8],
    context: &Context,
    options: &Options,
    has_target: bool,
) -> bool {
    let parsed = match dockerfile::parse(text) {
        Ok(parsed) => parsed,
        Err(errors) => {
            for error in errors.errors {
                let advice = error.advice();
                let found = mistake(error.problem.to_string(), advice, Some(error.span));
                findings.items.push(found);
            }
            return false;
        }
    };
    let outline = match plan::outline(&parsed, options, &[]) {
        Ok(outline) => Some(outline),
        Err(error) => {
            findings
                .items
                .push(mistake(error.to_string(), error.hint(), Some(error.span())));
            None
        }
    };
    let known = Known {
        context: Some(context),
        // Without a target every stage is looked at, needed or not.
        outline: outline.as_ref().filter(|_| has_target),
        images: &[],
    };
    match build::check(&parsed, text, options, known) {
        Ok(report) => {
            let warnings = report.findings.into_iter().map(|finding| Item {
                rule: finding.rule.name,
                description: finding.rule.description,
                url: finding.rule.url,
                message: finding.message,
                hint: Some(finding.hint),
                span: Some(finding.span),
                is_error: report.is_error,
            });
            findings.items.extend(warnings);
            report.is_error
        }
        Err(error) => {
            findings
                .items
                .push(mistake(error.to_string(), error.hint(), error.span()));
            false
        }
    }
}

fn mistake(message: String, hint: Option<String>, span: Option<Span>) -> Item {
    Item {
        rule: MISTAKE,
        description: MISTAKE_DESCRIPTION,
        url: None,
        message,
        hint,
        span,
        is_error: true,
    }
}

/// The Dockerfile's path from the working directory, where it is below that.
fn shown_path(args: &CheckArgs, directory: &Path, name: &str) -> String {
    let beside = Path::new(&args.dockerfile);
    let is_default = beside == Path::new("Dockerfile");
    let path: PathBuf = if !is_default && beside.exists() {
        beside.to_owned()
    } else {
        let below = args.context_sub_path.as_deref().unwrap_or(Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        directory.join(below).join(name)
    };
    let absolute = std::path::absolute(&path).unwrap_or(path);
    let here = std::path::absolute(".").unwrap_or_default();
    let relative = absolute.strip_prefix(&here).unwrap_or(&absolute);
    // `.` and `..` are for people; a platform compares paths by their letters.
    let names = relative
        .components()
        .filter(|part| *part != std::path::Component::CurDir);
    names.collect::<PathBuf>().display().to_string()
}

/// The checks, one a line.
fn list() -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for rule in RULES {
        let Rule {
            name, description, ..
        } = rule;
        let note = if rule.is_experimental {
            " (experimental)"
        } else {
            ""
        };
        let _ = writeln!(text, "{name}{note}: {description}");
    }
    text
}

/// The exit code for a wrong command line, which clap gives too.
const _: () = assert!(USAGE == 2);
