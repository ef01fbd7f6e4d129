//! A strict reader of tar streams: what two programs could read differently is an error.
//!
//! Read are ustar, PAX and GNU archives with long names and sparse files. The size in an extended header wins over the
//! header's; an extended header applies to the next entry and to nothing between; entries without content have none.

use std::io::{self, BufRead};

use crate::rootfs::{Device, Owner, Timestamp, Xattrs, escape};

use super::error::Error;
use super::header::{BLOCK_BYTES, RawHeader, Rule, until_nul};
use super::pax::{self, Pax};
use super::sparse::{self, Extent};

/// Longer names and extended headers than this are refused, as Go's reader does.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Times are kept within what ext4 and an octal field can hold.
const MTIME_SECS: std::ops::RangeInclusive<i64> = -(1 << 31)..=(1 << 33) - 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Dir,
    Fifo,
}

/// One entry, its extensions merged in. Names are as written.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) link_name: Vec<u8>,
    pub(super) kind: EntryKind,
    pub(super) mode: u32,
    pub(super) owner: Owner,
    /// The size of the file; of a sparse one, with its holes.
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) device: Device,
    pub(super) xattrs: Xattrs,
    /// Where the content goes, if the file is sparse.
    pub(super) extents: Option<Vec<Extent>>,
}

/// Reads entries one by one; what is left of a content is passed over.
#[derive(Debug)]
pub(super) struct TarReader<R> {
    inner: R,
    /// Content bytes of the current entry not read yet.
    content: u64,
    /// Padding after them.
    padding: u64,
    is_done: bool,
}

