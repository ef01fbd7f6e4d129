//! Named contexts (`--build-context`): files and images that stand for names in the Dockerfile.

use std::path::Path;

use crate::context::{Context, Network, Progress};
use crate::http::Http;
use crate::oci::{Digest, ImageConfig, Manifest};
use crate::output::{self, Content, LayerSource};
use crate::plan::{ContextKind, CopyFrom, ImageUse, NamedContext, Plan, RunMount, StepKind};
use crate::registry::{BlobSource, ResolvedImage};

use super::fetch::{Image, with_layers};
use super::fetching::Fetching;
use super::request::{BuildContext, ContextPlace};
use super::sources::SourceTree;
use super::{BuildError, Request, Services};

/// The files of a named context.
#[derive(Debug)]
pub(super) struct NamedFiles {
    /// The files, with the ignore file at their root.
    pub(super) context: Context,
    /// What to call it in a message.
    label: String,
}

impl NamedFiles {
    /// The files, to copy from.
    pub(super) fn tree(&self) -> SourceTree<'_> {
        SourceTree {
            name: format!("the build context \"{}\"", self.label),
            ..SourceTree::of_context(&self.context)
        }
    }
}

/// What the plan is told of the contexts.
pub(super) fn plan_contexts(contexts: &[BuildContext]) -> Vec<NamedContext> {
    let told = contexts.iter().map(|context| NamedContext {
        name: context.name.clone(),
        label: context.label.clone(),
        kind: match &context.place {
            ContextPlace::Files(_) => ContextKind::Files,
            ContextPlace::Image(reference) => ContextKind::Image(reference.clone()),
            ContextPlace::Layout { .. } => ContextKind::Layout,
            ContextPlace::Scratch => ContextKind::Scratch,
        },
    });
    told.collect()
}

/// Fetches the files that steps of the plan name, and no others.
pub(super) fn open(
    request: &Request,
    plan: &Plan,
    http: &Http,
    scratch: &Path,
    services: &Services,
) -> Result<Vec<Option<NamedFiles>>, BuildError> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let used: Vec<CopyFrom> = steps
        .flat_map(|step| match &step.kind {
            StepKind::Copy(copy) => vec![copy.from],
            StepKind::Run(run) => run.mounts.iter().filter_map(RunMount::from).collect(),
            StepKind::Workdir(_) | StepKind::Metadata | StepKind::Silent => Vec::new(),
        })
        .collect();
    let contexts = request.contexts.iter().enumerate();
    contexts
        .map(|(number, context)| match &context.place {
            ContextPlace::Files(source) if used.contains(&CopyFrom::Named(number)) => {
                let failed = |source| BuildError::NamedContext {
                    label: context.label.clone(),
                    source: Box::new(source),
                };
                let fetching = Fetching::new(&*services.events, source.to_string());
                let tell = |done, total| fetching.tell(done, total);
                let network = Network {
                    runtime: &services.runtime,
                    token: &services.token,
                    stores: &request.stores,
                    http,
                    // A credential of the build context goes to its own host only.
                    git: &request.git,
                    limit: request.context_limit,
                    progress: Progress::new(&tell),
                };
                let place = scratch.join(format!("named-{number}"));
                let mut files =
                    Context::fetch(source, None, None, &place, network).map_err(|error| {
                        if services.token.is_cancelled() {
                            BuildError::Cancelled
                        } else {
                            failed(error)
                        }
                    })?;
                files.read_own_ignore().map_err(failed)?;
                Ok(Some(NamedFiles {
                    context: files,
                    label: context.label.clone(),
                }))
            }
            ContextPlace::Files(_)
            | ContextPlace::Image(_)
            | ContextPlace::Layout { .. }
            | ContextPlace::Scratch => Ok(None),
        })
        .collect()
}

/// Finds the image of a context that is an OCI layout.
pub(super) fn image(image: &ImageUse, context: &BuildContext) -> Result<Image, BuildError> {
    let failed = |source| BuildError::NamedImage {
        label: context.label.clone(),
        span: image.span,
        source: Box::new(source),
    };
    let ContextPlace::Layout { path, tag, digest } = &context.place else {
        return Err(failed(refused(context, "it is no OCI layout")));
    };
    let whole = Content::of_layout(path, tag.as_deref(), digest.as_ref()).map_err(failed)?;
    let digest = whole.descriptor.digest.clone();
    let found = choose(whole, image).ok_or_else(|| {
        let reason = format!("it has no image for platform {}", image.platform);
        failed(refused(context, &reason))
    })?;
    let broken = |reason: String| failed(refused(context, &reason));
    let manifest: Manifest = serde_json::from_slice(&found.bytes)
        .map_err(|error| broken(format!("its manifest cannot be read: {error}")))?;
    let file = |digest: &Digest| {
        let mut blobs = found.blobs.iter();
        let blob = blobs.find(|blob| blob.descriptor.digest == *digest)?;
        match &blob.source {
            BlobSource::Part { path, offset: 0 } | BlobSource::File(path) => Some(path.clone()),
            BlobSource::Part { .. }
            | BlobSource::Bytes(_)
            | BlobSource::Remote(_)
            | BlobSource::Elsewhere(_) => None,
        }
    };
    let missing = |digest: &Digest| broken(format!("blob {digest} is not in it"));
    let config_digest = &manifest.config.digest;
    let config_path = file(config_digest).ok_or_else(|| missing(config_digest))?;
    let config_bytes = std::fs::read(&config_path).map_err(|source| BuildError::State {
        action: "read",
        path: config_path.clone(),
        source,
    })?;
    let mut digester = config_digest.digester();
    digester.update(&config_bytes);
    if digester.finish() != *config_digest {
        return Err(broken(format!("blob {config_digest} has another digest")));
    }
    let config: ImageConfig = serde_json::from_slice(&config_bytes)
        .map_err(|error| broken(format!("its configuration cannot be read: {error}")))?;
    for layer in &manifest.layers {
        if file(&layer.digest).is_none() {
            return Err(missing(&layer.digest));
        }
    }
    let resolved = ResolvedImage {
        reference: image.reference.clone(),
        source: None,
        passed_over: Vec::new(),
        indexes: Vec::new(),
        digest,
        descriptor: found.descriptor.clone(),
        manifest_bytes: found.bytes.clone(),
        manifest,
        config_bytes: config_bytes.into(),
        config,
    };
    with_layers(image, resolved, |layer| {
        let path = file(&layer.digest).expect("every layer was found above");
        LayerSource::File(path)
    })
}

fn refused(context: &BuildContext, reason: &str) -> output::Error {
    let what = match &context.place {
        ContextPlace::Layout { path, .. } => path.display().to_string(),
        ContextPlace::Files(_) | ContextPlace::Image(_) | ContextPlace::Scratch => {
            context.label.clone()
        }
    };
    output::Error::Content {
        what,
        reason: reason.to_owned(),
    }
}

/// Chooses the manifest for the platform; the only one, if nothing says what it is for.
fn choose(content: Content, image: &ImageUse) -> Option<Content> {
    let mut leaves = Vec::new();
    let mut pending = vec![content];
    while let Some(mut content) = pending.pop() {
        if content.children.is_empty() {
            leaves.push(content);
        } else {
            pending.append(&mut content.children);
        }
    }
    if leaves.len() == 1 {
        return leaves.pop();
    }
    let fitting = leaves.into_iter().filter_map(|leaf| {
        let offered = leaf.descriptor.platform.as_ref()?;
        Some((image.platform.distance(offered)?, leaf))
    });
    let best = fitting.min_by_key(|(distance, _)| *distance);
    best.map(|(_, leaf)| leaf)
}
