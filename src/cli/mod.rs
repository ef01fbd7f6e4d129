//! What the user typed, to what the engine is asked; events and errors, to the terminal.
//!
//! Only this room prints, reads argv and the environment, and decides exit codes. The order at the process edge matters:
//! arguments are parsed first (help needs no isolation); then the environment is carried over into memory that `/proc`
//! does not show; then the isolation is entered, while there is one thread; only then are credentials read.

mod auth;
mod buckets;
mod cache;
mod check;
mod ci;
mod contexts;
mod debug;
mod diagnostic;
mod doctor;
mod env;
mod explain;
mod failure;
mod fetching;
mod flags;
mod git;
mod index;
mod kept;
mod keychain;
mod last_output;
mod login;
mod places;
mod push;
mod registries;
mod render;
mod reports;
mod resolve;
mod run_flags;
mod runner_log;
mod summary;
mod terminal;
mod transfer;
mod warm;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, FromArgMatches};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::build::{self, BuildError, Events, Services};
use crate::ci::{Annotation, CiError, LogStyle, Neutralizer, Severity};
use crate::sandbox::{self, Cancel, Choice, EnterOptions, SandboxError, scrub};

use env::Env;
use failure::Failure;
use flags::{
    BuildArgs, Command, Executor, IsolationFlag, LogArgs, LogFormat, Program, Verbosity, Warmer,
};
use render::{Renderer, Style};
use resolve::Surroundings;

/// More threads than this do nothing for a few transfers.
const NETWORK_THREADS_MAX: usize = 4;
/// What an error of the program itself is told of.
const PROGRAM: &str = "longshore";
/// The exit code for what was typed wrongly.
const USAGE: u8 = 2;

/// What was typed, or set in the environment, and cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// A flag's value.
    #[error("{flag}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A variable's value.
    #[error("{name}=\"{}\" in the environment is not {expected}", value.escape_debug())]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Credentials that cannot be read.
    #[error(transparent)]
    Credentials(crate::auth::Error),
    /// Tags that cannot be made.
    #[error(transparent)]
    Metadata(#[from] crate::ci::metadata::MetadataError),
    /// Inputs of the action that cannot be followed.
    #[error(transparent)]
    Inputs(#[from] crate::ci::inputs::InputError),
    /// Outputs that cannot be handed to the CI system.
    #[error(transparent)]
    Outputs(#[from] CiError),
    /// Nowhere to keep layers.
    #[error(
        "there is no place for layers and work directories: set --state-dir, LONGSHORE_STATE_DIR or HOME"
    )]
    NoStateDir,
}

impl UsageError {
    fn flag(flag: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Flag {
            flag,
            reason: reason.to_string(),
        }
    }

    fn variable(name: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Variable {
            name,
            value: value.to_owned(),
            expected,
        }
    }

    /// What to do next, where the message does not say it.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Flag { flag, .. } => Some(format!("--help says what {flag} takes")),
            Self::Variable { .. }
            | Self::Credentials(_)
            | Self::Metadata(_)
            | Self::Inputs(_)
            | Self::Outputs(_)
            | Self::NoStateDir => None,
        }
    }
}

/// Runs the program with these arguments (the first is its name) and returns its exit code.
pub fn run(arguments: &[OsString], environment: Vec<(OsString, OsString)>) -> u8 {
    // Until the isolation is entered there may be one thread only.
    let parsed = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    match parsed {
        Parsed::Version => {
            print_line(concat!("longshore ", env!("CARGO_PKG_VERSION")));
            0
        }
        Parsed::Warm(args) => warm::warm(&args, &Env::new(environment), now()),
        Parsed::Push(args) => push::push(&args, &Env::new(environment)),
        Parsed::Index(index::IndexCommand::Create(args)) => {
            index::create(&args, &Env::new(environment))
        }
        Parsed::Debug(command) => debug::debug(&command, &Env::new(environment)),
        Parsed::Check(args) => {
            let env = Env::new(environment);
            let has_color = std::io::stdout().is_terminal() && env.os("NO_COLOR").is_none();
            check::check(&args, &env, has_color)
        }
        Parsed::Login(args) => login::login(&args, &Env::new(environment)),
        Parsed::Auth(args) => auth::auth(&args, &Env::new(environment)),
        Parsed::Cache(command) => kept::command(&command, &Env::new(environment), now()),
        Parsed::Doctor(args) => doctor::doctor(&args, &Env::new(environment)),
        Parsed::Restore => doctor::restore(),
        Parsed::Ci(args) => ci::command(*args, &Env::new(environment)),
        Parsed::Build { args, is_executor } => match carried(arguments, &environment) {
            Ok(env) => build_command(*args, is_executor, env, false),
            Err(error) => report_plain(&error),
        },
        Parsed::Action => match carried(arguments, &environment) {
            Ok(env) => action(env),
            Err(error) => report_plain(&error),
        },
    }
}

