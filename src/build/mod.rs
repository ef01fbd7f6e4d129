//! The engine: one [`Request`] through all rooms to an [`Outcome`]. [`run`] is the numbered story of a build.
//!
//! Everything that the environment decides has been decided before: nothing here reads argv, variables, the clock or the
//! terminal. Progress leaves as [`Event`]s. There is no second engine: the binary and the tests run this one.

mod absence;
mod add;
mod ahead;
mod append;
mod caching;
mod contents;
mod copy;
mod destination;
mod download;
mod engine;
mod error;
mod event;
mod explain;
mod fetch;
mod fetching;
mod filter;
mod inflating;
mod keys;
mod last_lines;
mod layers;
mod link;
mod lint;
mod mount;
mod named;
mod need;
mod publish;
mod repository;
mod request;
mod run;
mod saved;
mod schedule;
mod sources;
mod stage;
mod timed;
mod tree;
mod upload;
mod user;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::cache::{self, Cache};
use crate::context::{self, Context, Network, Progress};
use crate::dockerfile;
use crate::dockerfile::lint::Report;
use crate::http::Http;
use crate::oci::{Descriptor, Digest, ImageConfig, Platform};
use crate::plan::{self, Options, Outline, Plan, PlanWarning};
use crate::registry::Client;
use crate::rootfs::{Protected, RelPath};
use crate::sandbox::{Cancel, Executor, Isolation};

pub use absence::Absence;
pub use error::{BuildError, CopyError, CopyFailure, DownloadError, UserError};
pub use event::{Direction, Event, Events, MountChange, StepResult, Stream};
pub use fetch::{check_push, tell_notes};
pub use last_lines::LastLine;
pub use lint::{Known, check};
pub use mount::MountFailure;
pub use publish::on_event as on_output_event;
pub use request::{
    BuildContext, CacheOptions, CachePlace, ContextPlace, LayerOptions, MountOptions, Outputs,
    Request, SnapshotOptions,
};

use ahead::{Faults, Hits, Look};
use caching::Caches;
use engine::Engine;
use fetch::Image;
use fetching::Fetching;
use keys::Keys;
use named::NamedFiles;
use need::Needs;
use saved::SavedMounts;
use stage::StageResult;
use upload::Uploads;

/// What a build uses besides its request.
#[derive(Clone)]
pub struct Services {
    /// Receives what happens.
    pub events: Arc<dyn Events>,
    /// Drives the network.
    pub runtime: Handle,
    /// Calls off a command that runs.
    pub cancel: Cancel,
    /// Calls off everything else.
    pub token: CancellationToken,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The digest of the image's manifest.
    pub digest: Digest,
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The digest of the image's configuration, which Docker calls its id.
    pub config_digest: Digest,
    /// The image's layers, base first.
    pub layers: Vec<Descriptor>,
}

/// In place there is no host name but the container's.
fn tell_of_hostname(plan: &Plan, events: &dyn Events) {
    let mut steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let is_given =
        steps.any(|step| matches!(&step.kind, plan::StepKind::Run(run) if run.hostname.is_some()));
    if is_given {
        events.send(Event::Warning {
            message: "BUILDKIT_SANDBOX_HOSTNAME has no effect in place: commands see the host name of the container, which whoever starts it can set"
                .to_owned(),
            span: None,
        });
    }
}

