//! The bytes of a layer, wherever they are, verified on their way into a file.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Error, ImageLayer, LayerSource};
use crate::oci::Descriptor;
use crate::registry::{self, Client};

/// Size of the reads and writes of a copy.
const COPY_SIZE: usize = 256 * 1024;

/// Copies a layer to a writer. The copy must be thrown away when this fails.
pub(super) async fn copy_layer(
    layer: &ImageLayer,
    client: &Client,
    writer: &mut (impl AsyncWrite + Unpin),
    path: &Path,
) -> Result<(), Error> {
    let descriptor = &layer.descriptor;
    match &layer.source {
        LayerSource::File(from) => copy_file(from, descriptor, writer, path).await,
        LayerSource::Elsewhere(blob) => {
            let from = blob.file().await.map_err(fetch)?;
            copy_file(&from, descriptor, writer, path).await
        }
        LayerSource::Remote(reference) => {
            let mut download = client.download(reference, descriptor);
            while let Some(bytes) = download.next().await.map_err(fetch)? {
                writer
                    .write_all(&bytes)
                    .await
                    .map_err(|source| failed("write", path, source))?;
            }
            Ok(())
        }
    }
}

fn fetch(source: registry::Error) -> Error {
    Error::Fetch {
        source: Box::new(source),
    }
}

/// Copies a file and checks it on the way.
async fn copy_file(
    from: &Path,
    descriptor: &Descriptor,
    writer: &mut (impl AsyncWrite + Unpin),
    path: &Path,
) -> Result<(), Error> {
    let read = |source| failed("read", from, source);
    let mut file = tokio::fs::File::open(from).await.map_err(read)?;
    let mut digester = descriptor.digest.digester();
    let mut buffer = vec![0; COPY_SIZE];
    loop {
        let count = file.read(&mut buffer).await.map_err(read)?;
        if count == 0 {
            break;
        }
        digester.update(&buffer[..count]);
        writer
            .write_all(&buffer[..count])
            .await
            .map_err(|source| failed("write", path, source))?;
    }
    if digester.finish() == descriptor.digest {
        Ok(())
    } else {
        Err(Error::Changed {
            path: from.to_owned(),
            expected: descriptor.digest.clone(),
        })
    }
}

pub(super) fn failed(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File {
        action,
        path: path.to_path_buf(),
        source,
    }
}
