//! Azure Blob Storage, by its REST interface.
//!
//! # Deviation
//! Not by `azure_storage_blob`: that knows no shared key, which is the one way that kaniko's users have, and its identities read an
//! environment that is empty here.

mod write;

use std::fmt::Write as _;

use base64::Engine as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::rest::{self, Failure, Refusal};
use super::{Error, Head};
use crate::auth::cloud::{CloudOptions, azure::Azure};
use crate::http::{Authorization, Http, Method, Origin, Request, Response, Secret, header};

/// The version of the interface (x-ms-version).
const VERSION: &str = "2021-08-06";

/// Where Entra ID is, and what a token for blobs is asked for.
const AUTHORITY: &str = "https://login.microsoftonline.com/";
const RESOURCE: &str = "https://storage.azure.com/";

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    http: Http,
    /// Of the container, with what the user put behind the question mark.
    url: Url,
    name: String,
    access: Access,
    options: CloudOptions,
}

/// A blob.
#[derive(Clone, Debug)]
pub(super) struct Object {
    bucket: Bucket,
    url: Url,
}

/// By what it may be read.
#[derive(Clone, Debug)]
enum Access {
    /// The URL says it (SAS).
    Url,
    /// The key of the account.
    Key { account: String, key: Vec<u8> },
    /// A token of Entra ID.
    Token {
        azure: Box<Azure>,
        authority: &'static str,
    },
}

