//! An archive behind a URL, as a stream: what breaks off goes on where it broke, and never with another version of the file. A
//! large one comes in parts, several at a time, where the server gives parts.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::http::header::{self, HeaderValue};
use crate::http::{
    self, Authorization, Http, Method, Origin, Request, Response, Secret, StatusCode, is_transient,
    redact_url, retry_after,
};
use crate::oci::{Digest, DigestError, Digester};

use super::ranges::{LARGE, PART_SIZE, Ranges, begins_at};

/// So many pieces wait to be read: as the network has them, well below a megabyte.
const WAITING: usize = 16;

/// A part is handed over in pieces of so many bytes; those that wait are no more than a part.
const PIECE_SIZE: usize = 128 << 10;

/// An archive at a URL, `https://HOST/PATH[#ALGORITHM:DIGITS]`.
#[derive(Clone, PartialEq, Eq)]
pub struct WebArchive {
    url: Url,
    checksum: Option<Digest>,
}

/// Why a text names no archive.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WebError {
    /// It is no URL.
    #[error("it is no URL: {0}")]
    Url(#[from] url::ParseError),
    /// What follows `#` is no checksum.
    #[error(
        "what follows # is no checksum: {0}; expected sha256:DIGITS (the URL of a git repository ends with .git before the #)"
    )]
    Checksum(#[from] DigestError),
}

/// Why a download did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server says no.
    #[error("{url}: the server answers {status}")]
    Status {
        /// The URL.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// The server cannot be reached, or broke off too often.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// It cannot go on where it broke off.
    #[error(
        "{url} broke off after {received} bytes, and the server cannot go on there with the same file"
    )]
    CannotGoOn {
        /// The URL.
        url: String,
        /// How far it came.
        received: u64,
    },
    /// It is another file than at the beginning.
    #[error("{url} was changed while it was downloaded")]
    Changed {
        /// The URL.
        url: String,
    },
    /// There is less than was promised.
    #[error("{url} ended after {received} of {expected} bytes")]
    Length {
        /// The URL.
        url: String,
        /// What was promised.
        expected: u64,
        /// What arrived.
        received: u64,
    },
    /// It is not what the user expects.
    #[error("{url} has the digest {actual}, expected {expected}")]
    Checksum {
        /// The URL.
        url: String,
        /// What the user says.
        expected: Digest,
        /// What arrived.
        actual: Digest,
    },
    /// It was called off.
    #[error("called off")]
    Cancelled,
}

impl WebArchive {
    /// Parses a URL of scheme `http` or `https`.
    pub(super) fn parse(text: &str) -> Result<Self, WebError> {
        let mut url = Url::parse(text)?;
        let checksum = match url.fragment() {
            Some(fragment) => Some(fragment.parse()?),
            None => None,
        };
        url.set_fragment(None);
        Ok(Self { url, checksum })
    }

    /// Asks for it, and waits for the answer's beginning.
    pub(super) fn open(
        &self,
        http: &Http,
        runtime: &Handle,
        token: &CancellationToken,
    ) -> Result<Download, DownloadError> {
        let mut transfer = Transfer::new(self, http.clone());
        let response = runtime.block_on(async {
            tokio::select! {
                () = token.cancelled() => Err(DownloadError::Cancelled),
                response = transfer.ask() => response,
            }
        })?;
        let length = transfer.expected;
        let (sender, pieces) = mpsc::channel(WAITING);
        let token = token.clone();
        runtime.spawn(async move {
            let done = tokio::select! {
                () = token.cancelled() => Err(DownloadError::Cancelled),
                done = transfer.run(response, &sender) => done,
            };
            if let Err(error) = done {
                // A reader that went away has read enough.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Download {
            pieces,
            piece: Bytes::new(),
            length,
        })
    }
}

impl fmt::Display for WebArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.url))
    }
}

impl fmt::Debug for WebArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebArchive")
            .field("url", &redact_url(&self.url))
            .field("checksum", &self.checksum)
            .finish()
    }
}

/// Reads a download; to be used outside of the runtime.
#[derive(Debug)]
pub(super) struct Download {
    pieces: mpsc::Receiver<Result<Bytes, DownloadError>>,
    piece: Bytes,
    /// The length of the whole, if the server says.
    pub(super) length: Option<u64>,
}

