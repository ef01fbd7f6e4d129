//! Object stores: an object of a bucket as a stream of bytes, in order, whatever happens on the way; and places to keep objects.
//!
//! A large object is read in parts, several at a time; a part that breaks off is asked for again, and all parts are of one version
//! of the object, by its tag. Memory is bounded by the parts in flight, whatever the size. Who we are comes from `auth`'s
//! clouds. Entry points: [`Location`] is where an object is, [`Stores::open`] looks at it, [`Object::read`] reads it;
//! [`Stores::folder`] reaches a place where objects are put, found, listed and deleted by name, whole or not at all.

#[cfg(feature = "azure")]
mod azure;
mod error;
mod folder;
#[cfg(feature = "gcs")]
mod gcs;
mod location;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod parts;
mod read;
#[cfg(any(feature = "gcs", feature = "azure"))]
mod rest;
#[cfg(feature = "s3")]
mod s3;

use futures_util::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use crate::auth::cloud::CloudOptions;

pub use error::Error;
pub use folder::{Folder, Listed, Place, Put, Stored};
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
    source: Source,
}

/// Where an object comes from.
#[derive(Clone, Debug)]
enum Source {
    #[cfg(feature = "s3")]
    S3(s3::Object),
    #[cfg(feature = "gcs")]
    Gcs(Box<gcs::Object>),
    #[cfg(feature = "azure")]
    Azure(Box<azure::Object>),
    #[cfg(test)]
    Memory(bytes::Bytes),
}

/// What is in a store.
#[derive(Clone, Debug)]
enum Bucket {
    #[cfg(feature = "s3")]
    S3(s3::Bucket),
    #[cfg(feature = "gcs")]
    Gcs(Box<gcs::Bucket>),
    #[cfg(feature = "azure")]
    Azure(Box<azure::Bucket>),
}

impl Bucket {
    async fn object(&self, key: &str, name: String) -> Result<Object, Error> {
        let (source, head) = match *self {
            #[cfg(feature = "s3")]
            Self::S3(ref bucket) => {
                let (object, head) = bucket.object(key, &name).await?;
                (Source::S3(object), head)
            }
            #[cfg(feature = "gcs")]
            Self::Gcs(ref bucket) => {
                let (object, head) = bucket.object(key, None, &name).await?;
                (Source::Gcs(Box::new(object)), head)
            }
            #[cfg(feature = "azure")]
            Self::Azure(ref bucket) => {
                let (object, head) = bucket.object(key, &name).await?;
                (Source::Azure(Box::new(object)), head)
            }
        };
        Ok(Object { name, head, source })
    }

    async fn put(&self, key: &str, put: Put, name: &str) -> Result<Stored, Error> {
        match *self {
            #[cfg(feature = "s3")]
            Self::S3(ref bucket) => bucket.put(key, put, name).await,
            #[cfg(feature = "gcs")]
            Self::Gcs(ref bucket) => bucket.put(key, put, name).await,
            #[cfg(feature = "azure")]
            Self::Azure(ref bucket) => bucket.put(key, put, name).await,
        }
    }

    async fn list(&self, prefix: &str, limit: usize, name: &str) -> Result<Vec<Listed>, Error> {
        match *self {
            #[cfg(feature = "s3")]
            Self::S3(ref bucket) => bucket.list(prefix, limit, name).await,
            #[cfg(feature = "gcs")]
            Self::Gcs(ref bucket) => bucket.list(prefix, limit, name).await,
            #[cfg(feature = "azure")]
            Self::Azure(ref bucket) => bucket.list(prefix, limit, name).await,
        }
    }

    async fn delete(&self, key: &str, name: &str) -> Result<(), Error> {
        match *self {
            #[cfg(feature = "s3")]
            Self::S3(ref bucket) => bucket.delete(key, name).await,
            #[cfg(feature = "gcs")]
            Self::Gcs(ref bucket) => bucket.delete(key, name).await,
            #[cfg(feature = "azure")]
            Self::Azure(ref bucket) => bucket.delete(key, name).await,
        }
    }
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
                    source: Source::S3(object),
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
                let bucket = gcs::Bucket::open(clouds, bucket, &name).await?;
                let (object, head) = bucket.object(object, generation, &name).await?;
                Ok(Object {
                    name,
                    head,
                    source: Source::Gcs(Box::new(object)),
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
                let bucket = azure::Bucket::open(clouds, place, container, query.as_ref(), &name)?;
                let (object, head) = bucket.object(blob, &name).await?;
                Ok(Object {
                    name,
                    head,
                    source: Source::Azure(Box::new(object)),
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

    /// Reads it from the beginning, as an asynchronous stream; parts are asked for ahead.
    pub fn stream(self) -> impl Stream<Item = Result<bytes::Bytes, Error>> + Send {
        read::stream(self)
    }

    /// Reads a small one whole.
    ///
    /// # Errors
    /// When it has more than `limit` bytes, or cannot be read.
    pub async fn bytes(self, limit: u64) -> Result<bytes::Bytes, Error> {
        if self.head.size > limit {
            return Err(Error::TooLarge {
                name: self.name,
                size: self.head.size,
                limit,
            });
        }
        let mut whole = bytes::BytesMut::new();
        let mut parts = std::pin::pin!(self.stream());
        while let Some(part) = parts.next().await {
            whole.extend_from_slice(&part?);
        }
        Ok(whole.freeze())
    }

    /// Gets a part of it, whole.
    async fn part(&self, start: u64, length: u64) -> Result<bytes::Bytes, Error> {
        match self.source {
            #[cfg(feature = "s3")]
            Source::S3(ref object) => {
                object
                    .part(start, length, self.head.tag.as_deref(), &self.name)
                    .await
            }
            #[cfg(feature = "gcs")]
            Source::Gcs(ref object) => object.part(start, length, &self.name).await,
            #[cfg(feature = "azure")]
            Source::Azure(ref object) => {
                let tag = self.head.tag.as_deref();
                object.part(start, length, tag, &self.name).await
            }
            #[cfg(test)]
            Source::Memory(ref bytes) => {
                let range = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
                Ok(bytes.slice(range(start)..range(start + length)))
            }
        }
    }
}
