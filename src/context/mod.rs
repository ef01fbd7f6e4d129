//! Build contexts: the files that a build may copy from, and the rules that keep files out of it.
//!
//! [`Source`] is where a context is, [`Context`] the files when they are at hand, with the ignore file's rules and the
//! Dockerfile. The files of a directory are never filtered: [`ignore`] decides when a COPY looks; of an
//! archive, what it hides is not even written where that can be known in time. This room runs no program
//! and reads nothing outside of the context but the Dockerfile that it is told.

mod dockerfile;
mod error;
mod fetch;
mod find;
pub mod git;
pub mod glob;
pub mod ignore;
mod layout;
mod progress;
mod prune;
mod ranges;
mod sieve;
mod source;
mod unpack;
mod web;

pub use dockerfile::DockerfileSource;
pub use error::ContextError;
pub use fetch::{Context, Network};
pub use find::DockerfileText;
pub use layout::{Layout, LayoutError};
pub use progress::Progress;
pub use source::{Source, SourceError};
pub use web::{DownloadError, WebArchive, WebError};
