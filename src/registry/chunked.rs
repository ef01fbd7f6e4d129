//! Uploads in pieces (distribution-spec "Pushing a blob in chunks"), for registries or proxies that do not take a blob
//! in one request. A piece that fails is continued from where the registry says it is.

use url::Url;

use super::client::{Call, Client, scope};
use super::download::Download;
use super::error::Error;
use super::options::Action;
use super::push::{BlobSource, BlobUpload, location, octets, smallest_piece, with_digest};
use crate::http::{Body, Method, OnBytes, Request, Response, StatusCode, header};
use crate::oci::{Descriptor, Reference};

/// The first size of a piece in bytes; it is halved when it is too large for the other side.
const FIRST_CHUNK: u64 = 32 << 20;

/// Below this size a piece that is too large is an error.
const SMALLEST_CHUNK: u64 = 256 << 10;

/// A piece of a blob of another registry is held in memory: this many bytes.
const MEMORY_CHUNK: u64 = 4 << 20;

/// An upload in pieces.
struct Chunks<'a> {
    client: &'a Client,
    target: &'a Reference,
    what: &'a str,
    descriptor: &'a Descriptor,
    source: &'a BlobSource,
    on_sent: Option<&'a OnBytes>,
    location: Url,
    offset: u64,
    size: u64,
    /// The piece of a remote blob that is being sent, with its offset, and the download behind it.
    remote: Option<(Download, u64, bytes::Bytes)>,
}

impl Client {
    pub(super) async fn upload_in_chunks(
        &self,
        upload: &BlobUpload<'_>,
        what: &str,
    ) -> Result<(), Error> {
        let BlobUpload {
            target,
            descriptor,
            source,
            on_sent,
            ..
        } = upload.clone();
        let session = self.start_upload(target, what).await?;
        let size: u64 = if matches!(source, BlobSource::Remote(_)) {
            MEMORY_CHUNK
        } else {
            FIRST_CHUNK
        };
        let mut chunks = Chunks {
            client: self,
            target,
            what,
            descriptor,
            source,
            on_sent,
            location: session.location,
            offset: 0,
            size: size.max(session.smallest_piece),
            remote: None,
        };
        chunks.run().await
    }
}

