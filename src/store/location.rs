//! Where an object is: the URLs of the stores.

use std::fmt;

use url::Url;

use super::folder::Place;
use crate::http::Secret;

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
    /// `gs://BUCKET/OBJECT`, or a generation of it: `gs://BUCKET/OBJECT#GENERATION`.
    Gcs {
        /// The bucket.
        bucket: String,
        /// The object.
        object: String,
        /// The generation.
        generation: Option<String>,
    },
    /// `https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB`, perhaps with a signature (SAS) in its query.
    Azure {
        /// The account.
        account: String,
        /// The cloud: what follows `blob.core.`.
        suffix: &'static str,
        /// The container.
        container: String,
        /// The blob.
        blob: String,
        /// What follows the question mark: it may let in whoever has it.
        query: Option<Secret>,
    },
}

/// Azure's clouds.
const AZURE: [&str; 4] = [
    "windows.net",
    "chinacloudapi.cn",
    "cloudapi.de",
    "usgovcloudapi.net",
];

/// Why a text names no object.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LocationError {
    /// No bucket.
    #[error("it names no bucket")]
    NoBucket,
    /// A URL without a blob.
    #[error("it names no blob: expected https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB")]
    NoBlob,
    /// A character that no bucket's name has.
    #[error("\"{}\" is no name of a bucket", .0.escape_debug())]
    Bucket(String),
}

impl Location {
    /// Parses the URL of an object; a bucket of S3 or GCS alone means its `context.tar.gz`.
    ///
    /// # Errors
    /// When there is no bucket, or its name cannot be one. `None` if the scheme is not that of a store.
    pub fn parse(text: &str) -> Option<Result<Self, LocationError>> {
        let (scheme, rest) = text.split_once("://")?;
        match scheme {
            "s3" => Some(s3(rest)),
            "gs" => Some(gcs(rest)),
            "https" => azure(text),
            _ => None,
        }
    }
}

