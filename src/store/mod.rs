//! Object stores: an object of a bucket as a stream of bytes, in order, whatever happens on the way.
//!
//! A large object is read in parts, several at a time; a part that breaks off is asked for again, and all parts are of one version
//! of the object, by its tag. Memory is bounded by the parts in flight, whatever the size. Who we are comes from `auth`'s
//! clouds. Entry points: [`Location`] is where an object is, [`Stores::open`] looks at it, [`Object::read`] reads it.

#[cfg(feature = "azure")]
mod azure;
mod error;
#[cfg(feature = "gcs")]
mod gcs;
mod location;
mod read;
#[cfg(any(feature = "gcs", feature = "azure"))]
mod rest;
#[cfg(feature = "s3")]
mod s3;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use crate::auth::cloud::CloudOptions;

pub use error::Error;
pub use location::{Location, LocationError};
pub use read::{Checksum, Reader};

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
    /// What the whole sums up to, if the store says.
    pub checksum: Option<Checksum>,
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
    #[cfg(feature = "gcs")]
    Gcs(Box<gcs::Object>),
    #[cfg(feature = "azure")]
    Azure(Box<azure::Object>),
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
            #[cfg(feature = "gcs")]
            Location::Gcs {
                bucket,
                object,
                generation,
            } => {
                let clouds = self.clouds.as_ref().ok_or(Error::NotConfigured)?;
                let generation = generation.as_deref();
                let (object, head) =
                    gcs::Object::open(clouds, bucket, object, generation, &name).await?;
                Ok(Object {
                    name,
                    head,
                    bucket: Bucket::Gcs(Box::new(object)),
                })
            }
            #[cfg(not(feature = "gcs"))]
            Location::Gcs { .. } => Err(Error::NotBuiltIn { name }),
            #[cfg(feature = "azure")]
            Location::Azure {
                account,
                suffix,
                container,
                blob,
                query,
            } => {
                let clouds = self.clouds.as_ref().ok_or(Error::NotConfigured)?;
                let place = (account.as_str(), *suffix);
                let (object, head) =
                    azure::Object::open(clouds, place, container, blob, query.as_ref(), &name)
                        .await?;
                Ok(Object {
                    name,
                    head,
                    bucket: Bucket::Azure(Box::new(object)),
                })
            }
            #[cfg(not(feature = "azure"))]
            Location::Azure { .. } => Err(Error::NotBuiltIn { name }),
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
            #[cfg(feature = "gcs")]
            Bucket::Gcs(object) => object.part(start, length, &self.name).await,
            #[cfg(feature = "azure")]
            Bucket::Azure(object) => {
                let tag = self.head.tag.as_deref();
                object.part(start, length, tag, &self.name).await
            }
            #[cfg(test)]
            Bucket::Memory(bytes) => {
                let range = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
                Ok(bytes.slice(range(start)..range(start + length)))
            }
        }
    }
}
