//! An object as a stream: parts are asked for ahead and handed over in order.

use std::io::{self, Read};

use bytes::Bytes;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Error, Object};

/// The size of a part in bytes: large enough that the round trips do not count.
pub(super) const PART_SIZE: u64 = 4 << 20;

/// So many parts are asked for at a time. With those that wait to be read they bound the memory: 24 MiB.
const AHEAD: usize = 4;

/// So many parts wait to be read.
const WAITING: usize = 1;

/// Reads an object; to be used outside of the runtime.
#[derive(Debug)]
pub struct Reader {
    parts: mpsc::Receiver<Result<Bytes, Error>>,
    part: Bytes,
}

impl Reader {
    pub(super) fn start(object: Object, runtime: &Handle, token: CancellationToken) -> Self {
        let (sender, parts) = mpsc::channel(WAITING);
        runtime.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {
                    // A reader that went away has read enough.
                    let _ = sender.send(Err(Error::Cancelled)).await;
                }
                () = send(object, &sender) => {}
            }
        });
        Self {
            parts,
            part: Bytes::new(),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(Ok(part)) => self.part = part,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.part.len());
        buffer[..count].copy_from_slice(&self.part.split_to(count));
        Ok(count)
    }
}

async fn send(object: Object, sender: &mpsc::Sender<Result<Bytes, Error>>) {
    let size = object.head.size;
    let starts = (0..size.div_ceil(PART_SIZE)).map(|index| index * PART_SIZE);
    let mut parts = futures_util::stream::iter(starts)
        .map(|start| object.part(start, PART_SIZE.min(size - start)))
        .buffered(AHEAD);
    let mut hash = object.head.sha256.is_some().then(Sha256::new);
    while let Some(part) = parts.next().await {
        if let (Some(hash), Ok(part)) = (&mut hash, &part) {
            hash.update(part);
        }
        let is_last = part.is_err();
        // A reader that went away has read enough.
        if sender.send(part).await.is_err() || is_last {
            return;
        }
    }
    if let (Some(hash), Some(expected)) = (hash, &object.head.sha256) {
        let actual = hex::encode(hash.finalize());
        if actual != *expected {
            let error = Error::Checksum {
                name: object.name.clone(),
                expected: expected.clone(),
                actual,
            };
            // As above.
            let _ = sender.send(Err(error)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bucket, Head};
    use super::*;

    fn read(bytes: Bytes, sha256: Option<String>) -> io::Result<Vec<u8>> {
        let object = Object {
            name: "s3://b/k".to_owned(),
            head: Head {
                size: bytes.len() as u64,
                tag: None,
                sha256,
            },
            bucket: Bucket::Memory(bytes),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut reader = object.read(runtime.handle(), CancellationToken::new());
        let mut read = Vec::new();
        reader.read_to_end(&mut read)?;
        Ok(read)
    }

    #[test]
    fn parts_come_in_order_and_are_checked() {
        for parts in [0, 1, 9] {
            for more in [0_u64, 1, 1000] {
                let size = usize::try_from(parts * PART_SIZE + more).unwrap();
                let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
                let sum = hex::encode(Sha256::digest(&bytes));
                let bytes = Bytes::from(bytes);
                assert!(read(bytes.clone(), Some(sum)).unwrap() == bytes, "{size}");
                let error = read(bytes, Some("00".repeat(32))).unwrap_err();
                assert!(error.to_string().contains("checksum mismatch"), "{error}");
            }
        }
    }
}