impl Bucket {
    /// Finds out by what we may read it.
    pub(super) fn open(
        clouds: &CloudOptions,
        place: (&str, &str),
        container: &str,
        query: Option<&Secret>,
        name: &str,
    ) -> Result<Self, Error> {
        let (account, suffix) = place;
        let fail = |message: String| Error::Failed {
            name: name.to_owned(),
            message,
        };
        let variable = "AZURE_STORAGE_BLOB_ENDPOINT";
        let endpoint = match clouds.variables.get(variable) {
            Some(text) => text.to_owned(),
            None => format!("https://{account}.blob.core.{suffix}"),
        };
        let mut url = Url::parse(&endpoint)
            .map_err(|error| fail(format!("{variable} is no URL: {error}")))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(container);
        }
        url.set_query(query.map(Secret::expose));
        let is_signed = url.query_pairs().any(|(name, _)| name == "sig");
        let access = match clouds.variables.get("AZURE_STORAGE_ACCESS_KEY") {
            _ if is_signed => Access::Url,
            Some(key) => Access::Key {
                account: account.to_owned(),
                key: base64::engine::general_purpose::STANDARD
                    .decode(key.trim())
                    .map_err(|_| fail("AZURE_STORAGE_ACCESS_KEY is not base64".to_owned()))?,
            },
            None => Access::Token {
                azure: Box::new(Azure::new(clouds)),
                authority: match suffix {
                    "chinacloudapi.cn" => "https://login.chinacloudapi.cn/",
                    "usgovcloudapi.net" => "https://login.microsoftonline.us/",
                    _ => AUTHORITY,
                },
            },
        };
        Ok(Self {
            http: clouds.http.far().clone(),
            url,
            name: container.to_owned(),
            access,
            options: clouds.clone(),
        })
    }

    fn blob(&self, key: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(key.split('/'));
        }
        url
    }

    /// Looks at a blob.
    pub(super) async fn object(&self, key: &str, name: &str) -> Result<(Object, Head), Error> {
        let url = self.blob(key);
        let answer = self
            .send(Request::new(Method::HEAD, url.clone()), name)
            .await?;
        let size = answer.content_length().ok_or_else(|| Error::Failed {
            name: name.to_owned(),
            message: "the store does not say how large it is".to_owned(),
        })?;
        let head = Head {
            size,
            tag: answer.header(&header::ETAG).map(str::to_owned),
            checksum: None,
        };
        let bucket = self.clone();
        Ok((Object { bucket, url }, head))
    }

    async fn send(&self, request: Request, name: &str) -> Result<Response, Error> {
        let token = self.token(name).await?;
        let request = self.signed(request, token.as_ref());
        let answer = rest::send(&self.http, &request).await;
        answer.map_err(|failure| self.failed(failure, name))
    }

    async fn token(&self, name: &str) -> Result<Option<Secret>, Error> {
        match &self.access {
            Access::Url | Access::Key { .. } => Ok(None),
            Access::Token { azure, authority } => {
                let token = azure.token(authority, RESOURCE).await;
                let token = token.map_err(|source| Error::Identity {
                    name: name.to_owned(),
                    source,
                })?;
                Ok(Some(token.access_token))
            }
        }
    }

    /// Completes a request by its date and by what lets it in.
    fn signed(&self, mut request: Request, token: Option<&Secret>) -> Request {
        request.follows_redirects = false;
        let now = jiff::Timestamp::try_from((self.options.now)()).unwrap_or_default();
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        for (name, value) in [("x-ms-date", date.as_str()), ("x-ms-version", VERSION)] {
            request = with(request, name, value);
        }
        let origin = Origin::of(&request.url);
        request.authorization = match (&self.access, token, origin) {
            (Access::Key { account, key }, _, Some(origin)) => {
                let signature = sign(&request, account, key);
                let value = Secret::new(format!("SharedKey {account}:{signature}"));
                Some(Authorization::new(origin, value))
            }
            (_, Some(token), Some(origin)) => Some(Authorization::bearer(origin, token)),
            (_, _, _) => None,
        };
        request
    }

    fn failed(&self, failure: Failure, name: &str) -> Error {
        failure.name(name, |refusal| self.refused(refusal, name))
    }

    fn refused(&self, refusal: Refusal, name: &str) -> Error {
        let name = name.to_owned();
        match refusal.status.as_u16() {
            404 if ["ContainerNotFound", "container does not exist"]
                .iter()
                .any(|text| refusal.text.contains(text)) =>
            {
                Error::NoBucket {
                    name,
                    bucket: self.name.clone(),
                }
            }
            404 => Error::NoObject { name },
            412 => Error::Changed { name },
            401 | 403 => Error::Denied {
                name,
                identity: match &self.access {
                    Access::Url => "the URL's signature",
                    Access::Key { .. } => "AZURE_STORAGE_ACCESS_KEY",
                    Access::Token { .. } => "Entra ID",
                }
                .to_owned(),
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
    pub(super) async fn part(
        &self,
        start: u64,
        length: u64,
        tag: Option<&str>,
        name: &str,
    ) -> Result<Bytes, Error> {
        let bucket = &self.bucket;
        let token = bucket.token(name).await?;
        let request = |start, end| {
            let mut request = Request::new(Method::GET, self.url.clone());
            request = with(request, "x-ms-range", &format!("bytes={start}-{end}"));
            if let Some(tag) = tag {
                request = with(request, "if-match", tag);
            }
            bucket.signed(request, token.as_ref())
        };
        let part = rest::part(&bucket.http, start, length, request).await;
        part.map_err(|failure| bucket.failed(failure, name))
    }
}

/// Adds a header. Our own values always fit; a tag of the store that does not is left out.
fn with(request: Request, name: &'static str, value: &str) -> Request {
    match header::HeaderValue::from_str(value) {
        Ok(value) => request.header(header::HeaderName::from_static(name), value),
        Err(_) => request,
    }
}

/// Signs a request by the key of the account ("Authorize with Shared Key", Blob service).
fn sign(request: &Request, account: &str, key: &[u8]) -> String {
    let value = |name: &str| {
        let value = request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let length = match request.body.length() {
        0 => String::new(),
        length => length.to_string(),
    };
    // Of the twelve fields these are ever set: the date and the range are in headers of the store's own.
    let mut text = format!(
        "{}\n\n\n{length}\n\n{}\n\n\n{}\n{}\n\n\n",
        request.method,
        value("content-type"),
        value("if-match"),
        value("if-none-match"),
    );
    let mut own: Vec<&str> = request
        .headers
        .keys()
        .map(header::HeaderName::as_str)
        .filter(|name| name.starts_with("x-ms-"))
        .collect();
    own.sort_unstable();
    for name in own {
        let _ = writeln!(text, "{name}:{}", value(name));
    }
    let _ = write!(text, "/{account}{}", request.url.path());
    let mut pairs: Vec<_> = request
        .url
        .query_pairs()
        .map(|(name, value)| (name.to_lowercase(), value.into_owned()))
        .collect();
    pairs.sort();
    for (name, value) in pairs {
        let _ = write!(text, "\n{name}:{value}");
    }
    base64::engine::general_purpose::STANDARD.encode(hmac(key, text.as_bytes()))
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner);
    outer.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let check = |key: &[u8], text: &[u8], expect: &str| {
            assert_eq!(hex::encode(hmac(key, text)), expect);
        };
        check(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }
}
