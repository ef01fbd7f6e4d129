//! To registries: all blobs to all repositories, those of different registries side by side, then the manifests by their
//! digests, then the tags.

use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Content, Error, Event, ImageLayer, OnEvent};
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::{self, BlobSource, BlobUpload, Client, OnBytes};

/// Blobs that are looked after at the same time; the client limits how many of them transfer.
const BLOBS_AT_ONCE: usize = 16;

/// A push of one image or index to several names.
pub(super) struct Push<'a> {
    pub(super) content: &'a Content,
    pub(super) destinations: &'a [Reference],
    pub(super) mount_from: &'a [Reference],
    pub(super) ignores_immutable: bool,
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
    let source = &layer.source.to_blob();
    let registries = registries(destinations).into_iter().map(async |targets| {
        let mut done: Vec<Reference> = Vec::new();
        for target in targets {
            let blob = Blob {
                descriptor: &layer.descriptor,
                source,
            };
            blob.put(client, target, &done, on_event, false).await?;
            done.push(target.clone());
        }
        Ok(())
    });
    try_join_all(registries)
        .await
        .map_err(|source| Error::Push {
            source: Box::new(source),
        })?;
    Ok(())
}

impl Push<'_> {
    /// Pushes; gives the names that stand for the image now.
    pub(super) async fn run(&self) -> Result<Vec<Reference>, Error> {
        let failed = |source| Error::Push {
            source: Box::new(source),
        };
        let registries = registries(self.destinations);
        let blobs = registries.iter().map(async |targets| {
            let mut done: Vec<Reference> = self.mount_from.to_vec();
            for target in targets {
                self.put_blobs(target, &done, false).await?;
                done.push((*target).clone());
            }
            Ok(())
        });
        try_join_all(blobs).await.map_err(failed)?;
        for target in registries.iter().flatten() {
            for document in self.content.documents() {
                self.put_manifest(target, document).await.map_err(failed)?;
            }
        }
        let mut tagged: Vec<Reference> = Vec::new();
        for destination in self.destinations {
            let kept = self.put_tag(destination).await.map_err(|source| {
                if tagged.is_empty() {
                    return failed(source);
                }
                Error::PartlyPushed {
                    pushed: tagged.iter().map(ToString::to_string).collect(),
                    source: Box::new(source),
                }
            })?;
            let reference = destination.clone();
            tell(self.on_event, || match kept {
                Some(digest) => Event::TagKept { reference, digest },
                None => Event::Tagged {
                    reference,
                    digest: self.content.descriptor.digest.clone(),
                },
            });
            tagged.push(destination.clone());
        }
        Ok(tagged)
    }

    /// Writes a tag. Gives what it stands for if it must not be changed and the user said that this is no failure.
    async fn put_tag(&self, destination: &Reference) -> Result<Option<Digest>, registry::Error> {
        let Content {
            descriptor, bytes, ..
        } = self.content;
        let tag = destination.tag_or_latest();
        let result = self
            .client
            .push_manifest(destination, tag, descriptor, bytes)
            .await;
        match result {
            Err(error) if self.ignores_immutable && error.may_be_immutable_tag() => {
                // The registry took the same manifest by its digest a moment ago: what it refuses is to move the tag,
                // if there is one.
                let named = destination.with_tag(tag);
                let asked = match &named {
                    Ok(named) => {
                        self.client
                            .manifest_digest(named, registry::Action::Push)
                            .await
                    }
                    Err(_) => Ok(None),
                };
                match asked {
                    Ok(Some(digest)) => Ok(Some(digest)),
                    Ok(None) | Err(_) => Err(error),
                }
            }
            other => other.map(|()| None),
        }
    }

    async fn put_blobs(
        &self,
        target: &Reference,
        mount_from: &[Reference],
        is_forced: bool,
    ) -> Result<(), registry::Error> {
        // What is taken out of the same repository is there.
        let is_there = |source: &BlobSource| match source {
            BlobSource::Remote(reference) => reference.name() == target.name(),
            BlobSource::Bytes(_)
            | BlobSource::File(_)
            | BlobSource::Part { .. }
            | BlobSource::Elsewhere(_) => false,
        };
        let blobs: Vec<_> = self
            .content
            .distributed()
            .into_iter()
            .filter(|blob| !is_there(&blob.source))
            .map(|blob| Blob {
                descriptor: &blob.descriptor,
                source: &blob.source,
            })
            .collect();
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

    /// Puts a manifest under its digest. A registry that misses a blob after all, because it lied or because it
    /// collected garbage, is sent all of them once more.
    async fn put_manifest(
        &self,
        target: &Reference,
        document: &Content,
    ) -> Result<(), registry::Error> {
        let name = document.descriptor.digest.as_str();
        let put = || {
            self.client
                .push_manifest(target, name, &document.descriptor, &document.bytes)
        };
        match put().await {
            Err(error)
                if error.has_code("MANIFEST_BLOB_UNKNOWN") || error.has_code("BLOB_UNKNOWN") =>
            {
                self.put_blobs(target, &[], true).await?;
                put().await
            }
            other => other,
        }
    }
}

struct Blob<'a> {
    descriptor: &'a Descriptor,
    source: &'a BlobSource,
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
        let upload = BlobUpload {
            target,
            descriptor,
            source: self.source,
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

/// Gives one name of each repository, by registry: what one repository has, the next of the same registry mounts, while
/// registries have nothing from each other and are served side by side.
fn registries(destinations: &[Reference]) -> Vec<Vec<&Reference>> {
    let mut found: Vec<Vec<&Reference>> = Vec::new();
    for destination in destinations {
        let same = |known: &&mut Vec<&Reference>| known[0].registry() == destination.registry();
        match found.iter_mut().find(same) {
            Some(known) if known.iter().any(|known| known.name() == destination.name()) => {}
            Some(known) => known.push(destination),
            None => found.push(vec![destination]),
        }
    }
    found
}
