//! Writing: blobs, mounts, manifests.

use std::path::PathBuf;
use std::sync::PoisonError;

use bytes::Bytes;
use url::Url;

use super::client::{Call, Client, scope};
use super::elsewhere::Elsewhere;
use super::error::Error;
use super::options::Action;
use super::token::Scope;
use crate::http::{Body, Method, OnBytes, Request, Response, StatusCode, StreamBody, header};
use crate::oci::{Descriptor, Digest, Reference};

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum BlobSource {
    /// In memory.
    Bytes(Bytes),
    /// In a file, which must not change until the push has ended.
    File(PathBuf),
    /// In a file, from an offset on.
    Part {
        /// The file, which must not change either.
        path: PathBuf,
        /// Where the blob begins in it.
        offset: u64,
    },
    /// In a repository of the same or another registry.
    Remote(Reference),
    /// Neither here nor in a registry.
    Elsewhere(Elsewhere),
}

/// A blob to be put into a repository.
#[derive(Clone)]
pub struct BlobUpload<'a> {
    /// Names the repository; tag and digest do not matter.
    pub target: &'a Reference,
    /// The blob.
    pub descriptor: &'a Descriptor,
    /// Its bytes.
    pub source: &'a BlobSource,
    /// Repositories that may have it; those of another registry are passed over.
    pub mount_from: &'a [Reference],
    /// Is told of bytes as they are sent; bytes that are sent again are told again.
    pub on_sent: Option<&'a OnBytes>,
    /// Sends the bytes even if the registry says that it has them.
    pub is_forced: bool,
}

impl std::fmt::Debug for BlobUpload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "BlobUpload({} to {})",
            self.descriptor.digest, self.target
        )
    }
}

/// How a blob came to be in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobPush {
    /// It was there.
    Existed,
    /// It was mounted from another repository.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

impl Client {
    /// Puts a blob into a repository: skipped if it is there, mounted if the registry can, else uploaded.
    ///
    /// # Errors
    /// When the upload is refused, or fails more often than transient failures are tried again.
    pub async fn push_blob(&self, upload: &BlobUpload<'_>) -> Result<BlobPush, Error> {
        let BlobUpload {
            target, descriptor, ..
        } = upload;
        if !upload.is_forced && self.is_known(target, &descriptor.digest) {
            return Ok(BlobPush::Existed);
        }
        let pushed = self.push_unknown_blob(upload).await?;
        self.remember_blob(target, &descriptor.digest);
        Ok(pushed)
    }

    /// Notes that a repository has a blob, so that it is not asked again.
    pub fn remember_blob(&self, target: &Reference, digest: &Digest) {
        let mut known = self
            .shared
            .known_blobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert((target.name(), digest.clone()));
    }

    fn is_known(&self, target: &Reference, digest: &Digest) -> bool {
        let known = self
            .shared
            .known_blobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.contains(&(target.name(), digest.clone()))
    }

    async fn push_unknown_blob(&self, upload: &BlobUpload<'_>) -> Result<BlobPush, Error> {
        let BlobUpload {
            target, descriptor, ..
        } = upload;
        let _permit = self.transfer().await;
        let mut session = None;
        let own = match upload.source {
            BlobSource::Remote(reference) => self.blob_places(reference),
            BlobSource::Bytes(_)
            | BlobSource::File(_)
            | BlobSource::Part { .. }
            | BlobSource::Elsewhere(_) => Vec::new(),
        };
        let can_mount = |from: &&Reference| {
            !upload.is_forced
                && from.registry() == target.registry()
                && from.repository() != target.repository()
        };
        // A mount from where the blob surely is takes one request, whether it is here already or not.
        for from in own.iter().filter(can_mount) {
            match self.mount(target, from, &descriptor.digest).await? {
                Mount::Done => return Ok(BlobPush::Mounted),
                Mount::Session(location) => {
                    self.cancel_if_some(target, session.replace(location)).await;
                }
                Mount::Refused => {}
            }
        }
        if !upload.is_forced && self.has_blob(target, descriptor).await? {
            self.cancel_if_some(target, session).await;
            return Ok(BlobPush::Existed);
        }
        for from in upload.mount_from.iter().filter(can_mount) {
            if own.contains(from) {
                continue;
            }
            match self.mount(target, from, &descriptor.digest).await? {
                Mount::Done => return Ok(BlobPush::Mounted),
                Mount::Session(location) => {
                    self.cancel_if_some(target, session.replace(location)).await;
                }
                Mount::Refused => {}
            }
        }
        self.upload_blob(upload, session).await?;
        Ok(BlobPush::Uploaded)
    }

