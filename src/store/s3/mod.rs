//! S3 and what speaks like it.
//!
//! The SDK's requests go through our own clients: proxies, roots and the rule of which request may carry which credential hold
//! for them too.

mod connector;
mod write;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, RequestPayer};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use base64::Engine as _;
use bytes::Bytes;
use url::Url;

use super::read::Checksum;
use super::{Error, Head};
use crate::auth::cloud::CloudOptions;
use crate::auth::cloud::aws::Aws;
use crate::http::printable;
use connector::{Connector, Provider};

/// Where a bucket is asked for if nothing says where it is; the answer tells.
const DEFAULT_REGION: &str = "us-east-1";

/// The header that tells where a bucket is.
const REGION_HEADER: &str = "x-amz-bucket-region";

/// A bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    client: Client,
    name: String,
    identity: String,
    /// Who pays for a transfer, if not the bucket's owner.
    payer: Option<RequestPayer>,
}

/// An object of a bucket.
#[derive(Clone, Debug)]
pub(super) struct Object {
    bucket: Bucket,
    key: String,
    version: Option<String>,
}

impl Bucket {
    /// Makes a client for the bucket in the region that is ours.
    async fn here(
        clouds: &CloudOptions,
        bucket: &str,
        name: &str,
    ) -> Result<(Self, Aws, String), Error> {
        let aws = Aws::new(clouds);
        let region = aws.region().unwrap_or(DEFAULT_REGION).to_owned();
        // Asked for before the SDK asks: its own error would not name the places.
        let keys = aws.keys(&region).await.map_err(|source| Error::Identity {
            name: name.to_owned(),
            source,
        })?;
        let bucket = Self {
            client: client(clouds, &aws, &region, name)?,
            name: bucket.to_owned(),
            identity: keys.source,
            payer: clouds
                .variables
                .get("AWS_REQUEST_PAYER")
                .map(RequestPayer::from),
        };
        Ok((bucket, aws, region))
    }

    /// Finds the bucket, in whatever region it is. It need not be allowed to look at the bucket itself.
    pub(super) async fn open(
        clouds: &CloudOptions,
        bucket: &str,
        name: &str,
    ) -> Result<Self, Error> {
        let (mut bucket, aws, region) = Self::here(clouds, bucket, name).await?;
        let answer = bucket
            .client
            .head_bucket()
            .bucket(&bucket.name)
            .send()
            .await;
        let Err(error) = answer else {
            return Ok(bucket);
        };
        let response = error.raw_response();
        match response.map(|response| response.status().as_u16()) {
            Some(404) => return Err(bucket.no_bucket(name.to_owned())),
            Some(301 | 307 | 400 | 401 | 403) => {}
            Some(_) | None => return Err(bucket.failure(&error, name).await),
        }
        let actual = response.and_then(|response| response.headers().get(REGION_HEADER));
        if let Some(actual) = actual.filter(|actual| *actual != region) {
            bucket.client = client(clouds, &aws, actual, name)?;
        }
        Ok(bucket)
    }

    /// Looks at an object of it.
    pub(super) async fn object(&self, key: &str, name: &str) -> Result<(Object, Head), Error> {
        let object = Object {
            bucket: self.clone(),
            key: key.to_owned(),
            version: None,
        };
        match object.head(name).await {
            Ok(head) => Ok((object, head)),
            Err((error, _)) => Err(error),
        }
    }
}

impl Object {
    /// Finds the object, in whatever region its bucket is.
    pub(super) async fn open(
        clouds: &CloudOptions,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        name: &str,
    ) -> Result<(Self, Head), Error> {
        let (bucket, aws, region) = Bucket::here(clouds, bucket, name).await?;
        let mut object = Self {
            bucket,
            key: key.to_owned(),
            version: version.map(str::to_owned),
        };
        let head = match object.head(name).await {
            Err((_, Some(actual))) if actual != region => {
                object.bucket.client = client(clouds, &aws, &actual, name)?;
                object.head(name).await
            }
            result => result,
        };
        head.map(|head| (object, head)).map_err(|(error, _)| error)
    }

