//! Changes into a layer ([`pack`]), a layer into a rootfs ([`apply`]), an archive into a directory ([`extract_archive`]).
//!
//! A layer is written in one pass: file, tar, hash (the diff id), compress in parallel, hash (the digest), sink. It is
//! read in one pass too, by a strict reader that refuses whatever two programs could read differently, and written
//! only through [`crate::rootfs`]. Whiteouts never stay on disk. Memory does not depend on the layer's size.

mod ahead;
mod apply;
mod archive;
mod compress;
mod decompress;
mod error;
mod extract;
mod header;
mod inflate;
mod ownership;
mod pack;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use apply::{Alone, Applied, ApplyOptions, apply, apply_alone, apply_inflated};
pub use archive::{ArchiveOptions, Extracted, extract_archive};
pub use decompress::{Format, HashingReader, sniff};
pub use error::Error;
pub use extract::{Limits, Owners, Sieve};
pub use inflate::{Inflated, inflate};
pub use ownership::Ownership;
pub use pack::{PackOptions, Packed, pack};

#[cfg(test)]
mod tests;
