//! An image as a value, and how its manifest is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;

use super::Error;
use crate::oci::{Descriptor, Digest, ImageConfig, Manifest, MediaType, Reference};
use crate::registry::{BlobSource, Elsewhere, ResolvedImage};

/// An image that is ready to go somewhere.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest's type, digest and size.
    pub descriptor: Descriptor,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The configuration's type, digest and size.
    pub config_descriptor: Descriptor,
    /// The configuration's bytes.
    pub config: Bytes,
    /// The layers, base first.
    pub layers: Vec<ImageLayer>,
}

/// A layer and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayer {
    /// Its type, digest and size as compressed.
    pub descriptor: Descriptor,
    /// The digest of its tar stream.
    pub diff_id: Digest,
    /// Its bytes.
    pub source: LayerSource,
}

/// Where the bytes of a layer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerSource {
    /// In a file, compressed as its descriptor says.
    File(PathBuf),
    /// In a repository of a registry.
    Remote(Reference),
    /// Neither here nor in a registry.
    Elsewhere(Elsewhere),
}

impl LayerSource {
    /// The same, as the registry room takes it.
    pub fn to_blob(&self) -> BlobSource {
        match self {
            Self::File(path) => BlobSource::File(path.clone()),
            Self::Remote(reference) => BlobSource::Remote(reference.clone()),
            Self::Elsewhere(blob) => BlobSource::Elsewhere(blob.clone()),
        }
    }
}

/// The two families of media types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The OCI image specification.
    #[default]
    Oci,
    /// Docker's image manifest, version 2, schema 2.
    Docker,
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// The configuration; the layers' diff ids replace what its `rootfs` says.
    pub config: ImageConfig,
    /// The layers, base first.
    pub layers: Vec<ImageLayer>,
    /// The media types.
    pub format: Format,
    /// Annotations of the manifest. Docker's format has none: they are left out there.
    pub annotations: BTreeMap<String, String>,
}

/// Makes the image. As BuildKit does, all of it is of one family of media types, the OCI one by default: the types of
/// a base's layers are written in the family that was asked for, their bytes and digests stay. The manifest is
/// indented by two blanks, the configuration is compact. Annotations of the base are not taken over.
///
/// # Deviation
/// kaniko inherits the family of the base, and takes Docker's for scratch.
///
/// # Errors
/// When a layer has no type in Docker's format (zstd).
pub fn assemble(assembly: Assembly) -> Result<Image, Error> {
    let Assembly {
        mut config,
        mut layers,
        format,
        annotations,
    } = assembly;
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    for layer in &mut layers {
        layer.descriptor.media_type = in_format(&layer.descriptor.media_type, format)?;
    }
    let config = serde_json::to_vec(&config).map_err(|source| Error::Json {
        what: "the configuration",
        source,
    })?;
    let config_type = in_format(&MediaType::OCI_CONFIG.into(), format)?;
    let config_descriptor = Descriptor::of(config_type, &config);
    let media_type = in_format(&MediaType::OCI_MANIFEST.into(), format)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type.clone()),
        config: config_descriptor.clone(),
        layers: layers
            .iter()
            .map(|layer| layer.descriptor.clone())
            .collect(),
        annotations: match format {
            Format::Oci => annotations,
            Format::Docker => BTreeMap::new(),
        },
    };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|source| Error::Json {
        what: "the manifest",
        source,
    })?;
    let descriptor = Descriptor::of(media_type, &manifest);
    Ok(Image {
        descriptor,
        manifest: manifest.into(),
        config_descriptor,
        config: config.into(),
        layers,
    })
}

/// Gives the layers of a base image, to be taken from its repository.
///
/// # Errors
/// When the manifest and the configuration do not have the same number of layers.
pub fn remote_layers(base: &ResolvedImage) -> Result<Vec<ImageLayer>, Error> {
    let (layers, diff_ids) = (&base.manifest.layers, &base.config.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        let name = base.reference.to_string();
        return Err(Error::Base {
            name,
            layers: layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let pairs = layers.iter().zip(diff_ids);
    Ok(pairs
        .map(|(descriptor, diff_id)| ImageLayer {
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
            source: LayerSource::Remote(base.reference.clone()),
        })
        .collect())
}

pub(super) fn in_format(media_type: &MediaType, format: Format) -> Result<MediaType, Error> {
    match format {
        Format::Oci => Ok(media_type.to_oci()),
        Format::Docker => {
            let docker = media_type.to_docker();
            if docker.is_docker() {
                Ok(docker)
            } else {
                Err(Error::Format {
                    media_type: media_type.to_string(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Compression, Platform};

    fn layer(media_type: MediaType) -> ImageLayer {
        ImageLayer {
            descriptor: Descriptor::of(media_type, b"layer"),
            diff_id: Digest::of(b"tar"),
            source: LayerSource::File("layer".into()),
        }
    }

    fn made(media_type: MediaType, format: Format) -> Result<Image, Error> {
        let platform: Platform = "linux/amd64".parse().expect("a platform");
        assemble(Assembly {
            config: ImageConfig::scratch(&platform),
            layers: vec![layer(media_type)],
            format,
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        })
    }

    #[test]
    fn an_image_is_of_one_family() {
        let types = |image: &Image| {
            let manifest: Manifest = serde_json::from_slice(&image.manifest).expect("a manifest");
            assert_eq!(
                manifest.media_type.as_ref(),
                Some(&image.descriptor.media_type)
            );
            assert_eq!(manifest.config, image.config_descriptor);
            [&image.descriptor, &manifest.config, &manifest.layers[0]]
                .map(|descriptor| descriptor.media_type.to_string())
        };
        let docker_layer = MediaType::from(MediaType::DOCKER_LAYER_GZIP);
        let oci_layer = MediaType::oci_layer(Compression::Gzip);
        for media_type in [&docker_layer, &oci_layer] {
            let oci = made(media_type.clone(), Format::Oci).expect("an image");
            assert_eq!(
                types(&oci),
                [
                    MediaType::OCI_MANIFEST,
                    MediaType::OCI_CONFIG,
                    oci_layer.as_str()
                ]
            );
            let docker = made(media_type.clone(), Format::Docker).expect("an image");
            assert_eq!(
                types(&docker),
                [
                    MediaType::DOCKER_MANIFEST,
                    MediaType::DOCKER_CONFIG,
                    docker_layer.as_str()
                ]
            );
            assert!(!String::from_utf8_lossy(&docker.manifest).contains("annotations"));
        }
    }

    #[test]
    fn zstd_is_for_oci_only() {
        let zstd = MediaType::oci_layer(Compression::Zstd);
        assert!(made(zstd.clone(), Format::Oci).is_ok());
        assert!(matches!(
            made(zstd, Format::Docker),
            Err(Error::Format { .. })
        ));
    }

    #[test]
    fn the_same_parts_make_the_same_bytes() {
        let one = made(MediaType::oci_layer(Compression::Gzip), Format::Oci).expect("an image");
        let two = made(MediaType::oci_layer(Compression::Gzip), Format::Oci).expect("an image");
        assert_eq!(one.manifest, two.manifest);
        assert_eq!(one.descriptor.digest, Digest::of(&one.manifest));
        let config: ImageConfig = serde_json::from_slice(&one.config).expect("a configuration");
        assert_eq!(config.rootfs.diff_ids, [Digest::of(b"tar")]);
    }
}
