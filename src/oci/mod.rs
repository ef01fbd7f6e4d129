//! The nouns of the OCI specifications: references, digests, descriptors, manifests, image configurations.
//!
//! Plain values with their checks in the types: what parses is valid, and what prints parses again. This room does no
//! I/O and depends on no other room. Documents that come from a registry keep their raw bytes elsewhere: a digest is
//! always over the bytes as received, never over a value printed again.
//!
//! Docker's own media types (manifest schema 2) name the same shapes and are read alike.

mod config;
mod descriptor;
mod digest;
mod layout;
mod manifest;
mod media_type;
mod platform;
mod reference;

pub use config::{Config, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Digester};
pub use layout::{IMAGE_LAYOUT_FILE, IMAGE_LAYOUT_VERSION, REF_NAME_ANNOTATION};
pub use manifest::{Document, DocumentError, Index, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::{Platform, PlatformError};
pub use reference::{DOCKER_HUB, Reference, ReferenceError};
