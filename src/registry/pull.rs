//! Reading: manifests, indexes, configurations, blobs.

use std::path::Path;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::client::{Call, Client, scope};
use super::error::Error;
use super::options::Action;
use super::partial::Partial;
use crate::http::{Method, OnBytes, Request, Response, StatusCode, header, printable};
use crate::oci::{
    Descriptor, Digest, Document, ImageConfig, Index, Manifest, MediaType, Platform, Reference,
};

/// The largest manifest, index or configuration that is read, in bytes; containerd takes half of it.
pub const DOCUMENT_LIMIT: u64 = 8 << 20;

/// How deep indexes may be nested. One level is what tools make.
const INDEX_DEPTH: usize = 4;

/// The most platforms that a message lists.
const LISTED_PLATFORMS: usize = 20;

/// A manifest or index as the registry served it.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// Its type, computed digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, never printed again: the digest is over them.
    pub bytes: Bytes,
}

/// An image of a registry, without its layers.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// Where it is: the reference that was asked for.
    pub reference: Reference,
    /// The mirror that it came from, if it was one.
    pub source: Option<Reference>,
    /// What the places said that were asked before it.
    pub passed_over: Vec<String>,
    /// The digest that the reference stands for: of the index if there is one, else of the manifest.
    pub digest: Digest,
    /// The indexes that led to the manifest, as the registry served them.
    pub indexes: Vec<Bytes>,
    /// The manifest's type, digest and size.
    pub descriptor: Descriptor,
    /// The manifest's bytes.
    pub manifest_bytes: Bytes,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration's bytes.
    pub config_bytes: Bytes,
    /// The configuration.
    pub config: ImageConfig,
}

impl Client {
    /// Resolves a reference to the image for a platform: through indexes to the manifest and its configuration.
    ///
    /// # Errors
    /// When the registry does not have it, has none for the platform, or serves what is not an image.
    pub async fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, Error> {
        let (found, failures) = self
            .at_first(reference, async |place| {
                self.resolve_at(&place, platform).await
            })
            .await?;
        let source = Some(found.reference).filter(|place| place != reference);
        Ok(ResolvedImage {
            reference: reference.clone(),
            source,
            passed_over: failures.iter().map(ToString::to_string).collect(),
            ..found
        })
    }

