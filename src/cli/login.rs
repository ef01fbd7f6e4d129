//! `longshore login`: writes a credential into `config.json`.

use std::io::Read as _;

use clap::Args;

use crate::auth::{registry_name, save_login};
use crate::http::Secret;

use super::env::Env;
use super::{UsageError, diagnostic, keychain, print_error};

/// The flags of `longshore login`.
#[derive(Args)]
pub(super) struct LoginArgs {
    /// The registry
    #[arg(value_name = "HOST")]
    pub registry: String,
    /// The user name
    #[arg(short = 'u', long, value_name = "NAME")]
    pub username: String,
    /// The password; every process of the machine can read it here
    #[arg(
        short = 'p',
        long,
        value_name = "PASSWORD",
        required_unless_present = "password_stdin"
    )]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    pub password_stdin: bool,
}

/// More than any password has, in bytes.
const PASSWORD_LIMIT: u64 = 1 << 20;

/// Saves the credential. It is not tried: the registry is not asked.
pub(super) fn login(args: &LoginArgs, env: &Env) -> u8 {
    let password = match password(args) {
        Ok(password) => password,
        Err(error) => return super::report_usage(&error),
    };
    let Some(directory) = keychain::config_directory(env) else {
        return super::report_usage(&UsageError::flag(
            "login",
            "there is no place for config.json: set DOCKER_CONFIG or HOME",
        ));
    };
    match save_login(&directory, &args.registry, &args.username, &password) {
        Ok(path) => {
            let registry = registry_name(&args.registry);
            print_error(&format!(
                "saved the credential of {registry} in {}",
                path.display()
            ));
            0
        }
        Err(error) => {
            print_error(&diagnostic::plain(&diagnostic::chain(&error), None, false));
            1
        }
    }
}

fn password(args: &LoginArgs) -> Result<Secret, UsageError> {
    if let Some(password) = &args.password {
        print_error(
            "warning: a password among the arguments can be read by every process of this machine: use --password-stdin",
        );
        return Ok(Secret::new(password.as_str()));
    }
    let mut text = String::new();
    std::io::stdin()
        .take(PASSWORD_LIMIT)
        .read_to_string(&mut text)
        .map_err(|error| UsageError::flag("--password-stdin", error))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(UsageError::flag(
            "--password-stdin",
            "standard input holds no password",
        ));
    }
    Ok(Secret::new(password))
}
