//! What `push` and `index create` share: flags, the client, and how results are told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::auth::Files;
use crate::build::{self, BuildError, Event, Events};
use crate::http::Http;
use crate::oci::Reference;
use crate::output::{self, Content, Published, Reports};
use crate::registry::Client;

use super::env::Env;
use super::flags::LogArgs;
use super::keychain::CredentialArgs;
use super::registries::{self, RegistryArgs};
use super::render::{Renderer, seconds};
use super::reports::{ReportArgs, SendArgs};
use super::runner_log::Log;
use super::{USAGE, UsageError, diagnostic, keychain, print_line, resolve};

/// The flags of what is pushed without a build.
#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    /// Files that tell what was pushed.
    #[command(flatten)]
    pub reports: ReportArgs,
    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,
    /// The push as a whole.
    #[command(flatten)]
    pub send: SendArgs,
    /// Where credentials come from.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// The flags of the log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What a transfer works with.
pub(super) struct Transfer<'a> {
    args: &'a TransferArgs,
    reports: Reports,
    pub(super) client: Client,
    pub(super) renderer: Arc<Renderer>,
}

/// Why there was none.
pub(super) enum Failure {
    Usage(UsageError),
    Build(BuildError),
    /// Neither of them.
    Plain {
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl<T: Into<BuildError>> From<T> for Failure {
    fn from(error: T) -> Self {
        Self::Build(error.into())
    }
}

/// Runs a command: sets up what it needs, and tells how it ended.
pub(super) fn run(
    args: &TransferArgs,
    env: &Env,
    work: impl AsyncFnOnce(&Transfer<'_>) -> Result<(), Failure>,
) -> u8 {
    let access = Access {
        registries: &args.registries,
        credentials: &args.credentials,
        log: args.log,
    };
    with_client(&access, env, async |client, renderer| {
        work(&Transfer {
            args,
            reports: args.reports.reports(true)?,
            client,
            renderer,
        })
        .await
    })
}

/// The flags of a command that speaks to registries.
pub(super) struct Access<'a> {
    pub(super) registries: &'a RegistryArgs,
    pub(super) credentials: &'a CredentialArgs,
    pub(super) log: LogArgs,
}

/// Runs a command that speaks to registries, and tells how it ended.
pub(super) fn with_client(
    access: &Access<'_>,
    env: &Env,
    work: impl AsyncFnOnce(Client, Arc<Renderer>) -> Result<(), Failure>,
) -> u8 {
    let style = match super::style(access.log, env) {
        Ok(style) => style,
        Err(error) => return super::report_usage(&error),
    };
    let renderer = Arc::new(Renderer::new(style, Log::default()));
    let result = prepare(access, env, &renderer).and_then(|client| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|source| Failure::Usage(UsageError::flag(super::PROGRAM, source)))?;
        runtime.block_on(work(client, Arc::clone(&renderer)))
    });
    match result {
        Ok(()) => 0,
        Err(Failure::Usage(error)) => {
            let text = diagnostic::chain(&error);
            renderer.error(&diagnostic::plain(&text, None, style.has_color));
            USAGE
        }
        Err(Failure::Build(error)) => {
            renderer.error(&diagnostic::render(&error, None, style.has_color));
            error.exit_code()
        }
        Err(Failure::Plain { message, hint }) => {
            renderer.error(&diagnostic::plain(
                &message,
                hint.as_deref(),
                style.has_color,
            ));
            1
        }
    }
}

fn prepare(access: &Access<'_>, env: &Env, renderer: &Renderer) -> Result<Client, Failure> {
    if keychain::has_secret_in_arguments(access.credentials) {
        renderer.send(Event::Warning {
            message: "a password in --registry-auth can be read by every process of this machine: use HOST=@FILE".to_owned(),
            span: None,
        });
    }
    let options = registries::options(access.registries, env)?;
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seed = u64::from(since_epoch.subsec_nanos()) ^ u64::from(std::process::id()) << 32;
    let http = registries::http_config(env, &options, seed)?;
    let plain_http = &options.insecure_registries;
    let keychain = keychain::chain(
        access.credentials,
        env,
        &http,
        plain_http,
        &Files::default(),
    )?;
    Ok(Client::new(
        Http::new(http).map_err(BuildError::from)?,
        Arc::new(keychain),
        options,
    ))
}

impl Transfer<'_> {
    /// Asks the destinations whether they accept a push.
    pub(super) async fn check(&self, destinations: &[Reference]) -> Result<(), Failure> {
        if !self.args.send.skip_push_permission_check {
            build::check_push(&self.client, destinations).await?;
        }
        Ok(())
    }

    /// Pushes, writes the files that were asked for, and prints the names.
    pub(super) async fn push(
        &self,
        content: &Content,
        destinations: &[Reference],
    ) -> Result<(), Failure> {
        let published = self.push_retrying(content, destinations).await;
        build::tell_notes(&self.client, &*self.renderer);
        self.report(&published?, destinations).await
    }

    async fn push_retrying(
        &self,
        content: &Content,
        destinations: &[Reference],
    ) -> Result<Published, Failure> {
        let events: Arc<dyn Events> = Arc::clone(&self.renderer) as Arc<dyn Events>;
        let on_event = build::on_output_event(&events);
        let mut tried = 0;
        loop {
            let pushing = output::push(
                content,
                destinations,
                self.args.send.push_ignore_immutable_tag_errors,
                &self.client,
                Some(&on_event),
            );
            match pushing.await {
                Ok(published) => return Ok(published),
                Err(output::Error::Push { .. } | output::Error::PartlyPushed { .. })
                    if tried < self.args.send.push_retry =>
                {
                    tokio::time::sleep(Duration::from_secs(1 << tried.min(6))).await;
                    tried += 1;
                }
                Err(error) => return Err(BuildError::from(error).into()),
            }
        }
    }

    async fn report(&self, published: &Published, names: &[Reference]) -> Result<(), Failure> {
        let written = output::write_reports(&self.reports, published, names, self.client.http());
        written.await.map_err(BuildError::from)?;
        let digest = &published.descriptor.digest;
        self.renderer.info(&format!(
            "{digest} pushed in {}",
            seconds(self.renderer.elapsed())
        ));
        for name in names {
            print_line(&format!("{name}@{digest}"));
        }
        Ok(())
    }
}

/// Parses what is pushed to.
pub(super) fn destinations(
    flag: &'static str,
    texts: &[String],
) -> Result<Vec<Reference>, UsageError> {
    texts
        .iter()
        .map(|text| resolve::destination(flag, text))
        .collect()
}

/// Takes a path with an optional tag apart, and a prefix that says that it is one.
pub(super) fn path_and_tag(text: &str) -> (PathBuf, Option<String>) {
    let text = text.strip_prefix("oci:").unwrap_or(text);
    if Path::new(text).exists() {
        return (text.into(), None);
    }
    match text.rsplit_once(':') {
        Some((path, tag)) if Path::new(path).exists() => (path.into(), Some(tag.to_owned())),
        Some(_) | None => (text.into(), None),
    }
}

/// A directory for compressed copies of layers, which goes with this value.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Says where it is; it is made when it is needed.
    pub(super) fn new(env: &Env) -> Result<Self, UsageError> {
        let name = format!("push-{}", std::process::id());
        Ok(Self(resolve::state_dir(None, env)?.join(name)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It was made in few cases only, and what is left is in a directory of ours.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
