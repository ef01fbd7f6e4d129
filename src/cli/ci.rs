//! The CI system's part of a build: what it decides where the user says nothing, and what it is told in the end.
//!
//! Flags win over variables, those over what the CI system says. What was typed in kaniko's words makes exactly the image
//! that was typed: tags and labels of a CI system's making come with `--push`, `--images` and `--tags` only.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::build::{Event, Events, Outcome, Request};
use crate::ci::{
    self, Around, Ci, Defaults, Facts, Format, Found, Journal, LogStyle, Report, metadata,
};
use crate::context::Source;

use super::UsageError;
use super::env::Env;
use super::flags::BuildArgs;
use super::render::Renderer;
use super::runner_log::{Log, MASK_MIN};

/// The flags of `longshore ci`.
#[derive(Debug, Args)]
pub(super) struct CiCommandArgs {
    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: CiFormat,
    /// The flags of a build.
    #[command(flatten)]
    pub build: BuildArgs,
}

/// How `longshore ci` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CiFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

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
    pub(super) notices: Vec<String>,
    /// What happens in the build.
    pub(super) journal: Arc<Journal>,
}

impl Platform {
    /// Finds the CI system and fills in what was not typed.
    pub(super) fn find(
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

    fn decide(
        &mut self,
        args: &mut BuildArgs,
        is_executor: bool,
        env: &Env,
    ) -> Result<(), UsageError> {
        if is_executor
            && args.context.is_none()
            && args.context_directory.is_none()
            && let Some(found) = self.defaults.context.clone()
        {
            args.context = Some(found.value.clone());
            self.decided.push(("context", found));
        }
        let has_names = self.name(args)?;
        self.label(args, env, has_names);
        self.guard(args, env)?;
        self.scope(args);
        for (host, file) in &self.defaults.certificates {
            let prefix = format!("{host}=");
            if file.is_file()
                && !args
                    .registries
                    .registry_certificate
                    .iter()
                    .any(|text| text.starts_with(&prefix))
            {
                let text = format!("{prefix}{}", file.display());
                self.decided.push((
                    "certificate",
                    Found::new(text.clone(), "CI_SERVER_TLS_CA_FILE"),
                ));
                args.registries.registry_certificate.push(text);
            }
        }
        for text in &args.ci.ci_output {
            let wrong = || {
                UsageError::flag(
                    "--ci-output",
                    format_args!(
                        "\"{text}\" is not FORMAT=PATH with one of the formats github, dotenv, properties, json and tekton"
                    ),
                )
            };
            let (format, path) = text.split_once('=').ok_or_else(wrong)?;
            let format = Format::parse(format)
                .filter(|_| !path.is_empty())
                .ok_or_else(wrong)?;
            let path = std::path::absolute(path).map_err(|_| wrong())?;
            self.outputs.push((format, path));
        }
        Ok(())
    }

    /// Makes destinations of images and tag rules. Says whether there were any to make.
    fn name(&mut self, args: &mut BuildArgs) -> Result<bool, UsageError> {
        let flags = &args.ci;
        let is_asked = !flags.images.is_empty() || !flags.tags.is_empty();
        if !is_asked && (flags.push != Some(true) || !args.destination.is_empty()) {
            if !flags.flavor.is_empty() {
                return Err(UsageError::flag(
                    "--flavor",
                    "there is no tag to flavor: add --images, --tags or --push",
                ));
            }
            return Ok(false);
        }
        let mut images = metadata::images(&flags.images.join("\n"))?;
        let source = if images.is_empty() {
            let Some(found) = self.defaults.image.clone() else {
                let who = self.ci.map_or(
                    "no CI system that names an image was found",
                    |_| "this CI system does not name an image",
                );
                return Err(UsageError::flag(
                    "--images",
                    format_args!("{who}: name it by --images or --destination"),
                ));
            };
            images.push(found.value);
            found.source
        } else {
            "--images".to_owned()
        };
        let (rules, by) = if flags.tags.is_empty() {
            (metadata::DEFAULT_RULES.to_owned(), "the default rules")
        } else {
            (flags.tags.join("\n"), "--tags")
        };
        let facts = self.facts.for_metadata(self.around.now);
        let flavor = metadata::flavor(&flags.flavor.join("\n"))?;
        let tags = metadata::tags(&metadata::rules(&rules)?, &flavor, &facts)?;
        if tags.tags.is_empty() {
            let mut reason = format!(
                "no rule makes a tag of ref \"{}\", event \"{}\"",
                facts.reference, facts.event
            );
            for notice in &tags.notices {
                let _ = write!(reason, "; {notice}");
            }
            return Err(UsageError::flag("--tags", reason));
        }
        self.notices.extend(tags.notices);
        for image in &images {
            for tag in &tags.tags {
                let destination = format!("{image}:{tag}");
                if !args.destination.contains(&destination) {
                    self.decided.push((
                        "destination",
                        Found::new(destination.clone(), format!("{source} and {by}")),
                    ));
                    args.destination.push(destination);
                }
            }
        }
        self.version = tags.version;
        Ok(true)
    }

    fn label(&mut self, args: &mut BuildArgs, env: &Env, has_names: bool) {
        if !args.ci.ci_labels.unwrap_or(has_names) {
            return;
        }
        let text = |found: &Option<Found>| {
            found
                .as_ref()
                .map_or_else(String::new, |found| found.value.clone())
        };
        let epoch = env
            .text("SOURCE_DATE_EPOCH")
            .and_then(|text| text.trim().parse().ok());
        let facts = metadata::LabelFacts {
            title: text(&self.facts.title),
            description: text(&self.facts.description),
            url: text(&self.facts.url),
            version: self.version.clone(),
            revision: text(&self.facts.sha),
            licenses: text(&self.facts.license),
            created: epoch
                .or(self.facts.commit_seconds())
                .or(Some(self.around.now)),
        };
        // A commit that is fetched is not necessarily that of the job.
        let is_fetched = matches!(
            super::resolve::source(&super::resolve::context_text(args, false)),
            Ok(crate::context::Source::Git(_))
        );
        for (name, value) in metadata::labels(&facts) {
            if is_fetched && name == metadata::REVISION {
                continue;
            }
            let prefix = format!("{name}=");
            if !args.label.iter().any(|label| label.starts_with(&prefix)) {
                let source = self.label_source(&name, epoch.is_some());
                self.decided
                    .push(("label", Found::new(format!("{prefix}{value}"), source)));
                args.label.push(format!("{prefix}{value}"));
            }
        }
    }

    /// Where a label's value came from.
    fn label_source(&self, name: &str, has_epoch: bool) -> String {
        let facts = &self.facts;
        let fact = match name.rsplit('.').next().unwrap_or_default() {
            "title" => &facts.title,
            "description" => &facts.description,
            "url" | "source" => &facts.url,
            "revision" => &facts.sha,
            "licenses" => &facts.license,
            "version" => return "the first tag".to_owned(),
            _ if has_epoch => return "SOURCE_DATE_EPOCH".to_owned(),
            _ => &facts.commit_time,
        };
        let source = fact.as_ref().map(|found| found.source.clone());
        source.unwrap_or_else(|| "the time of the build".to_owned())
    }

    /// Whether the image is pushed: not from a fork's change request, unless asked for by that name.
    fn guard(&mut self, args: &mut BuildArgs, env: &Env) -> Result<(), UsageError> {
        match (args.ci.push, args.no_push) {
            (Some(push), Some(no_push)) if push == no_push => {
                return Err(UsageError::flag("--push", "--no-push says the contrary"));
            }
            (Some(push), _) => args.no_push = Some(!push),
            (None, _) => {}
        }
        let is_off = args.no_push.unwrap_or_else(|| {
            let variable = env
                .text("LONGSHORE_NO_PUSH")
                .or_else(|| env.text("KANIKO_NO_PUSH"));
            variable.and_then(super::flags::parse_bool) == Some(true)
        });
        if let Some(fork) = &self.facts.fork
            && !args.ci.push_from_forks
        {
            self.is_guarded = true;
            let caching = &mut args.caching;
            let writes = caching.cache
                || caching.cache_mounts
                || !caching.cache_to.is_empty()
                || !caching.cache_mounts_to.is_empty();
            if writes && !caching.no_push_cache {
                caching.no_push_cache = true;
                self.notices.push(format!(
                    "this is a change request from the fork {}: caches are read and not written (--push-from-forks allows it)",
                    fork.value
                ));
                self.decided.push((
                    "cache",
                    Found::new(
                        "only read",
                        format!("{}: a fork's change request", fork.source),
                    ),
                ));
            }
            if !is_off && !args.destination.is_empty() {
                args.no_push = Some(true);
                self.notices.push(format!(
                    "this is a change request from the fork {}: the image is built and not pushed, and no identity token is used (--push-from-forks allows both)",
                    fork.value
                ));
                self.decided.push((
                    "push",
                    Found::new("no", format!("{}: a fork's change request", fork.source)),
                ));
            }
        } else if !args.destination.is_empty() {
            let text = if is_off { "no" } else { "yes" };
            let by = match (args.ci.push, args.no_push) {
                (Some(_), _) => "--push",
                (None, Some(_)) => "--no-push",
                (None, None) => "the destinations",
            };
            self.decided.push(("push", Found::new(text, by)));
        }
        Ok(())
    }

    /// Names the caches of this build: those of layers are shared, since their keys say all that is in them; mounts are the branch's or the
    /// change request's own, so that a change cannot put files into the builds of the branch that it goes to.
    fn scope(&mut self, args: &mut BuildArgs) {
        let caching = &mut args.caching;
        if !caching.cache_mounts_scope.is_empty() {
            let flag = "--cache-mounts-scope";
            let scopes = caching.cache_mounts_scope.iter();
            self.tell_scopes(scopes.map(|scope| Found::new(scope, flag)).collect());
        } else if self.ci.is_some() {
            let scopes = self.facts.cache_scopes();
            caching.cache_mounts_scope = scopes.iter().map(|scope| scope.value.clone()).collect();
            self.tell_scopes(scopes);
        }
    }

    fn tell_scopes(&mut self, scopes: Vec<Found>) {
        for (number, mut scope) in scopes.into_iter().enumerate() {
            if scope.value.is_empty() {
                "what all builds share".clone_into(&mut scope.value);
            }
            let what = match number {
                0 => "scope of cache mounts",
                _ => "scope of cache mounts, only read",
            };
            self.decided.push((what, scope));
        }
    }

    /// How the log is written, and what never stands in it.
    pub(super) fn log(&self, args: &BuildArgs, env: &Env, is_action: bool) -> Log {
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
            let secrets = super::run_flags::secrets(&args.secret, env).unwrap_or_default();
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

    /// The environment, for a fork's change request without what an identity can be had by.
    pub(super) fn without_identity(&self, mut env: Env) -> Env {
        if self.is_guarded {
            env.remove(&self.defaults.identity_variables);
        }
        env
    }

    /// Hands back what was made.
    pub(super) fn publish(
        &self,
        request: &Request,
        outcome: &Outcome,
        renderer: &Renderer,
    ) -> Result<(), ci::CiError> {
        let names: Vec<String> = request
            .outputs
            .destinations
            .iter()
            .map(|name| format!("{}:{}", name.name(), name.tag_or_latest()))
            .collect();
        let mut metadata = json!({
            "containerimage.config.digest": outcome.config_digest,
            "containerimage.descriptor": outcome.descriptor,
            "containerimage.digest": outcome.digest,
        });
        if !names.is_empty() {
            metadata["image.name"] = names.join(",").into();
        }
        let report = Report {
            digest: outcome.digest.as_str().to_owned(),
            image_id: outcome.config_digest.as_str().to_owned(),
            names,
            version: self.version.clone(),
            source: self.source(request),
            is_pushed: request.outputs.pushes,
            size: outcome.layers.iter().map(|layer| layer.size).sum(),
            layers: outcome.layers.len(),
            platform: request.platform.to_string(),
            metadata,
            recorded: self.journal.recorded(),
            took: renderer.elapsed(),
            failure: None,
        };
        let mut written = match self.ci {
            Some(ci) => ci.publish(&self.around, &report)?,
            None => Vec::new(),
        };
        for (format, path) in &self.outputs {
            written.push(ci::outputs::write(*format, path, &report, &self.around)?);
        }
        for one in written {
            renderer.info(&format!("wrote {} {}", one.what, one.path.display()));
            if let Some(notice) = one.notice {
                renderer.notice(&notice);
            }
        }
        Ok(())
    }

    /// The repository and the commit that were built: those that were fetched, else those of the job, if its directory was built.
    fn source(&self, request: &Request) -> Option<(String, String)> {
        match &request.context {
            Source::Git(git) => {
                let commit = self.journal.recorded().commit?;
                Some((ci::web(&git.remote.to_string()), commit))
            }
            Source::Directory(_) => {
                let (url, commit) = (self.facts.url.as_ref()?, self.facts.sha.as_ref()?);
                Some((url.value.clone(), commit.value.clone()))
            }
            _ => None,
        }
    }

    /// Tells the CI system why there is no image, where it has a place for that.
    pub(super) fn publish_failure(&self, text: &str, renderer: &Renderer) {
        let report = Report {
            recorded: self.journal.recorded(),
            took: renderer.elapsed(),
            failure: Some(text.to_owned()),
            ..Report::default()
        };
        if let Some(ci) = self.ci
            && let Err(error) = ci.publish(&self.around, &report)
        {
            renderer.error(&super::diagnostic::plain(
                &super::diagnostic::chain(&error),
                None,
                false,
            ));
        }
    }
}

/// Sends events to the log and to the journal.
pub(super) struct Tee {
    pub(super) renderer: Arc<Renderer>,
    pub(super) journal: Arc<Journal>,
}

impl Events for Tee {
    fn send(&self, event: Event) {
        self.journal.note(&event);
        self.renderer.send(event);
    }
}

/// The command line that the inputs of the GitHub action mean, and the environment with the credentials that they hold.
pub(super) fn inputs(mut env: Env) -> Result<(Vec<String>, Env), UsageError> {
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

/// How the log of whoever started us is written.
pub(super) fn style_of(env: &Env) -> LogStyle {
    ci::style_of(texts(env).collect())
}

/// The variables that are text.
fn texts(env: &Env) -> impl Iterator<Item = (&str, &str)> {
    env.iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
}

/// `longshore ci`: says what was found and what a build would do.
pub(super) fn command(args: CiCommandArgs, env: &Env) -> u8 {
    let mut build = args.build;
    let platform = match Platform::find(&mut build, false, env) {
        Ok(platform) => platform,
        Err(error) => return super::report_usage(&error),
    };
    let name = platform.ci.map_or("none", Ci::name);
    let secrets: Vec<&str> = platform
        .defaults
        .secrets
        .iter()
        .copied()
        .filter(|name| env.text(name).is_some())
        .collect();
    if args.format == CiFormat::Json {
        let found = |found: &Found| json!({"value": found.value, "source": found.source});
        let facts: serde_json::Map<String, Value> = platform
            .facts
            .table()
            .into_iter()
            .map(|(name, fact)| (name.replace(' ', "_"), found(fact)))
            .collect();
        let decided: Vec<Value> = platform
            .decided
            .iter()
            .map(|(what, one)| json!({"what": what, "value": one.value, "source": one.source}))
            .collect();
        let text = json!({
            "ci": name,
            "facts": facts,
            "image": platform.defaults.image.as_ref().map(found),
            "version": platform.version,
            "build": decided,
            "secrets": secrets,
            "notices": platform.notices,
        });
        super::print_line(&format!("{text:#}"));
        return 0;
    }
    let mut text = format!("CI system: {name}\n");
    let mut table = |title: &str, rows: Vec<(String, String, String)>| {
        let _ = writeln!(text, "\n{title}");
        if rows.is_empty() {
            text.push_str("  nothing\n");
        }
        for (name, value, source) in rows {
            let _ = writeln!(text, "  {name}: {value}  ({source})");
        }
    };
    let row =
        |name: &str, found: &Found| (name.to_owned(), found.value.clone(), found.source.clone());
    let mut facts: Vec<_> = platform
        .facts
        .table()
        .into_iter()
        .map(|(name, found)| row(name, found))
        .collect();
    facts.extend(
        platform
            .defaults
            .image
            .as_ref()
            .map(|found| row("image", found)),
    );
    table("What it says:", facts);
    table(
        "What a build with these flags would do:",
        platform
            .decided
            .iter()
            .map(|(name, found)| row(name, found))
            .collect(),
    );
    if !secrets.is_empty() {
        let _ = writeln!(text, "\nMasked in the log: {}", secrets.join(", "));
    }
    for notice in &platform.notices {
        let _ = writeln!(text, "\nnotice: {notice}");
    }
    super::print_line(text.trim_end());
    0
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

/// As a Basic credential goes over the wire.
fn basic(username: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"))
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
