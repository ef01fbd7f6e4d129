//! Changes to a blob in a file, a base's blob into a tree.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::layer::{self, Alone, ApplyOptions, Inflated, Limits, Owners, PackOptions};
use crate::oci::{Compression, Descriptor, Digest, MediaType};
use crate::rootfs::{Protected, Rootfs, Timestamp};
use crate::sandbox::{ChangeSource, Isolation, Ownership, StagedLayer};
use crate::snapshot::Changes;

use super::{BuildError, Request};

/// The buffer in front of a blob's file, in bytes.
const BUFFER: usize = 256 * 1024;

/// A layer to be made.
#[derive(Debug)]
pub(super) struct PackJob {
    /// The instruction, for messages.
    pub(super) display: String,
    /// What changed.
    pub(super) changes: Changes,
    /// Where the changed files are.
    pub(super) rootfs: Rootfs,
    /// Owners that the tree cannot hold.
    pub(super) owners: Arc<layer::Ownership>,
    /// Keeps the changed files as they are until the layer is made.
    pub(super) held: Option<ChangeSource>,
}

/// A layer that was made.
#[derive(Debug)]
pub(super) struct Packed {
    /// The blob's type, digest and size.
    pub(super) descriptor: Descriptor,
    /// The digest of the tar.
    pub(super) diff_id: Digest,
    /// The file with the blob.
    pub(super) path: PathBuf,
    /// How many entries it has.
    pub(super) entries: u64,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
    /// How long it took.
    pub(super) took: Duration,
}

/// A layer that is packed in the background.
#[derive(Debug)]
pub(super) struct Packing {
    /// The number of its step.
    pub(super) number: usize,
    /// How long the step took apart from packing.
    pub(super) spent: Duration,
    /// The work; none once it was waited for.
    pub(super) work: Option<JoinHandle<Result<Packed, BuildError>>>,
    /// Calls the work off.
    pub(super) token: CancellationToken,
}

impl Drop for Packing {
    /// A build that failed does not wait for a layer, and leaves no thread behind that writes one.
    fn drop(&mut self) {
        self.token.cancel();
        if let Some(work) = self.work.take() {
            // The build has an error already, which is told.
            let _ = work.join();
        }
    }
}

/// Makes layers.
#[derive(Clone, Debug)]
pub(super) struct Packer {
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) newest_mtime: Option<Timestamp>,
    pub(super) threads: NonZeroUsize,
    pub(super) scratch: PathBuf,
    pub(super) token: CancellationToken,
}

/// A file that is written until the build is called off.
struct Stoppable<'a> {
    file: BufWriter<File>,
    token: &'a CancellationToken,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.token.is_cancelled() {
            return Err(io::Error::other("the build was called off"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Packer {
    pub(super) fn new(request: &Request, scratch: &Path, token: CancellationToken) -> Self {
        Self {
            compression: request.layers.compression,
            level: request.layers.level,
            newest_mtime: request
                .layers
                .newest_secs
                .map(|secs| Timestamp { secs, nanos: 0 }),
            threads: NonZeroUsize::new(request.threads).unwrap_or(NonZeroUsize::MIN),
            scratch: scratch.to_owned(),
            token,
        }
    }

    /// Writes a layer to a file of the scratch directory, in one pass.
    pub(super) fn pack(&self, job: PackJob, name: &str) -> Result<Packed, BuildError> {
        let started = Instant::now();
        let path = self.scratch.join(name);
        let failed = |source| {
            if self.token.is_cancelled() {
                return BuildError::Cancelled;
            }
            BuildError::Layer {
                display: job.display.clone(),
                source: Box::new(source),
            }
        };
        let state = |source| BuildError::State {
            action: "write",
            path: path.clone(),
            source,
        };
        let mut sink = Stoppable {
            file: BufWriter::with_capacity(BUFFER, File::create(&path).map_err(state)?),
            token: &self.token,
        };
        let options = PackOptions {
            compression: self.compression,
            level: self.level,
            threads: self.threads,
            ownership: if job.owners.is_empty() {
                None
            } else {
                Some(&job.owners)
            },
            newest_mtime: self.newest_mtime,
        };
        let packed = layer::pack(&job.changes, &job.rootfs, &options, &mut sink).map_err(failed)?;
        sink.flush().map_err(state)?;
        drop(job.held);
        Ok(Packed {
            descriptor: Descriptor::new(
                MediaType::oci_layer(packed.compression),
                packed.digest,
                packed.size,
            ),
            diff_id: packed.diff_id,
            path,
            entries: packed.entries,
            warnings: packed.warnings,
            took: started.elapsed(),
        })
    }
}

/// A layer that is to be put into a tree.
#[derive(Debug)]
pub(super) enum Unpacked {
    /// A file with its blob, whose digest was verified when it was fetched.
    Blob(PathBuf),
    /// Its tar.
    Inflated(Inflated),
    /// Its tree, made apart.
    Alone(Alone, StagedLayer),
}

/// How a layer is put into a tree.
pub(super) fn apply_options(
    protected: &Protected,
    ownership: Ownership,
    isolation: Isolation,
) -> ApplyOptions<'_> {
    ApplyOptions {
        protected,
        limits: Limits::default(),
        owners: owners(ownership),
        has_root_attributes: match isolation {
            Isolation::Namespace => true,
            Isolation::Inplace => false,
        },
    }
}

/// What extraction does with owners.
pub(super) fn owners(ownership: Ownership) -> Owners {
    match ownership {
        Ownership::Real => Owners::Set,
        Ownership::SingleId => Owners::Record,
    }
}
