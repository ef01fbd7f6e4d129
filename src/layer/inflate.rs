//! A layer decompressed before its turn: its tar in a file, its diff id known.
//!
//! Layers are written one after the other, each onto those below; decompressing takes several times as long as writing,
//! and can be done for several layers at once.

use std::fs::File;
use std::io::{Read, Seek, Write};

use crate::oci::Digest;

use super::decompress::{self, HashingReader};
use super::error::Error;

/// The tar is written so many bytes at a time.
const WRITE_BYTES: usize = 256 << 10;

/// The tar of a layer in a file that nobody else writes to.
#[derive(Debug)]
pub struct Inflated {
    pub(super) tar: File,
    pub(super) diff_id: Digest,
    pub(super) bytes: u64,
}

/// Decompresses a layer into `file`, an empty one that can be read, too. `None` once it is not wanted any more.
///
/// # Errors
/// When the layer is damaged, or its tar larger than `bytes_max`, or cannot be written.
pub fn inflate(
    blob: impl Read + Send,
    mut file: File,
    bytes_max: u64,
    is_wanted: impl Fn() -> bool,
) -> Result<Option<Inflated>, Error> {
    let mut stream = HashingReader::new(decompress::open_layer(blob)?, bytes_max);
    let mut piece = vec![0; WRITE_BYTES];
    loop {
        if !is_wanted() {
            return Ok(None);
        }
        let length = stream.read(&mut piece).map_err(Error::from_stream)?;
        if length == 0 {
            break;
        }
        file.write_all(&piece[..length]).map_err(Error::Sink)?;
    }
    file.rewind().map_err(Error::Sink)?;
    let (diff_id, bytes) = stream.finish().map_err(Error::from_stream)?;
    Ok(Some(Inflated {
        tar: file,
        diff_id,
        bytes,
    }))
}
