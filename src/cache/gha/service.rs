//! The calls of the cache service: Twirp with JSON (twitchtv.github.io/twirp "Protocol"), blobs by signed URLs of Azure.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::http::{
    Authorization, Backoff, Body, Http, Method, Origin, Request, Response, RetryPolicy, Secret,
    StatusCode, header, is_transient, printable, redact_url, retry_after,
};

use super::super::Error;
use super::super::shelf::{Arriving, Local};

/// Where the calls are, below the service's URL.
const METHODS: &str = "twirp/github.actions.results.api.v1.CacheService/";
/// The largest answer of a call that is read, in bytes.
const ANSWER_LIMIT: u64 = 1 << 20;
/// What is not larger is sent whole, in bytes: a block list costs two more requests.
const WHOLE_MAX: u64 = 64 << 20;
/// The length of a block, in bytes. A blob has 50,000 at most (Put Block List).
const BLOCK: u64 = 32 << 20;
/// Blocks that are sent at the same time.
const BLOCKS_AT_ONCE: usize = 4;
/// The longest wait that the service may ask for before it is given up: a build does not wait for its cache.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most characters of the service's words that are shown.
const MESSAGE_LIMIT: usize = 200;

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    http: Http,
    url: Url,
    token: Secret,
    /// The `version` of all that we keep: entries of others are not seen.
    version: String,
    /// Why nothing is asked any more.
    given_up: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedDownloadUrl")]
    signed_download_url: String,
}

#[derive(Deserialize)]
struct Finished {
    #[serde(default)]
    ok: bool,
}

/// An error as Twirp writes it.
#[derive(Default, Deserialize)]
struct Trouble {
    #[serde(default)]
    code: String,
    #[serde(default)]
    msg: String,
}

impl Service {
    pub(super) fn new(http: Http, url: Url, token: Secret) -> Self {
        Self {
            http,
            url,
            token,
            version: hex::encode(Sha256::digest(b"longshore cache 1")),
            given_up: Mutex::default(),
        }
    }

    /// Keeps something under a name; `false` if the name is taken: nothing that is kept can be changed.
    pub(super) async fn put(&self, key: &str, size: u64, content: &Local) -> Result<bool, Error> {
        let body = json!({"key": key, "version": self.version});
        let created: Option<Created> = self.call("CreateCacheEntry", &body).await?;
        let Some(created) = created else {
            return Ok(false);
        };
        if !created.ok {
            return Err(failed("CreateCacheEntry", "it is refused"));
        }
        let url = signed(&created.signed_upload_url)?;
        self.upload(&url, size, content).await?;
        let body = json!({"key": key, "version": self.version, "size_bytes": size.to_string()});
        match self.call("FinalizeCacheEntryUpload", &body).await? {
            Some(Finished { ok: true }) => Ok(true),
            Some(Finished { ok: false }) | None => {
                Err(failed("FinalizeCacheEntryUpload", "it is refused"))
            }
        }
    }

