//! What changes a bucket, and what is in it.

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::super::Error;
use super::super::folder::{Listed, Put, Stored};
use super::super::parts::{Parts, Sizes};
use super::super::read::{Checksum, Sum};
use super::super::rest::{self, Failure};
use super::{Bucket, Metadata};
use crate::http::header::{HeaderName, HeaderValue};
use crate::http::{Body, Method, Request, Response, StatusCode, header};

/// So often parts of a part are sent again that the store did not keep.
const RESENDS: u32 = 20;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default, rename = "nextPageToken")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    size: String,
    #[serde(default)]
    updated: Option<String>,
}

impl Bucket {
    /// Puts an object: whole, or not at all.
    pub(in super::super) async fn put(
        &self,
        key: &str,
        put: Put,
        name: &str,
    ) -> Result<Stored, Error> {
        let is_small = put.body.length() <= Sizes::SINGLE;
        let mut url = self.url(["upload", "storage", "v1", "b", &self.name, "o"]);
        url.query_pairs_mut()
            .append_pair(
                "uploadType",
                if is_small { "multipart" } else { "resumable" },
            )
            .append_pair("name", key);
        if put.if_absent {
            url.query_pairs_mut().append_pair("ifGenerationMatch", "0");
        }
        let request = self.request(Method::POST, url, name).await?;
        let done = if is_small {
            self.put_whole(request, key, &put, name).await
        } else {
            self.put_parts(request, &put, name).await
        };
        match done {
            Ok(()) => Ok(Stored::New),
            Err(Wrong::Failure(Failure::Refused(refusal)))
                if put.if_absent && refusal.status == StatusCode::PRECONDITION_FAILED =>
            {
                Ok(Stored::Exists)
            }
            Err(Wrong::Failure(failure)) => Err(self.failed(failure, name)),
            Err(Wrong::Error(error)) => Err(error),
        }
    }

    /// Sends the name and the content in one body (RFC 2387).
    async fn put_whole(
        &self,
        request: Request,
        key: &str,
        put: &Put,
        name: &str,
    ) -> Result<(), Wrong> {
        let bytes = put.bytes(name).await?;
        let mut sum = Sum::crc32c();
        sum.update(&bytes);
        // What ends the content is not in it: that would be a cycle of the hash.
        let boundary = hex::encode(Sha256::digest(&bytes));
        let metadata = serde_json::json!({"name": key, "contentType": "application/octet-stream"});
        let mut body = format!(
            "--{boundary}\r\ncontent-type: application/json\r\n\r\n{metadata}\r\n\
             --{boundary}\r\ncontent-type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(&bytes);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/related; boundary={boundary}");
        let kind = HeaderValue::from_str(&kind).expect("hexadecimal digits fit into a header");
        let request = request
            .header(header::CONTENT_TYPE, kind)
            .body(Body::in_pieces(body.into()));
        let answer = rest::send(&self.http, &request).await?;
        put.moved(put.body.length());
        check(answer, sum.finish(), name).await
    }

    async fn put_parts(&self, request: Request, put: &Put, name: &str) -> Result<(), Wrong> {
        let answer = rest::send(&self.http, &request).await?;
        let session = answer
            .header(&header::LOCATION)
            .and_then(|location| request.url.join(location).ok());
        let session = session
            .ok_or_else(|| Failure::Broken("the store does not say where to send".to_owned()))?;
        let total = put.body.length();
        let mut sum = Sum::crc32c();
        let (mut sent, mut last) = (0, None);
        let mut parts = Parts::new(&put.body, Sizes::of(total), name);
        while let Some(part) = parts.next().await {
            let (_, bytes) = part?;
            sum.update(&bytes);
            let count = bytes.len() as u64;
            let target = Target {
                session: &session,
                led_by: &request.url,
                total,
                name,
            };
            last = self.put_part(bytes, sent, &target).await?;
            sent += count;
            put.moved(count);
        }
        let last = last.ok_or_else(|| {
            Failure::Broken("the store has all bytes and does not say that it is done".to_owned())
        })?;
        check(last, sum.finish(), name).await
    }