impl Chunks<'_> {
    /// Sends all pieces and closes the upload. A registry that misses bytes at its end, because it lost some or was wrong
    /// about how many it had, is sent all of them again.
    async fn run(&mut self) -> Result<(), Error> {
        let mut backoff = self.client.shared.http.backoff();
        loop {
            self.send_pieces().await?;
            let Err(failure) = self.close().await else {
                return Ok(());
            };
            let is_lost = failure
                .status()
                .is_some_and(|status| matches!(status.as_u16(), 400 | 404 | 416));
            if !is_lost {
                return Err(failure);
            }
            let Some(wait) = backoff.next_wait(failure.retry_after()) else {
                return Err(failure);
            };
            tokio::time::sleep(wait).await;
            self.restart().await?;
        }
    }

    async fn send_pieces(&mut self) -> Result<(), Error> {
        let mut backoff = self.client.shared.http.backoff();
        while self.offset < self.descriptor.size {
            let before = self.offset;
            match self.send_piece().await {
                Ok(()) => {}
                Err(error)
                    if error.status() == Some(StatusCode::PAYLOAD_TOO_LARGE)
                        && self.size > SMALLEST_CHUNK =>
                {
                    self.size /= 2;
                    self.restart().await?;
                }
                Err(error) => {
                    let is_lost = matches!(
                        error.status(),
                        Some(StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE)
                    );
                    if !is_lost && !error.is_transient() {
                        return Err(error);
                    }
                    let Some(wait) = backoff.next_wait(error.retry_after()) else {
                        return Err(error);
                    };
                    tokio::time::sleep(wait).await;
                    self.synchronize().await?;
                }
            }
            if self.offset > before {
                backoff.progressed();
            }
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        let scope = scope(self.target, Action::Push);
        let request = octets(
            Method::PUT,
            with_digest(self.location.clone(), &self.descriptor.digest),
        );
        self.client
            .call(Call {
                what: self.what,
                scope: &scope,
                request,
                accept: &[],
                retries: true,
            })
            .await?;
        Ok(())
    }

    async fn send_piece(&mut self) -> Result<(), Error> {
        let length = self.size.min(self.descriptor.size - self.offset);
        let body = self.piece(length).await?;
        let length = body.length();
        let range = format!("{}-{}", self.offset, self.offset + length - 1);
        let range = header::HeaderValue::from_str(&range).expect("digits are a header");
        let mut request = octets(Method::PATCH, self.location.clone())
            .header(header::CONTENT_RANGE, range)
            .body(body);
        request.on_sent = self.on_sent.cloned();
        let response = self.call(request).await?;
        self.take_location(&response)?;
        self.offset += length;
        Ok(())
    }

    async fn piece(&mut self, length: u64) -> Result<Body, Error> {
        match self.source {
            BlobSource::Bytes(bytes) => {
                let (start, length) = (usize::try_from(self.offset), usize::try_from(length));
                let start = start.expect("an offset within bytes in memory");
                let length = length.expect("a length within bytes in memory");
                Ok(Body::Bytes(bytes.slice(start..start + length)))
            }
            BlobSource::File(path) => Ok(Body::file(path.clone(), self.offset, length)),
            BlobSource::Elsewhere(blob) => Ok(Body::file(blob.file().await?, self.offset, length)),
            BlobSource::Part { path, offset } => {
                Ok(Body::file(path.clone(), offset + self.offset, length))
            }
            BlobSource::Remote(reference) => {
                let (mut download, at) = match self.remote.take() {
                    Some((download, at, piece)) if at == self.offset => {
                        self.remote = Some((download, at, piece.clone()));
                        return Ok(Body::Bytes(piece));
                    }
                    Some((download, at, piece)) if at + piece.len() as u64 == self.offset => {
                        (download, self.offset)
                    }
                    _ => (self.client.download(reference, self.descriptor), 0),
                };
                let piece = read_piece(&mut download, at, self.offset, length).await?;
                self.remote = Some((download, self.offset, piece.clone()));
                Ok(Body::Bytes(piece))
            }
        }
    }

    /// Asks how much the registry has, and goes on from there; begins anew if it does not know the upload.
    async fn synchronize(&mut self) -> Result<(), Error> {
        let request = Request::new(Method::GET, self.location.clone());
        let response = match self.call(request).await {
            Ok(response) => response,
            Err(error) if error.status().is_some() => return self.restart().await,
            Err(error) => return Err(error),
        };
        match received(&response) {
            Some(count)
                if count <= self.descriptor.size
                    && !matches!(self.source, BlobSource::Remote(_)) =>
            {
                self.take_location(&response)?;
                self.offset = count;
                Ok(())
            }
            _ => self.restart().await,
        }
    }

    async fn restart(&mut self) -> Result<(), Error> {
        let session = self.client.start_upload(self.target, self.what).await?;
        self.location = session.location;
        self.size = self.size.max(session.smallest_piece);
        self.offset = 0;
        self.remote = None;
        Ok(())
    }

    async fn call(&self, request: Request) -> Result<Response, Error> {
        let scope = scope(self.target, Action::Push);
        self.client
            .call(Call {
                what: self.what,
                scope: &scope,
                request,
                accept: &[],
                retries: false,
            })
            .await
    }

    /// Takes the location for what comes next, and the smallest piece that the registry accepts.
    fn take_location(&mut self, response: &Response) -> Result<(), Error> {
        if response.headers().contains_key(header::LOCATION) {
            self.location = location(response, self.what)?;
        }
        self.size = self.size.max(smallest_piece(response));
        Ok(())
    }
}

/// Reads from `Range: 0-99` that there are 100 bytes. An absent one tells nothing; `0-0` may mean none or one.
fn received(response: &Response) -> Option<u64> {
    let range = response.header(&header::RANGE)?;
    let end: u64 = range
        .trim_start_matches("bytes=")
        .split_once('-')?
        .1
        .parse()
        .ok()?;
    (end > 0).then_some(end + 1)
}

/// Reads the bytes from `from` on, `length` of them, of a download that stands at `at`.
async fn read_piece(
    download: &mut Download,
    at: u64,
    from: u64,
    length: u64,
) -> Result<bytes::Bytes, Error> {
    let (skip, length) = (from - at, length + from - at);
    let mut piece = Vec::new();
    while (piece.len() as u64) < length {
        match download.next().await? {
            Some(bytes) => piece.extend_from_slice(&bytes),
            None => break,
        }
    }
    let skip = usize::try_from(skip).map_or(piece.len(), |skip| skip.min(piece.len()));
    Ok(bytes::Bytes::from(piece.split_off(skip)))
}