impl Place {
    /// Parses the URL of a place; a prefix means what is below it, so it ends with `/`.
    ///
    /// # Errors
    /// When there is no bucket, or its name cannot be one. `None` if the scheme is not that of a store.
    pub fn parse(text: &str) -> Option<Result<Self, LocationError>> {
        let (scheme, rest) = text.split_once("://")?;
        let below = |prefix: &str| match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let parsed = match scheme {
            "s3" => split(rest).map(|(bucket, prefix)| Self::S3 {
                bucket: bucket.to_owned(),
                prefix: below(prefix),
            }),
            "gs" => split(rest).map(|(bucket, prefix)| Self::Gcs {
                bucket: bucket.to_owned(),
                prefix: below(prefix),
            }),
            "https" => {
                let found = in_azure(text)?;
                if found.container.is_empty() {
                    return Some(Err(LocationError::NoBucket));
                }
                Ok(Self::Azure {
                    prefix: below(&found.blob),
                    account: found.account,
                    suffix: found.suffix,
                    container: found.container,
                    query: found.query,
                })
            }
            _ => return None,
        };
        Some(parsed)
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

fn gcs(rest: &str) -> Result<Location, LocationError> {
    let (bucket, object) = split(rest)?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (object, generation) = match object.rsplit_once('#') {
        Some((object, generation)) if is_number(generation) => {
            (object, Some(generation.to_owned()))
        }
        Some(_) | None => (object, None),
    };
    Ok(Location::Gcs {
        bucket: bucket.to_owned(),
        object: if object.is_empty() {
            DEFAULT_KEY
        } else {
            object
        }
        .to_owned(),
        generation,
    })
}

fn azure(text: &str) -> Option<Result<Location, LocationError>> {
    let found = in_azure(text)?;
    if found.container.is_empty() || found.blob.is_empty() {
        return Some(Err(LocationError::NoBlob));
    }
    Some(Ok(Location::Azure {
        account: found.account,
        suffix: found.suffix,
        container: found.container,
        blob: found.blob,
        query: found.query,
    }))
}

/// What a URL names in one of Azure's clouds.
struct InAzure {
    account: String,
    suffix: &'static str,
    container: String,
    blob: String,
    query: Option<Secret>,
}

/// Only whole names of Azure's clouds count: any other host is not asked with our keys.
fn in_azure(text: &str) -> Option<InAzure> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let (account, suffix) = AZURE.into_iter().find_map(|suffix| {
        let account = host.strip_suffix(suffix)?.strip_suffix(".blob.core.")?;
        let is_name = !account.is_empty()
            && account
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_name.then_some((account, suffix))
    })?;
    if url.port().is_some() || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    // As it was written, so that what is encoded is not encoded twice.
    let decoded: Option<Vec<String>> = url
        .path_segments()
        .map(|segments| segments.map(percent_decode).collect());
    let mut segments = decoded?.into_iter();
    let container = segments.next().unwrap_or_default();
    let blob = segments.collect::<Vec<_>>().join("/");
    Some(InAzure {
        account: account.to_owned(),
        suffix,
        container,
        blob,
        query: url.query().map(Secret::new),
    })
}

/// Undoes the encoding of a path's part; `+` stays what it is.
pub(super) fn percent_decode(text: &str) -> String {
    let text = text.replace('+', "%2B").replace('&', "%26");
    let pair = format!("={text}");
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
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
            Self::Gcs { bucket, object, .. } => write!(f, "gs://{bucket}/{object}"),
            Self::Azure {
                account,
                suffix,
                container,
                blob,
                ..
            } => write!(f, "https://{account}.blob.core.{suffix}/{container}/{blob}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_parse() {
        let check = |text: &str, expect: &str| {
            let place = Place::parse(text).map(|place| place.map(|place| place.to_string()));
            assert_eq!(place, Some(Ok(expect.to_owned())), "{text}");
        };
        check("s3://b", "s3://b/");
        check("s3://b/", "s3://b/");
        check("s3://b/a/b", "s3://b/a/b/");
        check("gs://b/a//", "gs://b/a/");
        let azure = "https://acc.blob.core.windows.net/c";
        check(azure, &format!("{azure}/"));
        check(&format!("{azure}/d%20e?sig=x"), &format!("{azure}/d e/"));
        for text in ["s3://", "gs:///x", "https://acc.blob.core.windows.net/"] {
            let place = Place::parse(text);
            assert_eq!(place, Some(Err(LocationError::NoBucket)), "{text}");
        }
        for text in ["https://example.com/c", "dir://x", "x"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

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
        let expect = Location::Gcs {
            bucket: "b".to_owned(),
            object: "a#b".to_owned(),
            generation: Some("12".to_owned()),
        };
        assert_eq!(Location::parse("gs://b/a#b#12"), Some(Ok(expect)));
        let azure =
            Location::parse("https://acc.blob.core.windows.net/c/d/a%20b+c?sv=1&sig=hunter2");
        let azure = azure.unwrap().unwrap();
        let expect = Location::Azure {
            account: "acc".to_owned(),
            suffix: "windows.net",
            container: "c".to_owned(),
            blob: "d/a b+c".to_owned(),
            query: Some(Secret::new("sv=1&sig=hunter2")),
        };
        assert_eq!(azure, expect);
        assert!(!format!("{azure} {azure:?}").contains("hunter2"));
        for text in [
            "https://acc.blob.core.windows.net.evil.com/c/b",
            "https://evil.com/acc.blob.core.windows.net/c/b",
            "https://acc.blob.core.windows.net@evil.com/c/b",
            "https://accblob.core.windows.net/c/b",
            "https://acc.blob.core.windows.net:444/c/b",
            "http://acc.blob.core.windows.net/c/b",
        ] {
            assert_eq!(Location::parse(text), None, "{text}");
        }
        assert_eq!(
            Location::parse("https://acc.blob.core.windows.net/c"),
            Some(Err(LocationError::NoBlob))
        );
        assert_eq!(Location::parse("dir://x"), None);
        assert_eq!(Location::parse("x"), None);
    }
}
