//! Reading ahead: a stream is unpacked, and hashed where it has to be, on a thread of its own, while what came out of it is written to disk.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use super::error::Error;

/// A piece of the stream, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// So many pieces wait at most: memory does not depend on the stream's length.
const PIECES: usize = 4;

/// Runs `consume` with a reader of what comes out of `stream`; returns what it made, and the stream, read to its end.
pub(super) fn read_ahead<S: Read + Send, T>(
    mut stream: S,
    consume: impl FnOnce(&mut Ahead) -> Result<T, Error>,
) -> Result<(T, S), Error> {
    let (pieces, queue) = sync_channel(PIECES);
    let (emptied, buffers) = channel::<Vec<u8>>();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            loop {
                let buffer = buffers.try_recv().unwrap_or_default();
                let (piece, failure) = read_piece(&mut stream, buffer);
                let is_last = piece.is_empty() || failure.is_some();
                // Nobody takes the pieces any more when the other side has failed.
                let mut is_wanted = piece.is_empty() || pieces.send(Ok(piece)).is_ok();
                if let Some(error) = failure {
                    is_wanted &= pieces.send(Err(error)).is_ok();
                }
                if is_last || !is_wanted {
                    return stream;
                }
            }
        });
        let mut ahead = Ahead {
            queue,
            emptied,
            piece: Vec::new(),
            at: 0,
        };
        let value = consume(&mut ahead)?;
        io::copy(&mut ahead, &mut io::sink()).map_err(Error::from_stream)?;
        match reading.join() {
            Ok(stream) => Ok((value, stream)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Reads a whole piece, and what ended it early, if that was not the stream's end.
fn read_piece(stream: &mut impl Read, mut piece: Vec<u8>) -> (Vec<u8>, Option<io::Error>) {
    piece.resize(PIECE_BYTES, 0);
    let mut filled = 0;
    let mut failure = None;
    while filled < PIECE_BYTES {
        match stream.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    piece.truncate(filled);
    (piece, failure)
}

/// What was read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    queue: Receiver<io::Result<Vec<u8>>>,
    /// Takes pieces back to be filled again.
    emptied: Sender<Vec<u8>>,
    piece: Vec<u8>,
    /// How much of the piece was taken.
    at: usize,
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            // An error here means that the other side has read all, or has told us before why it could not.
            if let Ok(piece) = self.queue.recv() {
                let emptied = std::mem::replace(&mut self.piece, piece?);
                self.at = 0;
                // The other side may be at its end.
                let _ = self.emptied.send(emptied);
            }
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::decompress::HashingReader;
    use super::*;
    use crate::oci::Digest;

    /// Gives bytes in odd pieces, then fails or ends.
    struct Source(usize, bool);

    impl Read for Source {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 && self.1 {
                return Err(io::Error::other("broken"));
            }
            let length = self.0.min(buffer.len()).min(10_007);
            buffer[..length].fill(7);
            self.0 -= length;
            Ok(length)
        }
    }

    const LENGTHS: [usize; 5] = [0, 1, PIECE_BYTES, PIECE_BYTES * 3 + 5, PIECE_BYTES * 20];

    #[test]
    fn all_is_read_and_hashed_however_much_is_taken() {
        for length in LENGTHS {
            for taken in [0, 1, length / 2, length] {
                let stream = HashingReader::new(Source(length, false), u64::MAX);
                let (bytes, stream) = read_ahead(stream, |ahead| {
                    let mut bytes = Vec::new();
                    ahead.take(taken as u64).read_to_end(&mut bytes).unwrap();
                    Ok(bytes)
                })
                .unwrap();
                assert_eq!(bytes, vec![7; taken.min(length)]);
                let expect = (Digest::of(&vec![7; length]), length as u64);
                assert_eq!(stream.finish().unwrap(), expect, "{taken} of {length}");
            }
        }
    }

    #[test]
    fn what_came_before_a_failure_is_seen_and_so_is_the_failure() {
        for length in LENGTHS {
            let stream = HashingReader::new(Source(length, true), u64::MAX);
            let mut bytes = Vec::new();
            let failed = read_ahead(stream, |ahead| {
                ahead.read_to_end(&mut bytes).map_err(Error::from_stream)
            });
            assert!(matches!(failed, Err(Error::Stream(_))), "{length}");
            assert_eq!(bytes.len(), length);
        }
    }

    #[test]
    fn a_consumer_that_fails_does_not_wait() {
        let stream = HashingReader::new(Source(usize::MAX, false), u64::MAX);
        let failed = read_ahead(stream, |_| Err::<(), _>(Error::UnknownFormat));
        assert!(matches!(failed, Err(Error::UnknownFormat)));
    }
}
