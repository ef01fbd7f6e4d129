//! Faults: which requests they hit, and what they do to the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response};

use super::State;
use super::answer::{Answer, full};

/// What happens to requests that match.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The method, or `*`.
    pub(crate) method: &'static str,
    /// A part of the path and query.
    pub(crate) path: String,
    /// So many matching requests are answered as usual first.
    pub(crate) after: usize,
    /// So many are answered with the fault then.
    pub(crate) times: usize,
    /// What is answered.
    pub(crate) action: Action,
}

/// What a fault does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Answers a status with headers and a body, without doing anything.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Does what was asked, and ends the connection instead of answering.
    DropAnswer,
    /// Answers with a body that breaks off after so many bytes.
    CutBody(usize),
    /// Answers with one bit of the body changed.
    FlipBit,
    /// Answers with so many bytes more than there are.
    Longer(usize),
    /// Answers as if no range were asked for.
    IgnoreRange,
    /// Answers a range with another start than it says it does not have.
    WrongRange,
    /// Stops in the middle of the body.
    Stall(Duration),
    /// Does not read what is sent for so long, and ends the connection then.
    NoRead(Duration),
    /// Answers with a header that is another, or one more.
    Header(&'static str, String),
    /// Answers with the whole body and never says that it has ended: the connection breaks.
    NoEnd,
    /// Answers in pieces of unknown number, with a header behind the last.
    Trailers,
    /// Answers with a body that never ends, of the length that it is said to have if any; counts what was taken of it.
    Endless(Option<u64>, Arc<AtomicU64>),
}

/// What an endless body consists of: JSON would still be valid after it.
const BLANKS: &[u8] = &[b' '; 1 << 16];

/// Faults by chance: the same for the same seed and order of requests.
#[derive(Clone, Debug)]
pub(crate) struct Chaos {
    /// Where the random numbers are.
    pub(crate) seed: u64,
    /// So many of a thousand requests fail.
    pub(crate) per_mille: u64,
    /// How many have.
    pub(crate) failed: usize,
}

impl Chaos {
    /// Gives the next random number (xorshift64*).
    fn next(&mut self) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn fault(&mut self) -> Option<Action> {
        if self.next() % 1000 >= self.per_mille {
            return None;
        }
        self.failed += 1;
        let now = || vec![("retry-after", "0".to_owned())];
        Some(match self.next() % 8 {
            0 => Action::Status(500, vec![], String::new()),
            1 => Action::Status(502, vec![], "<html>bad gateway</html>".to_owned()),
            2 => Action::Status(503, now(), String::new()),
            3 => Action::Status(429, now(), String::new()),
            4 => Action::Status(408, vec![], String::new()),
            5 => Action::CutBody(20),
            6 | 7 => Action::DropAnswer,
            _ => unreachable!("a remainder of 8"),
        })
    }
}

impl State {
    pub(super) fn take_fault(&mut self, method: &Method, path: &str) -> Option<Action> {
        if let Some(fault) = self.chaos.as_mut().and_then(Chaos::fault) {
            return Some(fault);
        }
        self.scripted_fault(method, path, false)
    }

    /// Gives how long the body of a request is not to be read, if that is its fault.
    pub(super) fn take_no_read(&mut self, method: &Method, path: &str) -> Option<Duration> {
        match self.scripted_fault(method, path, true) {
            Some(Action::NoRead(time)) => Some(time),
            _ => None,
        }
    }

    fn scripted_fault(
        &mut self,
        method: &Method,
        path: &str,
        is_before_body: bool,
    ) -> Option<Action> {
        let matching = self.faults.iter_mut().find(|fault| {
            (fault.method == "*" || fault.method == method.as_str())
                && path.contains(&fault.path)
                && fault.times > 0
                && matches!(fault.action, Action::NoRead(_)) == is_before_body
        })?;
        if matching.after > 0 {
            matching.after -= 1;
            return None;
        }
        matching.times -= 1;
        Some(matching.action.clone())
    }
}

/// Damages the body of an answer; its headers still speak of the whole one.
pub(super) async fn damaged(answer: Answer, action: Action) -> Answer {
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await.expect("a body in memory").to_bytes();
    let body = match action {
        Action::FlipBit => {
            let mut bytes = bytes.to_vec();
            if let Some(byte) = bytes.first_mut() {
                *byte ^= 1;
            }
            full(bytes.into())
        }
        Action::Longer(count) => {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len() + count, 0);
            head.headers
                .insert(header::CONTENT_LENGTH, bytes.len().into());
            full(bytes.into())
        }
        Action::WrongRange => {
            head.headers.insert(
                header::CONTENT_RANGE,
                HeaderValue::from_static("bytes 0-1/2"),
            );
            full(bytes)
        }
        Action::CutBody(count) => {
            head.headers
                .insert(header::CONTENT_LENGTH, bytes.len().into());
            let sent = bytes.slice(..count.min(bytes.len()));
            // Time for the bytes to leave before the connection is cut.
            let tail = stream::once(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            });
            let frames =
                futures_util::StreamExt::chain(stream::iter([Ok(Frame::data(sent))]), tail);
            StreamBody::new(frames).boxed_unsync()
        }
        Action::Stall(time) => {
            head.headers
                .insert(header::CONTENT_LENGTH, bytes.len().into());
            let (first, rest) = (
                bytes.slice(..bytes.len() / 2),
                bytes.slice(bytes.len() / 2..),
            );
            let tail = stream::once(async move {
                tokio::time::sleep(time).await;
                Ok(Frame::data(rest))
            });
            let frames =
                futures_util::StreamExt::chain(stream::iter([Ok(Frame::data(first))]), tail);
            StreamBody::new(frames).boxed_unsync()
        }
        Action::Header(name, value) => {
            let value = HeaderValue::from_str(&value).expect("a header");
            head.headers.append(name, value);
            full(bytes)
        }
        Action::NoEnd => {
            head.headers.remove(header::CONTENT_LENGTH);
            let tail = stream::once(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            });
            let frames =
                futures_util::StreamExt::chain(stream::iter([Ok(Frame::data(bytes))]), tail);
            StreamBody::new(frames).boxed_unsync()
        }
        Action::Trailers => {
            head.headers.remove(header::CONTENT_LENGTH);
            let mut trailers = header::HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("of no use"));
            let half = bytes.len() / 2;
            let frames = [
                Frame::data(bytes.slice(..half)),
                Frame::data(bytes.slice(half..)),
                Frame::trailers(trailers),
            ];
            StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync()
        }
        Action::Endless(length, taken) => {
            head.headers.remove(header::CONTENT_LENGTH);
            if let Some(length) = length {
                head.headers.insert(header::CONTENT_LENGTH, length.into());
            }
            let frames = stream::repeat_with(move || {
                taken.fetch_add(BLANKS.len() as u64, Ordering::Relaxed);
                Ok(Frame::data(Bytes::from_static(BLANKS)))
            });
            StreamBody::new(frames).boxed_unsync()
        }
        Action::Status(..) | Action::DropAnswer | Action::IgnoreRange | Action::NoRead(_) => {
            full(bytes)
        }
    };
    Response::from_parts(head, body)
}
