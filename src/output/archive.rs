//! An archive as `docker save` makes: the configuration, the layers, and `manifest.json` that ties them to names.
//!
//! The names of the entries are kaniko's. The layers keep their compression: `docker load` recognizes it.
//!
//! # Deviation
//! Without a name kaniko invents one; here the archive has none and `docker load` tells the image's id.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter};

use super::source::{copy_layer, failed};
use super::{Error, Image};
use crate::oci::{DOCKER_HUB, Descriptor, Reference};
use crate::registry::{Client, Partial};

/// The unit of a tar archive in bytes.
const BLOCK: usize = 512;

/// Writes the image into the file.
pub(super) async fn write(
    image: &Image,
    path: &Path,
    names: &[Reference],
    client: &Client,
) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent)
            .await
            .map_err(|source| failed("create", parent, source))?;
    }
    let (partial, file) = Partial::create(path)
        .await
        .map_err(|source| failed("create", path, source))?;
    let mut writer = BufWriter::with_capacity(256 * 1024, file);
    let bad = |source| failed("write", path, source);
    let config_name = image.config_descriptor.digest.to_string();
    entry(&mut writer, &config_name, &image.config)
        .await
        .map_err(bad)?;
    let mut written = BTreeSet::new();
    for layer in &image.layers {
        let name = layer_name(&layer.descriptor);
        if written.insert(name.clone()) {
            start(&mut writer, &name, layer.descriptor.size)
                .await
                .map_err(bad)?;
            copy_layer(layer, client, &mut writer, path).await?;
            pad(&mut writer, layer.descriptor.size).await.map_err(bad)?;
        }
    }
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer_name(&layer.descriptor))
        .collect();
    let tags: Vec<String> = names.iter().map(familiar).collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": layers }]);
    entry(
        &mut writer,
        "manifest.json",
        manifest.to_string().as_bytes(),
    )
    .await
    .map_err(bad)?;
    writer.write_all(&[0; 2 * BLOCK]).await.map_err(bad)?;
    writer.flush().await.map_err(bad)?;
    partial.keep().map_err(bad)
}

async fn entry(
    writer: &mut (impl AsyncWrite + Unpin),
    name: &str,
    bytes: &[u8],
) -> std::io::Result<()> {
    start(writer, name, bytes.len() as u64).await?;
    writer.write_all(bytes).await?;
    pad(writer, bytes.len() as u64).await
}

async fn start(
    writer: &mut (impl AsyncWrite + Unpin),
    name: &str,
    size: u64,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    writer.write_all(header.as_bytes()).await
}

async fn pad(writer: &mut (impl AsyncWrite + Unpin), size: u64) -> std::io::Result<()> {
    let over = usize::try_from(size % BLOCK as u64).expect("less than a block");
    let rest = (BLOCK - over) % BLOCK;
    writer.write_all(&[0; BLOCK][..rest]).await
}

fn layer_name(descriptor: &Descriptor) -> String {
    let media_type = descriptor.media_type.as_str();
    let extension = if media_type.ends_with("gzip") {
        "tar.gz"
    } else if media_type.ends_with("zstd") {
        "tar.zst"
    } else {
        "tar"
    };
    format!("{}.{extension}", descriptor.digest.hex())
}

/// Writes a name as Docker shows it: without Docker Hub and its namespace of official images.
fn familiar(name: &Reference) -> String {
    let repository = name.repository();
    let shown = if name.registry() == DOCKER_HUB {
        repository
            .strip_prefix("library/")
            .unwrap_or(repository)
            .to_owned()
    } else {
        name.name()
    };
    format!("{shown}:{}", name.tag_or_latest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_docker_shows_them() {
        let check = |name: &str, expect: &str| {
            assert_eq!(familiar(&name.parse().expect("a reference")), expect);
        };
        check("alpine", "alpine:latest");
        check("user/app:1", "user/app:1");
        check("ghcr.io/a/b", "ghcr.io/a/b:latest");
        check("localhost:5000/library/b:2", "localhost:5000/library/b:2");
    }
}