/// Builds an image.
///
/// # Errors
/// [`BuildError`] says what failed, where in the Dockerfile, and what to do next. Nothing is tagged then, and no file
/// that was asked for is written, unless the error came after that.
pub fn run(
    request: &Request,
    executor: Box<dyn Executor>,
    services: &Services,
) -> Result<Outcome, BuildError> {
    let events = &*services.events;
    events.send(Event::Isolation(executor.describe()));
    let scratch = executor.scratch().to_owned();

    // Certificates, resolver and credentials are read before the first byte of a base image is unpacked.
    let http = Http::new(request.http.clone())?;
    let client = Client::new(
        http.clone(),
        Arc::clone(&request.keychain),
        request.registry.clone(),
    );

    // 1. The files.
    let network = Network {
        runtime: &services.runtime,
        token: &services.token,
        stores: &request.stores,
        http: &http,
        git: &request.git,
        limit: request.context_limit,
        progress: Progress::untold(),
    };
    let no_context = |error: context::ContextError| {
        if services.token.is_cancelled() {
            BuildError::Cancelled
        } else {
            error.into()
        }
    };
    let sub_path = request.context_sub_path.as_deref();
    let mut context = {
        let fetching = Fetching::new(events, request.context.to_string());
        let tell = |done, total| fetching.tell(done, total);
        let network = Network {
            progress: Progress::new(&tell),
            ..network
        };
        let dockerfile = Some(&request.dockerfile);
        Context::fetch(&request.context, sub_path, dockerfile, &scratch, network)
            .map_err(no_context)?
    };
    events.send(Event::ContextReady {
        source: request.context.to_string(),
        commit: context.fetched().map(|fetched| fetched.commit.clone()),
    });

    let dated = request
        .layers
        .is_dated_by_commit
        .then(|| context.fetched())
        .flatten()
        .map(|fetched| request.dated(fetched.committed));
    let request = dated.as_ref().unwrap_or(request);

    // 2. The Dockerfile.
    let text = context
        .dockerfile(&request.dockerfile, network)
        .map_err(no_context)?;
    events.send(Event::DockerfileRead {
        name: text.name,
        text: String::from_utf8_lossy(&text.bytes).into_owned(),
    });
    let dockerfile = dockerfile::parse(&text.bytes)?;

    // 3. and 4. Which stages and images it takes, and what the registries say of those. Triggers of a base image may name
    // further images, hence the rounds.
    let options = Options {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        target_platform: request.platform.clone(),
        is_platform_explicit: request.is_platform_explicit,
        build_platform: Platform::host(),
        labels: request.labels.clone(),
        network: request.network,
        contexts: named::plan_contexts(&request.contexts),
    };
    let (outline, images) = outline(&dockerfile, &options, request, &client, services)?;

    // 5. The plan: from here on, every variable and every setting is known.
    let configs: Vec<ImageConfig> = images
        .iter()
        .map(|image| image.resolved.config.clone())
        .collect();
    let mut plan = plan::plan(&dockerfile, &outline, &configs, &options)?;
    if let Some(fetched) = context
        .fetched()
        .filter(|_| request.outputs.labels_revision)
    {
        publish::label_revision(&mut plan, &configs, &request.labels, &fetched.commit);
    }
    let git = repository::Git {
        http: &http,
        access: &request.git,
        services,
    };
    repository::pin(&mut plan, request, git)?;
    for warning in &plan.warnings {
        let message = match warning {
            PlanWarning::UnusedBuildArgs(names) => format!(
                "build arguments that nothing declares: {}",
                names.join(", ")
            ),
            PlanWarning::UnusedContexts(_) | PlanWarning::WithoutEffect { .. } => {
                warning.to_string()
            }
        };
        events.send(Event::Warning {
            message,
            span: None,
        });
    }
    let named = named::open(request, &plan, &http, &scratch, services)?;
    publish::check_format(&plan, &images, request)?;
    let known = Known {
        context: Some(&context),
        outline: Some(&outline),
        images: &configs,
    };
    report_checks(&check(&dockerfile, &text.bytes, &options, known)?, events)?;

    // 6. What the caches have, known before anything is unpacked; then the stages, as far as they are needed. The layers go
    // to registries and caches meanwhile, and what was made is kept also if a later step fails.
    let known_steps = caching::keys(request, &plan, &images, &context, &named);
    let keys = known_steps.as_ref().map(|known| &known.keys);
    let caches = Caches::open(request, &http, &client, &scratch);
    for notice in &request.cache.notices {
        events.send(Event::Warning {
            message: notice.clone(),
            span: None,
        });
    }
    let hits = match keys {
        Some(keys) => look_ahead(request, &plan, keys, &caches.from, services)?,
        None => Hits::default(),
    };
    let traced = match &known_steps {
        Some(known) => caching::has_work(request, &plan, known, &hits, &caches.from, services)?
            .then_some(&known.traced),
        None => None,
    };
    let on_event = publish::on_event(&services.events);
    let uploads = Uploads::new(
        client.clone(),
        services.runtime.clone(),
        Arc::clone(&services.events),
        Arc::clone(&on_event),
        request.outputs.pushed_to(),
        caches.to,
    );
    let rights = (executor.ownership(), executor.isolation());
    let mounts = SavedMounts::new(request, services, (&http, &client), &scratch, rights);
    let parts = Parts {
        request,
        mounts: &mounts,
        plan: &plan,
        outline: &outline,
        images: &images,
        keys,
        context: &context,
        named: &named,
        executor: &*executor,
        http: &http,
        client: &client,
        uploads: &uploads,
    };
    let moves = executor.isolation() == Isolation::Inplace;
    if moves {
        tell_of_hostname(&plan, events);
        request.files.leave();
    }
    let built = parts.build(hits, services);
    let traced = traced.filter(|_| built.is_ok());
    let settled = block_on(services, uploads.finish(traced));
    let StageResult { config, layers, .. } = built?;
    settled?;

    // 7. The outputs, after everything that was set aside for the stages is back in its place. A tag is the last write.
    executor.restore()?;
    request.files.come_back();
    let image = publish::assemble(config, layers, request)?;
    let published = block_on(
        services,
        publish::publish(&image, &images, request, &client, &on_event),
    );
    fetch::tell_notes(&client, events);
    let published = published??;

    uploads.check_kept()?;

    // 8. What came of it, in files; then cache mounts are saved, and the build's own directories go.
    let reported = publish::write_reports(&published, request, &http, &*services.events);
    block_on(services, reported)??;
    mounts.save()?;
    executor.finish()?;
    Ok(Outcome {
        digest: image.descriptor.digest.clone(),
        descriptor: image.descriptor,
        config_digest: image.config_descriptor.digest,
        layers: image
            .layers
            .into_iter()
            .map(|layer| layer.descriptor)
            .collect(),
    })
}

