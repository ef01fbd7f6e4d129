//! An archive into the directory of a context, while it is read.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::layer::{self, ArchiveOptions, Limits, Owners};
use crate::rootfs::{Protected, RelPath, Rootfs};

use super::dockerfile::DockerfileSource;
use super::sieve::Sieve;
use super::{Context, ContextError};

/// An archive of this machine is read so many bytes at a time.
const READ_BYTES: usize = 256 << 10;

/// An archive that becomes a context.
#[derive(Debug)]
pub(super) struct Unpack<'a> {
    /// What to call it.
    pub(super) name: String,
    /// Where the directory is made.
    pub(super) scratch: &'a Path,
    /// The most that it may unpack to, in bytes.
    pub(super) limit: u64,
    /// The directory in it that is the context.
    pub(super) sub_path: Option<&'a Path>,
    /// The Dockerfile, which says where the ignore rules are.
    pub(super) dockerfile: Option<&'a DockerfileSource>,
}

/// Opens an archive at its beginning.
type Open<'a, 'n> = &'a mut dyn FnMut() -> Result<Box<dyn BufRead + Send + 'n>, ContextError>;

impl Unpack<'_> {
    /// Extracts what a build can see of an archive that can be opened again.
    pub(super) fn sieved(&self, open: Open<'_, '_>) -> Result<PathBuf, ContextError> {
        let mut archive = open()?;
        let directory = new_directory(self.scratch)?;
        let rootfs = Rootfs::open(&directory)?;
        let Some(mut sieve) = Sieve::new(&rootfs, self.sub_path, self.dockerfile) else {
            return self.whole(&mut archive);
        };
        let done = self.extract(
            &mut archive,
            &rootfs,
            Some(&mut |path, is_dir| sieve.leaves_out(path, is_dir)),
        );
        let is_right = match &done {
            _ if !sieve.has_left_out() => true,
            Ok(()) => Context::open_fetched(directory.clone(), self.sub_path)
                .is_ok_and(|context| sieve.was_right(&context, &directory, self.dockerfile)),
            // A hard link to what is not there, for example: whether the archive is to blame shows without the sieve.
            Err(ContextError::Extract { source, .. }) => !matches!(
                **source,
                layer::Error::Malformed { .. } | layer::Error::Entry { .. }
            ),
            Err(_) => true,
        };
        if is_right {
            return done.map(|()| directory);
        }
        drop(archive);
        rootfs.remove_all(&RelPath::root(), &Protected::none())?;
        self.whole(&mut open()?)
    }

    /// Extracts all of an archive.
    pub(super) fn whole(
        &self,
        archive: &mut (dyn BufRead + Send),
    ) -> Result<PathBuf, ContextError> {
        let directory = new_directory(self.scratch)?;
        self.extract(archive, &Rootfs::open(&directory)?, None)?;
        Ok(directory)
    }

    fn extract(
        &self,
        archive: &mut (dyn BufRead + Send),
        rootfs: &Rootfs,
        sieve: Option<layer::Sieve<'_>>,
    ) -> Result<(), ContextError> {
        let options = ArchiveOptions {
            protected: &Protected::none(),
            limits: Limits {
                bytes: self.limit,
                ..Limits::default()
            },
            // Files of a context have no owners: COPY gives them theirs.
            owners: Owners::Record,
            owner: None,
        };
        layer::extract_archive(&mut *archive, rootfs, &RelPath::root(), &options, sieve).map_err(
            |source| ContextError::Extract {
                name: self.name.clone(),
                source: Box::new(source),
            },
        )?;
        // What follows the archive's end belongs to the checksum of the whole.
        io::copy(archive, &mut io::sink()).map_err(|source| self.unreadable(source))?;
        Ok(())
    }

    /// Says that the archive cannot be read.
    pub(super) fn unreadable(&self, source: io::Error) -> ContextError {
        ContextError::Open {
            name: self.name.clone(),
            source,
        }
    }
}

/// Makes the directory for files from elsewhere.
pub(super) fn new_directory(scratch: &Path) -> Result<PathBuf, ContextError> {
    let directory = scratch.join("context");
    std::fs::create_dir_all(&directory).map_err(|source| ContextError::Directory {
        path: directory.clone(),
        source,
    })?;
    Ok(directory)
}

pub(super) fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(READ_BYTES, reader)
}
