//! A large file behind a URL in parts, several of them asked for at a time and handed over in order.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use crate::http::header::{self, HeaderValue};
use crate::http::{Http, Request, Response, StatusCode, retry_after};

use super::web::{DownloadError, Unanswered};

/// The size of a part in bytes: large enough that the round trips do not count.
pub(super) const PART_SIZE: u64 = 4 << 20;

/// So many parts are asked for at a time. With the one that is handed over they bound the memory: 20 MiB.
const AHEAD: usize = 4;

/// A file is not worth several requests if it is smaller, in bytes.
pub(super) const LARGE: u64 = 4 * PART_SIZE;

/// A file whose length is known, on a server that gives parts.
#[derive(Clone)]
pub(super) struct Ranges {
    pub(super) http: Http,
    /// Asks for the whole.
    pub(super) request: Request,
    /// For messages.
    pub(super) name: String,
    pub(super) length: u64,
    /// What changes when the file changes; without it the checksum of the whole has to tell.
    pub(super) validator: Option<HeaderValue>,
}

impl Ranges {
    /// Asks for the part that begins at `start`, once: nothing if the server does not give it, whatever the reason.
    pub(super) async fn begin(&self, start: u64) -> Option<Response> {
        let last = self.length.min(start + PART_SIZE) - 1;
        self.ask(start, last).await.ok()
    }

    /// Hands over everything from `start` on; the answer to the request for the part that begins there is `first`.
    pub(super) fn parts(
        self,
        start: u64,
        first: Response,
    ) -> impl Stream<Item = Result<Bytes, DownloadError>> + Send {
        let mut first = Some(first);
        let count = (self.length - start).div_ceil(PART_SIZE);
        let parts = futures_util::stream::iter(0..count);
        parts
            .map(move |index| {
                let (ranges, answer) = (self.clone(), first.take());
                async move { ranges.part(start + index * PART_SIZE, answer).await }
            })
            .buffered(AHEAD)
    }

    /// Reads a part; what breaks off goes on where it broke.
    async fn part(&self, start: u64, mut answer: Option<Response>) -> Result<Bytes, DownloadError> {
        let length = PART_SIZE.min(self.length - start);
        let mut read = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let mut backoff = self.http.backoff();
        loop {
            let before = read.len() as u64;
            let answer = match answer.take() {
                Some(answer) => Ok(answer),
                None => self.ask(start + before, start + length - 1).await,
            };
            let failed = match answer {
                Ok(answer) => match self.read(answer, length, &mut read).await {
                    Ok(()) => return Ok(read.into()),
                    Err(error) => error.into(),
                },
                Err(failed) => failed,
            };
            if read.len() as u64 > before {
                backoff.progressed();
            }
            failed.wait(&mut backoff).await?;
        }
    }

    /// Asks for the bytes from `start` to `last`, both of them included.
    async fn ask(&self, start: u64, last: u64) -> Result<Response, Unanswered> {
        let range = HeaderValue::from_str(&format!("bytes={start}-{last}"))
            .expect("digits fit into a header");
        let mut request = self.request.clone().header(header::RANGE, range);
        if let Some(validator) = &self.validator {
            request = request.header(header::IF_RANGE, validator.clone());
        }
        let answer = self.http.send(request).await;
        let answer = answer.map_err(DownloadError::from)?;
        let status = answer.status();
        if status == StatusCode::PARTIAL_CONTENT && begins_at(&answer, start, Some(self.length)) {
            return Ok(answer);
        }
        let url = self.name.clone();
        // The whole instead of a part is that of another file; of a shorter one, there is no such part.
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(DownloadError::Changed { url }.into());
        }
        Err(Unanswered {
            error: DownloadError::Status { url, status },
            asked: retry_after(answer.headers()),
        })
    }

    async fn read(
        &self,
        mut answer: Response,
        length: u64,
        read: &mut Vec<u8>,
    ) -> Result<(), DownloadError> {
        while let Some(piece) = answer.chunk().await? {
            let room = length - read.len() as u64;
            let count = piece.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            read.extend_from_slice(&piece[..count]);
            if read.len() as u64 == length {
                return Ok(());
            }
        }
        Err(DownloadError::Length {
            url: format!("a part of {}", self.name),
            expected: length,
            received: read.len() as u64,
        })
    }
}

/// Whether an answer says that it begins there, of a file of this length.
pub(super) fn begins_at(answer: &Response, start: u64, length: Option<u64>) -> bool {
    let range = answer.header(&header::CONTENT_RANGE);
    range.is_some_and(|range| is_range(range, start, length))
}

fn is_range(text: &str, start: u64, length: Option<u64>) -> bool {
    let Some((first, rest)) = text
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('-'))
    else {
        return false;
    };
    let whole = rest.split_once('/').map_or("*", |(_, whole)| whole);
    let is_other = |length: u64| whole != "*" && whole.parse() != Ok(length);
    first.parse() == Ok(start) && !length.is_some_and(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, start, length, expect) in [
            ("bytes 5-9/10", 5, Some(10), true),
            ("bytes 5-9/*", 5, Some(10), true),
            ("bytes 5-9/10", 5, None, true),
            ("bytes 5-9/11", 5, Some(10), false),
            ("bytes 4-9/10", 5, Some(10), false),
            ("bytes */10", 5, Some(10), false),
            ("items 5-9/10", 5, Some(10), false),
            ("bytes", 5, None, false),
        ] {
            assert_eq!(is_range(text, start, length), expect, "{text}");
        }
    }
}
