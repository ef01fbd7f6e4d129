//! A blob on its way: resumed where it broke off, verified at its end.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use url::Url;

use super::client::{Call, Client, scope};
use super::error::Error;
use super::options::Action;
use crate::http::{Backoff, Method, Request, Response, StatusCode, header};
use crate::oci::{Descriptor, Digester, Reference};

/// A download in progress. Its bytes must not be trusted before [`Download::next`] has given `None`.
#[derive(Debug)]
pub struct Download {
    client: Client,
    what: String,
    reference: Reference,
    descriptor: Descriptor,
    /// The places that may have the blob, in the order in which they are asked.
    sources: Vec<Source>,
    digester: Option<Digester>,
    /// Bytes given so far.
    offset: u64,
    /// Bytes of the current answer that were given before.
    skip: u64,
    current: Option<Response>,
    ranges_work: bool,
    backoff: Backoff,
}

/// A place that may have the blob.
#[derive(Clone, Debug)]
enum Source {
    /// The registry, or a mirror of it.
    Registry(Reference),
    /// A foreign layer's own place; it gets no credential.
    Foreign(Url),
}

impl Client {
    /// Makes ready to download a blob from the repository of `reference`. Nothing is asked for yet.
    pub fn download(&self, reference: &Reference, descriptor: &Descriptor) -> Download {
        let digest = &descriptor.digest;
        let places = self.blob_places(reference);
        let mut sources: Vec<_> = places.into_iter().map(Source::Registry).collect();
        if descriptor.media_type.is_foreign() {
            // Tried after the registry, by https only.
            let places = descriptor
                .urls
                .iter()
                .filter_map(|place| Url::parse(place).ok());
            let places = places.filter(|place| place.scheme() == "https");
            sources.extend(places.map(Source::Foreign));
        }
        Download {
            client: self.clone(),
            what: format!("blob {} of {}", digest.short(), reference.name()),
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            sources,
            digester: Some(digest.digester()),
            offset: 0,
            skip: 0,
            current: None,
            ranges_work: true,
            backoff: self.shared.http.backoff(),
        }
    }
}

impl Download {
    /// Gives the next bytes; `None` once all have come and their digest is right.
    ///
    /// # Errors
    /// When the tries without progress are used up, or the content is not what the descriptor says.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.digester.is_none() {
                return Ok(None);
            }
            let Some(response) = self.current.as_mut() else {
                if self.offset == self.descriptor.size && self.offset > 0 {
                    return self.finish();
                }
                self.open().await?;
                continue;
            };
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if let Some(bytes) = self.take(chunk)? {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None) if self.offset == self.descriptor.size => return self.finish(),
                Ok(None) => {
                    let actual = self.offset;
                    let size = Error::Size {
                        what: self.what.clone(),
                        expected: self.descriptor.size,
                        actual,
                    };
                    self.pause(size).await?;
                }
                Err(source) if source.is_transient() => {
                    self.pause(Error::Http {
                        what: self.what.clone(),
                        source,
                    })
                    .await?;
                }
                Err(source) => {
                    return Err(Error::Http {
                        what: self.what.clone(),
                        source,
                    });
                }
            }
        }
    }

    /// Turns it into a stream, for a consumer that knows only I/O errors.
    pub fn into_stream(self) -> BoxStream<'static, std::io::Result<Bytes>> {
        stream::unfold(Some(self), |state| async {
            let mut download = state?;
            match download.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(download))),
                Ok(None) => None,
                Err(error) => Some((Err(std::io::Error::other(error)), None)),
            }
        })
        .boxed()
    }

    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, Error> {
        if self.skip > 0 {
            let known =
                usize::try_from(self.skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            let _known = chunk.split_to(known);
            self.skip -= known as u64;
        }
        if chunk.is_empty() {
            return Ok(None);
        }
        let (what, expected) = (&self.what, self.descriptor.size);
        if self.offset + chunk.len() as u64 > expected {
            return Err(Error::Size {
                what: what.clone(),
                expected,
                actual: expected + 1,
            });
        }
        if let Some(digester) = self.digester.as_mut() {
            digester.update(&chunk);
        }
        self.offset += chunk.len() as u64;
        self.backoff.progressed();
        Ok(Some(chunk))
    }

    fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        self.current = None;
        let Some(digester) = self.digester.take() else {
            return Ok(None);
        };
        let actual = digester.finish();
        if actual == self.descriptor.digest {
            return Ok(None);
        }
        if let Some(Source::Registry(next)) = self.sources.get(1) {
            // Whoever asks again is not to be lied to again.
            self.client.remember(&self.reference, next);
        }
        Err(Error::Digest {
            what: self.what.clone(),
            expected: self.descriptor.digest.clone(),
            actual,
        })
    }

    /// Lets go of the connection and waits; gives `failure` back when there were enough tries.
    async fn pause(&mut self, failure: Error) -> Result<(), Error> {
        self.current = None;
        match self.backoff.next_wait(None) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => Err(failure),
        }
    }

    /// Asks for the bytes from the offset on, at the first source that has them.
    async fn open(&mut self) -> Result<(), Error> {
        let mut failures = Vec::new();
        for place in 0..self.sources.len() {
            match self.ask(self.sources[place].clone()).await {
                Ok(Some(response)) => {
                    // What broke off here is resumed here.
                    self.sources[..=place].rotate_right(1);
                    if let (Source::Registry(place), true) = (&self.sources[0], place > 0) {
                        self.client.remember(&self.reference, place);
                    }
                    self.current = Some(response);
                    return Ok(());
                }
                Ok(None) => {
                    let what = self.what.clone();
                    return self
                        .pause(Error::Protocol {
                            what,
                            reason: "ranges are answered wrongly".to_owned(),
                        })
                        .await;
                }
                Err(error) => failures.push(error),
            }
        }
        if matches!(self.sources.last(), Some(Source::Foreign(_))) {
            // What the registry says of a layer that it need not have is of more use than what a stranger says.
            failures.rotate_left(1);
        }
        Err(Error::of_places(failures))
    }

    async fn ask(&mut self, source: Source) -> Result<Option<Response>, Error> {
        let (url, scope) = match source {
            Source::Registry(place) => {
                let path = format!("blobs/{}", self.descriptor.digest);
                let url = self.client.url(&place, Action::Pull, &path).await?;
                (url, scope(&place, Action::Pull))
            }
            Source::Foreign(url) => (url, scope(&self.reference, Action::Pull)),
        };
        let mut request = Request::new(Method::GET, url);
        let is_resumed = self.offset > 0 && self.ranges_work;
        if is_resumed {
            let value = header::HeaderValue::from_str(&format!("bytes={}-", self.offset))
                .expect("digits are a header");
            request = request.header(header::RANGE, value);
        }
        let call = Call {
            what: &self.what,
            scope: &scope,
            request,
            accept: &[StatusCode::RANGE_NOT_SATISFIABLE],
            retries: true,
        };
        let response = self.client.call(call).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if is_resumed && starts_at(&response, self.offset) => {
                self.skip = 0;
                Ok(Some(response))
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.ranges_work = false;
                Ok(None)
            }
            _ => {
                self.skip = self.offset;
                Ok(Some(response))
            }
        }
    }
}

fn starts_at(response: &Response, offset: u64) -> bool {
    let range = response.header(&header::CONTENT_RANGE).unwrap_or_default();
    let start = range
        .trim()
        .strip_prefix("bytes")
        .and_then(|rest| rest.trim_start().split('-').next());
    start.and_then(|start| start.parse().ok()) == Some(offset)
}
