//! A layer onto what is below it (image-spec layer.md "Applying Changesets").

use std::io::Read;

use crate::oci::Digest;
use crate::rootfs::{Owner, Protected, RelPath, Rootfs};
use crate::snapshot::is_image_xattr;

use super::ahead::read_ahead;
use super::decompress::{self, HashingReader};
use super::error::Error;
use super::extract::{Extractor, Limits, Owners, Settings};
use super::inflate::Inflated;
use super::reader::{TarReader, malformed};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// A layer with more directories is not made by itself: their names are kept.
const ALONE_DIRECTORIES_MAX: usize = 50_000;
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

/// A layer whose tree was made by itself, in an empty directory.
#[derive(Debug)]
pub struct Alone {
    applied: Applied,
    /// All of its directories.
    directories: Vec<RelPath>,
}

impl Alone {
    /// What was applied, if the tree on top of what `below` shows is what the layer would have made there. It is not where a
    /// directory has attributes that the layer does not name: one that is merged keeps them. Nor is it said of what cannot be looked
    /// at, as behind a link that leads to itself.
    pub fn onto(self, below: &Rootfs) -> Option<Applied> {
        for path in &self.directories {
            // A link on the way is replaced by the layer's own directory.
            match below.lstat(path) {
                Ok(Some(stat)) if stat.is_dir() => {}
                Ok(_) => continue,
                Err(error) if error.is_not_found() => continue,
                Err(_) => return None,
            }
            let attributes = below.xattrs(path).ok()?;
            if attributes.iter().any(|(key, _)| is_image_xattr(key)) {
                return None;
            }
        }
        Some(self.applied)
    }
}

/// Applies a layer into an empty directory, while those below it are still written elsewhere. `None` if its entries say something of them: a
/// deletion, a directory that is not among them, the root, a link to another's file.
///
/// # Errors
/// As for [`apply`]; what was written is of no use then, as when there is no answer.
pub fn apply_alone(
    reader: impl Read + Send,
    rootfs: &Rootfs,
    options: &ApplyOptions<'_>,
    expected: Option<&Digest>,
) -> Result<Option<Alone>, Error> {
    let stream = HashingReader::new(decompress::open_layer(reader)?, options.limits.bytes);
    let extractor = Extractor::new(rootfs, RelPath::root(), settings(options)).alone();
    let written = read_ahead(stream, |stream| {
        let mut archive = TarReader::new(stream);
        let mut extractor = extractor;
        while let Some(entry) = archive.next_entry()? {
            extractor.count()?;
            let path = extractor.clean(&entry.name)?;
            match Marker::of(&path).map_err(|rule| malformed(&entry.name, rule))? {
                Marker::None => extractor.extract(&entry, &path, &mut archive)?,
                Marker::Whiteout(..) | Marker::Opaque(_) | Marker::Foreign => {
                    return Err(Error::NotAlone);
                }
            }
            if extractor.directories().len() > ALONE_DIRECTORIES_MAX {
                return Err(Error::NotAlone);
            }
        }
        let directories = extractor.directories().cloned().collect();
        extractor.finish()?;
        Ok((extractor, directories))
    });
    let ((extractor, directories), stream) = match written {
        Err(Error::NotAlone) => return Ok(None),
        written => written?,
    };
    let (diff_id, uncompressed) = stream.finish().map_err(Error::from_stream)?;
    require(expected, &diff_id)?;
    Ok(Some(Alone {
        applied: applied(extractor, diff_id, uncompressed),
        directories,
    }))
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
    read_ahead(stream, |stream| {
        let mut archive = TarReader::new(stream);
        let mut extractor =
            Extractor::new(rootfs, RelPath::root(), settings(options)).sparing_its_own();
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

fn settings<'a>(options: &ApplyOptions<'a>) -> Settings<'a> {
    Settings {
        protected: options.protected,
        limits: options.limits,
        owners: options.owners,
        owner: None,
        has_root_attributes: options.has_root_attributes,
    }
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