    /// Looks at the object. An error comes with the bucket's region, if the store told it.
    async fn head(&self, name: &str) -> Result<Head, (Error, Option<String>)> {
        let answer = self
            .bucket
            .client
            .head_object()
            .bucket(&self.bucket.name)
            .set_request_payer(self.bucket.payer.clone())
            .key(&self.key)
            .set_version_id(self.version.clone())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        let head = match answer {
            Ok(head) => head,
            Err(error) => {
                let response = error.raw_response();
                let region = response.and_then(|response| response.headers().get(REGION_HEADER));
                let region = region.map(str::to_owned);
                return Err((self.bucket.failure(&error, name).await, region));
            }
        };
        let size = head
            .content_length()
            .and_then(|size| u64::try_from(size).ok());
        let is_whole = !matches!(head.checksum_type(), Some(ChecksumType::Composite));
        let checksum = head
            .checksum_sha256()
            .filter(|sum| is_whole && !sum.contains('-'))
            .and_then(|sum| base64::engine::general_purpose::STANDARD.decode(sum).ok())
            .map(|sum| Checksum::Sha256(hex::encode(sum)));
        Ok(Head {
            size: size.ok_or_else(|| {
                let message = "the store does not say how large it is".to_owned();
                let name = name.to_owned();
                (Error::Failed { name, message }, None)
            })?,
            tag: head.e_tag().map(str::to_owned),
            checksum,
        })
    }

    /// Gets a part.
    pub(super) async fn part(
        &self,
        start: u64,
        length: u64,
        tag: Option<&str>,
        name: &str,
    ) -> Result<Bytes, Error> {
        let answer = self
            .bucket
            .client
            .get_object()
            .bucket(&self.bucket.name)
            .set_request_payer(self.bucket.payer.clone())
            .key(&self.key)
            .set_version_id(self.version.clone())
            .range(format!("bytes={start}-{}", start + length - 1))
            .set_if_match(tag.map(str::to_owned))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.bucket.failure(&error, name).await),
        };
        let failed = |message: String| Error::Failed {
            name: name.to_owned(),
            message,
        };
        let part = answer.body.collect().await;
        let part = part
            .map_err(|error| failed(error.to_string()))?
            .into_bytes();
        if part.len() as u64 == length {
            Ok(part)
        } else {
            Err(failed(format!(
                "asked for {length} bytes, got {}",
                part.len()
            )))
        }
    }
}

impl Bucket {
    /// Names what the store says. The answer to a HEAD has no body that could: the bucket is asked for then.
    async fn failure<E>(&self, error: &SdkError<E, HttpResponse>, name: &str) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let name = name.to_owned();
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        match (error.code(), status) {
            (Some("NoSuchBucket"), _) => self.no_bucket(name),
            (Some("NoSuchKey" | "NoSuchVersion"), _) => Error::NoObject { name },
            (_, Some(404)) => {
                let bucket = self.client.head_bucket().bucket(&self.name).send().await;
                let status = bucket
                    .err()
                    .and_then(|error| Some(error.raw_response()?.status().as_u16()));
                if status == Some(404) {
                    self.no_bucket(name)
                } else {
                    Error::NoObject { name }
                }
            }
            (_, Some(412)) => Error::Changed { name },
            (code, Some(401 | 403)) => Error::Denied {
                name,
                identity: self.identity.clone(),
                message: message(error, code.unwrap_or("403")),
            },
            (code, Some(status)) => Error::Failed {
                name,
                message: message(error, &format!("{status} {}", code.unwrap_or_default())),
            },
            (_, None) => Error::Failed {
                name,
                message: chain(error),
            },
        }
    }

    fn no_bucket(&self, name: String) -> Error {
        Error::NoBucket {
            name,
            bucket: self.name.clone(),
        }
    }
}

fn message<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, otherwise: &str) -> String {
    printable(error.message().unwrap_or(otherwise), 300)
}

/// The last cause says what it was; the SDK's own texts above it say nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    printable(&last.to_string(), 300)
}

fn client(clouds: &CloudOptions, aws: &Aws, region: &str, name: &str) -> Result<Client, Error> {
    let variables = &clouds.variables;
    let mut config = Builder::new()
        .behavior_version_latest()
        .region(Region::new(region.to_owned()))
        // The signature covers the content; the checksums that the SDK would add are not understood by every store.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .http_client(Connector(clouds.http.far().clone()))
        .credentials_provider(Provider {
            aws: aws.clone(),
            region: region.to_owned(),
        });
    let endpoint = variables.first(&["S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    if let Some((variable, text)) = endpoint {
        // As kaniko's: a host without a scheme is reached by https.
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        Url::parse(&text).map_err(|error| Error::Failed {
            name: name.to_owned(),
            message: format!("{variable} is no URL: {error}"),
        })?;
        let is_path_style = variables
            .get("S3_FORCE_PATH_STYLE")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        config = config.endpoint_url(text).force_path_style(is_path_style);
    }
    Ok(Client::from_conf(config.build()))
}
