//! Google Cloud Storage, by its JSON interface.
//!
//! # Deviation
//! Not by `google-cloud-storage`: that builds an HTTP client of its own, which knows nothing of our proxies and roots, and reads an
//! environment that is empty here.

mod write;

use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use super::read::Checksum;
use super::rest::{self, Failure, Refusal};
use super::{Error, Head};
use crate::auth::cloud::{CloudOptions, google::Google};
use crate::http::{Authorization, Http, Method, Origin, Request, Secret, header};

/// Where the store is.
const ENDPOINT: &str = "https://storage.googleapis.com";

/// The variables that say another place: that of an emulator, which lets everybody in, and gcloud's own.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";
const OVERRIDE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE";

/// A bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    http: Http,
    /// None for an emulator, which lets everybody in.
    google: Option<Google>,
    endpoint: Url,
    name: String,
    payer: Option<String>,
    identity: String,
}

/// An object of a bucket, of one generation.
#[derive(Clone, Debug)]
pub(super) struct Object {
    bucket: Bucket,
    url: Url,
}

#[derive(Deserialize)]
struct Metadata {
    size: String,
    generation: String,
    #[serde(default)]
    crc32c: Option<String>,
}

impl Bucket {
    /// Finds out who we are to it.
    pub(super) async fn open(
        clouds: &CloudOptions,
        bucket: &str,
        name: &str,
    ) -> Result<Self, Error> {
        let variables = &clouds.variables;
        let emulator = variables.get(EMULATOR);
        let (variable, endpoint) = match (emulator, variables.get(OVERRIDE)) {
            (Some(host), _) if host.contains("://") => (EMULATOR, host.to_owned()),
            (Some(host), _) => (EMULATOR, format!("http://{host}")),
            // As gcloud has it, with the path of the interface.
            (None, Some(url)) => {
                let url = url.trim_end_matches('/').trim_end_matches("/storage/v1");
                (OVERRIDE, url.to_owned())
            }
            (None, None) => (OVERRIDE, ENDPOINT.to_owned()),
        };
        let endpoint = Url::parse(&endpoint).map_err(|error| Error::Failed {
            name: name.to_owned(),
            message: format!("{variable} is no URL: {error}"),
        })?;
        let google = Google::new(clouds);
        let mut bucket = Self {
            http: clouds.http.far().clone(),
            payer: google.quota_project(),
            google: emulator.is_none().then_some(google),
            endpoint,
            name: bucket.to_owned(),
            identity: "nobody".to_owned(),
        };
        if let Some((_, source)) = bucket.token(name).await? {
            bucket.identity = source;
        }
        Ok(bucket)
    }

    /// The URL of something of the interface.
    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Looks at an object, or at a generation of it.
    pub(super) async fn object(
        &self,
        key: &str,
        generation: Option<&str>,
        name: &str,
    ) -> Result<(Object, Head), Error> {
        let mut url = self.url(["storage", "v1", "b", &self.name, "o", key]);
        let mut asked = url.clone();
        if let Some(generation) = generation {
            asked
                .query_pairs_mut()
                .append_pair("generation", generation);
        }
        let request = self.request(Method::GET, asked, name).await?;
        let answer = rest::document(&self.http, &request).await;
        let answer = answer.map_err(|failure| self.failed(failure, name))?;
        let metadata: Option<Metadata> = serde_json::from_slice(&answer).ok();
        let size = metadata
            .as_ref()
            .and_then(|metadata| metadata.size.parse().ok());
        let (Some(metadata), Some(size)) = (metadata, size) else {
            return Err(Error::Failed {
                name: name.to_owned(),
                message: "the store does not say how large it is".to_owned(),
            });
        };
        // The content of a generation never changes.
        url.query_pairs_mut()
            .append_pair("alt", "media")
            .append_pair("generation", &metadata.generation);
        let head = Head {
            size,
            tag: None,
            checksum: metadata.checksum(),
        };
        let bucket = self.clone();
        Ok((Object { bucket, url }, head))
    }

    async fn token(&self, name: &str) -> Result<Option<(Secret, String)>, Error> {
        let Some(google) = &self.google else {
            return Ok(None);
        };
        let token = google.token().await.map_err(|source| Error::Identity {
            name: name.to_owned(),
            source,
        })?;
        Ok(Some((token.access_token, token.source)))
    }

    async fn request(&self, method: Method, url: Url, name: &str) -> Result<Request, Error> {
        let token = self.token(name).await?;
        let origin = Origin::of(&url);
        let authorization = token
            .zip(origin)
            .map(|((token, _), origin)| Authorization::bearer(origin, &token));
        let mut request = Request::new(method, url).authorization(authorization);
        request.follows_redirects = false;
        let payer = self.payer.as_deref().map(header::HeaderValue::from_str);
        if let Some(Ok(payer)) = payer {
            let name = header::HeaderName::from_static("x-goog-user-project");
            request.headers.insert(name, payer);
        }
        Ok(request)
    }

    fn failed(&self, failure: Failure, name: &str) -> Error {
        failure.name(name, |refusal| self.refused(refusal, name))
    }

    fn refused(&self, refusal: Refusal, name: &str) -> Error {
        let name = name.to_owned();
        match refusal.status.as_u16() {
            404 if refusal.text.contains("bucket does not exist") => Error::NoBucket {
                name,
                bucket: self.name.clone(),
            },
            404 => Error::NoObject { name },
            401 | 403 => Error::Denied {
                name,
                identity: self.identity.clone(),
                message: refusal.text,
            },
            _ => Error::Failed {
                name,
                message: format!("{} {}", refusal.status, refusal.text),
            },
        }
    }
}

impl Object {
    pub(super) async fn part(&self, start: u64, length: u64, name: &str) -> Result<Bytes, Error> {
        let bucket = &self.bucket;
        let request = bucket.request(Method::GET, self.url.clone(), name).await?;
        let request = |start: u64, end: u64| {
            let mut request = request.clone();
            if let Ok(range) = header::HeaderValue::from_str(&format!("bytes={start}-{end}")) {
                request.headers.insert(header::RANGE, range);
            }
            request
        };
        let part = rest::part(&bucket.http, start, length, request).await;
        part.map_err(|failure| match bucket.failed(failure, name) {
            // A generation that is replaced goes, unless the bucket keeps all of them.
            Error::NoObject { name } => Error::Changed { name },
            error => error,
        })
    }
}

impl Metadata {
    fn checksum(&self) -> Option<Checksum> {
        let sum = self.crc32c.as_deref()?;
        let sum = base64::engine::general_purpose::STANDARD.decode(sum).ok()?;
        Some(Checksum::Crc32c(u32::from_be_bytes(sum.try_into().ok()?)))
    }
}
