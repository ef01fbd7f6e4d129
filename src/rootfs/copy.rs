//! File contents from one descriptor to another: shared extents where the file system can, holes kept.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// The most that one `copy_file_range` moves, so that a signal is seen in time.
const RANGE_BYTES_MAX: u64 = 64 << 20;
/// The buffer of the plain copy.
const BUFFER_BYTES: usize = 128 << 10;

/// Copies the first `size` bytes of a file to an empty one; both must be at their start.
///
/// The new file has this size, whatever becomes of the old one meanwhile.
pub fn copy_contents(from: &File, to: &File, size: u64) -> io::Result<()> {
    if let Ok(size) = usize::try_from(size)
        && size <= BUFFER_BYTES
    {
        return copy_at_once(from, to, size);
    }
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return to.set_len(size);
    }
    let mut at = 0;
    while at < size {
        let Some((start, end)) = next_extent(from, at, size)? else {
            break;
        };
        copy_range(from, to, start, end)?;
        at = end;
    }
    to.set_len(size)
}

/// Copies what fits into one buffer, with as few system calls as there can be: most files of a tree are small.
fn copy_at_once(mut from: &File, mut to: &File, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match from.read(&mut buffer[filled..]) {
            // The file became shorter meanwhile; the rest stays a hole.
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.write_all(&buffer[..filled])?;
    if filled < size {
        to.set_len(size as u64)?;
    }
    Ok(())
}

/// Finds the next bytes that are not in a hole, from `at` up to `size`.
pub fn next_extent(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system without holes: all of it is content.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok((start < size).then_some((start, end.min(size))))
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let length = usize::try_from((end - read_at).min(RANGE_BYTES_MAX)).unwrap_or(usize::MAX);
        let moved =
            rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length);
        match moved {
            // The file became shorter meanwhile; the rest stays a hole.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Mostly EXDEV or EINVAL: these two files cannot do it. A full disk will say so again.
            Err(_) => return copy_plainly(from, to, read_at, end),
        }
    }
    Ok(())
}

fn copy_plainly(mut from: &File, mut to: &File, start: u64, end: u64) -> io::Result<()> {
    from.seek(io::SeekFrom::Start(start))?;
    to.seek(io::SeekFrom::Start(start))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut rest = end - start;
    while rest > 0 {
        let most = usize::try_from(rest)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                rest -= length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
