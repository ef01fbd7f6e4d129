//! RUN.

use crate::dockerfile::{Invocation, Run, Span};

use super::stage::{Outcome, State};
use super::{PlanError, RunNetwork, RunSecurity, RunStep, StepKind, environment, path};

/// Where a program out of the Dockerfile is mounted.
const PROGRAMS: &str = "/dev/pipes";

impl State<'_> {
    /// A program in a heredoc is started by the shell, as in BuildKit.
    pub(super) fn run(&mut self, run: &Run, span: Span) -> Outcome {
        if let Some(device) = run.devices.first() {
            return Err(self.unsupported("RUN --device", device.span));
        }
        let mounts = self.run_mounts(run)?;
        let mut program = None;
        let (argv, shell_form) = match run.invocation() {
            Invocation::Shell(text) => (self.with_shell(&text), true),
            Invocation::Exec(argv) => (argv, false),
            Invocation::Program { name, content } => {
                let file = format!("{PROGRAMS}/{name}");
                let argv = self.with_shell(&file);
                program = Some((file, content));
                (argv, true)
            }
        };
        if argv.is_empty() {
            let span = self.at(span);
            return Err(PlanError::EmptyRun { span });
        }
        let mut environment = self.environment.clone();
        let mut undeclared = Vec::new();
        for (name, value) in environment::proxies(self.scope.options) {
            if environment.get(&name).is_none() {
                undeclared.push(name.clone());
            }
            environment.set(&name, &value);
        }
        let history = self.run_history(&argv);
        let step = RunStep {
            argv,
            program,
            env: environment.into_pairs(),
            undeclared,
            workdir: path::clean(self.current_dir()),
            user: self.config.config.user.clone(),
            shell_form,
            mounts,
            network: network(run, self.scope.options.network),
            security: security(run),
            hostname: super::magic::hostname(self.scope.options),
        };
        Ok((history, StepKind::Run(step)))
    }

    /// The history entry: the declared ARGs, each with the value that the command sees, then the command line.
    fn run_history(&self, argv: &[String]) -> String {
        let mut shown: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &self.arguments {
            let value = self.environment.get(name).unwrap_or(value);
            match shown.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = value,
                None => shown.push((name, value)),
            }
        }
        let mut history = vec!["RUN".to_owned()];
        if !shown.is_empty() {
            history.push(format!("|{}", shown.len()));
        }
        let shown = shown.iter();
        history.extend(shown.map(|(name, value)| format!("{name}={value}")));
        history.extend_from_slice(argv);
        history.push("# buildkit".to_owned());
        history.join(" ")
    }

    pub(super) fn unsupported(&self, what: &str, span: Span) -> PlanError {
        PlanError::Unsupported {
            what: what.to_owned(),
            span: self.at(span),
        }
    }
}

/// The parser lets only these through.
fn network(run: &Run, default: RunNetwork) -> RunNetwork {
    match run.network.as_ref().map(|given| given.value.as_str()) {
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(_) | None => default,
    }
}

fn security(run: &Run) -> RunSecurity {
    match run.security.as_ref().map(|given| given.value.as_str()) {
        Some("insecure") => RunSecurity::Insecure,
        Some(_) | None => RunSecurity::Sandbox,
    }
}