    /// Sends a part until the store has all of it. The last gives the answer.
    async fn put_part(
        &self,
        mut bytes: Bytes,
        mut start: u64,
        target: &Target<'_>,
    ) -> Result<Option<Response>, Wrong> {
        for _ in 0..RESENDS {
            let end = start + bytes.len() as u64;
            let range = format!("bytes {start}-{}/{}", end - 1, target.total);
            let mut request = self
                .request(Method::PUT, target.session.clone(), target.name)
                .await?
                .led_by(target.led_by.clone())
                .body(Body::in_pieces(bytes.clone()));
            if let Ok(range) = HeaderValue::from_str(&range) {
                request = request.header(header::CONTENT_RANGE, range);
            }
            let answer = self.http.send_retrying(&request).await;
            let answer = answer.map_err(|error| Failure::Broken(error.to_string()))?;
            if answer.status() != StatusCode::PERMANENT_REDIRECT {
                return Ok(Some(rest::accept(answer).await?));
            }
            // "Resume incomplete": the header says which bytes it has, from the first on.
            let kept = answer
                .header(&HeaderName::from_static("range"))
                .and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok())
                .map_or(0, |last| last + 1);
            if kept == end {
                return Ok(None);
            }
            if !(start..end).contains(&kept) {
                break;
            }
            let _ = bytes.split_to(usize::try_from(kept - start).unwrap_or_default());
            start = kept;
        }
        Err(Failure::Broken("the store does not keep what is sent".to_owned()).into())
    }

    /// Lists what begins with `prefix`, at most `limit`.
    pub(in super::super) async fn list(
        &self,
        prefix: &str,
        limit: usize,
        name: &str,
    ) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut url = self.url(["storage", "v1", "b", &self.name, "o"]);
            url.query_pairs_mut()
                .append_pair("prefix", prefix)
                .append_pair("fields", "items(name,size,updated),nextPageToken");
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("pageToken", after);
            }
            let request = self.request(Method::GET, url, name).await?;
            let answer = rest::document(&self.http, &request).await;
            let answer = answer.map_err(|failure| self.failed(failure, name))?;
            let page: Page = serde_json::from_slice(&answer).map_err(|error| Error::Failed {
                name: name.to_owned(),
                message: format!("the store's list cannot be read: {error}"),
            })?;
            for item in page.items {
                if listed.len() == limit {
                    return Ok(listed);
                }
                listed.push(Listed {
                    name: item.name,
                    size: item.size.parse().unwrap_or_default(),
                    modified: item
                        .updated
                        .and_then(|time| Some(time.parse::<jiff::Timestamp>().ok()?.into())),
                });
            }
            match page.next.filter(|next| !next.is_empty()) {
                Some(next) => after = Some(next),
                None => return Ok(listed),
            }
        }
    }

    /// Deletes an object. That it is not there is fine.
    pub(in super::super) async fn delete(&self, key: &str, name: &str) -> Result<(), Error> {
        let url = self.url(["storage", "v1", "b", &self.name, "o", key]);
        let request = self.request(Method::DELETE, url, name).await?;
        match rest::send(&self.http, &request).await {
            Ok(_) => Ok(()),
            Err(failure) => match self.failed(failure, name) {
                Error::NoObject { .. } => Ok(()),
                error => Err(error),
            },
        }
    }
}

/// Where parts go.
struct Target<'a> {
    session: &'a Url,
    led_by: &'a Url,
    total: u64,
    name: &'a str,
}

/// What went wrong, named already or not.
enum Wrong {
    Failure(Failure),
    Error(Error),
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Compares what was sent with what the store says that it has.
async fn check(answer: Response, sent: Checksum, name: &str) -> Result<(), Wrong> {
    let bytes = rest::read(answer).await?;
    let metadata: Option<Metadata> = serde_json::from_slice(&bytes).ok();
    match metadata.and_then(|metadata| metadata.checksum()) {
        Some(kept) if kept != sent => Err(Wrong::Error(Error::Checksum {
            name: name.to_owned(),
            expected: sent.to_string(),
            actual: kept.to_string(),
        })),
        Some(_) | None => Ok(()),
    }
}
