//! Where an image goes: registries, an OCI layout, a docker archive, and the files that tell its digest.
//!
//! [`assemble`] makes the [`Image`] out of a configuration and layers; [`publish`] sends it to all [`Output`]s and
//! says what came of it; [`write_reports`] writes digest and metadata files afterwards. Files are complete when they
//! appear under their names, and a tag is written when everything that it stands for is in its registry, and in the
//! registries of all other destinations. [`upload`] sends a layer ahead, while the next step still runs. What exists
//! already is [`Content`], out of a registry or of files: [`index()`] makes one name of several, [`push()`] pushes it.

mod archive;
mod content;
mod image;
mod index;
mod layout;
mod push;
mod report;
mod source;
mod stored;

use std::path::PathBuf;
use std::sync::Arc;

use crate::http;
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::{self, BlobPush, Client};

pub use content::{Content, ContentBlob};
pub use image::{Assembly, Format, Image, ImageLayer, LayerSource, assemble, remote_layers};
pub use index::{IndexOptions, Member, index};
pub use push::upload;
pub use report::{Report, Reports, write_reports};

/// One place for an image to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Registries, under one or more names.
    Registry {
        /// The names; a name without a tag gets `latest`.
        destinations: Vec<Reference>,
        /// Repositories that may have some of the layers, to mount them from.
        mount_from: Vec<Reference>,
        /// Whether a tag that must not change may stay as it is.
        ignores_immutable: bool,
    },
    /// A directory in the OCI image layout.
    Layout {
        /// The directory, made if need be.
        path: PathBuf,
        /// The names of the image; the first is written into the index.
        names: Vec<Reference>,
    },
    /// An archive as `docker save` makes and `docker load` takes.
    Archive {
        /// The file.
        path: PathBuf,
        /// The names of the image.
        names: Vec<Reference>,
    },
}

/// What happened to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The manifest's descriptor; its digest is the image's.
    pub descriptor: Descriptor,
    /// The digest of the configuration, which Docker calls the image's id; an index has none.
    pub config_digest: Option<Digest>,
    /// The names that were pushed.
    pub pushed: Vec<Reference>,
    /// The layout that was written.
    pub layout: Option<PathBuf>,
    /// The archive that was written.
    pub archive: Option<PathBuf>,
}

/// Progress of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A blob is being put somewhere.
    Started {
        /// The blob.
        descriptor: Descriptor,
        /// The repository.
        target: String,
    },
    /// Bytes of it were sent.
    Sent {
        /// The blob's digest.
        digest: Digest,
        /// The repository.
        target: String,
        /// How many.
        bytes: u64,
    },
    /// It is there.
    Finished {
        /// The blob's digest.
        digest: Digest,
        /// The repository.
        target: String,
        /// How it came there.
        how: BlobPush,
    },
    /// A name must not change and stands for another image.
    TagKept {
        /// The name.
        reference: Reference,
        /// What it stands for.
        digest: Digest,
    },
    /// A name stands for the image now.
    Tagged {
        /// The name.
        reference: Reference,
        /// The image's digest.
        digest: Digest,
    },
}

/// Is told of events; called from several tasks.
pub type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// An image that did not get where it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer cannot be in a manifest of this format.
    #[error(
        "a layer of type \"{media_type}\" cannot be in an image of docker's format: use the OCI format"
    )]
    Format {
        /// The layer's type.
        media_type: String,
    },
    /// The base image's layers do not fit its configuration.
    #[error("image {name} has {layers} layers and its configuration names {diff_ids}")]
    Base {
        /// The image.
        name: String,
        /// Layers in its manifest.
        layers: usize,
        /// Layers in its configuration.
        diff_ids: usize,
    },
    /// A document cannot be written as JSON.
    #[error("cannot write {what} as JSON: {source}")]
    Json {
        /// The document.
        what: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// The push failed; no tag was written.
    #[error("{source}")]
    Push {
        /// The cause.
        source: Box<registry::Error>,
    },
    /// Some of the tags were written, then it failed.
    #[error("{source}; already pushed: {}", pushed.join(", "))]
    PartlyPushed {
        /// The names that stand for the new image.
        pushed: Vec<String>,
        /// The cause.
        source: Box<registry::Error>,
    },
    /// What is to be pushed is not what it should be.
    #[error("{what}: {reason}")]
    Content {
        /// The image, index or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer of the base image cannot be fetched.
    #[error("{source}")]
    Fetch {
        /// The cause.
        source: Box<registry::Error>,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A server cannot be sent a report.
    #[error("{source}")]
    Send {
        /// The cause.
        source: http::Error,
    },
    /// A server does not take a report.
    #[error("{url} does not take what is to be written there: {status}")]
    Refused {
        /// The URL, without secrets.
        url: String,
        /// Its answer.
        status: http::StatusCode,
    },
    /// A layer's file is not what its descriptor says.
    #[error("{} is not the layer {expected} that it should be", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The digest that it should have.
        expected: Digest,
    },
}

impl Error {
    /// Names what cannot be fetched from a registry.
    fn fetch(source: registry::Error) -> Self {
        Self::Fetch {
            source: Box::new(source),
        }
    }
}

/// Pushes an image or index that exists already, with all below it, to registries.
///
/// # Errors
/// The first failure. No tag was written then, unless the error names some.
pub async fn push(
    content: &Content,
    destinations: &[Reference],
    ignores_immutable: bool,
    client: &Client,
    on_event: Option<&OnEvent>,
) -> Result<Published, Error> {
    let push = push::Push {
        content,
        destinations,
        mount_from: &[],
        ignores_immutable,
        client,
        on_event,
    };
    let pushed = push.run().await?;
    Ok(Published {
        descriptor: content.descriptor.clone(),
        config_digest: content.config.clone(),
        pushed,
        layout: None,
        archive: None,
    })
}

/// Sends an image to all outputs: files first, so that a full disk is known before any tag is written.
///
/// # Errors
/// The first failure. What was written under a final name by then is complete.
pub async fn publish(
    image: &Image,
    outputs: &[Output],
    client: &Client,
    on_event: Option<&OnEvent>,
) -> Result<Published, Error> {
    let mut published = Published {
        descriptor: image.descriptor.clone(),
        config_digest: Some(image.config_descriptor.digest.clone()),
        pushed: Vec::new(),
        layout: None,
        archive: None,
    };
    for output in outputs {
        match output {
            Output::Layout { path, names } => {
                layout::write(image, path, names.first(), client).await?;
                published.layout = Some(path.clone());
            }
            Output::Archive { path, names } => {
                archive::write(image, path, names, client).await?;
                published.archive = Some(path.clone());
            }
            Output::Registry { .. } => {}
        }
    }
    for output in outputs {
        match output {
            Output::Registry {
                destinations,
                mount_from,
                ignores_immutable,
            } => {
                let push = push::Push {
                    content: &Content::of_image(image),
                    destinations,
                    mount_from,
                    ignores_immutable: *ignores_immutable,
                    client,
                    on_event,
                };
                published.pushed.extend(push.run().await?);
            }
            Output::Layout { .. } | Output::Archive { .. } => {}
        }
    }
    Ok(published)
}
