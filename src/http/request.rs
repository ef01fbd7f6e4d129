//! A request that can be sent again, and an answer whose body cannot stall unnoticed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use url::Url;

use super::error::Error;
use super::origin::Authorization;
use super::secret::redact_url;

/// Read size of uploads from files: large enough that the hand-over to the blocking pool does not count.
const READ_SIZE: usize = 256 * 1024;

/// The pieces in which a body in memory is sent: progress is seen so often.
const PIECE_SIZE: usize = 64 * 1024;

/// So much room is made for a body at once, whatever it says of its length.
const ROOM_MAX: usize = 4 << 20;

/// Is told of bytes as they move.
pub type OnBytes = Arc<dyn Fn(u64) + Send + Sync>;

/// A request; cloning it is cheap, and each sending opens the body anew.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers, without `Authorization`.
    pub headers: HeaderMap,
    /// A credential, sent to its own origin only.
    pub authorization: Option<Authorization>,
    /// A credential of a place that a redirect leads to, sent there only.
    pub elsewhere: Option<Authorization>,
    /// The body.
    pub body: Body,
    /// The URL of the server that named `url`, if it was not the user: it may send us only where a redirect could.
    pub led_by: Option<Url>,
    /// Accept any certificate.
    pub skip_verify: bool,
    /// Follow redirects.
    pub follows_redirects: bool,
    /// Is told of the body's bytes as they are sent.
    pub on_sent: Option<OnBytes>,
}

impl Request {
    /// Makes a request without headers, credential and body, which follows redirects.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            elsewhere: None,
            body: Body::Empty,
            led_by: None,
            skip_verify: false,
            follows_redirects: true,
            on_sent: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Names the server that led here.
    #[must_use]
    pub fn led_by(mut self, url: Url) -> Self {
        self.led_by = Some(url);
        self
    }

    /// Sets the credential.
    #[must_use]
    pub fn authorization(mut self, authorization: Option<Authorization>) -> Self {
        self.authorization = authorization;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &redact_url(&self.url))
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// Bytes to send.
#[derive(Clone)]
pub enum Body {
    /// None.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A stream of known length, opened for each sending.
    Stream(StreamBody),
}

/// A body that is opened for each sending.
#[derive(Clone)]
pub struct StreamBody {
    length: u64,
    open: Arc<dyn Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync>,
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamBody({} bytes)", self.length)
    }
}

impl StreamBody {
    /// Makes a body of `length` bytes out of what opens it.
    pub fn new(
        length: u64,
        open: impl Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            length,
            open: Arc::new(open),
        }
    }

    /// The length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Opens it.
    pub(super) fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        (self.open)()
    }
}

impl Body {
    /// Sends a part of a file.
    pub fn file(path: PathBuf, offset: u64, length: u64) -> Self {
        Self::Stream(StreamBody::new(length, move || {
            let path = path.clone();
            let opening = async move {
                let mut file = tokio::fs::File::open(&path).await?;
                if offset > 0 {
                    file.seek(io::SeekFrom::Start(offset)).await?;
                }
                Ok::<_, io::Error>(ReaderStream::with_capacity(file.take(length), READ_SIZE))
            };
            stream::once(opening).try_flatten().boxed()
        }))
    }

    /// Sends bytes in memory piece by piece, so that one sees them move: a large body on a slow line does not stall.
    pub fn in_pieces(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        Self::Stream(StreamBody::new(bytes.len() as u64, move || {
            let mut rest = bytes.clone();
            let pieces = std::iter::from_fn(move || {
                let piece = rest.split_to(rest.len().min(PIECE_SIZE));
                (!piece.is_empty()).then_some(Ok(piece))
            });
            stream::iter(pieces).boxed()
        }))
    }

    /// Opens it, to be read from its beginning.
    pub fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        match self {
            Self::Empty => stream::empty().boxed(),
            Self::Bytes(bytes) => stream::iter([Ok(bytes.clone())]).boxed(),
            Self::Stream(stream) => stream.open(),
        }
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream(stream) => stream.length,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.length())
    }
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub struct Response {
    pub(super) inner: reqwest::Response,
    pub(super) url: Url,
    pub(super) first: Url,
    pub(super) stall_timeout: Duration,
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Gives a header as text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// The URL that answered, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The length that the answer claims to have.
    pub fn content_length(&self) -> Option<u64> {
        self.header(&reqwest::header::CONTENT_LENGTH)?.parse().ok()
    }

    /// Reads the next bytes of the body, `None` at its end.
    ///
    /// # Errors
    /// When the connection ends early, or nothing moves for the stall timeout.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match tokio::time::timeout(self.stall_timeout, self.inner.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Error::from_reqwest(&error, &self.first, &self.url)),
            Err(_) => Err(Error::Stalled {
                url: redact_url(&self.url),
                after: self.stall_timeout,
            }),
        }
    }

    /// Reads the whole body, which may have at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Response::chunk`], and [`Error::TooLarge`].
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes, Error> {
        let expected = self.content_length().unwrap_or(0).min(limit);
        let expected = usize::try_from(expected).unwrap_or(0).min(ROOM_MAX);
        let mut read = Vec::with_capacity(expected);
        while let Some(chunk) = self.chunk().await? {
            if (read.len() + chunk.len()) as u64 > limit {
                return Err(Error::TooLarge {
                    url: redact_url(&self.url),
                    limit,
                });
            }
            read.extend_from_slice(&chunk);
        }
        Ok(read.into())
    }

    /// Reads at most `limit` bytes of the body and leaves the rest; an interruption ends it too.
    pub async fn head(mut self, limit: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            let room = limit - read.len();
            read.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if read.len() >= limit {
                break;
            }
        }
        read
    }
}
