//! Object stores: an object of a bucket as a stream of bytes, in order, whatever happens on the way.
//!
//! A large object is read in parts, several at a time; a part that breaks off is asked for again, and all parts are of one version
//! of the object, by its tag. Memory is bounded by the parts in flight, whatever the size. Who we are comes from `auth`'s
//! clouds. Entry points: [`Location`] is where an object is, [`Stores::open`] looks at it, [`Object::read`] reads it.

mod error;
mod location;
mod read;
#[cfg(feature = "s3")]
mod s3;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use crate::auth::cloud::CloudOptions;

pub use error::Error;
pub use location::{Location, LocationError};
pub use read::Reader;

/// How to reach the object stores.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// Who we are to the clouds, and the clients.
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub clouds: Option<CloudOptions>,
}

/// What a store says of an object before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its size in bytes.
    pub size: u64,
    /// What changes when its content changes.
    pub tag: Option<String>,
    /// The SHA-256 of the whole, in hexadecimal digits, if the store offers it.
    pub sha256: Option<String>,
}

/// An object that is there.
#[derive(Clone, Debug)]
pub struct Object {
    name: String,
    head: Head,
    bucket: Bucket,
}

/// The stores, each as far as it is needed to read.
#[derive(Clone, Debug)]
enum Bucket {
    #[cfg(feature = "s3")]
    S3(s3::Object),
    #[cfg(test)]
    Memory(bytes::Bytes),
}

impl Stores {
    /// Looks at an object: whether it is there, and how large.
    ///
    /// # Errors
    /// When there is no such bucket or object, or it may not be read: naming the identity that was used, or where none was found.
    pub async fn open(&self, location: &Location) -> Result<Object, Error> {
        let name = location.to_string();
        match location {
            #[cfg(feature = "s3")]
            Location::S3 {
                bucket,
                key,
                version,
            } => {
                let clouds = self.clouds.as_ref().ok_or(Error::NotConfigured)?;
                let (object, head) =
                    s3::Object::open(clouds, bucket, key, version.as_deref(), &name).await?;
                Ok(Object {
                    name,
                    head,
                    bucket: Bucket::S3(object),
                })
            }
            #[cfg(not(feature = "s3"))]
            Location::S3 { .. } => Err(Error::NotBuiltIn { name }),
        }
    }
}

impl Object {
    /// What the store says of it.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Reads it from the beginning, on the runtime, until the token calls it off.
    pub fn read(self, runtime: &Handle, token: CancellationToken) -> Reader {
        Reader::start(self, runtime, token)
    }

    /// Gets a part of it, whole.
    async fn part(&self, start: u64, length: u64) -> Result<bytes::Bytes, Error> {
        match &self.bucket {
            #[cfg(feature = "s3")]
            Bucket::S3(object) => {
                object
                    .part(start, length, self.head.tag.as_deref(), &self.name)
                    .await
            }
            #[cfg(test)]
            Bucket::Memory(bytes) => {
                let range = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
                Ok(bytes.slice(range(start)..range(start + length)))
            }
        }
    }
}
