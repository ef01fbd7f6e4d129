//! The engine: one [`Request`] through all rooms to an [`Outcome`]. [`run`] is the numbered story of a build.
//!
//! Everything that the environment decides has been decided before: nothing here reads argv, variables, the clock or the
//! terminal. Progress leaves as [`Event`]s. There is no second engine: the binary and the tests run this one.

mod add;
mod copy;
mod destination;
mod engine;
mod error;
mod event;
mod fetch;
mod layers;
mod need;
mod publish;
mod request;
mod run;
mod sources;
mod stage;
mod timed;
mod tree;
mod upload;
mod user;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::dockerfile;
use crate::http::Http;
use crate::oci::{Descriptor, Digest, ImageConfig, Platform};
use crate::plan::{self, Options, Outline, Plan, PlanWarning};
use crate::registry::Client;
use crate::rootfs::{Protected, RelPath};
use crate::sandbox::{Cancel, Executor};

pub use error::{BuildError, CopyError, CopyFailure, UserError};
pub use event::{Direction, Event, Events, StepResult, Stream};
pub use fetch::check_push;
pub use publish::on_event as on_output_event;
pub use request::{LayerOptions, Outputs, Request, SnapshotOptions};

use engine::Engine;
use fetch::Image;
use need::Needs;
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
    /// The image's layers, base first.
    pub layers: Vec<Descriptor>,
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
    let client = Client::new(
        Http::new(request.http.clone())?,
        Arc::clone(&request.keychain),
        request.registry.clone(),
    );

    // 1. The files.
    let mut context = Context::fetch(
        &request.context,
        request.context_sub_path.as_deref(),
        &scratch,
    )?;
    events.send(Event::ContextReady {
        source: request.context.to_string(),
    });

    // 2. The Dockerfile.
    let text = context.read_dockerfile(&request.dockerfile)?;
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
    };
    let (outline, images) = outline(&dockerfile, &options, request, &client, services)?;

    // 5. The plan: from here on, every variable and every setting is known.
    let configs: Vec<ImageConfig> = images
        .iter()
        .map(|image| image.resolved.config.clone())
        .collect();
    let plan = plan::plan(&dockerfile, &outline, &configs, &options)?;
    for warning in &plan.warnings {
        let PlanWarning::UnusedBuildArgs(names) = warning;
        events.send(Event::Warning {
            message: format!(
                "build arguments that nothing declares: {}",
                names.join(", ")
            ),
            span: None,
        });
    }
    publish::check_format(&plan, &images, request)?;
    prepare(request, &plan, &*executor, &client, services)?;

    // 6. The stages.
    let destinations = if request.outputs.pushes {
        &request.outputs.destinations[..]
    } else {
        &[]
    };
    let on_event = publish::on_event(&services.events);
    let uploads = Uploads::new(
        client.clone(),
        services.runtime.clone(),
        Arc::clone(&on_event),
        destinations,
    );
    let needs = Needs::of(&plan);
    let engine = Engine {
        request,
        plan: &plan,
        outline: &outline,
        images: &images,
        needs: &needs,
        context: &context,
        executor: &*executor,
        services,
        ignored: ignored(request)?,
        scratch: &scratch,
        client: &client,
        uploads: &uploads,
        results: Mutex::new((0..plan.stages.len()).map(|_| None).collect()),
        trees: Mutex::new(HashMap::new()),
        blobs: Mutex::new(HashMap::new()),
        owners: Mutex::new(HashMap::new()),
    };
    let StageResult { config, layers, .. } = engine.stages()?;
    let layers = engine.with_fetched(layers);
    drop(engine);

    // 7. The outputs, after everything that was set aside for the stages is back in its place. A tag is the last write.
    executor.restore()?;
    let image = publish::assemble(config, layers, request)?;
    block_on(services, uploads.settle())?;
    let published = block_on(
        services,
        publish::publish(&image, &images, request, &client, &on_event),
    )??;

    // 8. What came of it, in files; then the build's own directories go.
    publish::write_reports(&published, request, &*services.events)?;
    executor.finish()?;
    Ok(Outcome {
        digest: image.descriptor.digest,
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

/// What would make the build fail at its end is tried at its beginning.
fn prepare(
    request: &Request,
    plan: &Plan,
    executor: &dyn Executor,
    client: &Client,
    services: &Services,
) -> Result<(), BuildError> {
    let runs = plan
        .stages
        .iter()
        .flat_map(|stage| &stage.steps)
        .find(|step| matches!(step.kind, plan::StepKind::Run(_)));
    if let Some(step) = runs {
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
    if request.outputs.pushes && request.checks_push {
        block_on(
            services,
            fetch::check_push(client, &request.outputs.destinations),
        )??;
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
