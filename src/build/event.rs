//! What a build tells while it runs. The engine sends values; `cli` decides how they look.

use std::time::Duration;

use crate::cache::Miss;
use crate::dockerfile::Span;
use crate::dockerfile::lint::Finding;
use crate::oci::{Digest, Platform, Reference};

/// Receives events, from any thread, in the order in which they happen on that thread.
pub trait Events: Send + Sync {
    /// Takes one event. Must return quickly: the build waits.
    fn send(&self, event: Event);
}

/// Which of a command's streams a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a registry.
    Pull,
    /// To a registry.
    Push,
}

/// What became of the content of a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountChange {
    /// It was restored out of an archive.
    Restored {
        /// The size of the archive.
        bytes: u64,
    },
    /// It was saved as an archive.
    Saved {
        /// The size of the archive.
        bytes: u64,
    },
    /// It is what it was restored from.
    Unchanged,
    /// It is too large to be saved.
    TooLarge {
        /// The bytes of its files.
        bytes: u64,
        /// How many may be.
        limit: u64,
    },
}

/// How a step was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// It changed the image's configuration only.
    Metadata,
    /// It made a layer.
    Layer {
        /// The layer's compressed digest.
        digest: Digest,
        /// The layer's compressed size in bytes.
        size: u64,
        /// How many entries the layer has.
        entries: u64,
    },
    /// Its changes go into the one layer at the end of the stage.
    Deferred,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The isolation that was chosen, in words.
    Isolation(String),
    /// A part of a context that is elsewhere has arrived.
    ContextFetching {
        /// Where it comes from.
        source: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where they are known.
        total: Option<u64>,
    },
    /// Nothing of that context arrives any more, whether it is whole or not.
    ContextFetched,
    /// The context is at hand.
    ContextReady {
        /// Where it came from.
        source: String,
        /// The commit that was fetched, of a git repository.
        commit: Option<String>,
    },
    /// The Dockerfile was read.
    DockerfileRead {
        /// Its path as the user knows it.
        name: String,
        /// Its text.
        text: String,
    },
    /// A registry asks who we are.
    Credentials {
        /// The registry.
        registry: String,
        /// The name of the source of the credential; none means that we are nobody.
        source: Option<String>,
    },
    /// A base image was found.
    ImageResolved {
        /// As written.
        reference: Reference,
        /// The mirror that it came from, if it was one.
        mirror: Option<Reference>,
        /// The manifest's digest.
        digest: Digest,
        /// The platform that was chosen.
        platform: Platform,
        /// How many layers it has.
        layers: usize,
    },
    /// A stage begins.
    StageStarted {
        /// Its name.
        name: String,
        /// Its place, from 1.
        number: usize,
        /// How many stages are built.
        of: usize,
        /// Where it begins in the Dockerfile.
        span: Span,
    },
    /// A stage is over, well or not.
    StageFinished {
        /// Its name.
        name: String,
    },
    /// A base image's layer was put into the tree.
    LayerUnpacked {
        /// The layer's compressed digest.
        digest: Digest,
        /// Whether it was there from before.
        is_reused: bool,
        /// How long it took.
        took: Duration,
    },
    /// A step need not be carried out: a cache has its layer.
    StepCached {
        /// The stage's name.
        stage: String,
        /// The step's place, from 1.
        number: usize,
        /// How many steps the stage has.
        of: usize,
        /// The instruction, on one line.
        display: String,
        /// The layer's compressed digest.
        digest: Digest,
        /// The layer's compressed size in bytes.
        size: u64,
    },
    /// What the caches know of a step.
    CacheExplained {
        /// The stage's name.
        stage: String,
        /// The step's place, from 1.
        number: usize,
        /// How many steps the stage has.
        of: usize,
        /// The instruction, on one line.
        display: String,
        /// Why it is not there; `None` if it is.
        miss: Option<Miss>,
    },
    /// The content of a cache mount was taken from somewhere, or saved.
    CacheMount {
        /// Its id.
        id: String,
        /// What became of it.
        change: MountChange,
    },
    /// A step begins.
    StepStarted {
        /// The stage's name.
        stage: String,
        /// The step's place, from 1.
        number: usize,
        /// How many steps the stage has.
        of: usize,
        /// The instruction, on one line.
        display: String,
    },
    /// A piece of a RUN's output, as it came.
    StepOutput {
        /// The stage's name.
        stage: String,
        /// From which stream.
        stream: Stream,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A step ended well.
    StepFinished {
        /// The stage's name.
        stage: String,
        /// The step's place, from 1.
        number: usize,
        /// How many steps the stage has.
        of: usize,
        /// How it was carried out.
        result: StepResult,
        /// How long it took.
        took: Duration,
    },
    /// Bytes of a blob went over the wire.
    Transfer {
        /// Which way.
        direction: Direction,
        /// The blob.
        digest: Digest,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A blob is in the registry.
    BlobPushed {
        /// The repository.
        repository: String,
        /// The blob.
        digest: Digest,
        /// Bytes that went over the wire; 0 when the registry had it.
        bytes: u64,
    },
    /// A tag points at the image.
    Pushed {
        /// The tag.
        reference: Reference,
        /// The manifest's digest.
        digest: Digest,
    },
    /// A file or directory was written.
    Written {
        /// What it is.
        what: &'static str,
        /// Where: a path or a URL.
        place: String,
    },
    /// A check found something.
    Finding(Finding),
    /// Something the user should know.
    Warning {
        /// What.
        message: String,
        /// Where in the Dockerfile.
        span: Option<Span>,
    },
}
