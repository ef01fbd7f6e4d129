//! Base images: manifests and configurations first, all at once; layers only when a step needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::http::OnBytes;
use crate::oci::{Descriptor, Reference};
use crate::output::{ImageLayer, LayerSource};
use crate::plan::ImageUse;
use crate::registry::{self, Client, Note, ResolvedImage};

use super::event::{Direction, Event, Events};
use super::{BuildError, Request, named};

/// A transfer is told of each time that so many bytes more have gone over the wire.
const PROGRESS_BYTES: u64 = 1 << 20;

/// An image that the Dockerfile names.
#[derive(Debug)]
pub(super) struct Image {
    /// What the registry has.
    pub(super) resolved: ResolvedImage,
    /// Its layers, base first, each with its uncompressed digest.
    pub(super) layers: Vec<ImageLayer>,
}

/// Resolves images to manifests and configurations, all at the same time.
pub(super) async fn resolve(
    client: &Client,
    request: &Request,
    used: &[ImageUse],
    events: &dyn Events,
) -> Result<Vec<Image>, BuildError> {
    let lookups = used.iter().map(|image| async move {
        if let Some(context) = image.layout {
            let found = named::image(image, &request.contexts[context])?;
            tell(image, &found, events);
            return Ok(found);
        }
        let mut tried = 0;
        let warm = request.warm.as_ref();
        let there = warm.and_then(|warm| warm.resolve(&image.reference, &image.platform));
        let resolved = loop {
            if let Some(there) = there {
                break there;
            }
            match client.resolve(&image.reference, &image.platform).await {
                Ok(resolved) => break resolved,
                Err(error) if tried >= request.download_retries => {
                    return Err(image_error(image, error));
                }
                Err(_) => {
                    tokio::time::sleep(wait_before(tried)).await;
                    tried += 1;
                }
            }
        };
        for failure in &resolved.passed_over {
            events.send(Event::Warning {
                message: format!("the next place was asked instead: {failure}"),
                span: Some(image.span),
            });
        }
        let source = LayerSource::Remote(image.reference.clone());
        let found = with_layers(image, resolved, |_| source.clone())?;
        tell(image, &found, events);
        Ok(found)
    });
    let found = futures_util::future::try_join_all(lookups).await;
    tell_notes(client, events);
    found
}

/// Tells what the registries had to say since the last time, and which credentials they were shown.
pub fn tell_notes(client: &Client, events: &dyn Events) {
    for note in client.take_notes() {
        events.send(match note {
            Note::Warning { registry, text } => Event::Warning {
                message: format!("{registry} says: {text}"),
                span: None,
            },
            Note::Credential { registry, source } => Event::Credentials { registry, source },
        });
    }
}

/// Tells what an image is.
fn tell(image: &ImageUse, found: &Image, events: &dyn Events) {
    let (wanted, got) = (&image.platform, found.resolved.config.platform());
    if (&wanted.os, &wanted.architecture) != (&got.os, &got.architecture) {
        events.send(Event::Warning {
            message: format!("{} is for platform {got}, not {wanted}", image.reference),
            span: Some(image.span),
        });
    }
    events.send(Event::ImageResolved {
        reference: image.reference.clone(),
        mirror: found.resolved.source.clone(),
        digest: found.resolved.digest.clone(),
        platform: found.resolved.config.platform(),
        layers: found.layers.len(),
    });
}

/// How long to wait before something is tried again as a whole: a second, and twice as long each time.
pub(super) fn wait_before(tried: u32) -> Duration {
    Duration::from_secs(1 << tried.min(6))
}

pub(super) fn image_error(image: &ImageUse, source: registry::Error) -> BuildError {
    BuildError::Image {
        reference: image.reference.clone(),
        span: image.span,
        source: Box::new(source),
    }
}

/// Pairs each layer with its uncompressed digest.
pub(super) fn with_layers(
    image: &ImageUse,
    resolved: ResolvedImage,
    source: impl Fn(&Descriptor) -> LayerSource,
) -> Result<Image, BuildError> {
    let (layers, diff_ids) = (&resolved.manifest.layers, &resolved.config.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        return Err(BuildError::BrokenImage {
            reference: image.reference.clone(),
            span: image.span,
            reason: format!(
                "its manifest has {} layers, its configuration {}",
                layers.len(),
                diff_ids.len()
            ),
        });
    }
    let layers = layers
        .iter()
        .zip(diff_ids)
        .map(|(descriptor, diff_id)| ImageLayer {
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
            source: source(descriptor),
        })
        .collect();
    Ok(Image { resolved, layers })
}

/// Tells the bytes of a transfer as events.
pub(super) fn progress(
    events: &Arc<dyn Events>,
    direction: Direction,
    descriptor: &Descriptor,
) -> OnBytes {
    let (events, digest, total) = (
        Arc::clone(events),
        descriptor.digest.clone(),
        descriptor.size,
    );
    let done = AtomicU64::new(0);
    Arc::new(move |bytes| {
        let before = done.fetch_add(bytes, Ordering::Relaxed);
        let done = before + bytes;
        if !is_worth_telling(before, done, total) {
            return;
        }
        events.send(Event::Transfer {
            direction,
            digest: digest.clone(),
            done,
            total,
        });
    })
}

/// Whether a transfer has come far enough since the last event to send another one; the last byte always is.
///
/// Network and disk deliver in pieces of a few KiB, and nobody reads a million events.
pub(super) fn is_worth_telling(before: u64, done: u64, total: u64) -> bool {
    done >= total || before / PROGRESS_BYTES != done / PROGRESS_BYTES
}

/// Asks every repository that is pushed to whether it accepts a push, before any work is done for it.
///
/// # Errors
/// When one of them does not.
pub async fn check_push(client: &Client, destinations: &[Reference]) -> Result<(), BuildError> {
    let mut checked: Vec<String> = Vec::new();
    for destination in destinations {
        if checked.contains(&destination.name()) {
            continue;
        }
        client
            .check_push(destination)
            .await
            .map_err(|source| BuildError::Push {
                reference: destination.clone(),
                source: Box::new(source),
            })?;
        checked.push(destination.name());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_told_of_in_large_steps() {
        let told = |total: u64, piece: u64| {
            let mut count = 0;
            let mut done = 0;
            while done < total {
                let before = done;
                done = total.min(done + piece);
                count += u64::from(is_worth_telling(before, done, total));
            }
            count
        };
        assert_eq!(told(1000, 10), 1, "its end");
        assert_eq!(told(10 << 20, 8 << 10), 10);
        assert_eq!(told((10 << 20) + 1, 8 << 10), 11);
        assert_eq!(told(10 << 20, 4 << 20), 3, "each piece is larger");
    }
}