/// What came before an entry and applies to it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            content: 0,
            padding: 0,
            is_done: false,
        }
    }

    /// Reads the next entry, or `None` at the archive's end.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.is_done {
            return Ok(None);
        }
        self.pass_over()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header_block()? else {
                self.is_done = true;
                if !extensions.is_empty() {
                    return Err(malformed(b"", "the archive ends after an extended header"));
                }
                return Ok(None);
            };
            let header = RawHeader::parse(&block)
                .map_err(|rule| malformed(until_nul(&block[..100]), rule))?;
            let name = header.name();
            let fail = |rule| malformed(&name, rule);
            match header.type_flag {
                b'x' => {
                    if extensions.pax.is_some() {
                        return Err(fail("two extended headers follow each other"));
                    }
                    let body = self.extension(&header, &name)?;
                    extensions.pax = Some(pax::parse(&body).map_err(fail)?);
                }
                b'g' => {
                    if !extensions.is_empty() {
                        return Err(fail("a global header follows an extended header"));
                    }
                    // Defaults for all entries: read to find what is malformed, and not used, as in other builders.
                    let body = self.extension(&header, &name)?;
                    pax::parse(&body).map_err(fail)?;
                }
                b'L' => {
                    let body = self.extension(&header, &name)?;
                    let previous = extensions.long_name.replace(until_nul(&body).to_vec());
                    if previous.is_some() {
                        return Err(fail("two long names follow each other"));
                    }
                }
                b'K' => {
                    let body = self.extension(&header, &name)?;
                    let previous = extensions.long_link.replace(until_nul(&body).to_vec());
                    if previous.is_some() {
                        return Err(fail("two long link names follow each other"));
                    }
                }
                _ => {
                    let entry = self
                        .entry(&header, extensions)
                        .map_err(|error| match error {
                            EntryError::Rule(rule) => malformed(&name, rule),
                            EntryError::Stream(error) => error,
                        })?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn entry(&mut self, header: &RawHeader, extensions: Extensions) -> Result<Entry, EntryError> {
        let pax = extensions.pax.unwrap_or_default();
        let mut name = match (extensions.long_name, pax.path) {
            (Some(_), Some(_)) => return Err("two long names disagree".into()),
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) => header.name(),
        };
        let link_name = match (extensions.long_link, pax.link_path) {
            (Some(_), Some(_)) => return Err("two long link names disagree".into()),
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) => header.link_name(),
        };
        let stored = pax.size.unwrap_or(header.size);
        if let Some(real_name) = pax.sparse.name {
            name = real_name;
        }
        let kind = kind(header.type_flag, &name)?;
        if kind != EntryKind::File && stored != 0 {
            return Err("an entry that is not a file has content".into());
        }
        let device = match kind {
            EntryKind::Char | EntryKind::Block => header.device()?,
            _ => (0, 0),
        };
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Timestamp {
                secs: header.mtime()?,
                nanos: 0,
            },
        };
        let mut entry = Entry {
            name,
            link_name,
            kind,
            mode: header.mode()?,
            owner: Owner {
                uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
                gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            },
            size: stored,
            mtime: clamp(mtime),
            device: Device {
                major: device.0,
                minor: device.1,
            },
            xattrs: pax.xattrs,
            extents: None,
        };
        self.content = stored;
        self.padding = padding(stored);
        if header.type_flag == b'S' {
            let (extents, real_size) = self.gnu_sparse(header)?;
            sparse::check(&extents, real_size, self.content)?;
            (entry.extents, entry.size) = (Some(extents), real_size);
        } else if pax.sparse.has_map || pax.sparse.map_in_body {
            let real_size = pax.sparse.real_size.ok_or("a sparse file has no size")?;
            let numbers = if pax.sparse.map_in_body {
                self.map_in_body()?
            } else {
                pax.sparse.numbers
            };
            let extents = sparse::extents(&numbers)?;
            sparse::check(&extents, real_size, self.content)?;
            (entry.extents, entry.size) = (Some(extents), real_size);
        }
        Ok(entry)
    }

    /// Reads the map of an old GNU sparse file: four extents in the header, more in blocks after it.
    fn gnu_sparse(&mut self, header: &RawHeader) -> Result<(Vec<Extent>, u64), EntryError> {
        let gnu = header
            .block
            .as_gnu()
            .ok_or("a sparse file has no GNU header")?;
        let real_size = sparse::field(&gnu.realsize)?;
        let mut extents = Vec::new();
        for raw in &gnu.sparse {
            sparse::push_gnu(&mut extents, raw.offset, raw.numbytes)?;
        }
        let mut is_extended = gnu.isextended[0] != 0;
        while is_extended {
            let block = self.block()?.ok_or(Error::Truncated)?;
            for raw in block[..504].chunks_exact(24) {
                let (mut offset, mut length) = ([0; 12], [0; 12]);
                offset.copy_from_slice(&raw[..12]);
                length.copy_from_slice(&raw[12..]);
                sparse::push_gnu(&mut extents, offset, length)?;
            }
            is_extended = block[504] != 0;
        }
        Ok((extents, real_size))
    }

    /// Reads the map of format 1.0: decimal lines at the content's start, filled up to a block.
    fn map_in_body(&mut self) -> Result<Vec<u64>, EntryError> {
        const RULE: Rule = "the map of a sparse file is malformed";
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        let mut wanted = None;
        while wanted != Some(numbers.len()) {
            if self.content < BLOCK_BYTES as u64 {
                return Err(RULE.into());
            }
            let block = self.block()?.ok_or(Error::Truncated)?;
            self.content -= BLOCK_BYTES as u64;
            for &byte in &block {
                if wanted == Some(numbers.len()) {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err(RULE.into());
                    }
                    continue;
                }
                let number = pax::decimal(&line).ok_or(RULE)?;
                line.clear();
                match wanted {
                    None => {
                        let count = usize::try_from(number)
                            .ok()
                            .filter(|&n| n <= sparse::EXTENTS_MAX);
                        wanted = Some(count.ok_or(RULE)? * 2);
                    }
                    Some(_) => numbers.push(number),
                }
            }
        }
        Ok(numbers)
    }

    /// Reads the body of an extension, which is bounded.
    fn extension(&mut self, header: &RawHeader, name: &[u8]) -> Result<Vec<u8>, Error> {
        if header.size > EXTENSION_BYTES_MAX {
            return Err(malformed(
                name,
                "an extended header or long name is over 1 MiB",
            ));
        }
        (self.content, self.padding) = (header.size, padding(header.size));
        let mut body = Vec::new();
        self.take_content(|bytes| {
            body.extend_from_slice(bytes);
            Ok(())
        })?;
        self.pass_over()?;
        Ok(body)
    }

    /// Hands the content of the current entry to `each`, in pieces.
    pub(super) fn take_content(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while self.content > 0 {
            let most = usize::try_from(self.content).unwrap_or(usize::MAX);
            let piece = fill(&mut self.inner)?;
            let length = piece.len().min(most);
            if length == 0 {
                return Err(Error::Truncated);
            }
            each(&piece[..length])?;
            self.inner.consume(length);
            self.content -= length as u64;
        }
        Ok(())
    }

    fn pass_over(&mut self) -> Result<(), Error> {
        self.content += std::mem::take(&mut self.padding);
        self.take_content(|_| Ok(()))
    }

    /// Reads a header; `None` at two blocks of zeros, or one at the very end, or where the stream ends between entries.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, Error> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block.iter().any(|&b| b != 0) {
            return Ok(Some(block));
        }
        match self.block()? {
            Some(second) if second.iter().any(|&b| b != 0) => {
                Err(malformed(b"", "a header follows a single block of zeros"))
            }
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, Error> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let piece = fill(&mut self.inner)?;
            let length = piece.len().min(BLOCK_BYTES - filled);
            match length {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Error::Truncated),
                length => block[filled..filled + length].copy_from_slice(&piece[..length]),
            }
            self.inner.consume(length);
            filled += length;
        }
        Ok(Some(block))
    }

    /// Gives the stream back, at the archive's end.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

/// What can be had without a wait, or after one; nothing at the end.
fn fill(reader: &mut impl BufRead) -> Result<&[u8], Error> {
    // Asked twice, because what is borrowed by an answer cannot be asked again.
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Error::from_stream(error));
        }
    }
    reader.fill_buf().map_err(Error::from_stream)
}

/// Either a rule that an entry breaks, whose name is known to the caller, or a failed stream.
enum EntryError {
    Rule(Rule),
    Stream(Error),
}

impl From<Rule> for EntryError {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

impl From<Error> for EntryError {
    fn from(error: Error) -> Self {
        Self::Stream(error)
    }
}

fn kind(type_flag: u8, name: &[u8]) -> Result<EntryKind, Rule> {
    Ok(match type_flag {
        b'0' | 0 if name.ends_with(b"/") => EntryKind::Dir,
        b'0' | 0 | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::Char,
        b'4' => EntryKind::Block,
        b'5' => EntryKind::Dir,
        b'6' => EntryKind::Fifo,
        _ => return Err("the entry's type is not known"),
    })
}

fn clamp(time: Timestamp) -> Timestamp {
    if MTIME_SECS.contains(&time.secs) {
        return time;
    }
    Timestamp {
        secs: time.secs.clamp(*MTIME_SECS.start(), *MTIME_SECS.end()),
        nanos: 0,
    }
}

pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK_BYTES as u64
}

pub(super) fn malformed(name: &[u8], rule: Rule) -> Error {
    Error::Malformed {
        entry: escape(name),
        rule: rule.to_owned(),
    }
}
