//! To registries: all blobs to all repositories, then the manifest by its digest, then the tags.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Error, Event, Image, ImageLayer, LayerSource, OnEvent};
use crate::oci::{Descriptor, Reference};
use crate::registry::{self, BlobSource, BlobUpload, Client, OnBytes};

/// Blobs that are looked after at the same time; the client limits how many of them transfer.
const BLOBS_AT_ONCE: usize = 16;

/// A push of one image to several names.
pub(super) struct Push<'a> {
    pub(super) image: &'a Image,
    pub(super) destinations: &'a [Reference],
    pub(super) mount_from: &'a [Reference],
    pub(super) client: &'a Client,
    pub(super) on_event: Option<&'a OnEvent>,
}

/// Puts one layer into the repositories of all destinations, ahead of the image.
///
/// # Errors
/// When a registry refuses it or fails more often than transient failures are tried again.
pub async fn upload(
    client: &Client,
    destinations: &[Reference],
    layer: &ImageLayer,
    on_event: Option<&OnEvent>,
) -> Result<(), Error> {
    let mut done: Vec<Reference> = Vec::new();
    for target in repositories(destinations) {
        let blob = Blob {
            descriptor: &layer.descriptor,
            source: blob_source(layer),
        };
        blob.put(client, target, &done, on_event, false)
            .await
            .map_err(|source| Error::Push {
                source: Box::new(source),
            })?;
        done.push(target.clone());
    }
    Ok(())
}

impl Push<'_> {
    /// Pushes; gives the names that stand for the image now.
    pub(super) async fn run(&self) -> Result<Vec<Reference>, Error> {
        let failed = |source| Error::Push {
            source: Box::new(source),
        };
        let repositories = repositories(self.destinations);
        let mut done: Vec<Reference> = self.mount_from.to_vec();
        for target in &repositories {
            self.put_blobs(target, &done, false).await.map_err(failed)?;
            done.push((*target).clone());
        }
        for target in &repositories {
            self.put_manifest(target).await.map_err(failed)?;
        }
        let mut tagged: Vec<Reference> = Vec::new();
        for destination in self.destinations {
            let image = self.image;
            let tag = destination.tag_or_latest();
            let result = self
                .client
                .push_manifest(destination, tag, &image.descriptor, &image.manifest)
                .await;
            if let Err(source) = result {
                if tagged.is_empty() {
                    return Err(Error::Push {
                        source: Box::new(source),
                    });
                }
                return Err(Error::PartlyPushed {
                    pushed: tagged.iter().map(ToString::to_string).collect(),
                    source: Box::new(source),
                });
            }
            let reference = destination.clone();
            let digest = image.descriptor.digest.clone();
            tell(self.on_event, || Event::Tagged {
                reference: reference.clone(),
                digest,
            });
            tagged.push(reference);
        }
        Ok(tagged)
    }

    async fn put_blobs(
        &self,
        target: &Reference,
        mount_from: &[Reference],
        is_forced: bool,
    ) -> Result<(), registry::Error> {
        let config = BlobSource::Bytes(self.image.config.clone());
        let mut blobs = vec![Blob {
            descriptor: &self.image.config_descriptor,
            source: config,
        }];
        for layer in &self.image.layers {
            let descriptor = &layer.descriptor;
            let is_known = blobs
                .iter()
                .any(|blob| blob.descriptor.digest == descriptor.digest);
            // A foreign layer is not distributed: the manifest says where it is to be had.
            if !is_known && !descriptor.media_type.is_foreign() {
                blobs.push(Blob {
                    descriptor,
                    source: blob_source(layer),
                });
            }
        }
        let pushes: Vec<_> = blobs
            .iter()
            .map(|blob| blob.put(self.client, target, mount_from, self.on_event, is_forced))
            .collect();
        stream::iter(pushes)
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Puts the manifest under its digest. A registry that misses a blob after all, because it lied or because it
    /// collected garbage, is sent all of them once more.
    async fn put_manifest(&self, target: &Reference) -> Result<(), registry::Error> {
        let image = self.image;
        let name = image.descriptor.digest.as_str();
        match self
            .client
            .push_manifest(target, name, &image.descriptor, &image.manifest)
            .await
        {
            Err(error)
                if error.has_code("MANIFEST_BLOB_UNKNOWN") || error.has_code("BLOB_UNKNOWN") =>
            {
                self.put_blobs(target, &[], true).await?;
                self.client
                    .push_manifest(target, name, &image.descriptor, &image.manifest)
                    .await
            }
            other => other,
        }
    }
}

struct Blob<'a> {
    descriptor: &'a Descriptor,
    source: BlobSource,
}

impl Blob<'_> {
    async fn put(
        &self,
        client: &Client,
        target: &Reference,
        mount_from: &[Reference],
        on_event: Option<&OnEvent>,
        is_forced: bool,
    ) -> Result<(), registry::Error> {
        let descriptor = self.descriptor;
        let name = target.name();
        tell(on_event, || Event::Started {
            descriptor: descriptor.clone(),
            target: name.clone(),
        });
        let on_sent = on_event.map(|on_event| -> OnBytes {
            let (on_event, digest, target) = (
                Arc::clone(on_event),
                descriptor.digest.clone(),
                name.clone(),
            );
            Arc::new(move |bytes| {
                on_event(Event::Sent {
                    digest: digest.clone(),
                    target: target.clone(),
                    bytes,
                });
            })
        });
        let source = &self.source;
        let upload = BlobUpload {
            target,
            descriptor,
            source,
            mount_from,
            on_sent: on_sent.as_ref(),
            is_forced,
        };
        let how = client.push_blob(&upload).await?;
        tell(on_event, || Event::Finished {
            digest: descriptor.digest.clone(),
            target: name.clone(),
            how,
        });
        Ok(())
    }
}

fn tell(on_event: Option<&OnEvent>, event: impl FnOnce() -> Event) {
    if let Some(on_event) = on_event {
        on_event(event());
    }
}

fn blob_source(layer: &ImageLayer) -> BlobSource {
    match &layer.source {
        LayerSource::File(path) => BlobSource::File(path.clone()),
        LayerSource::Remote(reference) => BlobSource::Remote(reference.clone()),
    }
}

/// Gives one name of each repository.
fn repositories(destinations: &[Reference]) -> Vec<&Reference> {
    let mut found: Vec<&Reference> = Vec::new();
    for destination in destinations {
        if !found.iter().any(|known| known.name() == destination.name()) {
            found.push(destination);
        }
    }
    found
}
