//! The distribution protocol: what is in a registry, and how it gets there (distribution-spec 1.1).
//!
//! [`Client`] pulls ([`Client::resolve`], [`Client::manifest`], [`Client::download`], [`Client::blob_to_file`]) and
//! pushes ([`Client::check_push`], [`Client::push_blob`], [`Client::push_manifest`]). All bytes stream; those of a
//! manifest are kept as they came. What arrives is verified against its digest before it is given on or gets a name.
//! Transient failures are tried again, a transfer is resumed; a credential is presented to its registry and its token
//! server and to nobody else. This room knows nothing of Dockerfiles, caches or outputs.

mod challenge;
mod chunked;
mod client;
mod download;
mod elsewhere;
mod error;
mod mirror;
mod notes;
mod options;
mod partial;
mod pull;
mod push;
mod referrers;
mod tags;
mod token;

pub use crate::http::OnBytes;
pub use client::Client;
pub use download::Download;
pub use elsewhere::{Elsewhere, Fetch};
pub use error::{Error, Reply, ReplyError};
pub use mirror::{Mirror, MirrorError, Mirrors};
pub use notes::Note;
pub use options::{Action, RegistryOptions, dialled};
pub use pull::{DOCUMENT_LIMIT, RawManifest, ResolvedImage, choose};
pub use push::{BlobPush, BlobSource, BlobUpload};

pub(crate) use partial::Partial;
