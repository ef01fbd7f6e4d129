//! An OCI image layout (image-spec image-layout.md): a directory of blobs and an index that names the image.
//!
//! The index is written last and replaces an older one; blobs that are there already are kept.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::source::{copy_layer, failed};
use super::{Error, Image};
use crate::oci::{
    Descriptor, IMAGE_LAYOUT_FILE, IMAGE_LAYOUT_VERSION, ImageConfig, MediaType,
    REF_NAME_ANNOTATION, Reference,
};
use crate::registry::{Client, Partial};

/// The annotation by which containerd and Docker find the whole name of an image.
const IMAGE_NAME_ANNOTATION: &str = "io.containerd.image.name";

/// The annotation of the time of creation (image-spec annotations.md).
const CREATED_ANNOTATION: &str = "org.opencontainers.image.created";

/// Writes the image into the directory.
pub(super) async fn write(
    image: &Image,
    directory: &Path,
    name: Option<&Reference>,
    client: &Client,
) -> Result<(), Error> {
    for layer in &image.layers {
        let path = blob_path(directory, &layer.descriptor).await?;
        if layer.descriptor.media_type.is_foreign() || has(&path, &layer.descriptor).await {
            continue;
        }
        let (partial, mut file) = Partial::create(&path)
            .await
            .map_err(|source| failed("create", &path, source))?;
        copy_layer(layer, client, &mut file, &path).await?;
        file.flush()
            .await
            .map_err(|source| failed("write", &path, source))?;
        partial
            .keep()
            .map_err(|source| failed("write", &path, source))?;
    }
    for (descriptor, bytes) in [
        (&image.config_descriptor, &image.config),
        (&image.descriptor, &image.manifest),
    ] {
        put(&blob_path(directory, descriptor).await?, bytes).await?;
    }
    put(
        &directory.join(IMAGE_LAYOUT_FILE),
        IMAGE_LAYOUT_VERSION.as_bytes(),
    )
    .await?;
    put(&directory.join("index.json"), &index(image, name)?).await
}

/// Makes the index. It has one descriptor, so that tools that push a layout know which image is meant.
fn index(image: &Image, name: Option<&Reference>) -> Result<Vec<u8>, Error> {
    let json = |source| Error::Json {
        what: "the index",
        source,
    };
    let config: ImageConfig = serde_json::from_slice(&image.config).map_err(json)?;
    let mut annotations = BTreeMap::new();
    if let Some(name) = name {
        let tag = name.tag_or_latest();
        annotations.insert(
            IMAGE_NAME_ANNOTATION.to_owned(),
            format!("{}:{tag}", name.name()),
        );
        annotations.insert(REF_NAME_ANNOTATION.to_owned(), tag.to_owned());
    }
    if let Some(created) = &config.created {
        annotations.insert(CREATED_ANNOTATION.to_owned(), created.clone());
    }
    let descriptor = Descriptor {
        annotations,
        platform: Some(config.platform()),
        ..image.descriptor.clone()
    };
    let index =
        json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [descriptor] });
    serde_json::to_vec_pretty(&index).map_err(json)
}

async fn blob_path(directory: &Path, descriptor: &Descriptor) -> Result<std::path::PathBuf, Error> {
    let blobs = directory.join("blobs").join(descriptor.digest.algorithm());
    tokio::fs::create_dir_all(&blobs)
        .await
        .map_err(|source| failed("create", &blobs, source))?;
    Ok(blobs.join(descriptor.digest.hex()))
}

/// Says whether a blob is there and whole.
async fn has(path: &Path, descriptor: &Descriptor) -> bool {
    use tokio::io::AsyncReadExt as _;
    let Ok(mut file) = tokio::fs::File::open(path).await else {
        return false;
    };
    let mut digester = descriptor.digest.digester();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).await {
            Ok(0) => return digester.finish() == descriptor.digest,
            Ok(count) => digester.update(&buffer[..count]),
            Err(_) => return false,
        }
    }
}

async fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (partial, mut file) = Partial::create(path)
        .await
        .map_err(|source| failed("create", path, source))?;
    file.write_all(bytes)
        .await
        .map_err(|source| failed("write", path, source))?;
    file.flush()
        .await
        .map_err(|source| failed("write", path, source))?;
    partial
        .keep()
        .map_err(|source| failed("write", path, source))
}
