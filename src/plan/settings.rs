//! The instructions that change the configuration and touch no file, and WORKDIR.

use std::collections::BTreeMap;

use crate::dockerfile::{
    Arg, Cmd, Command, Entrypoint, Env, Expose, HealthTest, Healthcheck, KeyValue, Label,
    Maintainer, Onbuild, Shell, Spanned, Stopsignal, User, Volume, Workdir,
};
use crate::oci;

use super::stage::{Outcome, State};
use super::{PlanError, StepKind, WorkdirStep, expand, golang, path, ports, signals};

/// Arguments that steer the builder and never become variables.
const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl State<'_> {
    pub(super) fn arg(&mut self, arg: &Arg) -> Outcome {
        let mut history = "ARG".to_owned();
        for declaration in &arg.declarations {
            let name = declaration.name.value.as_str();
            let given = self.scope.build_args.get(name).copied();
            let value = match (given, &declaration.default) {
                (Some(value), _) => Some(value.to_owned()),
                (None, Some(default)) => Some(self.expand(default)?),
                (None, None) => self.scope.globals.lookup(name),
            };
            history.push(' ');
            history.push_str(name);
            if let Some(value) = &value {
                history.push('=');
                history.push_str(value);
                if !NOT_IN_ENVIRONMENT.contains(&name) {
                    self.environment.set(name, value);
                }
            }
            let value = value.unwrap_or_default();
            self.arguments.push((name.to_owned(), value));
        }
        Ok((history, StepKind::Metadata))
    }

    /// # Deviation
    /// BuildKit takes an empty name, and the first RUN fails at it.
    pub(super) fn env(&mut self, env: &Env) -> Outcome {
        let pairs = self.expand_pairs(&env.pairs)?;
        if let Some(at) = pairs.iter().position(|(name, _)| name.is_empty()) {
            let written = &env.pairs[at].key;
            return Err(PlanError::BlankName {
                written: written.value.clone(),
                span: self.at(written.span),
            });
        }
        let mut history = vec!["ENV".to_owned()];
        for (name, value) in pairs {
            let entry = format!("{name}={value}");
            history.push(entry.clone());
            self.environment.set(&name, &value);
            let known = &mut self.config.config.env;
            let is_same = |known: &&mut String| {
                known
                    .split_once('=')
                    .map_or(known.as_str(), |(name, _)| name)
                    == name
            };
            match known.iter_mut().find(is_same) {
                Some(place) => *place = entry,
                None => known.push(entry),
            }
        }
        Ok((history.join(" "), StepKind::Metadata))
    }

    pub(super) fn label(&mut self, label: &Label) -> Outcome {
        let mut history = vec!["LABEL".to_owned()];
        for (name, value) in self.expand_pairs(&label.pairs)? {
            history.push(format!("{name}={value}"));
            self.config.config.labels.insert(name, value);
        }
        Ok((history.join(" "), StepKind::Metadata))
    }

    /// Expands all pairs before any of them counts: one value per instruction.
    fn expand_pairs(&self, pairs: &[KeyValue]) -> Result<Vec<(String, String)>, PlanError> {
        let expand = |pair: &KeyValue| Ok((self.expand(&pair.key)?, self.expand(&pair.value)?));
        pairs.iter().map(expand).collect()
    }

    pub(super) fn cmd(&mut self, cmd: &Cmd) -> (String, StepKind) {
        let argv = self.argv(&cmd.command.value);
        let history = format!("CMD {}", golang::quoted_list(&argv));
        self.config.config.cmd = (!argv.is_empty()).then_some(argv);
        self.config.config.args_escaped = true;
        self.has_cmd = true;
        (history, StepKind::Metadata)
    }

    pub(super) fn entrypoint(&mut self, entrypoint: &Entrypoint) -> (String, StepKind) {
        let argv = self.argv(&entrypoint.command.value);
        let history = format!("ENTRYPOINT {}", golang::quoted_list(&argv));
        self.config.config.entrypoint = (!argv.is_empty()).then_some(argv);
        if !self.has_cmd {
            self.config.config.cmd = None;
        }
        (history, StepKind::Metadata)
    }

    fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Shell(text) => self.with_shell(text),
            Command::Exec(argv) => argv.clone(),
        }
    }

    /// Words are sorted before they are expanded, as BuildKit does.
    pub(super) fn expose(&mut self, expose: &Expose) -> Outcome {
        let mut words: Vec<&Spanned<String>> = expose.ports.iter().collect();
        words.sort_by(|left, right| left.value.cmp(&right.value));
        let escape = self.scope.dockerfile.escape;
        let mut all = Vec::new();
        for written in words {
            let span = self.at(written.span);
            for word in expand::expand_words(&written.value, &self.environment, escape, span)? {
                match ports::parse(&word) {
                    Ok(found) => all.extend(found),
                    Err(reason) => return Err(PlanError::Port { word, reason, span }),
                }
            }
        }
        let history = format!("EXPOSE {}", golang::plain_list(&all));
        add_keys(&mut self.config.config.exposed_ports, all);
        Ok((history, StepKind::Metadata))
    }

    pub(super) fn healthcheck(&mut self, check: &Healthcheck) -> (String, StepKind) {
        let test = match &check.test {
            HealthTest::None => vec!["NONE".to_owned()],
            HealthTest::Command(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
            HealthTest::Command(Command::Exec(argv)) => {
                let first = std::iter::once("CMD".to_owned());
                first.chain(argv.iter().cloned()).collect()
            }
        };
        let nanoseconds = |given: &Option<Spanned<std::time::Duration>>| {
            let nanoseconds = given.as_ref().map_or(0, |given| given.value.as_nanos());
            i64::try_from(nanoseconds).unwrap_or(i64::MAX)
        };
        let check = oci::Healthcheck {
            test,
            interval: nanoseconds(&check.interval),
            timeout: nanoseconds(&check.timeout),
            start_period: nanoseconds(&check.start_period),
            start_interval: nanoseconds(&check.start_interval),
            retries: check
                .retries
                .as_ref()
                .map_or(0, |given| i64::from(given.value)),
        };
        let history = format!("HEALTHCHECK {}", golang::healthcheck(&check));
        self.config.config.healthcheck = Some(check);
        (history, StepKind::Metadata)
    }

    pub(super) fn maintainer(&mut self, maintainer: &Maintainer) -> (String, StepKind) {
        let name = &maintainer.name.value;
        self.config.author = (!name.is_empty()).then(|| name.clone());
        (format!("MAINTAINER {name}"), StepKind::Metadata)
    }

    pub(super) fn onbuild(&mut self, onbuild: &Onbuild) -> (String, StepKind) {
        self.config.config.on_build.push(onbuild.trigger.clone());
        (String::new(), StepKind::Silent)
    }

    pub(super) fn set_shell(&mut self, shell: &Shell) -> (String, StepKind) {
        let shell = &shell.shell.value;
        self.config.config.shell = Some(shell.clone());
        (
            format!("SHELL {}", golang::plain_list(shell)),
            StepKind::Metadata,
        )
    }

    pub(super) fn stopsignal(&mut self, stopsignal: &Stopsignal) -> Outcome {
        let signal = self.expand(&stopsignal.signal)?;
        if !signals::is_signal(&signal) {
            return Err(PlanError::Signal {
                signal,
                span: self.at(stopsignal.signal.span),
            });
        }
        let history = format!("STOPSIGNAL {signal}");
        self.config.config.stop_signal = Some(signal);
        Ok((history, StepKind::Metadata))
    }

    pub(super) fn user(&mut self, user: &User) -> Outcome {
        let user = self.expand(&user.user)?;
        let history = format!("USER {user}");
        self.config.config.user = user;
        Ok((history, StepKind::Metadata))
    }

    pub(super) fn volume(&mut self, volume: &Volume) -> Outcome {
        let mut paths = Vec::new();
        for written in &volume.paths {
            let path = self.expand(written)?;
            if path.is_empty() {
                return Err(PlanError::BlankVolume {
                    written: written.value.clone(),
                    span: self.at(written.span),
                });
            }
            paths.push(path);
        }
        let history = format!("VOLUME {}", golang::plain_list(&paths));
        add_keys(&mut self.config.config.volumes, paths);
        Ok((history, StepKind::Metadata))
    }

    /// The root makes no layer.
    ///
    /// # Deviation
    /// BuildKit makes an empty layer for other spellings of the root, such as `//`.
    pub(super) fn workdir(&mut self, workdir: &Workdir) -> Outcome {
        let written = self.expand(&workdir.path)?;
        let full = path::workdir(&self.config.config.working_dir, &written);
        let history = format!("WORKDIR {full}");
        let clean = path::clean(&full);
        self.config.config.working_dir = full;
        if clean == "/" {
            return Ok((history, StepKind::Metadata));
        }
        let step = WorkdirStep {
            path: clean,
            user: self.config.config.user.clone(),
        };
        Ok((history, StepKind::Workdir(step)))
    }
}

/// Adds keys to one of the config's sets.
fn add_keys<V: Default>(set: &mut BTreeMap<String, V>, keys: Vec<String>) {
    for key in keys {
        set.entry(key).or_default();
    }
}