impl BufRead for Download {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let count = buffer.len().min(piece.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// A request that got no answer of success.
pub(super) struct Unanswered {
    pub(super) error: DownloadError,
    /// The wait that the server asks for.
    pub(super) asked: Option<Duration>,
}

impl From<DownloadError> for Unanswered {
    fn from(error: DownloadError) -> Self {
        Self { error, asked: None }
    }
}

impl Unanswered {
    /// Waits before another try, or gives the error back where there is none.
    pub(super) async fn wait(self, backoff: &mut http::Backoff) -> Result<(), DownloadError> {
        let may_pass = match &self.error {
            DownloadError::Status { status, .. } => is_transient(*status),
            DownloadError::Http(error) => error.is_transient(),
            DownloadError::Length { .. } => true,
            DownloadError::CannotGoOn { .. }
            | DownloadError::Changed { .. }
            | DownloadError::Checksum { .. }
            | DownloadError::Cancelled => false,
        };
        match backoff.next_wait(self.asked).filter(|_| may_pass) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => Err(self.error),
        }
    }
}

type Pieces = mpsc::Sender<Result<Bytes, DownloadError>>;

struct Transfer {
    http: Http,
    request: Request,
    /// For messages.
    name: String,
    checksum: Option<Digest>,
    digester: Option<Digester>,
    backoff: http::Backoff,
    received: u64,
    /// What has arrived and was not handed over.
    rest: Bytes,
    /// The length of the whole, if the server says.
    expected: Option<u64>,
    /// Whether the server says that it gives parts.
    gives_parts: bool,
    /// What changes when the file changes.
    validator: Option<HeaderValue>,
}

impl Transfer {
    fn new(archive: &WebArchive, http: Http) -> Self {
        let mut url = archive.url.clone();
        let password = url.password().map(str::to_owned);
        let user = url.username().to_owned();
        let authorization = Origin::of(&url)
            .filter(|_| !user.is_empty() || password.is_some())
            .map(|origin| {
                let password = Secret::new(decode(&password.unwrap_or_default()));
                Authorization::basic(origin, &decode(&user), &password)
            });
        // Only URLs without a host refuse this, and those are not of http.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Self {
            backoff: http.backoff(),
            request: Request::new(Method::GET, url).authorization(authorization),
            http,
            name: archive.to_string(),
            checksum: archive.checksum.clone(),
            digester: archive.checksum.as_ref().map(Digest::digester),
            received: 0,
            rest: Bytes::new(),
            expected: None,
            gives_parts: false,
            validator: None,
        }
    }

    /// Asks for what is missing until there is an answer of success.
    async fn ask(&mut self) -> Result<Response, DownloadError> {
        loop {
            let mut request = self.request.clone();
            if self.received > 0 {
                let range = HeaderValue::from_str(&format!("bytes={}-", self.received))
                    .expect("digits fit into a header");
                request = request.header(header::RANGE, range);
                if let Some(validator) = &self.validator {
                    request = request.header(header::IF_RANGE, validator.clone());
                }
            }
            let unanswered = match self.http.send(request).await {
                Ok(response) if response.status().is_success() => return self.accept(response),
                Ok(response) => {
                    let (status, url) = (response.status(), self.name.clone());
                    Unanswered {
                        error: DownloadError::Status { url, status },
                        asked: retry_after(response.headers()),
                    }
                }
                Err(error) => DownloadError::from(error).into(),
            };
            unanswered.wait(&mut self.backoff).await?;
        }
    }

    fn accept(&mut self, response: Response) -> Result<Response, DownloadError> {
        let headers = response.headers();
        if self.received == 0 {
            self.expected = response.content_length();
            self.gives_parts = response.header(&header::ACCEPT_RANGES) == Some("bytes");
            let etag = headers.get(header::ETAG);
            // A weak tag may be that of other bytes (RFC 9110 section 8.8.1).
            let strong = etag.filter(|tag| !tag.as_bytes().starts_with(b"W/"));
            self.validator = strong
                .or_else(|| headers.get(header::LAST_MODIFIED))
                .cloned();
            return Ok(response);
        }
        let goes_on = response.status() == StatusCode::PARTIAL_CONTENT
            && begins_at(&response, self.received, None);
        if goes_on && self.can_go_on() {
            return Ok(response);
        }
        Err(DownloadError::CannotGoOn {
            url: self.name.clone(),
            received: self.received,
        })
    }

