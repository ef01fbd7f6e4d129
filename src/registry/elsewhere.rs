//! Blobs that are neither here nor in a registry, a cache's for example.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::error::Error;

/// Brings a blob here.
pub trait Fetch: Send + Sync + fmt::Debug {
    /// What to call the blob in a message.
    fn what(&self) -> String;

    /// Gives a file with the bytes, verified. What was brought once is not brought again.
    fn fetch(&self) -> BoxFuture<'_, io::Result<PathBuf>>;
}

/// A blob that becomes a file when its bytes are needed, and not before.
#[derive(Clone, Debug)]
pub struct Elsewhere(Arc<dyn Fetch>);

impl Elsewhere {
    /// Wraps what brings it.
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self(fetch)
    }

    /// Gives the file.
    ///
    /// # Errors
    /// [`Error::Elsewhere`], when the blob is not to be had.
    pub async fn file(&self) -> Result<PathBuf, Error> {
        self.0.fetch().await.map_err(|source| Error::Elsewhere {
            what: self.0.what(),
            source,
        })
    }
}

impl PartialEq for Elsewhere {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Elsewhere {}
