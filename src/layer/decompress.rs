//! From compressed bytes of any kind to a tar stream, decided by what the bytes are and never by what they are called.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use crate::oci::{Digest, Digester};

use super::error::{Error, LimitPassed};
use super::header::{BLOCK_BYTES, RawHeader};

/// The largest window that a frame may ask for: 2²⁷ bytes, so that a hostile frame cannot take the memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// The same bound for xz, in KiB.
const XZ_MEMORY_KIB_MAX: u32 = 128 << 10;
/// Compressed bytes are read so many at a time.
const READ_BYTES: usize = 256 << 10;

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A tar that is not compressed.
    Tar,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

impl Format {
    /// Recognizes the beginning of a stream; at least 512 bytes are needed to tell a tar.
    pub fn recognize(head: &[u8]) -> Option<Self> {
        const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
        if head.starts_with(&[0x1f, 0x8b]) {
            return Some(Self::Gzip);
        }
        let is_skippable = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == SKIPPABLE;
        if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable {
            return Some(Self::Zstd);
        }
        if head.starts_with(b"BZh") {
            return Some(Self::Bzip2);
        }
        if head.starts_with(b"\xfd7zXZ\0") {
            return Some(Self::Xz);
        }
        let block = head.first_chunk::<BLOCK_BYTES>()?;
        let is_tar = block.iter().all(|&b| b == 0) || RawHeader::parse(block).is_ok();
        is_tar.then_some(Self::Tar)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tar => "nothing",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

/// Says whether a stream is a tar archive, compressed or not, as ADD needs to know. Reads its beginning only.
pub fn sniff(mut reader: impl Read + Send) -> Result<Option<Format>, Error> {
    let head = read_head(&mut reader)?;
    let Some(format) = Format::recognize(&head) else {
        return Ok(None);
    };
    if format == Format::Tar {
        // A block of zeros may begin anything; as a whole archive it would have nothing to extract.
        let is_empty = head.iter().all(|&b| b == 0);
        return Ok((!is_empty).then_some(format));
    }
    let reader = BufReader::with_capacity(READ_BYTES, reader);
    let Ok(mut unpacked) = decoder(format, Cursor::new(head).chain(reader)) else {
        return Ok(None);
    };
    // What cannot be unpacked is a file like any other.
    let head = read_head(&mut unpacked).unwrap_or_default();
    Ok((Format::recognize(&head) == Some(Format::Tar)).then_some(format))
}

/// Opens a stream as a tar, whatever it is compressed with.
pub(super) fn open<'a>(
    mut reader: impl BufRead + Send + 'a,
) -> Result<(Format, Box<dyn BufRead + Send + 'a>), Error> {
    let head = read_head(&mut reader)?;
    let format = Format::recognize(&head).ok_or(Error::UnknownFormat)?;
    Ok((format, decoder(format, Cursor::new(head).chain(reader))?))
}

/// Opens a layer: a tar that is plain or compressed as images allow.
pub(super) fn open_layer<'a>(
    reader: impl Read + Send + 'a,
) -> Result<Box<dyn BufRead + Send + 'a>, Error> {
    match open(BufReader::with_capacity(READ_BYTES, reader))? {
        (Format::Tar | Format::Gzip | Format::Zstd, stream) => Ok(stream),
        (format @ (Format::Bzip2 | Format::Xz), _) => Err(Error::NotALayer(format.name())),
    }
}

fn decoder<'a, R: BufRead + Send + 'a>(
    format: Format,
    reader: Chain<Cursor<Vec<u8>>, R>,
) -> Result<Box<dyn BufRead + Send + 'a>, Error> {
    Ok(match format {
        Format::Tar => Box::new(reader),
        Format::Gzip => unpacked(flate2::bufread::MultiGzDecoder::new(reader)),
        Format::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(reader).map_err(Error::Stream)?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(Error::Stream)?;
            unpacked(decoder)
        }
        Format::Bzip2 => unpacked(bzip2::bufread::MultiBzDecoder::new(reader)),
        Format::Xz => unpacked(lzma_rust2::XzReader::new_mem_limit(
            reader,
            true,
            XZ_MEMORY_KIB_MAX,
        )),
    })
}

fn unpacked<'a>(decoder: impl Read + Send + 'a) -> Box<dyn BufRead + Send + 'a> {
    Box::new(BufReader::with_capacity(READ_BYTES, decoder))
}

fn read_head(reader: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut head = Vec::with_capacity(BLOCK_BYTES);
    reader
        .take(BLOCK_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(Error::from_stream)?;
    Ok(head)
}

/// Counts what passes, and stops at a bound.
#[derive(Debug)]
pub(super) struct Bounded<R> {
    inner: R,
    /// Bytes that may still pass.
    rest: u64,
    bytes_max: u64,
}

impl<R: BufRead> Bounded<R> {
    /// Wraps a reader; more than `bytes_max` bytes are an error.
    pub(super) fn new(inner: R, bytes_max: u64) -> Self {
        Self {
            inner,
            rest: bytes_max,
            bytes_max,
        }
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let piece = self.inner.fill_buf()?;
        if self.rest == 0 && !piece.is_empty() {
            return Err(io::Error::other(LimitPassed(self.bytes_max)));
        }
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX);
        Ok(&piece[..piece.len().min(most)])
    }

    fn consume(&mut self, count: usize) {
        self.rest -= count as u64;
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Hashes and counts what passes, and stops at a bound.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    digester: Digester,
    bytes: u64,
    bytes_max: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps a reader; more than `bytes_max` bytes are an error.
    pub fn new(inner: R, bytes_max: u64) -> Self {
        Self {
            inner,
            digester: Digester::sha256(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Returns the number of bytes that passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads to the end and returns the digest of all that passed, with its length.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.digester.finish(), self.bytes))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes += length as u64;
        if self.bytes > self.bytes_max {
            return Err(io::Error::other(LimitPassed(self.bytes_max)));
        }
        self.digester.update(&buffer[..length]);
        Ok(length)
    }
}