/// The environment as it was before it was taken out of sight; executes the program again where that is still to do.
fn carried(arguments: &[OsString], environment: &scrub::Environment) -> Result<Env, SandboxError> {
    if let Some(carried) = scrub::take_environment(environment)? {
        return Ok(Env::new(carried));
    }
    let Err(error) = scrub::reexec_with_clean_environment(arguments, environment);
    Err(error)
}

/// Builds what the inputs of the GitHub action say.
fn action(env: Env) -> u8 {
    let runner = ci::style_of(&env);
    let (inputs, env) = match ci::inputs(env) {
        Ok(read) => read,
        Err(error) => return report_to_runner(&error, runner),
    };
    let words = ["longshore".to_owned(), "build".to_owned()]
        .into_iter()
        .chain(inputs);
    match parse(&words.map(OsString::from).collect::<Vec<_>>()) {
        Ok(Parsed::Build { args, .. }) => build_command(*args, false, env, true),
        Ok(_) => USAGE,
        Err(code) => code,
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since_epoch.unwrap_or_default().as_secs()).unwrap_or_default()
}

enum Parsed {
    Build {
        args: Box<BuildArgs>,
        is_executor: bool,
    },
    Push(Box<push::PushArgs>),
    Warm(Box<warm::WarmArgs>),
    Index(index::IndexCommand),
    Check(Box<check::CheckArgs>),
    Debug(debug::DebugCommand),
    /// A build whose arguments are the inputs of the GitHub action.
    Action,
    Ci(Box<ci::CiCommandArgs>),
    Login(login::LoginArgs),
    Auth(auth::AuthArgs),
    Cache(kept::CacheCommand),
    Doctor(doctor::DoctorArgs),
    Restore,
    Version,
}

fn parse(arguments: &[OsString]) -> Result<Parsed, u8> {
    let arguments = &without_switched_off(arguments);
    let name = arguments
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or_default();
    for argument in arguments
        .iter()
        .skip(1)
        .filter_map(|argument| argument.to_str())
    {
        if argument == "--" {
            break;
        }
        if let Some((flag, instead)) = flags::unsupported(argument) {
            print_error(&diagnostic::plain(
                &format!("--{flag} is not supported"),
                Some(instead),
                false,
            ));
            return Err(USAGE);
        }
    }
    // By kaniko's name the build's flags stand at the top level; the subcommands are there too.
    let is_subcommand = |word: &OsString| {
        Program::command()
            .get_subcommands()
            .any(|known| word == known.get_name())
    };
    let is_executor = name == "executor" && !arguments.get(1).is_some_and(is_subcommand);
    let fail = |error: clap::Error| {
        let code = if error.use_stderr() { USAGE } else { 0 };
        if error.use_stderr() && !std::io::stderr().is_terminal() {
            // It shows what was typed, and a CI system may read it.
            print_error(Neutralizer::text(&error.to_string()).trim_end());
        } else {
            // Whoever closed the pipe has seen enough.
            let _ = error.print();
        }
        code
    };
    if is_executor {
        let matches = Executor::command()
            .try_get_matches_from(arguments)
            .map_err(fail)?;
        let parsed = Executor::from_arg_matches(&matches).map_err(fail)?;
        return Ok(Parsed::Build {
            args: Box::new(parsed.build),
            is_executor,
        });
    }
    if name == "warmer" {
        let matches = Warmer::command()
            .try_get_matches_from(arguments)
            .map_err(fail)?;
        let parsed = Warmer::from_arg_matches(&matches).map_err(fail)?;
        return Ok(Parsed::Warm(Box::new(parsed.warm)));
    }
    let command = Program::command().after_help(help_of_variables());
    let matches = command.try_get_matches_from(arguments).map_err(fail)?;
    Ok(
        match Program::from_arg_matches(&matches).map_err(fail)?.command {
            Command::Build(args) => Parsed::Build { args, is_executor },
            Command::Push(args) => Parsed::Push(args),
            Command::Warm(args) => Parsed::Warm(args),
            Command::Index(command) => Parsed::Index(command),
            Command::Check(args) => Parsed::Check(args),
            Command::Debug(args) => Parsed::Debug(args.command),
            Command::Login(args) => Parsed::Login(args),
            Command::Auth(args) => Parsed::Auth(args),
            Command::Cache(command) => Parsed::Cache(command),
            Command::Doctor(args) => Parsed::Doctor(args),
            Command::Restore => Parsed::Restore,
            Command::Ci(args) => Parsed::Ci(args),
            Command::Action => Parsed::Action,
            Command::Version => Parsed::Version,
        },
    )
}

