//! How the log is written, and what never stands in it; the inputs of the GitHub action, which hold most of that.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::ci::{self, Ci};

use super::super::UsageError;
use super::super::env::Env;
use super::super::flags::BuildArgs;
use super::super::run_flags;
use super::super::runner_log::{Log, MASK_MIN};
use super::Platform;

impl Platform {
    /// How the log is written, and what never stands in it.
    pub(in crate::cli) fn log(&self, args: &BuildArgs, env: &Env, is_action: bool) -> Log {
        let mut masks = Vec::new();
        for name in &self.defaults.secrets {
            let secret = env.text(name).unwrap_or_default();
            masks.extend(secret.lines().map(str::to_owned));
        }
        let inputs = env.pairs();
        masks.extend(ci::inputs::value(&inputs, "github-token").map(str::to_owned));
        for login in ci::logins::logins(&inputs).unwrap_or_default() {
            masks.push(basic(&login.username, &login.password));
            masks.extend(login.password.lines().map(str::to_owned));
        }
        let secrets = ci::inputs::secrets(&inputs);
        masks.extend(secrets.into_iter().map(|(_, value)| value));
        if self.ci.is_some() {
            // One that cannot be read is the build's to complain of.
            let secrets = run_flags::secrets(&args.secret, env).unwrap_or_default();
            for secret in secrets.values() {
                let text = String::from_utf8_lossy(secret.expose());
                masks.extend(text.lines().map(|line| line.trim().to_owned()));
            }
        }
        masks.retain(|mask| mask.len() >= MASK_MIN);
        Log {
            style: self.ci.map(Ci::style).unwrap_or_default(),
            token: format!("longshore-{}", self.around.random),
            masks,
            tells_masks: is_action,
            checkout: self
                .defaults
                .context
                .as_ref()
                .map(|found| PathBuf::from(&found.value)),
        }
    }
}

/// The command line that the inputs of the GitHub action mean, and the environment with the credentials that they hold.
pub(in crate::cli) fn inputs(mut env: Env) -> Result<(Vec<String>, Env), UsageError> {
    let inputs = env.pairs();
    let arguments = ci::inputs::arguments(&inputs)?;
    for (number, (_, value)) in ci::inputs::secrets(&inputs).into_iter().enumerate() {
        env.set(&ci::inputs::secret_variable(number), &value);
    }
    if let Some(token) = ci::inputs::value(&inputs, "github-token") {
        env.set("GITHUB_TOKEN", token);
    }
    let mut lines = String::new();
    for login in ci::logins::logins(&inputs)? {
        let _ = writeln!(
            lines,
            "{}={}:{}",
            login.registry, login.username, login.password
        );
    }
    if !lines.is_empty() {
        lines.push_str(env.text("LONGSHORE_REGISTRY_AUTH").unwrap_or_default());
        env.set("LONGSHORE_REGISTRY_AUTH", &lines);
    }
    Ok((arguments, env))
}

/// As a Basic credential goes over the wire.
fn basic(username: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"))
}
