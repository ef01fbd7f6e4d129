//! What the stores that we speak to directly have in common: a part is asked for until it is whole.

use bytes::Bytes;

use super::Error;
use super::read::PART_SIZE;
use crate::http::header::HeaderName;
use crate::http::{Http, Request, Response, StatusCode, printable, retry_after};

/// The largest text of a store that is looked at, in bytes.
const TEXT_LIMIT: usize = 16 * 1024;

/// The largest document, in bytes: a page of a list has up to 5,000 names of up to 1024 characters.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// In which Azure says what is wrong.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// An answer of failure, for its store to name.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// What it said, fit to print.
    pub(super) text: String,
}

/// Why there is no answer of success.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    Broken(String),
}

impl Failure {
    /// Names it; `refused` names an answer.
    pub(super) fn name(self, name: &str, refused: impl FnOnce(Refusal) -> Error) -> Error {
        match self {
            Self::Refused(refusal) => refused(refusal),
            Self::Broken(message) => Error::Failed {
                name: name.to_owned(),
                message,
            },
        }
    }
}

/// Sends a request until it is answered with success.
pub(super) async fn send(http: &Http, request: &Request) -> Result<Response, Failure> {
    let response = http.send_retrying(request).await;
    let response = response.map_err(|error| Failure::Broken(error.to_string()))?;
    accept(response).await
}

/// Accepts an answer of success.
pub(super) async fn accept(response: Response) -> Result<Response, Failure> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    // The answer to a HEAD has no body that could say it.
    let code = response
        .header(&ERROR_CODE)
        .map(|code| printable(code, 100));
    let mut text = text(&response.head(TEXT_LIMIT).await);
    if text.is_empty() {
        text = code.unwrap_or_default();
    }
    Err(Failure::Refused(Refusal { status, text }))
}

/// Asks for a document.
#[cfg(feature = "gcs")]
pub(super) async fn document(http: &Http, request: &Request) -> Result<Bytes, Failure> {
    read(send(http, request).await?).await
}

/// Reads the document that an answer holds.
pub(super) async fn read(answer: Response) -> Result<Bytes, Failure> {
    let bytes = answer.bytes(DOCUMENT_LIMIT).await;
    bytes.map_err(|error| Failure::Broken(error.to_string()))
}

/// Reads `length` bytes from `start`; what breaks off goes on where it broke. `request` makes the request for a range.
pub(super) async fn part(
    http: &Http,
    start: u64,
    length: u64,
    request: impl Fn(u64, u64) -> Request,
) -> Result<Bytes, Failure> {
    let mut read = Vec::with_capacity(usize::try_from(length.min(PART_SIZE)).unwrap_or_default());
    let mut backoff = http.backoff();
    loop {
        let done = read.len() as u64;
        let mut response = send(http, &request(start + done, start + length - 1)).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT && (start + done > 0) {
            return Err(Failure::Broken("the store does not give parts".to_owned()));
        }
        let asked = retry_after(response.headers());
        let broken = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = length - read.len() as u64;
                    let count = chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                    read.extend_from_slice(&chunk[..count]);
                    if read.len() as u64 == length {
                        return Ok(read.into());
                    }
                }
                Ok(None) => break "the answer is too short".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        if read.len() as u64 > done {
            // Progress gives new tries.
            backoff = http.backoff();
        }
        match backoff.next_wait(asked) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(Failure::Broken(broken)),
        }
    }
}

/// Finds the text that is meant for people.
fn text(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let json = json
        .as_ref()
        .and_then(|value| value.pointer("/error/message")?.as_str());
    let body = String::from_utf8_lossy(body);
    let xml = body
        .split_once("<Message>")
        .and_then(|(_, rest)| rest.split_once("</Message>"))
        .map(|(text, _)| text.lines().next().unwrap_or_default());
    printable(json.or(xml).unwrap_or_default(), 300)
}