/// Leaves out flags that are not supported and are switched off: that is what happens anyway.
fn without_switched_off(arguments: &[OsString]) -> Vec<OsString> {
    let mut is_past_flags = false;
    let is_left = |argument: &&OsString| -> bool {
        is_past_flags |= *argument == "--";
        let text = argument.to_str().unwrap_or_default();
        is_past_flags || !flags::is_unsupported_switched_off(text)
    };
    arguments.iter().filter(is_left).cloned().collect()
}

fn help_of_variables() -> String {
    let mut text = "Environment:\n".to_owned();
    for (names, meaning) in env::VARIABLES {
        let _ = writeln!(text, "  {names}\n          {meaning}");
    }
    text
}

fn build_command(mut args: BuildArgs, is_executor: bool, env: Env, is_action: bool) -> u8 {
    let mut style = match style(args.log, &env) {
        Ok(style) => style,
        Err(error) => return report_usage(&error),
    };
    let platform = match ci::Platform::find(&mut args, is_executor, &env) {
        Ok(platform) => platform,
        Err(error) => return report_to_runner(&error, ci::style_of(&env)),
    };
    // A job's log keeps all that a moving bar leaves, and some runners give a terminal.
    style.is_terminal &= !platform.is_in_ci();
    let renderer = Arc::new(Renderer::new(style, platform.log(&args, &env, is_action)));
    let failure = match build_with(&args, is_executor, env, &renderer, &platform) {
        Ok(()) => return 0,
        Err(failure) => failure,
    };
    failure.tell(&renderer, &platform)
}