/// Outlines the Dockerfile and resolves the images that it names, until no further image turns up.
fn outline(
    dockerfile: &dockerfile::Dockerfile,
    options: &Options,
    request: &Request,
    client: &Client,
    services: &Services,
) -> Result<(Outline, Vec<Image>), BuildError> {
    let mut images: Vec<Image> = Vec::new();
    loop {
        let configs: Vec<ImageConfig> = images
            .iter()
            .map(|image| image.resolved.config.clone())
            .collect();
        let outline = plan::outline(dockerfile, options, &configs)?;
        if outline.images.len() <= images.len() {
            return Ok((outline, images));
        }
        let missing = &outline.images[images.len()..];
        images.extend(block_on(
            services,
            fetch::resolve(client, request, missing, &*services.events),
        )??);
    }
}

/// Tells what the checks found; ends the build if the Dockerfile asks for that.
fn report_checks(report: &Report, events: &dyn Events) -> Result<(), BuildError> {
    for finding in &report.findings {
        events.send(Event::Finding(finding.clone()));
    }
    let Some(first) = report.findings.first().filter(|_| report.is_error) else {
        return Ok(());
    };
    let mut rules: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.rule.name)
        .collect();
    rules.sort_unstable();
    rules.dedup();
    Err(BuildError::Checks {
        rules: rules.join(", "),
        span: first.span,
        hint: first.hint.clone(),
    })
}

/// What the steps of a build work with.
struct Parts<'a> {
    request: &'a Request,
    mounts: &'a SavedMounts<'a>,
    plan: &'a Plan,
    outline: &'a Outline,
    images: &'a [Image],
    keys: Option<&'a Keys>,
    context: &'a Context,
    named: &'a [Option<NamedFiles>],
    executor: &'a dyn Executor,
    http: &'a Http,
    client: &'a Client,
    uploads: &'a Uploads,
}

impl Parts<'_> {
    /// Builds what the target needs beyond `hits`; without them, if one of them turns out to be of no use.
    fn build(&self, hits: Hits, services: &Services) -> Result<StageResult, BuildError> {
        match self.attempt(&hits, services) {
            Err(error) if error.is_cache_fault() && !hits.is_empty() => {
                services.events.send(Event::Warning {
                    message: format!("{error}: the build begins again without caches"),
                    span: None,
                });
                self.attempt(&Hits::default(), services)
            }
            other => other,
        }
    }

    fn attempt(&self, hits: &Hits, services: &Services) -> Result<StageResult, BuildError> {
        let done = match self.keys {
            Some(keys) => hits.done(self.plan, keys, self.request.layers.single),
            None => vec![0; self.plan.stages.len()],
        };
        let needs = Needs::of(self.plan, done, self.request.layers.single);
        let is_all_done = !hits.is_empty() && !needs.has_any_work(self.plan);
        prepare(self, &needs, is_all_done, services)?;
        let services = services.for_stages()?;
        let engine = Engine {
            request: self.request,
            mounts: self.mounts,
            plan: self.plan,
            outline: self.outline,
            images: self.images,
            needs: &needs,
            keys: self.keys,
            hits,
            is_all_done,
            keeps_hits: self.request.cache.keeps_hits(),
            context: self.context,
            named: self.named,
            executor: self.executor,
            services: &services,
            ignored: ignored(self.request)?,
            scratch: self.executor.scratch(),
            http: self.http,
            client: self.client,
            uploads: self.uploads,
            results: Mutex::new((0..self.plan.stages.len()).map(|_| None).collect()),
            users: Mutex::new(needs.users.clone()),
            trees: Mutex::new(HashMap::new()),
            blobs: Mutex::new(HashMap::new()),
            unpacking: Mutex::default(),
            downloads: AtomicUsize::new(0),
            copies: mount::Copies::default(),
        };
        let mut result = engine.stages()?;
        if self.request.cache.is_inline
            && let Some(records) = result.records.as_deref().filter(|all| !all.is_empty())
        {
            cache::embed(&mut result.config, records).map_err(BuildError::Embed)?;
        }
        engine.secure(&result)?;
        result.layers = engine.with_warm(engine.with_fetched(result.layers))?;
        Ok(result)
    }
}