    /// Says whether the repository of `target` has a blob. A registry that does not say counts as one without.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn has_blob(
        &self,
        target: &Reference,
        descriptor: &Descriptor,
    ) -> Result<bool, Error> {
        let digest = &descriptor.digest;
        let url = self
            .url(target, Action::Push, &format!("blobs/{digest}"))
            .await?;
        let what = format!("check of blob {} in {}", digest.short(), target.name());
        let scope = scope(target, Action::Push);
        let request = Request::new(Method::HEAD, url);
        match self
            .call(Call {
                what: &what,
                scope: &scope,
                request,
                accept: &[],
                retries: true,
            })
            .await
        {
            Ok(response) => Ok(response
                .content_length()
                .is_none_or(|size| size == descriptor.size)),
            // Some registries deny HEAD, or deny it where pulling is not granted: the upload will tell.
            Err(error) if error.status().is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the registry to take a blob from another of its repositories (distribution-spec "Mounting a blob").
    async fn mount(
        &self,
        target: &Reference,
        from: &Reference,
        digest: &Digest,
    ) -> Result<Mount, Error> {
        let mut url = self.url(target, Action::Push, "blobs/uploads/").await?;
        url.query_pairs_mut()
            .append_pair("mount", digest.as_str())
            .append_pair("from", from.repository());
        let what = format!(
            "mount of blob {} from {} to {}",
            digest.short(),
            from.name(),
            target.name()
        );
        let scope = Scope {
            also: vec![from.repository().to_owned()],
            ..scope(target, Action::Push)
        };
        let request = Request::new(Method::POST, url);
        match self
            .call(Call {
                what: &what,
                scope: &scope,
                request,
                accept: &[],
                retries: false,
            })
            .await
        {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(Mount::Done),
            Ok(response) if response.status() == StatusCode::ACCEPTED => {
                Ok(location(&response, &what).map_or(Mount::Refused, Mount::Session))
            }
            // A mount is a wish: whatever is wrong with it, the upload comes next and tells what matters.
            Ok(_) | Err(_) => Ok(Mount::Refused),
        }
    }

    async fn upload_blob(
        &self,
        upload: &BlobUpload<'_>,
        mut session: Option<Url>,
    ) -> Result<(), Error> {
        let BlobUpload {
            target,
            descriptor,
            source,
            on_sent,
            ..
        } = upload.clone();
        let what = format!(
            "push of blob {} to {}",
            descriptor.digest.short(),
            target.name()
        );
        let mut backoff = self.shared.http.backoff();
        loop {
            // What is elsewhere is brought here before a session is opened, which might not live that long.
            let body = self.body(descriptor, source).await?;
            let location = match session.take() {
                Some(location) => location,
                None => self.start_upload(target, &what).await?.location,
            };
            let mut request = octets(Method::PUT, with_digest(location, &descriptor.digest));
            request.body = body;
            request.on_sent = on_sent.cloned();
            let scope = scope(target, Action::Push);
            let call = Call {
                what: &what,
                scope: &scope,
                request,
                accept: &[],
                retries: false,
            };
            let Err(failure) = self.call(call).await else {
                return Ok(());
            };
            match failure.status().map(|status| status.as_u16()) {
                // No monolithic upload, or none of this size: in pieces then.
                Some(405 | 413 | 416 | 501) => {
                    return self.upload_in_chunks(upload, &what).await;
                }
                // A session may get lost; a digest is refused when bytes were.
                Some(400 | 404) => {}
                _ if failure.is_transient() => {}
                _ => return Err(failure),
            }
            match backoff.next_wait(failure.retry_after()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure),
            }
            // The failed request may have reached its end all the same.
            if !upload.is_forced && self.has_blob(target, descriptor).await? {
                return Ok(());
            }
        }
    }

    /// Opens an upload session.
    pub(super) async fn start_upload(
        &self,
        target: &Reference,
        what: &str,
    ) -> Result<Session, Error> {
        let url = self.url(target, Action::Push, "blobs/uploads/").await?;
        let scope = scope(target, Action::Push);
        let request = Request::new(Method::POST, url);
        let response = self
            .call(Call {
                what,
                scope: &scope,
                request,
                accept: &[],
                retries: true,
            })
            .await?;
        Ok(Session {
            location: location(&response, what)?,
            smallest_piece: smallest_piece(&response),
        })
    }

    async fn body(&self, descriptor: &Descriptor, source: &BlobSource) -> Result<Body, Error> {
        Ok(match source {
            BlobSource::Bytes(bytes) => Body::Bytes(bytes.clone()),
            BlobSource::File(path) => Body::file(path.clone(), 0, descriptor.size),
            BlobSource::Part { path, offset } => Body::file(path.clone(), *offset, descriptor.size),
            BlobSource::Elsewhere(blob) => Body::file(blob.file().await?, 0, descriptor.size),
            BlobSource::Remote(reference) => {
                let (client, reference, descriptor) =
                    (self.clone(), reference.clone(), descriptor.clone());
                Body::Stream(StreamBody::new(descriptor.size, move || {
                    client.download(&reference, &descriptor).into_stream()
                }))
            }
        })
    }

    /// Puts a manifest or index under a name: a tag or its digest. A tag must be the last write of a push.
    ///
    /// An answer that got lost, and a tag that must not change but is right already, count as success. What refers to
    /// another manifest by `subject` is found by it afterwards, whether the registry sees to that or not.
    ///
    /// # Errors
    /// When the registry refuses. [`Error::has_code`] tells `MANIFEST_BLOB_UNKNOWN` from other reasons.
    pub async fn push_manifest(
        &self,
        target: &Reference,
        name: &str,
        descriptor: &Descriptor,
        bytes: &Bytes,
    ) -> Result<(), Error> {
        let response = self.put_manifest(target, name, descriptor, bytes).await?;
        self.list_referrer(target, descriptor, bytes, response.as_ref())
            .await
    }

    /// Puts a manifest under a name; gives the registry's answer if it arrived.
    pub(super) async fn put_manifest(
        &self,
        target: &Reference,
        name: &str,
        descriptor: &Descriptor,
        bytes: &Bytes,
    ) -> Result<Option<Response>, Error> {
        let what = format!("push of manifest {name} to {}", target.name());
        let url = self
            .url(target, Action::Push, &format!("manifests/{name}"))
            .await?;
        let media_type =
            header::HeaderValue::from_str(descriptor.media_type.as_str()).map_err(|_| {
                Error::Protocol {
                    what: what.clone(),
                    reason: "its media type cannot be sent".to_owned(),
                }
            })?;
        let request = Request::new(Method::PUT, url)
            .header(header::CONTENT_TYPE, media_type)
            .body(Body::Bytes(bytes.clone()));
        let scope = scope(target, Action::Push);
        let call = Call {
            what: &what,
            scope: &scope,
            request,
            accept: &[],
            retries: true,
        };
        let failure = match self.call(call).await {
            Ok(response) => return Ok(Some(response)),
            Err(failure) => failure,
        };
        let may_be_there = failure.is_transient()
            || failure
                .status()
                .is_some_and(|status| status.is_client_error());
        if may_be_there && !failure.has_code("MANIFEST_BLOB_UNKNOWN") && !failure.is_denied() {
            let named = match name.parse::<Digest>() {
                Ok(digest) => Ok(target.with_digest(digest)),
                Err(_) => target.with_tag(name),
            };
            if let Ok(named) = named
                && let Ok(Some(digest)) = self.manifest_digest(&named, Action::Push).await
                && digest == descriptor.digest
            {
                return Ok(None);
            }
        }
        Err(failure)
    }

    /// Checks the right to push to the repository of `target`: opens an upload and cancels it.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    pub async fn check_push(&self, target: &Reference) -> Result<(), Error> {
        let what = format!("check of the right to push to {}", target.name());
        let session = self.start_upload(target, &what).await?;
        self.cancel_if_some(target, Some(session.location)).await;
        Ok(())
    }

    /// Cancels an upload session, as a courtesy: registries forget them in time.
    pub(super) async fn cancel_if_some(&self, target: &Reference, session: Option<Url>) {
        let Some(location) = session else { return };
        let scope = scope(target, Action::Push);
        let request = Request::new(Method::DELETE, location);
        let call = Call {
            what: "end of an upload",
            scope: &scope,
            request,
            accept: &[],
            retries: false,
        };
        // Many registries do not support it.
        let _ = self.call(call).await;
    }

    /// Waits for the right to transfer a blob.
    pub(super) async fn transfer(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.shared
            .transfers
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }
}

