//! S3 and what speaks like it.
//!
//! The SDK's requests go through our own clients: proxies, roots and the rule of which request may carry which credential hold
//! for them too.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use bytes::Bytes;
use url::Url;

use super::read::{Checksum, PART_SIZE};
use super::{Error, Head};
use crate::auth::cloud::CloudOptions;
use crate::auth::cloud::aws::Aws;
use crate::http::{self, Authorization, Body, Http, Method, Origin, Request, Secret, printable};

/// Where a bucket is asked for if nothing says where it is; the answer tells.
const DEFAULT_REGION: &str = "us-east-1";

/// The header that tells where a bucket is.
const REGION_HEADER: &str = "x-amz-bucket-region";

/// The largest answer: a part, or a document of the store.
const ANSWER_LIMIT: u64 = PART_SIZE + (1 << 20);

/// An object of a bucket.
#[derive(Clone, Debug)]
pub(super) struct Object {
    client: Client,
    bucket: String,
    key: String,
    version: Option<String>,
    identity: String,
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
        let aws = Aws::new(clouds);
        let region = aws.region().unwrap_or(DEFAULT_REGION).to_owned();
        // Asked for before the SDK asks: its own error would not name the places.
        let keys = aws.keys(&region).await.map_err(|source| Error::Identity {
            name: name.to_owned(),
            source,
        })?;
        let mut object = Self {
            client: client(clouds, &aws, &region, name)?,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: version.map(str::to_owned),
            identity: keys.source,
        };
        let head = match object.head(name).await {
            Err((_, Some(actual))) if actual != region => {
                object.client = client(clouds, &aws, &actual, name)?;
                object.head(name).await
            }
            result => result,
        };
        head.map(|head| (object, head)).map_err(|(error, _)| error)
    }

    /// Looks at the object. An error comes with the bucket's region, if the store told it.
    async fn head(&self, name: &str) -> Result<Head, (Error, Option<String>)> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.bucket)
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
                return Err((self.failure(&error, name).await, region));
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
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(&self.key)
            .set_version_id(self.version.clone())
            .range(format!("bytes={start}-{}", start + length - 1))
            .set_if_match(tag.map(str::to_owned))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.failure(&error, name).await),
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
                let bucket = self.client.head_bucket().bucket(&self.bucket).send().await;
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
            bucket: self.bucket.clone(),
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

/// Our keys, as the SDK asks for them.
#[derive(Debug)]
struct Provider {
    aws: Aws,
    region: String,
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let keys = self.aws.keys(&self.region).await;
            let keys = keys.map_err(CredentialsError::provider_error)?;
            let mut credentials = Credentials::builder()
                .access_key_id(keys.access_key_id)
                .secret_access_key(keys.secret_access_key.expose())
                .provider_name("longshore");
            credentials
                .set_session_token(keys.session_token.map(|token| token.expose().to_owned()));
            credentials.set_expiry(keys.expires);
            Ok(credentials.build())
        })
    }
}

/// Our clients, as the SDK asks for them. It tries again by itself.
#[derive(Clone, Debug)]
struct Connector(Http);

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = translate(request)?;
            let response = http.send(request).await.map_err(failed)?;
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            let body = response.bytes(ANSWER_LIMIT).await.map_err(failed)?;
            let status = status
                .try_into()
                .map_err(|error| ConnectorError::other(Box::new(error), None))?;
            let mut answer = HttpResponse::new(status, SdkBody::from(body));
            for (name, value) in &headers {
                if let Ok(value) = value.to_str() {
                    answer
                        .headers_mut()
                        .append(name.as_str().to_owned(), value.to_owned());
                }
            }
            Ok(answer)
        })
    }
}

fn failed(error: http::Error) -> ConnectorError {
    if error.is_transient() {
        ConnectorError::io(Box::new(error))
    } else {
        ConnectorError::user(Box::new(error))
    }
}

fn translate(request: HttpRequest) -> Result<Request, ConnectorError> {
    let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
    let url = Url::parse(request.uri()).map_err(|error| user(error.into()))?;
    let method =
        Method::from_bytes(request.method().as_bytes()).map_err(|error| user(error.into()))?;
    let body = match request.body().bytes() {
        Some([]) => Body::Empty,
        Some(bytes) => Body::Bytes(Bytes::copy_from_slice(bytes)),
        None => return Err(user("a body that streams".into())),
    };
    let mut translated = Request::new(method, url).body(body);
    // A redirect would break the signature.
    translated.follows_redirects = false;
    for (name, value) in request.headers() {
        if name.eq_ignore_ascii_case("authorization") {
            translated.authorization = Origin::of(&translated.url)
                .map(|origin| Authorization::new(origin, Secret::new(value)));
            continue;
        }
        // The client says these itself.
        if ["host", "content-length", "user-agent"].contains(&name) {
            continue;
        }
        let name = http::header::HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| user(error.into()))?;
        let mut value =
            http::header::HeaderValue::from_str(value).map_err(|error| user(error.into()))?;
        value.set_sensitive(true);
        translated.headers.append(name, value);
    }
    Ok(translated)
}
