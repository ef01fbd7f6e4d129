//! A place in a bucket where things are kept: put, looked at, listed and deleted by name.

use std::fmt;
use std::time::SystemTime;

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use bytes::Bytes;

use super::{Bucket, Error, Object, Stores};
use crate::http::{Body, OnBytes, Secret};

/// Before a body that is larger is sent on condition that nothing is there, one looks, in bytes.
const LOOKED_FOR_FIRST: u64 = 1 << 20;

/// A bucket, and what all names in the place begin with: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or
/// `https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A bucket of S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// Empty, or ends with `/`.
        prefix: String,
    },
    /// A bucket of Google.
    Gcs {
        /// The bucket.
        bucket: String,
        /// Empty, or ends with `/`.
        prefix: String,
    },
    /// A container of Azure.
    Azure {
        /// The account.
        account: String,
        /// The cloud: what follows `blob.core.`.
        suffix: &'static str,
        /// The container.
        container: String,
        /// Empty, or ends with `/`.
        prefix: String,
        /// What follows the question mark: it may let in whoever has it.
        query: Option<Secret>,
    },
}

impl Place {
    fn prefix(&self) -> &str {
        match self {
            Self::S3 { prefix, .. } | Self::Gcs { prefix, .. } | Self::Azure { prefix, .. } => {
                prefix
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Gcs { bucket, prefix } => write!(f, "gs://{bucket}/{prefix}"),
            Self::Azure {
                account,
                suffix,
                container,
                prefix,
                ..
            } => write!(
                f,
                "https://{account}.blob.core.{suffix}/{container}/{prefix}"
            ),
        }
    }
}

/// A place that can be reached. Names are relative to it.
#[derive(Clone, Debug)]
pub struct Folder {
    place: Place,
    bucket: Bucket,
}

/// Something to be put.
#[derive(Clone)]
pub struct Put {
    /// The content, opened anew where it has to be sent again from its beginning.
    pub body: Body,
    /// Only if nothing of this name is there. Where a store has no conditions (some that speak like S3 do not) it is looked
    /// at before, and of two that put at the same time the later wins.
    pub if_absent: bool,
    /// Is told of bytes when they have arrived.
    pub on_sent: Option<OnBytes>,
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put")
            .field("body", &self.body)
            .field("if_absent", &self.if_absent)
            .finish_non_exhaustive()
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is there, whole.
    New,
    /// Something of this name was there, and was left as it is.
    Exists,
}

/// What is in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// The size in bytes.
    pub size: u64,
    /// When it was put.
    pub modified: Option<SystemTime>,
}

impl Put {
    /// Replaces what may be there.
    pub fn new(body: Body) -> Self {
        Self {
            body,
            if_absent: false,
            on_sent: None,
        }
    }

    /// Leaves what is there.
    pub fn if_absent(body: Body) -> Self {
        Self {
            if_absent: true,
            ..Self::new(body)
        }
    }

    /// All of a small body.
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub(super) async fn bytes(&self, name: &str) -> Result<Bytes, Error> {
        use futures_util::StreamExt as _;
        let sizes = super::parts::Sizes::of(self.body.length());
        let mut parts = super::parts::Parts::new(&self.body, sizes, name);
        match parts.next().await {
            Some(part) => part.map(|(_, bytes)| bytes),
            None => Ok(Bytes::new()),
        }
    }

    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub(super) fn moved(&self, count: u64) {
        if let Some(on_sent) = &self.on_sent {
            on_sent(count);
        }
    }
}

impl Stores {
    /// Reaches a place: finds out who we are, and where the bucket is. The place itself needs no making.
    ///
    /// # Errors
    /// When there is no such bucket, as far as the store tells now, or no identity.
    pub async fn folder(&self, place: &Place) -> Result<Folder, Error> {
        Ok(Folder {
            place: place.clone(),
            bucket: self.bucket(place).await?,
        })
    }

    #[cfg_attr(
        all(feature = "azure", not(any(feature = "s3", feature = "gcs"))),
        expect(
            clippy::unused_async,
            reason = "they ask while they open, Azure does not"
        )
    )]
    async fn bucket(&self, place: &Place) -> Result<Bucket, Error> {
        let name = place.to_string();
        match place {
            #[cfg(feature = "s3")]
            Place::S3 { bucket, .. } => {
                let clouds = self.clouds.as_ref().ok_or(Error::NotConfigured)?;
                let bucket = super::s3::Bucket::open(clouds, bucket, &name).await?;
                Ok(Bucket::S3(bucket))
            }
            #[cfg(feature = "gcs")]
            Place::Gcs { bucket, .. } => {
                let clouds = self.clouds.as_ref().ok_or(Error::NotConfigured)?;
                let bucket = super::gcs::Bucket::open(clouds, bucket, &name).await?;
                Ok(Bucket::Gcs(Box::new(bucket)))
            }
            #[cfg(feature = "azure")]
            Place::Azure {
                account,
                suffix,
                container,
                query,
                ..
            } => {
                let clouds = self.clouds.as_ref().ok_or(Error::NotConfigured)?;
                let bucket = super::azure::Bucket::open(
                    clouds,
                    (account, suffix),
                    container,
                    query.as_ref(),
                    &name,
                )?;
                Ok(Bucket::Azure(Box::new(bucket)))
            }
            #[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
            _ => Err(Error::NotBuiltIn { name }),
        }
    }
}

impl Folder {
    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.place.prefix())
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    /// Looks at something, to read it.
    ///
    /// # Errors
    /// [`Error::NoObject`] if there is nothing of that name, and what else goes wrong.
    pub async fn open(&self, name: &str) -> Result<Object, Error> {
        let (key, name) = (self.key(name), self.full_name(name));
        self.bucket.object(&key, name).await
    }

    /// Looks at something that may not be there.
    ///
    /// # Errors
    /// When it cannot be said whether it is there.
    pub async fn find(&self, name: &str) -> Result<Option<Object>, Error> {
        match self.open(name).await {
            Ok(object) => Ok(Some(object)),
            Err(Error::NoObject { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts something: it is there when this returns, and never in part. Large bodies travel in parts of at least 8 MiB; parts
    /// of an upload that was called off are for the bucket's own rules to clean up.
    ///
    /// # Errors
    /// When the store refuses it, or the body cannot be read to its end.
    pub async fn put(&self, name: &str, put: Put) -> Result<Stored, Error> {
        // Before much is sent for nothing. Of those that come at the same time the store lets one in.
        if put.if_absent && put.body.length() > LOOKED_FOR_FIRST && self.find(name).await?.is_some()
        {
            return Ok(Stored::Exists);
        }
        let (key, name) = (self.key(name), self.full_name(name));
        self.bucket.put(&key, put, &name).await
    }

    /// Lists what is there with names that begin so, in the order of the names, at most `limit`.
    ///
    /// # Errors
    /// When it may not be listed.
    pub async fn list(&self, beginning: &str, limit: usize) -> Result<Vec<Listed>, Error> {
        let (key, name) = (self.key(beginning), self.full_name(beginning));
        let mut listed = self.bucket.list(&key, limit, &name).await?;
        for listed in &mut listed {
            let relative = listed.name.get(self.place.prefix().len()..);
            listed.name = relative.unwrap_or_default().to_owned();
        }
        Ok(listed)
    }

    /// Deletes something. That it is not there is fine.
    ///
    /// # Errors
    /// When it may not be deleted.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let (key, name) = (self.key(name), self.full_name(name));
        self.bucket.delete(&key, &name).await
    }
}
