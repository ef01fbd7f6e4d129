//! One sending of one request: hops, credentials and time limits.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::StreamExt as _;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

use super::error::Error;
use super::origin::Origin;
use super::reach::{Reach, literal};
use super::request::{Body, OnBytes, Request, Response};
use super::secret::redact_url;
use super::{ClientKey, Http};

/// The most redirects that we follow for one request.
const REDIRECT_LIMIT: usize = 10;

impl Http {
    /// Sends a request once, following redirects if it says so.
    ///
    /// # Errors
    /// When there is no answer, or a hop is refused. An answer with a status of failure is not an error here.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let first = request
            .led_by
            .clone()
            .unwrap_or_else(|| request.url.clone());
        let mut url = request.url.clone();
        if request.led_by.is_some() {
            strip_user(&mut url);
        }
        let mut method = request.method.clone();
        for _ in 0..=REDIRECT_LIMIT {
            let response = self.send_hop(&request, &method, &url, &first).await?;
            if !request.follows_redirects {
                return Ok(response);
            }
            match redirect_target(&response, &method)? {
                None => return Ok(response),
                Some((target, next_method)) => {
                    if url.scheme() == "https" && target.scheme() != "https" {
                        return Err(Error::Downgrade {
                            from: redact_url(&url),
                            to: redact_url(&target),
                        });
                    }
                    url = target;
                    method = next_method;
                }
            }
        }
        Err(Error::TooManyRedirects {
            url: redact_url(&request.url),
            limit: REDIRECT_LIMIT,
        })
    }

    async fn send_hop(
        &self,
        request: &Request,
        method: &Method,
        url: &Url,
        first: &Url,
    ) -> Result<Response, Error> {
        if first.scheme() == "https" && url.scheme() != "https" {
            return Err(Error::Downgrade {
                from: redact_url(first),
                to: redact_url(url),
            });
        }
        let sent_by = self.guard(first, url).await?;
        let key = ClientKey {
            host: self.host_key(url),
            skip_verify: request.skip_verify,
            sent_by,
        };
        let mut builder = self
            .client(key)?
            .request(method.clone(), url.clone())
            .headers(request.headers.clone());
        builder = builder.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let authorizations = [&request.authorization, &request.elsewhere];
        if let Some(value) = authorizations
            .into_iter()
            .flatten()
            .find_map(|authorization| authorization.for_url(url))
        {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| Error::Config {
                what: "credential".to_owned(),
                reason: format!(
                    "the one for {} contains characters that a header cannot carry",
                    redact_url(url)
                ),
            })?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        let watch = Arc::new(Watch::default());
        if method != Method::GET && method != Method::HEAD {
            builder = builder.header(CONTENT_LENGTH, request.body.length());
        }
        builder = match &request.body {
            Body::Empty => builder,
            Body::Bytes(bytes) => builder.body(bytes.clone()),
            Body::Stream(stream) => builder.body(watched(
                stream.open(),
                Arc::clone(&watch),
                request.on_sent.clone(),
            )),
        };
        // An upload in pieces is closed by a PUT of nothing: the registry hashes all of them then.
        let upload = match &request.body {
            Body::Stream(stream) => Some(stream.length()),
            Body::Empty => (method == Method::PUT).then_some(0),
            Body::Bytes(_) => None,
        };
        let sending = builder.send();
        tokio::pin!(sending);
        let inner = self.await_progress(sending, &watch, upload, url).await?;
        match inner {
            Ok(inner) => Ok(Response {
                inner,
                url: url.clone(),
                first: first.clone(),
                stall_timeout: self.shared.config.stall_timeout,
            }),
            Err(error) => match watch.take_failure() {
                Some(source) => Err(Error::Source {
                    url: redact_url(url),
                    source,
                }),
                None => Err(Error::from_reqwest(&error, first, url)),
            },
        }
    }

    /// Waits for the answer as long as the upload moves, and for a while after its last byte.
    async fn await_progress<F: Future + Unpin>(
        &self,
        mut sending: F,
        watch: &Watch,
        upload: Option<u64>,
        url: &Url,
    ) -> Result<F::Output, Error> {
        let config = &self.shared.config;
        // The connection's own limit comes on top: it is not a stall.
        let mut limit = config.stall_timeout + config.connect_timeout;
        loop {
            let before = watch.sent.load(Ordering::Relaxed);
            if let Ok(output) = tokio::time::timeout(limit, &mut sending).await {
                return Ok(output);
            }
            let is_done = upload.is_some_and(|length| watch.sent.load(Ordering::Relaxed) >= length);
            if is_done && limit < config.commit_timeout {
                limit = config.commit_timeout;
            } else if watch.sent.load(Ordering::Relaxed) > before {
                limit = config.stall_timeout;
            } else {
                return Err(Error::Stalled {
                    url: redact_url(url),
                    after: limit,
                });
            }
        }
    }

    /// Says under which reach the names of this hop are to be resolved, or refuses the hop.
    async fn guard(&self, first: &Url, url: &Url) -> Result<Option<Reach>, Error> {
        let is_same = match (Origin::of(first), Origin::of(url)) {
            (Some(first), Some(url)) => first.is_same_place(&url),
            (_, None) => {
                return Err(Error::BadRedirect {
                    url: redact_url(first),
                    reason: "it names no host".to_owned(),
                });
            }
            (None, Some(_)) => false,
        };
        if is_same {
            return Ok(None);
        }
        let from = self.reach_of(first).await;
        if let Some(address) = literal(url)
            && !from.may_send_to(Reach::of(address))
        {
            return Err(Error::PrivateTarget {
                from: redact_url(first),
                to: redact_url(url),
            });
        }
        // Behind a proxy the names are the proxy's to resolve.
        Ok(self
            .shared
            .config
            .proxies
            .for_url(url)
            .is_none()
            .then_some(from))
    }

    pub(super) async fn reach_of(&self, url: &Url) -> Reach {
        if let Some(address) = literal(url) {
            return Reach::of(address);
        }
        if self.shared.config.proxies.for_url(url).is_some() {
            return Reach::Public;
        }
        let Some(name) = url.host_str() else {
            return Reach::Public;
        };
        match self.shared.resolver.lookup(name).await {
            Ok(found) => found
                .into_iter()
                .map(Reach::of)
                .min()
                .unwrap_or(Reach::Public),
            Err(_) => Reach::Public,
        }
    }
}

