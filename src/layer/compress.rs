//! A tar stream through its two hashes and a compressor, in blocks, on any number of threads with the same bytes.
//!
//! The writer hashes what it is given, cuts it into blocks of a fixed size and hands them to the workers; one more
//! thread takes the compressed blocks in their order, hashes them and writes them out. The queues between hold a few
//! blocks, so memory does not depend on the layer's size.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, FlushCompress, Status};

use crate::oci::{Compression, Digest, Digester};

use super::error::Error;

/// A block of gzip; changing it changes every layer's digest.
const GZIP_BLOCK_BYTES: usize = 1 << 20;
/// A frame of zstd; longer ones compress better and take more memory. Changing it changes every layer's digest.
const ZSTD_BLOCK_BYTES: usize = 4 << 20;
/// SHA-256 passes some 1,100 MB a second, deflate 80 and zstd 240. With blocks of 1 and 4 MiB and the state of each
/// compressor this bounds the memory of a layer at some 80 and 100 MiB on a machine of any size.
const GZIP_WORKERS_MAX: usize = 16;
const ZSTD_WORKERS_MAX: usize = 6;
/// Blocks that wait for a worker, or for their turn after one.
const QUEUED_BLOCKS: usize = 2;
/// How far back deflate looks.
const DEFLATE_WINDOW_BYTES: usize = 32 << 10;
/// RFC 1952 section 2.3: deflate, no flags, no time, no extra flags, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty final deflate block.
const DEFLATE_END: [u8; 2] = [3, 0];

/// How to compress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) threads: NonZeroUsize,
}

impl Settings {
    /// How many threads compress: more than keep up with one that hashes would wait, each with a block in memory.
    fn workers(self) -> usize {
        let most = match self.compression {
            Compression::None => 1,
            Compression::Gzip => GZIP_WORKERS_MAX,
            Compression::Zstd => ZSTD_WORKERS_MAX,
        };
        self.threads.get().min(most)
    }
}

/// What came out.
#[derive(Debug)]
pub(super) struct Compressed {
    pub(super) diff_id: Digest,
    pub(super) uncompressed: u64,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Runs `produce` with a writer whose bytes reach `sink` compressed.
pub(super) fn through<T>(
    settings: Settings,
    sink: impl Write + Send,
    produce: impl FnOnce(&mut BlockWriter) -> Result<T, Error>,
) -> Result<(T, Compressed), Error> {
    let workers = settings.workers();
    let (jobs, queue) = sync_channel::<Job>(QUEUED_BLOCKS);
    let (ordered, finished) =
        sync_channel::<Receiver<io::Result<Vec<u8>>>>(workers + QUEUED_BLOCKS);
    let queue = Arc::new(Mutex::new(queue));
    let shared = Arc::new(Spares::default());
    let spares = &*shared;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(settings, &queue, spares));
        }
        // From here on only the workers hold the queue, so that it closes with them.
        drop(queue);
        let (trailer_sender, trailer) = sync_channel::<Vec<u8>>(1);
        let output =
            scope.spawn(move || write_out(settings.compression, &finished, &trailer, spares, sink));
        let mut writer = BlockWriter::new(settings, jobs, ordered, Arc::clone(&shared));
        let produced = produce(&mut writer);
        let outcome = match produced {
            Ok(value) => writer.finish().map(|(diff_id, uncompressed, trailer)| {
                // The receiver is gone only if writing failed, which is what will be reported.
                let _ = trailer_sender.send(trailer);
                (value, diff_id, uncompressed)
            }),
            Err(error) => {
                drop(writer);
                Err(error)
            }
        };
        drop(trailer_sender);
        let written = output
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A producer that cannot go on fails for the reason that the output has.
        let written = match written {
            Err(error @ (Error::Sink(_) | Error::Compress(_))) => return Err(error),
            answer => answer,
        };
        let (value, diff_id, uncompressed) = outcome?;
        let (digest, size) = written?;
        let compressed = Compressed {
            diff_id,
            uncompressed,
            digest,
            size,
        };
        Ok((value, compressed))
    })
}

/// Buffers that go round: an allocator that keeps what each thread frees to that thread would hold several for each.
#[derive(Debug, Default)]
struct Spares {
    /// Of the tar.
    blocks: Mutex<Vec<Vec<u8>>>,
    /// Of what came out of the compressors, which is mostly less.
    compressed: Mutex<Vec<Vec<u8>>>,
}

