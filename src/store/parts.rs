//! What is put, cut into the parts in which it travels.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::BoxStream;

use super::Error;
use crate::http::Body;

/// How an object is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// The length of all parts but the last, in bytes.
    pub(super) part: u64,
    /// So many travel at a time.
    pub(super) at_a_time: usize,
}

impl Sizes {
    /// What is not larger travels whole. S3 wants parts of 5 MiB at least, GCS multiples of 256 KiB.
    pub(super) const SINGLE: u64 = 8 << 20;

    /// The memory that parts take together, in bytes, as long as they need not be larger.
    const TOGETHER: u64 = 32 << 20;

    /// The most parts that a store takes: 10,000 in S3, more elsewhere.
    const MOST: u64 = 10_000;

    pub(super) fn of(length: u64) -> Self {
        let least = length.div_ceil(Self::MOST);
        let part = least.max(Self::SINGLE).next_multiple_of(1 << 20);
        let at_a_time = usize::try_from(Self::TOGETHER / part).unwrap_or(1).max(1);
        Self { part, at_a_time }
    }
}

/// The parts of a body in order, each with its index.
pub(super) struct Parts<'a> {
    name: &'a str,
    source: BoxStream<'static, std::io::Result<Bytes>>,
    /// What was read and belongs to the next part.
    rest: Bytes,
    part: BytesMut,
    size: usize,
    index: u64,
    left: u64,
}

impl<'a> Parts<'a> {
    pub(super) fn new(body: &Body, sizes: Sizes, name: &'a str) -> Self {
        Self {
            name,
            source: body.open(),
            rest: Bytes::new(),
            part: BytesMut::new(),
            size: usize::try_from(sizes.part).unwrap_or(usize::MAX),
            index: 0,
            left: body.length(),
        }
    }

    fn failed(&mut self, message: String) -> Poll<Option<Result<(u64, Bytes), Error>>> {
        self.left = 0;
        Poll::Ready(Some(Err(Error::Failed {
            name: self.name.to_owned(),
            message,
        })))
    }
}

impl Stream for Parts<'_> {
    type Item = Result<(u64, Bytes), Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(self.size);
        while self.part.len() < size {
            if self.rest.is_empty() {
                match self.source.as_mut().poll_next(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                    Poll::Ready(Some(Err(error))) => {
                        return self
                            .failed(format!("what is to be stored cannot be read: {error}"));
                    }
                    Poll::Ready(None) => {
                        let missing = self.left - self.part.len() as u64;
                        return self.failed(format!(
                            "what is to be stored ends {missing} bytes before its length"
                        ));
                    }
                }
                continue;
            }
            let count = (size - self.part.len()).min(self.rest.len());
            let piece = self.rest.split_to(count);
            if self.part.is_empty() {
                self.part.reserve(size);
            }
            self.part.extend_from_slice(&piece);
        }
        let part = self.part.split().freeze();
        self.part = BytesMut::new();
        self.left -= part.len() as u64;
        self.index += 1;
        Poll::Ready(Some(Ok((self.index - 1, part))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    #[test]
    fn there_are_never_too_many_parts() {
        for length in [
            0,
            1,
            Sizes::SINGLE,
            Sizes::SINGLE + 1,
            1 << 30,
            1 << 40,
            5 << 40,
        ] {
            let sizes = Sizes::of(length);
            assert!(length.div_ceil(sizes.part) <= Sizes::MOST, "{length}");
            assert!(
                sizes.part.is_multiple_of(256 << 10) && sizes.at_a_time >= 1,
                "{length}"
            );
        }
        assert_eq!(Sizes::of(1 << 30).at_a_time, 4);
    }

    async fn cut(body: &Body, part: u64) -> Result<Vec<(u64, Bytes)>, Error> {
        let sizes = Sizes { part, at_a_time: 1 };
        Parts::new(body, sizes, "s3://b/k").try_collect().await
    }

    #[tokio::test]
    async fn parts_are_the_whole_in_order() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for part in [1000, 65_536, 99_999, 100_000, 100_001] {
            let body = Body::in_pieces(bytes.clone().into());
            let parts = cut(&body, part).await.unwrap();
            let all: Vec<u8> = parts.iter().flat_map(|(_, part)| part.to_vec()).collect();
            assert!(all == bytes, "{part}");
            assert!(parts.iter().zip(0..).all(|((index, _), at)| *index == at));
            let full = parts.iter().filter(|(_, bytes)| bytes.len() as u64 == part);
            assert!(full.count() + 1 >= parts.len(), "{part}");
        }
        let empty = cut(&Body::Empty, 10).await.unwrap();
        assert!(empty.is_empty());
        let short = Body::Stream(crate::http::StreamBody::new(10, || {
            Box::pin(futures_util::stream::iter([Ok(Bytes::from_static(
                b"four",
            ))]))
        }));
        let error = cut(&short, 8).await.unwrap_err();
        assert!(error.to_string().contains("ends 6 bytes before"), "{error}");
    }
}