/// Gives where a redirect leads and by which method; `None` if the answer is to be taken as it is.
fn redirect_target(response: &Response, method: &Method) -> Result<Option<(Url, Method)>, Error> {
    let is_read = method == Method::GET || method == Method::HEAD;
    let follows = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => is_read,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => false,
    };
    if !follows {
        return Ok(None);
    }
    let bad = |reason: &str| Error::BadRedirect {
        url: redact_url(response.url()),
        reason: reason.to_owned(),
    };
    let location = response
        .headers()
        .get(LOCATION)
        .ok_or_else(|| bad("no location is given"))?;
    let location = location
        .to_str()
        .map_err(|_| bad("the location is not text"))?;
    let mut target = response
        .url()
        .join(location)
        .map_err(|error| bad(&error.to_string()))?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(bad("its scheme is neither http nor https"));
    }
    strip_user(&mut target);
    Ok(Some((target, method.clone())))
}

/// Leaves out the user and password that a server put into a URL: we present our own credentials or none.
fn strip_user(url: &mut Url) {
    if !url.username().is_empty() || url.password().is_some() {
        // Only URLs without a host refuse this, and those have neither.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
}

/// What is known of an upload from outside.
#[derive(Debug, Default)]
struct Watch {
    sent: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Watch {
    fn take_failure(&self) -> Option<io::Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

fn watched(
    stream: futures_util::stream::BoxStream<'static, io::Result<bytes::Bytes>>,
    watch: Arc<Watch>,
    on_sent: Option<OnBytes>,
) -> reqwest::Body {
    let body = stream.map(move |item| match item {
        Ok(bytes) => {
            let count = bytes.len() as u64;
            watch.sent.fetch_add(count, Ordering::Relaxed);
            if let Some(on_sent) = &on_sent {
                on_sent(count);
            }
            Ok(bytes)
        }
        Err(error) => {
            let copy = io::Error::new(error.kind(), error.to_string());
            *watch.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
            Err(error)
        }
    });
    reqwest::Body::wrap_stream(body)
}
