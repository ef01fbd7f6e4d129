//! The clients of the exchanges: one as everything else uses it, one for metadata servers, which are near and quick or
//! not there, and are never behind a proxy.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use url::Url;

use super::CloudError;
use crate::auth::Files;
use crate::http::{
    Body, Error, Http, HttpConfig, Method, Proxies, Request, RetryPolicy, Secret, header,
    printable, redact_url,
};

/// The largest answer of an exchange that is read, in bytes.
const ANSWER_LIMIT: u64 = 256 * 1024;

/// The largest token or key file that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// A metadata server answers from the same machine.
const NEAR_CONNECT: Duration = Duration::from_secs(1);

/// It may have to mint a token first.
const NEAR_STALL: Duration = Duration::from_secs(5);

/// The clients.
#[derive(Clone, Debug)]
pub struct CloudHttp {
    far: Http,
    near: Http,
    files: Files,
}

impl CloudHttp {
    /// Makes both out of the settings of the build.
    ///
    /// # Errors
    /// When a certificate of the settings cannot be used.
    pub fn new(config: &HttpConfig, files: Files) -> Result<Self, Error> {
        let near = HttpConfig {
            proxies: Proxies::default(),
            connect_timeout: NEAR_CONNECT,
            stall_timeout: NEAR_STALL,
            retry: RetryPolicy {
                attempts: 2,
                first_wait: Duration::from_millis(200),
                ..RetryPolicy::default()
            },
            ..config.clone()
        };
        Ok(Self {
            far: Http::new(config.clone())?,
            near: Http::new(near)?,
            files,
        })
    }

    /// The client for everything that is not a metadata server.
    pub fn far(&self) -> &Http {
        &self.far
    }

    /// Sends a request and reads its answer, which must be one of success.
    pub async fn bytes(&self, request: &Request, what: &str) -> Result<Bytes, CloudError> {
        read(&self.far, request, what).await
    }

    /// Sends a request and parses its JSON answer.
    pub async fn json<T: DeserializeOwned>(
        &self,
        request: &Request,
        what: &str,
    ) -> Result<T, CloudError> {
        parse(&self.bytes(request, what).await?, what)
    }

    /// Asks a metadata server.
    pub async fn near(&self, request: &Request, what: &str) -> Result<Bytes, CloudError> {
        read(&self.near, request, what).await
    }

    /// Asks a metadata server for JSON.
    pub async fn near_json<T: DeserializeOwned>(
        &self,
        request: &Request,
        what: &str,
    ) -> Result<T, CloudError> {
        parse(&self.near(request, what).await?, what)
    }

    /// Accepts an address that a secret may be sent to: by TLS, or on this machine or its segment.
    pub fn check(url: &Url, what: &str) -> Result<(), CloudError> {
        let is_near = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
            // fd00:ec2::/32 is where AWS keeps its metadata servers.
            Some(url::Host::Ipv6(address)) => {
                address.is_loopback() || address.segments()[..2] == [0xfd00, 0xec2]
            }
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() == "https" || url.scheme() == "http" && is_near {
            Ok(())
        } else {
            Err(CloudError::config(
                what,
                format_args!("{} is neither https nor on this machine", redact_url(url)),
            ))
        }
    }

    /// Reads a URL out of a setting and checks it.
    pub fn url(text: &str, what: &str) -> Result<Url, CloudError> {
        let url = Url::parse(text).map_err(|error| CloudError::config(what, error))?;
        Self::check(&url, what)?;
        Ok(url)
    }

    /// A POST of a form.
    pub fn form(url: Url, pairs: &[(&str, &str)]) -> Request {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs);
        Request::new(Method::POST, url)
            .header(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .body(Body::Bytes(Bytes::from(form.finish())))
    }

    /// A POST of a JSON document.
    pub fn post_json(url: Url, document: &serde_json::Value) -> Request {
        Request::new(Method::POST, url)
            .header(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/json"),
            )
            .body(Body::Bytes(Bytes::from(document.to_string())))
    }

    /// Reads a token or key file; white space at its ends does not count.
    ///
    /// # Errors
    /// When it is not there or is not text.
    pub fn read_file(&self, path: &Path) -> Result<Secret, CloudError> {
        let read = self.files.read(path, FILE_LIMIT);
        let text = read.map_err(|source| CloudError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Secret::new(text.trim()))
    }
}

async fn read(http: &Http, request: &Request, what: &str) -> Result<Bytes, CloudError> {
    let fail = |source| CloudError::Http {
        what: what.to_owned(),
        source,
    };
    // Headers and forms hold secrets, and none of these servers has a reason to send us elsewhere.
    let request = Request {
        follows_redirects: false,
        ..request.clone()
    };
    let response = http.send_retrying(&request).await.map_err(fail)?;
    let status = response.status();
    if status.is_success() {
        return response.bytes(ANSWER_LIMIT).await.map_err(fail);
    }
    let body = response.head(4096).await;
    Err(CloudError::Refused {
        what: what.to_owned(),
        status,
        message: message(&body),
    })
}

/// Finds the text meant for people in an answer of failure. Only fields known to hold such are shown: a server may echo
/// what it was sent.
fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        let at = |pointer: &str| value.pointer(pointer).and_then(serde_json::Value::as_str);
        let pointers = [
            "/error/message",
            "/error_description",
            "/errors/0/message",
            "/message",
            "/Message",
            "/error",
        ];
        if let Some(found) = pointers.into_iter().find_map(at) {
            return printable(found.lines().next().unwrap_or_default(), 300);
        }
    }
    let tag = text
        .split_once("<Message>")
        .and_then(|(_, rest)| rest.split_once("</Message>"));
    tag.map(|(found, _)| printable(found, 300))
        .unwrap_or_default()
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, CloudError> {
    // serde_json's message may quote a value.
    serde_json::from_slice(bytes).map_err(|_| CloudError::Answer {
        what: what.to_owned(),
    })
}