    /// Reads the newest of what has a name that begins so, of `limit` bytes at most.
    pub(super) async fn newest(&self, prefix: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let Some(url) = self.find(prefix, &[prefix]).await? else {
            return Ok(None);
        };
        let mut backoff = self.backoff();
        loop {
            let response = self.get(&url, 0, &mut backoff).await?;
            match response.bytes(limit).await {
                Err(error) if error.is_transient() => match backoff.next_wait(None) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error.into()),
                },
                other => return Ok(Some(other?)),
            }
        }
    }

    /// Whether something that has a name, or one that begins so, can be read.
    pub(super) async fn has(&self, key: &str) -> Result<bool, Error> {
        Ok(self.find(key, &[key]).await?.is_some())
    }

    /// What differs from job to job.
    pub(super) fn token_bytes(&self) -> &[u8] {
        self.token.expose().as_bytes()
    }

    /// Downloads what has a name, or one that begins so; `false` if nothing has it.
    pub(super) async fn download(&self, key: &str, file: &mut Arriving) -> Result<bool, Error> {
        let mut backoff = self.backoff();
        let Some(url) = self.find(key, &[key]).await? else {
            return Ok(false);
        };
        loop {
            let mut response = self.get(&url, file.received, &mut backoff).await?;
            let error = loop {
                match response.chunk().await {
                    Ok(Some(bytes)) => {
                        file.take(&bytes).await.map_err(written)?;
                        backoff.progressed();
                    }
                    Ok(None) => return Ok(true),
                    Err(error) => break error,
                }
            };
            match backoff.next_wait(None).filter(|_| error.is_transient()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error.into()),
            }
        }
    }

    async fn find(&self, key: &str, prefixes: &[&str]) -> Result<Option<Url>, Error> {
        let body = json!({"key": key, "restore_keys": prefixes, "version": self.version});
        let found: Option<Found> = self.call("GetCacheEntryDownloadURL", &body).await?;
        match found {
            Some(found) if found.ok => signed(&found.signed_download_url).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// Calls a method. `None` if it says that a thing exists already, or does not exist.
    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        body: &Value,
    ) -> Result<Option<T>, Error> {
        if let Some(reason) = &*self.lock() {
            return Err(failed("the service was given up", reason));
        }
        let place = self.url.join(&format!("{METHODS}{method}"));
        let url = place.map_err(|error| failed(method, error))?;
        let authorization = Origin::of(&url).map(|to| Authorization::bearer(to, &self.token));
        let mut request = Request::new(Method::POST, url)
            .header(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/json"),
            )
            .authorization(authorization)
            .body(Body::Bytes(body.to_string().into()));
        request.follows_redirects = false;
        let response = self.send(&request, &mut self.backoff()).await;
        let response = response.inspect_err(|error| self.give_up(&error.to_string()))?;
        let (status, asked) = (response.status(), retry_after(response.headers()));
        let answer = response.bytes(ANSWER_LIMIT).await?;
        if status.is_success() {
            let parsed = serde_json::from_slice(&answer);
            return parsed.map(Some).map_err(|error| failed(method, error));
        }
        let trouble: Trouble = serde_json::from_slice(&answer).unwrap_or_default();
        if ["already_exists", "not_found"].contains(&trouble.code.as_str()) {
            return Ok(None);
        }
        let words = [trouble.code, trouble.msg].join(" ");
        let said = printable(&format!("{status} {words}"), MESSAGE_LIMIT);
        // Who asks too much, or is not let in, is not heard a second time either.
        let is_final = is_transient(status)
            || asked.is_some()
            || [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        if is_final {
            self.give_up(&said);
        }
        Err(failed(method, said))
    }

    /// Sends until the answer is not a transient failure. A longer wait than our patience is not waited.
    async fn send(&self, request: &Request, backoff: &mut Backoff) -> Result<Response, Error> {
        loop {
            let result = self.http.send(request.clone()).await;
            let asked = match &result {
                Ok(response) if is_transient(response.status()) => retry_after(response.headers()),
                Err(error) if error.is_transient() => None,
                Ok(_) | Err(_) => return Ok(result?),
            };
            let wait = backoff.next_wait(asked);
            match wait.filter(|_| asked.is_none_or(|asked| asked <= PATIENCE)) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Ok(result?),
            }
        }
    }

    async fn get(&self, url: &Url, start: u64, backoff: &mut Backoff) -> Result<Response, Error> {
        let mut request = Request::new(Method::GET, url.clone()).led_by(self.url.clone());
        if start > 0 {
            let range = header::HeaderValue::from_str(&format!("bytes={start}-"));
            request = request.header(header::RANGE, range.expect("digits are a header"));
        }
        let response = self.send(&request, backoff).await?;
        let expected = if start > 0 {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        };
        if response.status() == expected {
            return Ok(response);
        }
        Err(failed(
            &format!("download of {}", redact_url(url)),
            response.status(),
        ))
    }

    /// Puts a block blob: whole if it is small (Put Blob), else in blocks (Put Block, Put Block List).
    async fn upload(&self, url: &Url, size: u64, content: &Local) -> Result<(), Error> {
        if size <= WHOLE_MAX {
            let request = Request::new(Method::PUT, url.clone()).header(
                header::HeaderName::from_static("x-ms-blob-type"),
                header::HeaderValue::from_static("BlockBlob"),
            );
            return self.put_part(request, content.body(0, size)).await;
        }
        let count = size.div_ceil(BLOCK);
        let blocks = (0..count).map(|number| {
            let start = number * BLOCK;
            let body = content.body(start, BLOCK.min(size - start));
            let mut url = url.clone();
            url.query_pairs_mut()
                .append_pair("comp", "block")
                .append_pair("blockid", &block_id(number));
            self.put_part(Request::new(Method::PUT, url), body)
        });
        stream::iter(blocks)
            .buffer_unordered(BLOCKS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        let blocks: Vec<String> = (0..count)
            .map(|number| format!("<Latest>{}</Latest>", block_id(number)))
            .collect();
        let blocks = blocks.concat();
        let list =
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>");
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("comp", "blocklist");
        let body = Body::Bytes(list.into());
        self.put_part(Request::new(Method::PUT, url), body).await
    }

    async fn put_part(&self, request: Request, body: Body) -> Result<(), Error> {
        let what = format!("upload to {}", redact_url(&request.url));
        let request = request
            .header(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/octet-stream"),
            )
            .led_by(self.url.clone())
            .body(body);
        let response = self.send(&request, &mut self.backoff()).await?;
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(failed(&what, status))
        }
    }

    /// Few tries: a build does not wait for its cache.
    fn backoff(&self) -> Backoff {
        let policy = RetryPolicy {
            attempts: 3,
            budget: Duration::from_secs(30),
            ..self.http.config().retry
        };
        Backoff::new(policy, self.http.config().jitter_seed)
    }

    fn give_up(&self, reason: &str) {
        self.lock().get_or_insert_with(|| reason.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All ids of a blob have the same length.
fn block_id(number: u64) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{number:08}"))
}

fn signed(url: &str) -> Result<Url, Error> {
    // Whoever has the URL is let in: what is wrong with it is told without it.
    Url::parse(url).map_err(|error| failed("a signed URL", error))
}

fn written(source: io::Error) -> Error {
    failed("a blob cannot be kept here", source)
}

fn failed(what: &str, reason: impl std::fmt::Display) -> Error {
    Error::Service {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}
