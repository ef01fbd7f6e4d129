//! A layer onto what is below it (image-spec layer.md "Applying Changesets").

use std::io::Read;

use crate::oci::Digest;
use crate::rootfs::{Owner, Protected, RelPath, Rootfs};

use super::ahead::read_ahead;
use super::decompress::{self, HashingReader};
use super::error::Error;
use super::extract::{Extractor, Limits, Owners, Settings};
use super::inflate::Inflated;
use super::reader::{TarReader, malformed};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What aufs kept for itself.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// How a layer is applied.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions<'a> {
    /// What is never created, replaced, removed or changed.
    pub protected: &'a Protected,
    /// Bounds.
    pub limits: Limits,
    /// What to do with owners.
    pub owners: Owners,
    /// Does an entry `./` change the root directory itself? Not where the root is the container's own.
    pub has_root_attributes: bool,
}

/// A layer that was applied.
#[derive(Debug)]
pub struct Applied {
    /// The digest of the tar.
    pub diff_id: Digest,
    /// The size of the tar in bytes.
    pub uncompressed: u64,
    /// The number of entries.
    pub entries: u64,
    /// What was left out, and why.
    pub warnings: Vec<String>,
    /// Owners that were recorded, not set.
    pub recorded: Vec<(RelPath, Owner)>,
}

/// Applies a layer, plain or compressed, onto a merged view or a plain directory.
///
/// The stream is read to its end whatever it holds, so that a caller who hashes it has seen all of it.
///
/// # Errors
/// [`Error::DiffId`] means that all was written and none of it may be used.
pub fn apply(
    reader: impl Read + Send,
    rootfs: &Rootfs,
    options: &ApplyOptions<'_>,
    expected: Option<&Digest>,
) -> Result<Applied, Error> {
    let stream = HashingReader::new(decompress::open_layer(reader)?, options.limits.bytes);
    let (extractor, stream) = entries(stream, rootfs, options)?;
    let (diff_id, uncompressed) = stream.finish().map_err(Error::from_stream)?;
    require(expected, &diff_id)?;
    Ok(applied(extractor, diff_id, uncompressed))
}

/// Applies a layer that was inflated before; nothing is written if it is not the one that is expected.
pub fn apply_inflated(
    inflated: Inflated,
    rootfs: &Rootfs,
    options: &ApplyOptions<'_>,
    expected: Option<&Digest>,
) -> Result<Applied, Error> {
    require(expected, &inflated.diff_id)?;
    let (extractor, _) = entries(inflated.tar, rootfs, options)?;
    Ok(applied(extractor, inflated.diff_id, inflated.bytes))
}

fn require(expected: Option<&Digest>, actual: &Digest) -> Result<(), Error> {
    match expected.filter(|expected| *expected != actual) {
        None => Ok(()),
        Some(expected) => Err(Error::DiffId {
            expected: expected.clone(),
            actual: actual.clone(),
        }),
    }
}

fn applied(extractor: Extractor<'_, '_>, diff_id: Digest, uncompressed: u64) -> Applied {
    Applied {
        diff_id,
        uncompressed,
        entries: extractor.entries,
        warnings: extractor.warnings,
        recorded: extractor.recorded,
    }
}

/// Writes the entries of a tar; gives its stream back, read to the end.
fn entries<'a, S: Read + Send>(
    stream: S,
    rootfs: &'a Rootfs,
    options: &ApplyOptions<'a>,
) -> Result<(Extractor<'a, 'static>, S), Error> {
    let settings = Settings {
        protected: options.protected,
        limits: options.limits,
        owners: options.owners,
        owner: None,
        has_root_attributes: options.has_root_attributes,
    };
    read_ahead(stream, |stream| {
        let mut archive = TarReader::new(stream);
        let mut extractor = Extractor::new(rootfs, RelPath::root(), settings).sparing_its_own();
        while let Some(entry) = archive.next_entry()? {
            extractor.count()?;
            let path = extractor.clean(&entry.name)?;
            match Marker::of(&path).map_err(|rule| malformed(&entry.name, rule))? {
                Marker::None => extractor.extract(&entry, &path, &mut archive)?,
                Marker::Whiteout(above, name) => extractor.remove_lower(&above, &name)?,
                Marker::Opaque(above) => extractor.remove_lower_children(&above)?,
                Marker::Foreign => {
                    extractor.warn(format!("{path} is a record of aufs; left out"));
                }
            }
        }
        extractor.finish()?;
        Ok(extractor)
    })
}

/// What a name means in a layer.
#[derive(Debug, PartialEq, Eq)]
enum Marker {
    None,
    Whiteout(RelPath, Vec<u8>),
    Opaque(RelPath),
    Foreign,
}

impl Marker {
    fn of(path: &RelPath) -> Result<Self, &'static str> {
        let (Some(name), Some(above)) = (path.file_name(), path.parent()) else {
            return Ok(Self::None);
        };
        if above.components().any(|part| part.starts_with(AUFS_PREFIX)) {
            return Ok(Self::Foreign);
        }
        if above.components().any(|part| part.starts_with(PREFIX)) {
            return Err("a whiteout cannot hold anything");
        }
        if name == OPAQUE {
            return Ok(Self::Opaque(above));
        }
        if name.starts_with(AUFS_PREFIX) {
            return Ok(Self::Foreign);
        }
        match name.strip_prefix(PREFIX) {
            None => Ok(Self::None),
            Some(b"" | b"." | b"..") => Err("a whiteout names nothing"),
            Some(hidden) => Ok(Self::Whiteout(above, hidden.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_whiteouts() {
        let path = |p: &str| RelPath::parse(p).unwrap();
        for (name, expect) in [
            ("a/.wh.x", Some(Marker::Whiteout(path("a"), b"x".to_vec()))),
            (".wh.x", Some(Marker::Whiteout(path(""), b"x".to_vec()))),
            ("a/.wh..wh..opq", Some(Marker::Opaque(path("a")))),
            (".wh..wh.plnk/1", Some(Marker::Foreign)),
            (".wh..wh.aufs", Some(Marker::Foreign)),
            (
                ".wh..hidden",
                Some(Marker::Whiteout(path(""), b".hidden".to_vec())),
            ),
            ("wh.x", Some(Marker::None)),
            ("", Some(Marker::None)),
            ("a/.wh.", None),
            (".wh..", None),
            ("a/b/.wh...", None),
            (".wh.etc/somefile", None),
        ] {
            assert_eq!(Marker::of(&path(name)).ok(), expect, "{name}");
        }
    }
}
