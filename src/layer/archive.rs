//! An archive into a directory, as ADD does it: names have no other meaning than as names.

use std::io::{self, BufRead};

use crate::rootfs::{Owner, Protected, RelPath, Rootfs};

use super::ahead::read_ahead;
use super::decompress::{self, Bounded, Format};
use super::error::Error;
use super::extract::{Extractor, Limits, Owners, Settings, Sieve};
use super::reader::TarReader;

/// How an archive is extracted.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveOptions<'a> {
    /// What is never created, replaced or changed.
    pub protected: &'a Protected,
    /// Bounds.
    pub limits: Limits,
    /// What to do with owners.
    pub owners: Owners,
    /// Stands over the owners in the archive.
    pub owner: Option<Owner>,
}

/// An archive that was extracted.
#[derive(Debug)]
pub struct Extracted {
    /// What it was packed with.
    pub format: Format,
    /// The number of entries.
    pub entries: u64,
    /// The canonical paths written, directories made above entries among them, in the archive's order.
    pub paths: Vec<RelPath>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
    /// Owners that were recorded, not set.
    pub recorded: Vec<(RelPath, Owner)>,
}

/// Extracts a tar, plain or compressed with gzip, bzip2, xz or zstd, below `destination`, which keeps its attributes.
///
/// Names and hard links are relative to the destination and may not leave it upwards; symbolic links in the rootfs are
/// followed inside the rootfs. What the sieve holds back is not written.
pub fn extract_archive(
    reader: impl BufRead + Send,
    rootfs: &Rootfs,
    destination: &RelPath,
    options: &ArchiveOptions<'_>,
    sieve: Option<Sieve<'_>>,
) -> Result<Extracted, Error> {
    let (format, stream) = decompress::open(reader)?;
    let stream = Bounded::new(stream, options.limits.bytes);
    let settings = Settings {
        protected: options.protected,
        limits: options.limits,
        owners: options.owners,
        owner: options.owner,
        has_root_attributes: false,
    };
    let mut extractor = Extractor::new(rootfs, destination.clone(), settings);
    extractor.made = Some(Vec::new());
    extractor.sieve = sieve;
    let extractor = match format {
        // It is written to disk out of the buffers of whoever gives it to us.
        Format::Tar => extract(extractor, stream)?,
        Format::Gzip | Format::Zstd | Format::Bzip2 | Format::Xz => {
            read_ahead(stream, |unpacked| extract(extractor, unpacked))?.0
        }
    };
    Ok(Extracted {
        format,
        entries: extractor.entries,
        paths: extractor.made.unwrap_or_default(),
        warnings: extractor.warnings,
        recorded: extractor.recorded,
    })
}

fn extract<'a, 's>(
    mut extractor: Extractor<'a, 's>,
    stream: impl BufRead,
) -> Result<Extractor<'a, 's>, Error> {
    let mut archive = TarReader::new(stream);
    while let Some(entry) = archive.next_entry()? {
        extractor.count()?;
        let path = extractor.clean(&entry.name)?;
        extractor.extract(&entry, &path, &mut archive)?;
    }
    extractor.finish()?;
    // What follows the end mark still has to be undamaged.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(Error::from_stream)?;
    Ok(extractor)
}