impl Spares {
    /// An empty buffer, with room if it was used before.
    fn take(of: &Mutex<Vec<Vec<u8>>>) -> Vec<u8> {
        of.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    fn give_back(of: &Mutex<Vec<Vec<u8>>>, mut buffer: Vec<u8>) {
        buffer.clear();
        of.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }
}

struct Job {
    bytes: Vec<u8>,
    /// The end of the block before, as far as deflate looks back; nothing before the first.
    before: Vec<u8>,
    answer: SyncSender<io::Result<Vec<u8>>>,
}

/// Takes a tar stream, hashes it and cuts it into blocks.
#[derive(Debug)]
pub(super) struct BlockWriter {
    block_bytes: usize,
    block: Vec<u8>,
    /// The end of the block before, for deflate.
    before: Vec<u8>,
    looks_back: usize,
    spares: Arc<Spares>,
    jobs: SyncSender<Job>,
    ordered: SyncSender<Receiver<io::Result<Vec<u8>>>>,
    digester: Digester,
    crc: Option<flate2::Crc>,
    bytes: u64,
}

impl BlockWriter {
    fn new(
        settings: Settings,
        jobs: SyncSender<Job>,
        ordered: SyncSender<Receiver<io::Result<Vec<u8>>>>,
        spares: Arc<Spares>,
    ) -> Self {
        let (block_bytes, looks_back, crc) = match settings.compression {
            Compression::Gzip => (
                GZIP_BLOCK_BYTES,
                DEFLATE_WINDOW_BYTES,
                Some(flate2::Crc::new()),
            ),
            Compression::Zstd => (ZSTD_BLOCK_BYTES, 0, None),
            Compression::None => (GZIP_BLOCK_BYTES, 0, None),
        };
        Self {
            block_bytes,
            block: Vec::new(),
            before: Vec::new(),
            looks_back,
            spares,
            jobs,
            ordered,
            digester: Digester::sha256(),
            crc,
            bytes: 0,
        }
    }

    fn send_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.block);
        self.digester.update(&bytes);
        if let Some(crc) = &mut self.crc {
            crc.update(&bytes);
        }
        self.bytes += bytes.len() as u64;
        let end = bytes[bytes.len().saturating_sub(self.looks_back)..].to_vec();
        let before = std::mem::replace(&mut self.before, end);
        let (answer, result) = sync_channel(1);
        let job = Job {
            bytes,
            before,
            answer,
        };
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.ordered.send(result).map_err(|_| gone())?;
        self.jobs.send(job).map_err(|_| gone())
    }

    /// Sends what is left, and returns the hash, the length and what follows the last block.
    fn finish(mut self) -> Result<(Digest, u64, Vec<u8>), Error> {
        self.send_block().map_err(Error::Sink)?;
        let mut trailer = Vec::new();
        if let Some(crc) = &self.crc {
            trailer.extend_from_slice(&DEFLATE_END);
            trailer.extend_from_slice(&crc.sum().to_le_bytes());
            trailer.extend_from_slice(&crc.amount().to_le_bytes());
        }
        Ok((self.digester.finish(), self.bytes, trailer))
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block = Spares::take(&self.spares.blocks);
            self.block.reserve_exact(self.block_bytes);
        }
        let length = bytes.len().min(self.block_bytes - self.block.len());
        self.block.extend_from_slice(&bytes[..length]);
        if self.block.len() == self.block_bytes {
            self.send_block()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(settings: Settings, queue: &Mutex<Receiver<Job>>, spares: &Spares) {
    let mut encoder = Encoder::new(settings);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        let result = match &mut encoder {
            Ok(encoder) => {
                let mut out = Spares::take(&spares.compressed);
                encoder.block(&job, &mut out).map(|()| out)
            }
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        Spares::give_back(&spares.blocks, job.bytes);
        // The receiver is gone only when the output has failed.
        let _ = job.answer.send(result);
    }
}

enum Encoder {
    Plain,
    /// Of this level. Every block gets a compressor of its own: one that is reset still shows what it compressed before.
    Deflate(flate2::Compression),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    fn new(settings: Settings) -> io::Result<Self> {
        Ok(match settings.compression {
            Compression::None => Self::Plain,
            Compression::Gzip => {
                let level = settings.level.unwrap_or(6).clamp(0, 9);
                Self::Deflate(flate2::Compression::new(level.unsigned_abs()))
            }
            Compression::Zstd => Self::Zstd(Box::new(zstd::bulk::Compressor::new(
                settings.level.unwrap_or(3),
            )?)),
        })
    }

    /// Compresses a block into a buffer that is empty.
    fn block(&mut self, job: &Job, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain => out.extend_from_slice(&job.bytes),
            Self::Deflate(level) => deflate_block(*level, job, out)?,
            Self::Zstd(zstd) => {
                out.reserve(zstd::zstd_safe::compress_bound(job.bytes.len()));
                zstd.compress_to_buffer(&job.bytes, out)?;
            }
        }
        Ok(())
    }
}

