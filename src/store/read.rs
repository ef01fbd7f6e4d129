//! An object as a stream: parts are asked for ahead and handed over in order.

use std::fmt;
use std::io::{self, BufRead, Read};

use bytes::{Buf as _, Bytes};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Error, Object};

/// The size of a part in bytes: large enough that the round trips do not count.
pub(super) const PART_SIZE: u64 = 2 << 20;

/// So many parts are asked for at a time. With those that wait to be read they bound the memory: 12 MiB.
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

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(Ok(part)) => self.part = part,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => {}
            }
        }
        Ok(&self.part)
    }

    fn consume(&mut self, count: usize) {
        self.part.advance(count);
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.fill_buf()?;
        let count = buffer.len().min(part.len());
        buffer[..count].copy_from_slice(&part[..count]);
        self.consume(count);
        Ok(count)
    }
}

async fn send(object: Object, sender: &mpsc::Sender<Result<Bytes, Error>>) {
    let mut parts = std::pin::pin!(stream(object));
    while let Some(part) = parts.next().await {
        // A reader that went away has read enough.
        if sender.send(part).await.is_err() {
            return;
        }
    }
}

/// The parts in order; the first error ends it, and a checksum that does not match is one.
pub(super) fn stream(object: Object) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    let size = object.head.size;
    let sum = object.head.checksum.clone();
    let name = object.name.clone();
    let starts = (0..size.div_ceil(PART_SIZE)).map(|index| index * PART_SIZE);
    let parts = futures_util::stream::iter(starts)
        .map(move |start| {
            let object = object.clone();
            async move { object.part(start, PART_SIZE.min(size - start)).await }
        })
        .buffered(AHEAD)
        .boxed();
    let checked = Checked {
        parts,
        sum: sum.map(|expected| (Sum::of_kind(&expected), expected)),
        name,
    };
    futures_util::stream::try_unfold(checked, Checked::next)
}

/// Parts, and what they sum up to so far.
struct Checked {
    parts: BoxStream<'static, Result<Bytes, Error>>,
    sum: Option<(Sum, Checksum)>,
    name: String,
}

impl Checked {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        if let Some(part) = self.parts.next().await {
            let part = part?;
            if let Some((sum, _)) = &mut self.sum {
                sum.update(&part);
            }
            return Ok(Some((part, self)));
        }
        let Some((sum, expected)) = self.sum else {
            return Ok(None);
        };
        let actual = sum.finish();
        if actual == expected {
            return Ok(None);
        }
        Err(Error::Checksum {
            name: self.name,
            expected: expected.to_string(),
            actual: actual.to_string(),
        })
    }
}

/// What an object sums up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256, in hexadecimal digits.
    Sha256(String),
    /// CRC-32C (Castagnoli).
    Crc32c(u32),
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "sha256:{digits}"),
            Self::Crc32c(sum) => write!(f, "crc32c:{sum:08x}"),
        }
    }
}

/// A sum in the making.
pub(super) enum Sum {
    Sha256(Sha256),
    Crc32c(u32),
}

impl Sum {
    #[cfg(feature = "gcs")]
    pub(super) fn crc32c() -> Self {
        Self::Crc32c(0)
    }

    fn of_kind(checksum: &Checksum) -> Self {
        match checksum {
            Checksum::Sha256(_) => Self::Sha256(Sha256::new()),
            Checksum::Crc32c(_) => Self::Crc32c(0),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Crc32c(sum) => *sum = crc32c(*sum, bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        match self {
            Self::Sha256(hash) => Checksum::Sha256(hex::encode(hash.finalize())),
            Self::Crc32c(sum) => Checksum::Crc32c(sum),
        }
    }
}

/// The polynomial of CRC-32C, its bits reversed (RFC 3720, appendix B.4).
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// The remainders of all bytes.
const REMAINDERS: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut byte = 0;
    let mut value = 0_u32;
    while byte < 256 {
        let mut remainder = value;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 1 == 1 {
                (remainder >> 1) ^ CASTAGNOLI
            } else {
                remainder >> 1
            };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
        value += 1;
    }
    table
};

/// Goes on with a sum.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(!sum, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        (sum >> 8) ^ REMAINDERS[usize::from(low ^ byte)]
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::super::{Head, Source};
    use super::*;

    fn read(bytes: Bytes, checksum: Checksum) -> io::Result<Vec<u8>> {
        let object = Object {
            name: "s3://b/k".to_owned(),
            head: Head {
                size: bytes.len() as u64,
                tag: None,
                checksum: Some(checksum),
            },
            source: Source::Memory(bytes),
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
                let sums = [
                    Checksum::Sha256(hex::encode(Sha256::digest(&bytes))),
                    Checksum::Crc32c(crc32c(0, &bytes)),
                ];
                let bytes = Bytes::from(bytes);
                for sum in sums {
                    assert!(read(bytes.clone(), sum).unwrap() == bytes, "{size}");
                }
                for sum in [Checksum::Sha256("00".repeat(32)), Checksum::Crc32c(1)] {
                    let error = read(bytes.clone(), sum).unwrap_err();
                    assert!(error.to_string().contains("checksum mismatch"), "{error}");
                }
            }
        }
    }

    #[test]
    fn sums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(crc32c(0, &[0xff; 16]), &[0xff; 16]), 0x62a8_ab43);
    }
}
