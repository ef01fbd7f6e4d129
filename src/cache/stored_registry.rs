//! What a repository of entries keeps, and how it is made smaller.
//!
//! A registry does not tell when something was used, so that age counts from when an entry was made. Manifests are deleted; the
//! layers that nothing needs any more go when the registry collects its garbage.

use std::collections::HashSet;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::oci::{Digest, Reference};
use crate::registry::{Client, RawManifest};

use super::kept::{KeptDocument, Selection};
use super::registry::parse;
use super::{CacheKey, Entry, Error, Kept, Pruned, SavedMount, Trace};

/// Requests that are on the way at the same time.
const AT_ONCE: usize = 8;
/// What stands before the key in the tag of a cache mount.
const MOUNT: &str = "mount-";
/// What stands before the key in the tag of a trace.
const TRACE: &str = "trace-";

/// The entries in a repository.
#[derive(Clone, Debug)]
pub struct RepositoryEntries {
    client: Client,
    repository: Reference,
    prefix: String,
}

impl RepositoryEntries {
    /// The entries of a repository, those whose tags begin with the reference's if it has one; the same as of a
    /// [`super::RegistryPlace`].
    pub fn new(client: Client, reference: &Reference) -> Self {
        Self {
            client,
            prefix: reference
                .tag()
                .map(|tag| format!("{tag}-"))
                .unwrap_or_default(),
            repository: reference.clone(),
        }
    }

    /// Lists them, the oldest first. What is no entry, images in the same repository for example, is not listed.
    ///
    /// # Errors
    /// When the registry does not answer, or refuses.
    pub async fn list(&self) -> Result<Vec<Kept>, Error> {
        let tags = self.client.tags(&self.repository).await?;
        self.entries(&tags).await
    }

    async fn entries(&self, tags: &[String]) -> Result<Vec<Kept>, Error> {
        let ours = tags.iter().filter(|tag| self.is_ours(tag)).cloned();
        let found: Vec<Option<Kept>> = stream::iter(ours)
            .map(|tag| self.read(tag))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut kept: Vec<Kept> = found.into_iter().flatten().collect();
        kept.sort_by_key(|kept| (kept.used, kept.key));
        Ok(kept)
    }

    fn is_ours(&self, tag: &str) -> bool {
        let Some(rest) = tag.strip_prefix(&self.prefix) else {
            return false;
        };
        let digits = rest.strip_prefix(MOUNT).unwrap_or(rest);
        rest.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The traces that tell of no entry that stays.
    async fn stale_traces(
        &self,
        tags: &[String],
        stays: &HashSet<CacheKey>,
    ) -> Result<Vec<Digest>, Error> {
        let is_trace = |tag: &&String| {
            let rest = tag.strip_prefix(&self.prefix);
            rest.is_some_and(|rest| rest.len() == 64 && rest.starts_with(TRACE))
        };
        let read = |tag: String| async move {
            let raw = match self.client.manifest(&self.repository.with_tag(&tag)?).await {
                Ok(raw) => raw,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(Error::from(error)),
            };
            let found = parse(&raw.bytes, &raw.descriptor.media_type).ok();
            let is_stale = found.is_some_and(|found| Trace::is_stale(&found.text, stays));
            Ok(is_stale.then_some(raw.descriptor.digest))
        };
        let found: Vec<Option<Digest>> = stream::iter(tags.iter().filter(is_trace).cloned())
            .map(read)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let found: HashSet<Digest> = found.into_iter().flatten().collect();
        Ok(found.into_iter().collect())
    }

    async fn read(&self, tag: String) -> Result<Option<Kept>, Error> {
        match self.client.manifest(&self.repository.with_tag(&tag)?).await {
            Ok(raw) => Ok(kept(&raw, &tag)),
            // Somebody else has removed it.
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the entries that were made before `made_since`, then the oldest until the layers have `max_size` bytes at most;
    /// then what was written down of builds of which nothing is left.
    ///
    /// # Errors
    /// When the registry does not answer, refuses, or deletes nothing at all.
    pub async fn prune(
        &self,
        made_since: Option<i64>,
        max_size: Option<u64>,
    ) -> Result<Pruned, Error> {
        let tags = self.client.tags(&self.repository).await?;
        let kept = self.entries(&tags).await?;
        let selection = Selection::of(&kept, made_since, max_size);
        let entries: Vec<&Digest> = selection
            .gone
            .iter()
            .filter_map(|kept| match &kept.document {
                KeptDocument::Manifest(digest) => Some(digest),
                KeptDocument::File(_) => None,
            })
            .collect();
        let traces = self.stale_traces(&tags, &selection.keys()).await?;
        let manifests: Vec<&Digest> = entries.iter().copied().chain(&traces).collect();
        // One first: a registry that deletes nothing is not asked a thousand times.
        let mut rest = manifests.iter();
        if let Some(first) = rest.next() {
            self.client.delete_manifest(&self.repository, first).await?;
        }
        let deletions: Vec<_> = rest
            .map(|digest| self.client.delete_manifest(&self.repository, digest))
            .collect();
        stream::iter(deletions)
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(Pruned {
            entries: entries.len(),
            bytes: selection.bytes,
        })
    }
}

/// What a manifest keeps, if it is one of ours.
fn kept(raw: &RawManifest, tag: &str) -> Option<Kept> {
    #[derive(serde::Deserialize)]
    struct Named {
        key: CacheKey,
    }
    let found = parse(&raw.bytes, &raw.descriptor.media_type).ok()?;
    let document = KeptDocument::Manifest(raw.descriptor.digest.clone());
    if let Some((_, start)) = tag.rsplit_once(MOUNT) {
        let named: Named = serde_json::from_slice(&found.text).ok()?;
        let saved = SavedMount::parse(&found.text, &named.key).ok()?;
        return saved.key.to_string().starts_with(start).then(|| Kept {
            key: saved.key,
            used: saved.created,
            layer: saved.archive.clone(),
            step: saved.title(),
            layers: vec![saved.archive],
            document,
        });
    }
    let key = tag.get(tag.len().checked_sub(64)?..)?.parse().ok()?;
    let entry = Entry::parse(&found.text, &key).ok()?;
    let last = entry.last();
    Some(Kept {
        key,
        used: last.created,
        layer: last.layer.clone(),
        step: last.step.clone(),
        layers: entry.layers().cloned().collect(),
        document,
    })
}