    /// Resolves at one place.
    async fn resolve_at(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, Error> {
        let mut raw = self.manifest(reference).await?;
        let digest = raw.descriptor.digest.clone();
        let mut manifest = None;
        let mut indexes = Vec::new();
        for _ in 0..=INDEX_DEPTH {
            match parse(reference, &raw)? {
                Document::Manifest(found) => {
                    manifest = Some(*found);
                    break;
                }
                Document::Index(index) => {
                    let chosen = choose(&index, platform, reference)?;
                    indexes.push(raw.bytes);
                    raw = self.manifest_of(reference, &chosen).await?;
                }
            }
        }
        let what = || format!("image {reference}");
        let manifest = manifest.ok_or_else(|| Error::NestedIndex {
            what: what(),
            limit: INDEX_DEPTH,
        })?;
        let config_bytes = self.config(reference, &manifest.config).await?;
        let bad = |reason: String| Error::Config {
            what: format!("configuration of {}", what()),
            reason,
        };
        let config: ImageConfig =
            serde_json::from_slice(&config_bytes).map_err(|error| bad(error.to_string()))?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let (ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
            return Err(bad(format!(
                "it names {ids} layers and the manifest {layers}"
            )));
        }
        let (descriptor, manifest_bytes) = (raw.descriptor, raw.bytes);
        let reference = reference.clone();
        Ok(ResolvedImage {
            reference,
            source: None,
            passed_over: Vec::new(),
            digest,
            indexes,
            descriptor,
            manifest_bytes,
            manifest,
            config_bytes,
            config,
        })
    }

    /// Reads the manifest or index that a reference names, and checks it against the reference's digest if it has one.
    ///
    /// # Errors
    /// When the registry does not have it, or serves something else.
    pub async fn manifest(&self, reference: &Reference) -> Result<RawManifest, Error> {
        self.fetch_manifest(reference, reference.manifest_name(), reference.digest())
            .await
    }

    async fn manifest_of(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<RawManifest, Error> {
        let digest = &descriptor.digest;
        let raw = self
            .fetch_manifest(reference, digest.as_str(), Some(digest))
            .await?;
        let (expected, actual) = (descriptor.size, raw.bytes.len() as u64);
        if expected != actual {
            let what = format!("manifest {} of {}", digest.short(), reference.name());
            return Err(Error::Size {
                what,
                expected,
                actual,
            });
        }
        Ok(raw)
    }

    async fn fetch_manifest(
        &self,
        reference: &Reference,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<RawManifest, Error> {
        let what = format!("manifest {name} of {}", reference.name());
        let request = self
            .manifest_request(Method::GET, reference, Action::Pull, name)
            .await?;
        let mut backoff = self.shared.http.backoff();
        let (bytes, media_type) = loop {
            let scope = scope(reference, Action::Pull);
            let call = Call {
                what: &what,
                scope: &scope,
                request: request.clone(),
                accept: &[],
                retries: true,
            };
            let response = self.call(call).await?;
            let media_type = content_type(&response);
            match response.bytes(DOCUMENT_LIMIT).await {
                Ok(bytes) => break (bytes, media_type),
                Err(source) => match backoff.next_wait(None) {
                    Some(wait) if source.is_transient() => tokio::time::sleep(wait).await,
                    _ => return Err(Error::Http { what, source }),
                },
            }
        };
        let actual = match expected {
            Some(expected) => digest_like(expected, &bytes),
            None => Digest::of(&bytes),
        };
        if let Some(expected) = expected
            && actual != *expected
        {
            return Err(Error::Digest {
                what,
                expected: expected.clone(),
                actual,
            });
        }
        let media_type = type_of(media_type, &bytes);
        Ok(RawManifest {
            descriptor: Descriptor::new(media_type, actual, bytes.len() as u64),
            bytes,
        })
    }

    /// Asks for the digest that a reference stands for, without reading the manifest. `None` if there is no such
    /// manifest. A registry that does not tell the digest is asked for the whole.
    ///
    /// # Errors
    /// When the registry does not answer or refuses.
    pub async fn manifest_digest(
        &self,
        reference: &Reference,
        action: Action,
    ) -> Result<Option<Digest>, Error> {
        let name = reference.manifest_name();
        let what = format!("manifest {name} of {}", reference.name());
        let request = self
            .manifest_request(Method::HEAD, reference, action, name)
            .await?;
        let scope = scope(reference, action);
        let accept = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        let response = self
            .call(Call {
                what: &what,
                scope: &scope,
                request,
                accept: &accept,
                retries: true,
            })
            .await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let told = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        if let (Some(digest), true) = (told, response.status().is_success()) {
            return Ok(Some(digest));
        }
        match self.manifest(reference).await {
            Ok(raw) => Ok(Some(raw.descriptor.digest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest_request(
        &self,
        method: Method,
        reference: &Reference,
        action: Action,
        name: &str,
    ) -> Result<Request, Error> {
        let url = self
            .url(reference, action, &format!("manifests/{name}"))
            .await?;
        let accept = header::HeaderValue::from_str(&MediaType::MANIFESTS.join(", "))
            .expect("media types are a header");
        Ok(Request::new(method, url).header(header::ACCEPT, accept))
    }

    /// Reads and verifies an image configuration.
    async fn config(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let media_type = &descriptor.media_type;
        if media_type.to_oci() != MediaType::OCI_CONFIG {
            return Err(Error::Config {
                what: format!("image {reference}"),
                reason: format!(
                    "its configuration is of type \"{}\", which is no image's",
                    printable(media_type.as_str(), 100)
                ),
            });
        }
        self.blob(reference, descriptor, DOCUMENT_LIMIT).await
    }

    /// Reads and verifies a blob into memory; one larger than `limit` is refused before it is asked for.
    ///
    /// # Errors
    /// When the registry does not have it, or serves something else.
    pub async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, Error> {
        if descriptor.size > limit {
            let what = format!("blob {} of {}", descriptor.digest.short(), reference.name());
            return Err(Error::TooLarge {
                what,
                size: descriptor.size,
                limit,
            });
        }
        match self.blob_once(reference, descriptor).await {
            Err(Error::Digest { .. }) => self.blob_once(reference, descriptor).await,
            other => other,
        }
    }

    async fn blob_once(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Bytes, Error> {
        let mut download = self.download(reference, descriptor);
        let mut read = Vec::new();
        while let Some(bytes) = download.next().await? {
            read.extend_from_slice(&bytes);
        }
        Ok(read.into())
    }

    /// Downloads a blob to a file, which appears under its name only when it is complete and verified. Content with
    /// a wrong digest is fetched once more.
    ///
    /// # Errors
    /// When the registry does not have it or serves something else, or the file cannot be written.
    pub async fn blob_to_file(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        path: &Path,
        on_received: Option<&OnBytes>,
    ) -> Result<(), Error> {
        let _permit = self.transfer().await;
        match self
            .blob_to_file_once(reference, descriptor, path, on_received)
            .await
        {
            Err(Error::Digest { .. }) => {
                self.blob_to_file_once(reference, descriptor, path, on_received)
                    .await
            }
            other => other,
        }
    }

    async fn blob_to_file_once(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        path: &Path,
        on_received: Option<&OnBytes>,
    ) -> Result<(), Error> {
        let mut download = self.download(reference, descriptor);
        let (partial, mut file) = Partial::create(path)
            .await
            .map_err(|source| file_error(path, source))?;
        while let Some(bytes) = download.next().await? {
            file.write_all(&bytes)
                .await
                .map_err(|source| file_error(path, source))?;
            if let Some(on_received) = on_received {
                on_received(bytes.len() as u64);
            }
        }
        file.flush()
            .await
            .map_err(|source| file_error(path, source))?;
        drop(file);
        partial.keep().map_err(|source| file_error(path, source))
    }
}

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        source,
    }
}

fn parse(reference: &Reference, raw: &RawManifest) -> Result<Document, Error> {
    Document::parse(&raw.bytes, &raw.descriptor.media_type).map_err(|source| Error::Document {
        what: format!("image {reference}"),
        source,
    })
}

/// Chooses the manifest that serves a platform best; the first of equals, as containerd does.
///
/// # Errors
/// When the index has none for it.
pub fn choose(
    index: &Index,
    platform: &Platform,
    reference: &Reference,
) -> Result<Descriptor, Error> {
    let offered = |descriptor: &Descriptor| descriptor.platform.clone();
    let candidates = index.manifests.iter().filter(|descriptor| {
        let media_type = &descriptor.media_type;
        media_type.is_manifest() || media_type.is_index()
    });
    let best = candidates
        .clone()
        .filter_map(|descriptor| Some((platform.distance(&offered(descriptor)?)?, descriptor)))
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, descriptor)) = best {
        return Ok(descriptor.clone());
    }
    // Some tools leave the platform out: a nested index may have it, and a single manifest is meant for all.
    let mut without = candidates.filter(|descriptor| descriptor.platform.is_none());
    if let (Some(only), None) = (without.next(), without.next()) {
        return Ok(only.clone());
    }
    let known = index
        .manifests
        .iter()
        .filter_map(offered)
        .filter(|platform| platform.os != "unknown");
    let mut listed: Vec<String> = known
        .map(|platform| printable(&platform.to_string(), 60))
        .collect();
    listed.dedup();
    let more = listed.len().saturating_sub(LISTED_PLATFORMS);
    listed.truncate(LISTED_PLATFORMS);
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    let offered = if listed.is_empty() {
        "none that is named".to_owned()
    } else {
        listed.join(", ")
    };
    Err(Error::NoPlatform {
        what: format!("image {reference}"),
        wanted: platform.to_string(),
        offered,
    })
}

fn content_type(response: &Response) -> MediaType {
    let value = response.header(&header::CONTENT_TYPE).unwrap_or_default();
    MediaType::new(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

/// Gives the type of a document: the registry's word if it is a type of manifests, else the document's own.
fn type_of(served: MediaType, bytes: &[u8]) -> MediaType {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: Option<MediaType>,
    }
    if served.is_manifest() || served.is_index() {
        return served;
    }
    serde_json::from_slice::<Own>(bytes)
        .ok()
        .and_then(|own| own.media_type)
        .unwrap_or(served)
}

/// Hashes with the algorithm of another digest.
fn digest_like(expected: &Digest, bytes: &[u8]) -> Digest {
    let mut digester = expected.digester();
    digester.update(bytes);
    digester.finish()
}
