//! `longshore doctor` and `longshore restore`.

use std::path::PathBuf;

use clap::Args;

use crate::sandbox::{self, Choice, EnterOptions};

use super::env::Env;
use super::{diagnostic, print_error, print_line, resolve};

/// The flags of `longshore doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Where layers and work directories would be kept
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Says what each isolation found. The exit code is 0 if at least one works.
pub(super) fn doctor(args: &DoctorArgs, env: &Env) -> u8 {
    let state_dir = match resolve::state_dir(args.state_dir.as_deref(), env) {
        Ok(path) => path,
        Err(error) => return super::report_usage(&error),
    };
    let options = EnterOptions {
        choice: Choice::Auto,
        state_dir: state_dir.clone(),
        force: false,
        keep: Vec::new(),
    };
    let reports = match sandbox::probe_all(&options) {
        Ok(reports) => reports,
        Err(error) => return super::report_plain(&error),
    };
    print_line(&format!("state directory: {}", state_dir.display()));
    let mut chosen = None;
    for report in &reports {
        print_line(&format!(
            "{}: {}",
            report.name,
            if report.works {
                "works"
            } else {
                "does not work"
            }
        ));
        print_line(&format!("  {}", report.detail));
        if let Some(advice) = report.advice {
            print_line(&format!("  to have it: {advice}"));
        }
        if report.works && chosen.is_none() {
            chosen = Some(report.name);
        }
    }
    let Some(name) = chosen else {
        print_error(&diagnostic::plain("no isolation works here", None, false));
        return 1;
    };
    print_line(&format!("a build here uses: {name}"));
    0
}

/// Puts back what an interrupted in-place build had set aside.
pub(super) fn restore() -> u8 {
    match sandbox::restore() {
        Ok(true) => {
            print_line("what an interrupted build had set aside is back in its place");
            0
        }
        Ok(false) => {
            print_line("nothing is set aside here");
            0
        }
        Err(error) => super::report_plain(&error),
    }
}
