//! The bytes of a layer, wherever they are, verified on their way into a file.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Error, ImageLayer, LayerSource};
use crate::registry::Client;

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
        LayerSource::File(from) => {
            let mut file = tokio::fs::File::open(from)
                .await
                .map_err(|source| failed("read", from, source))?;
            let mut digester = descriptor.digest.digester();
            let mut buffer = vec![0; COPY_SIZE];
            loop {
                let count = file
                    .read(&mut buffer)
                    .await
                    .map_err(|source| failed("read", from, source))?;
                if count == 0 {
                    break;
                }
                digester.update(&buffer[..count]);
                writer
                    .write_all(&buffer[..count])
                    .await
                    .map_err(|source| failed("write", path, source))?;
            }
            if digester.finish() != descriptor.digest {
                return Err(Error::Changed {
                    path: from.clone(),
                    expected: descriptor.digest.clone(),
                });
            }
        }
        LayerSource::Remote(reference) => {
            let fetch = |source| Error::Fetch {
                source: Box::new(source),
            };
            let mut download = client.download(reference, descriptor);
            while let Some(bytes) = download.next().await.map_err(fetch)? {
                writer
                    .write_all(&bytes)
                    .await
                    .map_err(|source| failed("write", path, source))?;
            }
        }
    }
    Ok(())
}

pub(super) fn failed(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File {
        action,
        path: path.to_path_buf(),
        source,
    }
}
