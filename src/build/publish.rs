//! The image to where it goes, and the files that tell of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::Http;
use crate::oci::{Descriptor, Digest, ImageConfig};
use crate::output::{self, Assembly, Image, ImageLayer, OnEvent, Output, Published, Report};
use crate::plan::{Plan, StageBase};
use crate::registry::{BlobPush, Client};

use super::event::{Direction, Event, Events};
use super::fetch;
use super::{BuildError, Request};

/// The label that names the commit (image-spec annotations.md "Pre-Defined Annotation Keys").
const REVISION: &str = "org.opencontainers.image.revision";

/// Labels the image with the commit of its context, unless a label of the command line or of the Dockerfile says otherwise.
///
/// # Deviation
/// BuildKit has the commit in its provenance only. What a base image says of its own commit is not true of ours.
pub(super) fn label_revision(
    plan: &mut Plan,
    bases: &[ImageConfig],
    given: &[(String, String)],
    commit: &str,
) {
    let labels = &mut plan.stages[plan.target].config.config.labels;
    let is_inherited = labels.get(REVISION).is_none_or(|value| {
        bases
            .iter()
            .any(|base| base.config.labels.get(REVISION) == Some(value))
    });
    if is_inherited && !given.iter().any(|(name, _)| name == REVISION) {
        labels.insert(REVISION.to_owned(), commit.to_owned());
    }
}

/// Makes the image out of its configuration and layers.
pub(super) fn assemble(
    config: ImageConfig,
    layers: Vec<ImageLayer>,
    request: &Request,
) -> Result<Image, BuildError> {
    let assembly = Assembly {
        config,
        layers,
        format: request.outputs.format,
        annotations: request.outputs.annotations.clone(),
    };
    Ok(output::assemble(assembly)?)
}

/// Checks that the layers of the image's base can be in an image of the format that was asked for.
pub(super) fn check_format(
    plan: &Plan,
    images: &[fetch::Image],
    request: &Request,
) -> Result<(), BuildError> {
    let mut stage = plan.stages.last();
    while let Some(StageBase::Stage(number)) = stage.map(|stage| &stage.base) {
        stage = plan.stages.get(*number);
    }
    if let Some(StageBase::Image(number)) = stage.map(|stage| &stage.base) {
        let base = &images[*number];
        assemble(base.resolved.config.clone(), base.layers.clone(), request)?;
    }
    Ok(())
}

/// Sends the image to all outputs; a push that fails is tried again as often as was asked for.
pub(super) async fn publish(
    image: &Image,
    bases: &[fetch::Image],
    request: &Request,
    client: &Client,
    on_event: &OnEvent,
) -> Result<Published, BuildError> {
    let outputs = outputs(request, bases);
    let mut tried = 0;
    loop {
        match output::publish(image, &outputs, client, Some(on_event)).await {
            Ok(published) => return Ok(published),
            Err(output::Error::Push { .. } | output::Error::PartlyPushed { .. })
                if tried < request.push_retries =>
            {
                tokio::time::sleep(fetch::wait_before(tried)).await;
                tried += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn outputs(request: &Request, bases: &[fetch::Image]) -> Vec<Output> {
    let asked = &request.outputs;
    let names = asked.destinations.clone();
    let mut outputs = Vec::new();
    if let Some(path) = &asked.oci_layout_path {
        outputs.push(Output::Layout {
            path: path.clone(),
            names: names.clone(),
        });
    }
    if let Some(path) = &asked.tar_path {
        outputs.push(Output::Archive {
            path: path.clone(),
            names: names.clone(),
        });
    }
    if asked.pushes {
        let mount_from = bases
            .iter()
            .map(|base| base.resolved.reference.clone())
            .collect();
        outputs.push(Output::Registry {
            destinations: names,
            mount_from,
            ignores_immutable: request.outputs.ignores_immutable_tags,
        });
    }
    outputs
}

/// Writes the files that tell what was made, and says what was written.
pub(super) async fn write_reports(
    published: &Published,
    request: &Request,
    http: &Http,
    events: &dyn Events,
) -> Result<(), BuildError> {
    let asked = &request.outputs;
    output::write_reports(&asked.reports, published, &asked.destinations, http).await?;
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let report = |report: &Option<Report>| report.as_ref().map(ToString::to_string);
    let written = [
        ("OCI layout", path(&published.layout)),
        ("archive", path(&published.archive)),
        ("digest file", report(&asked.reports.digest)),
        ("name file", report(&asked.reports.name_with_digest)),
        (
            "name and tag file",
            report(&asked.reports.name_tag_with_digest),
        ),
        ("metadata file", report(&asked.reports.metadata)),
    ];
    for (what, place) in written {
        if let Some(place) = place {
            events.send(Event::Written { what, place });
        }
    }
    Ok(())
}

/// The events of `output` as events of the build.
pub fn on_event(events: &Arc<dyn Events>) -> OnEvent {
    let events = Arc::clone(events);
    // Bytes sent and the size, by blob and repository.
    let known: Mutex<HashMap<(Digest, String), (u64, u64)>> = Mutex::default();
    Arc::new(move |event| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            output::Event::Started { descriptor, target } => {
                let Descriptor { digest, size, .. } = descriptor;
                known.insert((digest, target), (0, size));
            }
            output::Event::Sent {
                digest,
                target,
                bytes,
            } => {
                if let Some((done, total)) = known.get_mut(&(digest.clone(), target)) {
                    let before = *done;
                    *done += bytes;
                    if !fetch::is_worth_telling(before, *done, *total) {
                        return;
                    }
                    events.send(Event::Transfer {
                        direction: Direction::Push,
                        digest,
                        done: *done,
                        total: *total,
                    });
                }
            }
            output::Event::Finished {
                digest,
                target,
                how,
            } => {
                let (_, size) = known
                    .remove(&(digest.clone(), target.clone()))
                    .unwrap_or_default();
                let bytes = match how {
                    BlobPush::Existed | BlobPush::Mounted => 0,
                    BlobPush::Uploaded => size,
                };
                events.send(Event::BlobPushed {
                    repository: target,
                    digest,
                    bytes,
                });
            }
            output::Event::TagKept { reference, digest } => {
                events.send(Event::Warning {
                    message: format!(
                        "the tag {reference} must not change and stays at {digest}; the image was pushed without it"
                    ),
                    span: None,
                });
            }
            output::Event::Tagged { reference, digest } => {
                events.send(Event::Pushed { reference, digest });
            }
        }
    })
}
