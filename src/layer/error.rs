//! What can go wrong with a layer.

use std::io;

use crate::oci::Digest;

/// A layer or archive that could not be written, or read, or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry breaks a rule; nothing after it was read.
    #[error("the archive is malformed at entry `{entry}`: {rule}")]
    Malformed {
        /// The entry's name, safe to show.
        entry: String,
        /// What is wrong with it.
        rule: String,
    },
    /// The archive ends in the middle of an entry.
    #[error("the archive is cut off")]
    Truncated,
    /// The compressed stream is damaged or could not be read.
    #[error("cannot read the archive")]
    Stream(#[source] io::Error),
    /// The bytes are neither a tar nor a compression that is known.
    #[error("the archive is neither a tar nor compressed in a known way")]
    UnknownFormat,
    /// A layer is compressed in a way that no image may use.
    #[error("a layer may not be compressed with {0}")]
    NotALayer(&'static str),
    /// A bound was passed.
    #[error("the archive has more than {limit} {what}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The unpacked bytes are not those that the image's configuration names.
    #[error("the layer's content has diff id {actual}, but the image says {expected}")]
    DiffId {
        /// What the configuration says.
        expected: Digest,
        /// What was read.
        actual: Digest,
    },
    /// An entry could not be written to, or a change not read from, the rootfs.
    #[error("cannot process entry `{entry}`")]
    Entry {
        /// The entry's name, safe to show.
        entry: String,
        /// Why.
        #[source]
        source: crate::rootfs::Error,
    },
    /// A file's content could not be read or written.
    #[error("cannot {action} the content of `{entry}`")]
    Content {
        /// What was tried, as a verb.
        action: &'static str,
        /// The entry's name, safe to show.
        entry: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The packed layer could not be handed on.
    #[error("cannot write the layer")]
    Sink(#[source] io::Error),
    /// The compressor refused its settings.
    #[error("cannot compress the layer")]
    Compress(#[source] io::Error),
    /// An entry's meaning depends on what is below the layer, which was to be unpacked by itself.
    #[error("the layer cannot be unpacked without those below it")]
    NotAlone,
    /// Attributes of a change could not be read.
    #[error("cannot read attributes for the layer")]
    Snapshot(#[from] crate::snapshot::Error),
}

impl Error {
    /// Tells a bound that our own reader passed from a stream that is damaged.
    pub(super) fn from_stream(error: io::Error) -> Self {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<LimitPassed>())
        {
            Some(passed) => Self::Limit {
                what: "bytes of content",
                limit: passed.0,
            },
            None => Self::Stream(error),
        }
    }
}

/// Carries a passed bound through `io::Read`.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
pub(super) struct LimitPassed(pub(super) u64);
