//! ADD beyond a copy: archives of the context are extracted.

use std::io::{BufReader, Seek, SeekFrom};

use crate::layer::{self, ArchiveOptions, Limits, Owners};
use crate::rootfs::{Leaf, RelPath};

use super::CopyError;
use super::copy::Copied;
use super::destination::{Destination, make_parents};
use super::sources::{Found, SourceTree};

/// An archive is read so many bytes at a time.
const READ_BYTES: usize = 256 << 10;

/// Extracts a source if it is an archive, and says whether it was one.
///
/// What a file is, its content says and not its name: a tar, plain or compressed with gzip, bzip2, xz or zstd. A
/// compressed file that is no tar is copied like any file.
pub(super) fn unpack(
    source: &SourceTree<'_>,
    found: &Found,
    destination: &Destination<'_>,
    target: &RelPath,
    copied: &mut Copied,
) -> Result<bool, CopyError> {
    let mut file = source.rootfs.open_file(&found.path, Leaf::Keep)?;
    let failed = |source| CopyError::Extract {
        path: found.path.to_string(),
        source: Box::new(source),
    };
    if layer::sniff(&mut file).map_err(failed)?.is_none() {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(0))
        .map_err(|source| CopyError::Write {
            path: found.path.to_string(),
            source,
        })?;
    let owner = destination.owner.unwrap_or_default();
    let made = make_parents(destination, target, 0o755, owner, &mut copied.owners)?;
    copied.touched.extend(made);
    let options = ArchiveOptions {
        protected: destination.protected,
        limits: Limits::default(),
        owners: if destination.sets_owner {
            Owners::Set
        } else {
            Owners::Record
        },
        owner: destination.owner,
    };
    let file = BufReader::with_capacity(READ_BYTES, file);
    let extracted =
        layer::extract_archive(file, destination.rootfs, target, &options, None).map_err(failed)?;
    copied.touched.extend(extracted.paths);
    copied.owners.extend(extracted.recorded);
    copied.warnings.extend(extracted.warnings);
    Ok(true)
}