    /// Whether it would show that there is another file meanwhile: a checksum tells, if nothing else does.
    fn can_go_on(&self) -> bool {
        self.validator.is_some() || self.checksum.is_some()
    }

    /// The file in parts, if it is worth it.
    fn ranges(&self) -> Option<Ranges> {
        let length = self.expected.filter(|length| *length >= LARGE)?;
        (self.gives_parts && self.can_go_on()).then(|| Ranges {
            http: self.http.clone(),
            request: self.request.clone(),
            name: self.name.clone(),
            length,
            validator: self.validator.clone(),
        })
    }

    /// Downloads all of it: in parts where the server gives a second one while it sends the first, else in one answer.
    async fn run(mut self, mut response: Response, pieces: &Pieces) -> Result<(), DownloadError> {
        if let Some(ranges) = self.ranges() {
            let first = self.pass(&mut response, Some(PART_SIZE), pieces);
            let (passed, second) = tokio::join!(first, ranges.begin(PART_SIZE));
            passed?;
            if let Some(second) = second {
                drop(response);
                let mut parts = std::pin::pin!(ranges.parts(PART_SIZE, second));
                while let Some(part) = parts.next().await {
                    let mut part = part?;
                    while !part.is_empty() {
                        let piece = part.split_to(part.len().min(PIECE_SIZE));
                        self.hand_over(piece, pieces).await?;
                    }
                }
                return self.check();
            }
        }
        self.pass(&mut response, None, pieces).await?;
        self.check()
    }

    /// Hands over what arrives, up to `end` if there is one; what breaks off goes on where it broke.
    async fn pass(
        &mut self,
        response: &mut Response,
        end: Option<u64>,
        pieces: &Pieces,
    ) -> Result<(), DownloadError> {
        loop {
            let before = self.received;
            let error = loop {
                if end == Some(self.received) {
                    return Ok(());
                }
                let mut piece = std::mem::take(&mut self.rest);
                if piece.is_empty() {
                    piece = match response.chunk().await {
                        Ok(Some(piece)) => piece,
                        Ok(None) => match self.expected {
                            Some(expected) if expected != self.received => {
                                let (url, received) = (self.name.clone(), self.received);
                                break DownloadError::Length {
                                    url,
                                    expected,
                                    received,
                                };
                            }
                            Some(_) | None => return Ok(()),
                        },
                        Err(error) => break error.into(),
                    };
                }
                let room = end.map_or(u64::MAX, |end| end - self.received);
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                self.rest = piece.split_off(piece.len().min(room));
                self.hand_over(piece, pieces).await?;
            };
            if self.received > before {
                self.backoff.progressed();
            }
            Unanswered::from(error).wait(&mut self.backoff).await?;
            *response = self.ask().await?;
        }
    }

    async fn hand_over(&mut self, piece: Bytes, pieces: &Pieces) -> Result<(), DownloadError> {
        self.received += piece.len() as u64;
        if let Some(digester) = &mut self.digester {
            digester.update(&piece);
        }
        // A reader that went away has read enough.
        let sent = pieces.send(Ok(piece)).await;
        sent.map_err(|_| DownloadError::Cancelled)
    }

    fn check(self) -> Result<(), DownloadError> {
        let Some((expected, digester)) = self.checksum.zip(self.digester) else {
            return Ok(());
        };
        let actual = digester.finish();
        if actual == expected {
            return Ok(());
        }
        Err(DownloadError::Checksum {
            url: self.name,
            expected,
            actual,
        })
    }
}

/// Undoes the percent-encoding of a user or password.
fn decode(text: &str) -> String {
    let pair = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_parse() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let archive = WebArchive::parse(&format!("https://u:p@h/a.tgz?sig=s#{digest}")).unwrap();
        assert_eq!(archive.checksum, Some(digest.parse().unwrap()));
        assert_eq!(archive.url.as_str(), "https://u:p@h/a.tgz?sig=s");
        let shown = format!("{archive} {archive:?}");
        assert!(!shown.contains("u:p") && !shown.contains("=s"), "{shown}");
        let error = WebArchive::parse("https://h/a#main").unwrap_err();
        assert!(error.to_string().contains(".git"), "{error}");
        assert!(matches!(
            WebArchive::parse("https://"),
            Err(WebError::Url(_))
        ));
        assert_eq!(decode("a%40b+c&d"), "a@b+c&d");
    }
}