fn build_with(
    args: &BuildArgs,
    is_executor: bool,
    env: Env,
    renderer: &Arc<Renderer>,
    platform: &ci::Platform,
) -> Result<(), Failure> {
    let options = EnterOptions {
        choice: choice(args.isolation, &env)?,
        state_dir: resolve::state_dir(args.state_dir.as_deref(), &env)?,
        force: args.force,
        keep: resolve::keep(args, is_executor),
    };
    let executor = sandbox::enter(&options)?;
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    for notice in &platform.notices {
        renderer.notice(notice);
    }
    let around = Surroundings {
        env: platform.without_identity(env),
        is_executor,
        now: i64::try_from(since_epoch.as_secs()).unwrap_or_default(),
        seed: u64::from(since_epoch.subsec_nanos()) ^ u64::from(std::process::id()) << 32,
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let request = resolve::resolve(args, &around)?;
    let cancel = Cancel::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(around.processors.min(NETWORK_THREADS_MAX))
        .enable_all()
        .build()
        .map_err(|source| SandboxError::System {
            action: "start the network's threads",
            source,
        })?;
    let services = Services {
        events: Arc::new(ci::Tee {
            renderer: Arc::clone(renderer),
            journal: Arc::clone(&platform.journal),
        }) as Arc<dyn Events>,
        runtime: runtime.handle().clone(),
        cancel,
        token: CancellationToken::new(),
    };
    if keychain::has_secret_in_arguments(&args.credentials) {
        services.events.send(build::Event::Warning {
            message: "a password in --registry-auth can be read by every process of this machine, RUN steps included: use HOST=@FILE".to_owned(),
            span: None,
        });
    }
    let code = Arc::new(AtomicU8::new(0));
    runtime.spawn(signals(
        services.cancel.clone(),
        services.token.clone(),
        Arc::clone(&code),
    ));
    let outcome = build::run(&request, executor, &services).map_err(|error| match error {
        BuildError::Cancelled => Failure::Cancelled(code.load(Ordering::Relaxed)),
        error => Failure::Build(Box::new(error)),
    })?;
    // Nothing is on the way any more that anybody waits for.
    runtime.shutdown_background();
    summary::print(&request, &outcome, renderer);
    platform.publish(&request, &outcome, renderer)?;
    Ok(())
}

/// Waits for signals: the first calls the build off in order, the second ends the program at once. What an in-place build
/// had set aside then is put back by the next start.
async fn signals(cancel: Cancel, token: CancellationToken, code: Arc<AtomicU8>) {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let codes = kinds.map(|kind| 128 + u8::try_from(kind.as_raw_value()).unwrap_or_default());
    let Ok(mut streams) = kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>() else {
        return;
    };
    for is_first in [true, false] {
        let waits: Vec<_> = streams
            .iter_mut()
            .map(|stream| Box::pin(stream.recv()))
            .collect();
        let (_, which, _) = futures_util::future::select_all(waits).await;
        if is_first {
            code.store(codes[which], Ordering::Relaxed);
            token.cancel();
            cancel.cancel();
        }
    }
    #[expect(clippy::exit, reason = "a second signal means: at once")]
    std::process::exit(code.load(Ordering::Relaxed).into());
}

fn choice(flag: Option<IsolationFlag>, env: &Env) -> Result<Choice, UsageError> {
    let flag = match (flag, env.text("LONGSHORE_ISOLATION")) {
        (Some(flag), _) => flag,
        (None, Some(text)) => {
            from_variable("LONGSHORE_ISOLATION", text, "auto, namespace or inplace")?
        }
        (None, None) => IsolationFlag::Auto,
    };
    Ok(match flag {
        IsolationFlag::Auto => Choice::Auto,
        IsolationFlag::Namespace => Choice::Namespace,
        IsolationFlag::Inplace => Choice::Inplace,
    })
}

fn from_variable<T: clap::ValueEnum>(
    name: &'static str,
    text: &str,
    expected: &'static str,
) -> Result<T, UsageError> {
    T::from_str(text, true).map_err(|_| UsageError::variable(name, text, expected))
}

fn style(args: LogArgs, env: &Env) -> Result<Style, UsageError> {
    let format = match (args.log_format, env.text("LONGSHORE_LOG_FORMAT")) {
        (Some(format), _) => format,
        (None, Some(text)) => from_variable("LONGSHORE_LOG_FORMAT", text, "color, text or json")?,
        (None, None) => LogFormat::Color,
    };
    let verbosity = match (args.verbosity, env.text("LONGSHORE_VERBOSITY")) {
        (Some(verbosity), _) => verbosity,
        (None, Some(text)) => {
            from_variable("LONGSHORE_VERBOSITY", text, "a level from panic to trace")?
        }
        (None, None) => Verbosity::Info,
    };
    let is_terminal = std::io::stderr().is_terminal();
    Ok(Style {
        format,
        has_color: format == LogFormat::Color && is_terminal && env.os("NO_COLOR").is_none(),
        has_timestamp: args.log_timestamp.unwrap_or(false),
        verbosity,
        is_terminal,
    })
}

fn usage(error: &UsageError, has_color: bool) -> String {
    let message = diagnostic::chain(error);
    diagnostic::plain(&message, error.hint().as_deref(), has_color)
}

fn report_usage(error: &UsageError) -> u8 {
    print_error(&usage(error, false));
    USAGE
}

/// The same where a CI system may read it.
fn report_to_runner(error: &UsageError, style: LogStyle) -> u8 {
    if !style.is_ci() {
        return report_usage(error);
    }
    print_error(&Neutralizer::text(&usage(error, false)));
    let annotation = style.annotate(&Annotation {
        severity: Severity::Error,
        file: None,
        line: None,
        message: &diagnostic::chain(error),
    });
    if let Some(annotation) = annotation {
        print_error(annotation.trim_end());
    }
    USAGE
}

fn report_plain(error: &SandboxError) -> u8 {
    print_error(&diagnostic::plain(&diagnostic::chain(error), None, false));
    1
}

/// Prints a line of data.
fn print_line(text: &str) {
    // A reader that went away has all it wanted.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line of talk.
fn print_error(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