/// An upload that is open.
pub(super) struct Session {
    pub(super) location: Url,
    /// The least that the registry takes in one piece that is not the last, in bytes; 0 if it does not say.
    pub(super) smallest_piece: u64,
}

/// What came of a mount.
enum Mount {
    Done,
    /// The registry has opened an upload in its place.
    Session(Url),
    Refused,
}

/// Makes a request that carries raw bytes and is not redirected: an upload goes where its location says.
pub(super) fn octets(method: Method, url: Url) -> Request {
    Request::new(method, url).header(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/octet-stream"),
    )
}

/// Reads the least that the registry takes in one piece.
pub(super) fn smallest_piece(response: &Response) -> u64 {
    let value = response.headers().get("oci-chunk-min-length");
    value
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

/// Reads the location of an upload, relative or absolute. Its query is kept as it is: it may be signed.
pub(super) fn location(response: &Response, what: &str) -> Result<Url, Error> {
    let value = response.header(&header::LOCATION);
    resolve_location(response.url(), value).map_err(|reason| Error::Protocol {
        what: what.to_owned(),
        reason,
    })
}

fn resolve_location(asked: &Url, location: Option<&str>) -> Result<Url, String> {
    let location = location.ok_or("the registry names no upload location")?;
    let mut url = asked
        .join(location)
        .map_err(|error| format!("the upload location is no URL: {error}"))?;
    // A registry behind a proxy that does TLS for it may not know its own scheme.
    let is_registrys_own =
        url.host_str() == asked.host_str() && matches!(url.port(), None | Some(80));
    if asked.scheme() == "https"
        && url.scheme() == "http"
        && (is_registrys_own || same_place(&url, asked))
    {
        let changed = url
            .set_scheme("https")
            .and_then(|()| url.set_port(asked.port()));
        changed.map_err(|()| "the upload location cannot be reached by https".to_owned())?;
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the upload location is neither http nor https".to_owned());
    }
    Ok(url)
}

fn same_place(one: &Url, other: &Url) -> bool {
    one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Adds the digest to an upload's location.
pub(super) fn with_digest(mut location: Url, digest: &Digest) -> Url {
    let pair = format!("digest={}", digest.as_str().replace(':', "%3A"));
    let query = match location.query() {
        Some(query) if !query.is_empty() => format!("{query}&{pair}"),
        _ => pair,
    };
    location.set_query(Some(&query));
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_and_their_query_is_kept() {
        let check = |asked: &str, location: &str, expect: &str| {
            let asked = Url::parse(asked).expect("a URL");
            let digest = Digest::of(b"");
            let url = resolve_location(&asked, Some(location))
                .map(|url| with_digest(url, &digest).to_string());
            let expect = format!("{expect}digest={}", digest.as_str().replace(':', "%3A"));
            assert_eq!(url.as_deref(), Ok(expect.as_str()), "{location}");
        };
        let asked = "https://r.io/v2/a/blobs/uploads/";
        check(
            asked,
            "/v2/a/blobs/uploads/1?_state=x%2B%2Fy==",
            "https://r.io/v2/a/blobs/uploads/1?_state=x%2B%2Fy==&",
        );
        check(asked, "1-2-3", "https://r.io/v2/a/blobs/uploads/1-2-3?");
        check(
            asked,
            "https://store.io/x?sig=a%20b+c",
            "https://store.io/x?sig=a%20b+c&",
        );
        check(asked, "http://r.io/v2/x", "https://r.io/v2/x?");
        check(
            "https://r.io:5443/v2/a/",
            "http://r.io/v2/x",
            "https://r.io:5443/v2/x?",
        );
        check(
            "https://r.io:5443/v2/a/",
            "http://r.io:5443/v2/x",
            "https://r.io:5443/v2/x?",
        );
        check(asked, "http://other.io/x", "http://other.io/x?");
        check(
            "http://localhost:5000/v2/",
            "http://localhost:5000//v2/x?",
            "http://localhost:5000//v2/x?",
        );
        for bad in [None, Some("file:///etc/passwd"), Some("http://[")] {
            assert!(
                resolve_location(&Url::parse(asked).expect("a URL"), bad).is_err(),
                "{bad:?}"
            );
        }
    }
}
