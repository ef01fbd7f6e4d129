//! The process edge: argv, environment, exit code. Everything else is in the library.

use std::ffi::OsString;
use std::process::ExitCode;

use longshore::{cli, sandbox};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments
        .first()
        .map(OsString::as_os_str)
        .unwrap_or_default();
    // The program re-executes itself for what has to happen in a child; nothing may come before this.
    if let Some(code) = sandbox::init::dispatch(name) {
        return ExitCode::from(code);
    }
    ExitCode::from(cli::run(&arguments, std::env::vars_os().collect()))
}
