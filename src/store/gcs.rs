//! Google Cloud Storage, by its JSON interface.
//!
//! # Deviation
//! Not by `google-cloud-storage`: that builds an HTTP client of its own, which knows nothing of our proxies and roots, and reads an
//! environment that is empty here.

use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use super::read::Checksum;
use super::rest::{self, Refusal};
use super::{Error, Head};
use crate::auth::cloud::{CloudOptions, google::Google};
use crate::http::{Authorization, Http, Method, Origin, Request, Secret, header};

/// Where the store is.
const ENDPOINT: &str = "https://storage.googleapis.com";

/// An object of a bucket, of one generation.
#[derive(Clone, Debug)]
pub(super) struct Object {
    http: Http,
    /// None for an emulator, which lets everybody in.
    google: Option<Google>,
    url: Url,
    bucket: String,
    payer: Option<String>,
    identity: String,
}

#[derive(Deserialize)]
struct Metadata {
    size: String,
    generation: String,
    #[serde(default)]
    crc32c: Option<String>,
}

impl Object {
    pub(super) async fn open(
        clouds: &CloudOptions,
        bucket: &str,
        key: &str,
        generation: Option<&str>,
        name: &str,
    ) -> Result<(Self, Head), Error> {
        let emulator = clouds.variables.get("STORAGE_EMULATOR_HOST");
        let endpoint = match emulator {
            Some(host) if host.contains("://") => host.to_owned(),
            Some(host) => format!("http://{host}"),
            None => ENDPOINT.to_owned(),
        };
        let mut url = Url::parse(&endpoint).map_err(|error| Error::Failed {
            name: name.to_owned(),
            message: format!("STORAGE_EMULATOR_HOST is no URL: {error}"),
        })?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["storage", "v1", "b", bucket, "o", key]);
        }
        if let Some(generation) = generation {
            url.query_pairs_mut().append_pair("generation", generation);
        }
        let mut object = Self {
            http: clouds.http.far().clone(),
            google: emulator.is_none().then(|| Google::new(clouds)),
            url,
            bucket: bucket.to_owned(),
            payer: clouds
                .variables
                .get("GOOGLE_CLOUD_QUOTA_PROJECT")
                .map(str::to_owned),
            identity: "nobody".to_owned(),
        };
        let token = object.token(name).await?;
        if let Some((_, source)) = &token {
            object.identity.clone_from(source);
        }
        let request = object.request(object.url.clone(), token.as_ref().map(|(token, _)| token));
        let answer = rest::document(&object.http, &request).await;
        let answer = answer
            .map_err(|failure| failure.name(name, |refusal| object.refused(refusal, name)))?;
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
        object.url.set_query(None);
        object
            .url
            .query_pairs_mut()
            .append_pair("alt", "media")
            .append_pair("generation", &metadata.generation);
        let checksum = metadata
            .crc32c
            .and_then(|sum| base64::engine::general_purpose::STANDARD.decode(sum).ok())
            .and_then(|sum| Some(Checksum::Crc32c(u32::from_be_bytes(sum.try_into().ok()?))));
        let head = Head {
            size,
            tag: None,
            checksum,
        };
        Ok((object, head))
    }

    pub(super) async fn part(&self, start: u64, length: u64, name: &str) -> Result<Bytes, Error> {
        let token = self.token(name).await?;
        let request = |start: u64, end: u64| {
            let mut request =
                self.request(self.url.clone(), token.as_ref().map(|(token, _)| token));
            if let Ok(range) = header::HeaderValue::from_str(&format!("bytes={start}-{end}")) {
                request.headers.insert(header::RANGE, range);
            }
            request
        };
        let part = rest::part(&self.http, start, length, request).await;
        part.map_err(|failure| failure.name(name, |refusal| self.refused(refusal, name)))
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

    fn request(&self, url: Url, token: Option<&Secret>) -> Request {
        let origin = Origin::of(&url);
        let authorization = token
            .zip(origin)
            .map(|(token, origin)| Authorization::bearer(origin, token));
        let mut request = Request::new(Method::GET, url).authorization(authorization);
        request.follows_redirects = false;
        let payer = self.payer.as_deref().map(header::HeaderValue::from_str);
        if let Some(Ok(payer)) = payer {
            let name = header::HeaderName::from_static("x-goog-user-project");
            request.headers.insert(name, payer);
        }
        request
    }

    fn refused(&self, refusal: Refusal, name: &str) -> Error {
        let name = name.to_owned();
        match refusal.status.as_u16() {
            404 if refusal.text.contains("bucket does not exist") => Error::NoBucket {
                name,
                bucket: self.bucket.clone(),
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