impl Services {
    /// The same, with switches that also turn off when one of the stages fails.
    fn for_stages(&self) -> Result<Self, BuildError> {
        let (token, cancel) = (self.token.child_token(), Cancel::new()?);
        let (waits, turned_off) = (token.clone(), cancel.clone());
        self.runtime.spawn(async move {
            waits.cancelled().await;
            turned_off.cancel();
        });
        Ok(Self {
            cancel,
            token,
            ..self.clone()
        })
    }
}

/// Asks the caches for the layers of all steps.
fn look_ahead(
    request: &Request,
    plan: &Plan,
    keys: &Keys,
    caches: &[Cache],
    services: &Services,
) -> Result<Hits, BuildError> {
    let look = Look {
        plan,
        keys,
        caches,
        options: &request.cache,
        services,
        faults: Faults::default(),
    };
    look.run(request.layers.single)
}

/// What would make the build fail at its end is tried at its beginning.
fn prepare(
    parts: &Parts<'_>,
    needs: &Needs,
    is_all_done: bool,
    services: &Services,
) -> Result<(), BuildError> {
    let Parts {
        request, executor, ..
    } = parts;
    let stages = parts.plan.stages.iter().enumerate();
    let runs: Vec<_> = stages
        .filter(|(index, _)| needs.stage[*index])
        .flat_map(|(index, stage)| &stage.steps[needs.done[index]..])
        .filter_map(|step| match &step.kind {
            plan::StepKind::Run(run) => Some((step, run)),
            _ => None,
        })
        .collect();
    if let Some((step, _)) = runs.first() {
        executor.check_run().map_err(|source| BuildError::Start {
            display: step.display.clone(),
            span: step.origin.span,
            source: Box::new(source),
        })?;
        if request.snapshot.by_time_only {
            services.events.send(Event::Warning {
                message: "--snapshot-mode=time leaves changes out that keep a file's modification time, of its mode or owner for example"
                    .to_owned(),
                span: None,
            });
        }
        for message in executor.warnings() {
            services.events.send(Event::Warning {
                message,
                span: None,
            });
        }
    }
    for (step, run) in runs {
        mount::check(step, run, request, *executor)?;
    }
    // Where nothing is to be done, the push itself comes as early.
    if request.outputs.pushes && request.checks_push && !is_all_done {
        let checked = block_on(
            services,
            fetch::check_push(parts.client, &request.outputs.destinations),
        )?;
        fetch::tell_notes(parts.client, &*services.events);
        checked?;
    }
    Ok(())
}

/// The paths that the user leaves out of every layer.
fn ignored(request: &Request) -> Result<Protected, BuildError> {
    let mut ignored = Protected::none();
    for path in &request.snapshot.ignored {
        let parsed = RelPath::parse(path.as_bytes()).map_err(|source| BuildError::IgnorePath {
            path: path.clone(),
            source,
        })?;
        ignored.add(parsed);
    }
    Ok(ignored)
}

/// Waits for the network, unless the build is called off.
fn block_on<T>(services: &Services, future: impl Future<Output = T>) -> Result<T, BuildError> {
    services.runtime.block_on(async {
        tokio::select! {
            biased;
            () = services.token.cancelled() => Err(BuildError::Cancelled),
            done = future => Ok(done),
        }
    })
}
