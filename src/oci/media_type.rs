//! Media types of the image specification and of Docker's manifest schema 2 (image-spec media-types.md).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type as written in a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

/// How a layer's tar stream is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip (RFC 1952).
    #[default]
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl MediaType {
    /// The OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// The OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// The OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Docker's manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, compressed with gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer that a registry need not hold, compressed with gzip.
    pub const DOCKER_FOREIGN_LAYER: &str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

    /// All manifest and index types that longshore reads, the value of an `Accept` header field.
    pub const MANIFESTS: [&str; 4] = [
        Self::OCI_INDEX,
        Self::DOCKER_INDEX,
        Self::OCI_MANIFEST,
        Self::DOCKER_MANIFEST,
    ];

    /// A media type from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The OCI layer type for `compression`.
    pub fn oci_layer(compression: Compression) -> Self {
        Self(match compression {
            Compression::None => Self::OCI_LAYER.to_owned(),
            Compression::Gzip => format!("{}+gzip", Self::OCI_LAYER),
            Compression::Zstd => format!("{}+zstd", Self::OCI_LAYER),
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names a manifest of one image.
    pub fn is_manifest(&self) -> bool {
        self.0 == Self::OCI_MANIFEST || self.0 == Self::DOCKER_MANIFEST
    }

    /// Whether it names an index or manifest list.
    pub fn is_index(&self) -> bool {
        self.0 == Self::OCI_INDEX || self.0 == Self::DOCKER_INDEX
    }

    /// Whether a layer of this type may be left out of a registry (image-spec layer.md "Non-Distributable Layers").
    pub fn is_foreign(&self) -> bool {
        self.0 == Self::DOCKER_FOREIGN_LAYER
            || self
                .0
                .starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
    }

    /// Whether it is one of Docker's types.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with("application/vnd.docker.")
    }

    /// The OCI type of the same meaning; types that have none stay as they are.
    #[must_use]
    pub fn to_oci(&self) -> Self {
        let text = match self.0.as_str() {
            Self::DOCKER_MANIFEST => Self::OCI_MANIFEST,
            Self::DOCKER_INDEX => Self::OCI_INDEX,
            Self::DOCKER_CONFIG => Self::OCI_CONFIG,
            Self::DOCKER_LAYER_GZIP => "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar" => Self::OCI_LAYER,
            "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
                "application/vnd.oci.image.layer.v1.tar+zstd"
            }
            Self::DOCKER_FOREIGN_LAYER => {
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            }
            other => other,
        };
        Self(text.to_owned())
    }

    /// Docker's type of the same meaning; types that have none (zstd layers) stay as they are.
    #[must_use]
    pub fn to_docker(&self) -> Self {
        let text = match self.0.as_str() {
            Self::OCI_MANIFEST => Self::DOCKER_MANIFEST,
            Self::OCI_INDEX => Self::DOCKER_INDEX,
            Self::OCI_CONFIG => Self::DOCKER_CONFIG,
            "application/vnd.oci.image.layer.v1.tar+gzip" => Self::DOCKER_LAYER_GZIP,
            Self::OCI_LAYER => "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" => {
                Self::DOCKER_FOREIGN_LAYER
            }
            other => other,
        };
        Self(text.to_owned())
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl PartialEq<str> for MediaType {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for MediaType {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
