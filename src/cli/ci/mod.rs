//! The CI system's part of a build: what it decides where the user says nothing, and what it is told in the end.
//!
//! Flags win over variables, those over what the CI system says. What was typed in kaniko's words makes exactly the image
//! that was typed: tags and labels of a CI system's making come with `--push`, `--images` and `--tags` only.

mod command;
mod decide;
mod guard;
mod hand_back;
mod log;
mod names;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ci::{self, Around, Ci, Defaults, Facts, Format, Found, Journal, LogStyle};

use super::UsageError;
use super::env::Env;
use super::flags::BuildArgs;

pub(super) use command::{CiCommandArgs, command};
pub(super) use hand_back::Tee;
pub(super) use log::inputs;

/// How many random bytes delimiters and tokens are made of: 128 bits, which nobody guesses.
const RANDOM_BYTES: usize = 16;

/// The CI system that was found, and what follows from it.
#[derive(Debug)]
pub(super) struct Platform {
    ci: Option<&'static dyn Ci>,
    around: Around,
    facts: Facts,
    defaults: Defaults,
    version: String,
    outputs: Vec<(Format, PathBuf)>,
    /// Whether this is a fork's change request, which gets no identity and pushes nothing.
    is_guarded: bool,
    /// What was decided, by what, for `longshore ci`.
    decided: Vec<(&'static str, Found)>,
    /// What the user should know before the build.
    pub(in crate::cli) notices: Vec<String>,
    /// What happens in the build.
    pub(in crate::cli) journal: Arc<Journal>,
}

impl Platform {
    /// Finds the CI system and fills in what was not typed.
    pub(in crate::cli) fn find(
        args: &mut BuildArgs,
        is_executor: bool,
        env: &Env,
    ) -> Result<Self, UsageError> {
        let directory = match (&args.context, &args.context_directory) {
            (Some(path), _) | (None, Some(path)) if Path::new(path).is_dir() => PathBuf::from(path),
            _ => PathBuf::from("."),
        };
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let now = i64::try_from(now).unwrap_or_default();
        let around = Around::load(texts(env).collect(), &directory, now, random()?);
        let ci = chosen(args, &around)?;
        let (facts, defaults) = match ci {
            Some(ci) => (ci::facts(ci, &around), ci::defaults(ci, &around)),
            None => (ci::stated(&around), Defaults::default()),
        };
        let mut platform = Self {
            ci,
            around,
            facts,
            defaults,
            version: String::new(),
            outputs: Vec::new(),
            is_guarded: false,
            decided: Vec::new(),
            notices: Vec::new(),
            journal: Arc::default(),
        };
        platform.decide(args, is_executor, env)?;
        Ok(platform)
    }

    /// Whether a CI system runs us.
    pub(in crate::cli) fn is_in_ci(&self) -> bool {
        self.ci.is_some()
    }

    /// The environment, for a fork's change request without what an identity can be had by.
    pub(in crate::cli) fn without_identity(&self, mut env: Env) -> Env {
        if self.is_guarded {
            env.remove(&self.defaults.identity_variables);
        }
        env
    }
}

/// How the log of whoever started us is written.
pub(super) fn style_of(env: &Env) -> LogStyle {
    ci::style_of(texts(env).collect())
}

/// The variables that are text.
fn texts(env: &Env) -> impl Iterator<Item = (&str, &str)> {
    env.iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
}

/// The CI system that is asked for, else the one that is found.
fn chosen(args: &BuildArgs, around: &Around) -> Result<Option<&'static dyn Ci>, UsageError> {
    let (flag, name) = match (&args.ci.ci, around.env.get("LONGSHORE_CI")) {
        (Some(name), _) => ("--ci", name.as_str()),
        (None, Some(name)) => ("LONGSHORE_CI", name),
        (None, None) => ("--ci", "auto"),
    };
    match name {
        "auto" => Ok(ci::detect(around)),
        "none" => Ok(None),
        name => match ci::by_name(name) {
            Some(ci) => Ok(Some(ci)),
            None => Err(UsageError::flag(
                flag,
                format_args!(
                    "\"{name}\" is none of auto, none, {}",
                    ci::names().join(", ")
                ),
            )),
        },
    }
}

fn random() -> Result<String, UsageError> {
    let mut bytes = [0; RANDOM_BYTES];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    match read {
        Ok(()) => Ok(hex::encode(bytes)),
        Err(error) => Err(UsageError::flag(
            "--ci",
            format_args!("cannot read /dev/urandom: {error}"),
        )),
    }
}