/// Compresses a block as if all before it had been compressed too, up to a byte boundary.
fn deflate_block(level: flate2::Compression, job: &Job, out: &mut Vec<u8>) -> io::Result<()> {
    let mut deflate = Compress::new(level, false);
    if !job.before.is_empty() {
        deflate
            .set_dictionary(&job.before)
            .map_err(io::Error::other)?;
    }
    // What cannot be compressed is stored with 5 bytes for some 16 KiB: the buffer mostly has its size at once.
    out.reserve(job.bytes.len() + job.bytes.len() / 1024 + 1024);
    let mut consumed = 0;
    loop {
        if out.capacity() - out.len() < 64 {
            out.reserve(job.bytes.len() / 4 + 1024);
        }
        let room_before = out.capacity() - out.len();
        let start_in = deflate.total_in();
        let start_out = out.len();
        let status = deflate
            .compress_vec(&job.bytes[consumed..], out, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        consumed += usize::try_from(deflate.total_in() - start_in).unwrap_or_default();
        let is_full = out.len() - start_out == room_before;
        match status {
            // All is taken and flushed when room is left over.
            Status::Ok | Status::BufError if consumed == job.bytes.len() && !is_full => {
                return Ok(());
            }
            Status::Ok | Status::BufError => {}
            Status::StreamEnd => return Err(io::Error::other("deflate ended before its input")),
        }
    }
}

fn write_out(
    compression: Compression,
    finished: &Receiver<Receiver<io::Result<Vec<u8>>>>,
    trailer: &Receiver<Vec<u8>>,
    spares: &Spares,
    mut sink: impl Write,
) -> Result<(Digest, u64), Error> {
    let mut digester = Digester::sha256();
    let mut size = 0;
    let mut put = |bytes: &[u8]| {
        digester.update(bytes);
        size += bytes.len() as u64;
        sink.write_all(bytes).map_err(Error::Sink)
    };
    if compression == Compression::Gzip {
        put(&GZIP_HEADER)?;
    }
    while let Ok(result) = finished.recv() {
        let Ok(block) = result.recv() else {
            // The producer stopped between the two sends: it has the reason.
            return Err(Error::Truncated);
        };
        let block = block.map_err(Error::Compress)?;
        put(&block)?;
        Spares::give_back(&spares.compressed, block);
    }
    let Ok(trailer) = trailer.recv() else {
        return Err(Error::Truncated);
    };
    put(&trailer)?;
    sink.flush().map_err(Error::Sink)?;
    Ok((digester.finish(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever worker takes a block, and whatever it took before.
    #[test]
    fn a_block_is_the_same_after_any_other() {
        // Short runs of few bytes: deflate has many choices, and the smallest trace of another block shows.
        let (mut state, mut data) = (1_u64, Vec::new());
        while data.len() < 5 * GZIP_BLOCK_BYTES {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let bytes = state.to_be_bytes();
            data.resize(data.len() + usize::from(bytes[0] % 39) + 1, bytes[1] % 4);
        }
        let blocks: Vec<_> = data.chunks(GZIP_BLOCK_BYTES).map(<[u8]>::to_vec).collect();
        assert!(blocks.len() > 3);
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            let settings = Settings {
                compression,
                level: None,
                threads: NonZeroUsize::MIN,
            };
            let block = |encoder: &mut Encoder, number: usize| {
                let before = number.checked_sub(1).map(|before| {
                    let block = &blocks[before];
                    block[block.len() - DEFLATE_WINDOW_BYTES..].to_vec()
                });
                let job = Job {
                    bytes: blocks[number].clone(),
                    before: before.unwrap_or_default(),
                    answer: sync_channel(1).0,
                };
                let mut out = Vec::new();
                encoder.block(&job, &mut out).unwrap();
                out
            };
            for number in 0..blocks.len() {
                let expect = block(&mut Encoder::new(settings).unwrap(), number);
                for before in 0..blocks.len() {
                    let mut encoder = Encoder::new(settings).unwrap();
                    block(&mut encoder, before);
                    let found = block(&mut encoder, number);
                    assert!(
                        found == expect,
                        "{compression:?}: block {number} after {before}: {} bytes, else {}",
                        found.len(),
                        expect.len()
                    );
                }
            }
        }
    }
}
