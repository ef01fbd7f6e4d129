//! Where an object is: the URLs of the stores.

use std::fmt;

/// What kaniko reads where a bucket is named and no object.
const DEFAULT_KEY: &str = "context.tar.gz";

/// An object of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `s3://BUCKET/KEY`, or a version of it: `s3://BUCKET/KEY?versionId=VERSION`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The version.
        version: Option<String>,
    },
}

/// Why a text names no object.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LocationError {
    /// No bucket.
    #[error("it names no bucket")]
    NoBucket,
    /// A character that no bucket's name has.
    #[error("\"{}\" is no name of a bucket", .0.escape_debug())]
    Bucket(String),
}

impl Location {
    /// Parses `s3://BUCKET/KEY`; a bucket alone means its `context.tar.gz`.
    ///
    /// # Errors
    /// When there is no bucket, or its name cannot be one. `None` if the scheme is not that of a store.
    pub fn parse(text: &str) -> Option<Result<Self, LocationError>> {
        let (scheme, rest) = text.split_once("://")?;
        match scheme {
            "s3" => Some(s3(rest)),
            _ => None,
        }
    }
}

fn s3(rest: &str) -> Result<Location, LocationError> {
    let (bucket, key) = split(rest)?;
    let (key, version) = match key.rsplit_once("?versionId=") {
        Some((key, version)) => (key, Some(version.to_owned())),
        None => (key, None),
    };
    Ok(Location::S3 {
        bucket: bucket.to_owned(),
        key: if key.is_empty() { DEFAULT_KEY } else { key }.to_owned(),
        version,
    })
}

fn split(rest: &str) -> Result<(&str, &str), LocationError> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(LocationError::NoBucket);
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    // An ARN of an access point has colons.
    if !bucket.starts_with("arn:") && !bucket.bytes().all(is_name) {
        return Err(LocationError::Bucket(bucket.to_owned()));
    }
    Ok((bucket, key))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key, .. } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_parse() {
        let check = |text: &str, bucket: &str, key: &str, version: Option<&str>| {
            let expect = Location::S3 {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version: version.map(str::to_owned),
            };
            assert_eq!(Location::parse(text), Some(Ok(expect)), "{text}");
        };
        check("s3://b/dir/c.tar.gz", "b", "dir/c.tar.gz", None);
        check("s3://b", "b", "context.tar.gz", None);
        check("s3://b/", "b", "context.tar.gz", None);
        check("s3://b/a?versionId=v", "b", "a", Some("v"));
        assert_eq!(
            Location::parse("s3:///k"),
            Some(Err(LocationError::NoBucket))
        );
        assert!(matches!(
            Location::parse("s3://user@b/k"),
            Some(Err(LocationError::Bucket(_)))
        ));
        assert_eq!(Location::parse("dir://x"), None);
        assert_eq!(Location::parse("x"), None);
    }
}
