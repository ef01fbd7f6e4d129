//! Manifests that refer to another one by `subject`. A registry that does not keep the list of them is given one under a
//! tag (distribution-spec "Pushing Manifests with Subject", "Referrers Tag Schema").

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::client::{Call, Client, scope};
use super::error::Error;
use super::options::Action;
use crate::http::{Method, Request, Response, StatusCode};
use crate::oci::{Descriptor, Document, Index, MediaType, Reference};

/// So often the list is written before others are said to be in the way.
const WRITES_MAX: u32 = 20;

/// What a manifest says of itself that its entry in the list repeats.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referring {
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Gives the manifest that this one refers to, and the entry for the list.
fn entry(descriptor: &Descriptor, bytes: &[u8]) -> Option<(Descriptor, Descriptor)> {
    // Few have any; what is no manifest has none.
    if !bytes.windows(9).any(|word| word == b"\"subject\"") {
        return None;
    }
    let referring: Referring = serde_json::from_slice(bytes).ok()?;
    let own_type = referring.config.map(|config| config.media_type.to_string());
    let entry = Descriptor {
        artifact_type: referring.artifact_type.or(own_type),
        annotations: referring.annotations,
        ..Descriptor::new(
            descriptor.media_type.clone(),
            descriptor.digest.clone(),
            descriptor.size,
        )
    };
    Some((referring.subject?, entry))
}

impl Client {
    /// Sees to it that a manifest that was just pushed is found by what it refers to. `response` is the registry's answer
    /// to the push; without one the registry is asked what it can do.
    pub(super) async fn list_referrer(
        &self,
        target: &Reference,
        descriptor: &Descriptor,
        bytes: &Bytes,
        response: Option<&Response>,
    ) -> Result<(), Error> {
        let Some((subject, entry)) = entry(descriptor, bytes) else {
            return Ok(());
        };
        let is_listed = match response {
            Some(response) => response.headers().contains_key("oci-subject"),
            None => self.lists_referrers(target, &subject).await?,
        };
        if is_listed {
            return Ok(());
        }
        // Two manifests of one push do not get into each other's way.
        let _turn = self.shared.referrers.lock().await;
        self.add_to_list(target, &subject, entry).await
    }

    async fn lists_referrers(
        &self,
        target: &Reference,
        subject: &Descriptor,
    ) -> Result<bool, Error> {
        let path = format!("referrers/{}", subject.digest);
        let url = self.url(target, Action::Pull, &path).await?;
        let what = format!(
            "referrers of {} in {}",
            subject.digest.short(),
            target.name()
        );
        let call = Call {
            what: &what,
            scope: &scope(target, Action::Pull),
            request: Request::new(Method::GET, url),
            accept: &[StatusCode::NOT_FOUND],
            retries: true,
        };
        Ok(self.call(call).await?.status().is_success())
    }

    /// Adds an entry to the list under the tag. Nothing keeps two programs from writing the same list at the same time, so
    /// it is read again after a while that is long enough for the other one to have written, and written again if the entry
    /// is lost.
    async fn add_to_list(
        &self,
        target: &Reference,
        subject: &Descriptor,
        entry: Descriptor,
    ) -> Result<(), Error> {
        let digest = &subject.digest;
        let tag = format!("{}-{:.64}", digest.algorithm(), digest.hex());
        let what = format!("list of referrers {tag} in {}", target.name());
        let wrong = |reason: &str| Error::Protocol {
            what: what.clone(),
            reason: reason.to_owned(),
        };
        let named = target
            .with_tag(&tag)
            .map_err(|error| wrong(&error.to_string()))?;
        let mut writes = 0;
        let mut is_confirmed = true;
        loop {
            let begin = Instant::now();
            let mut index = match self.manifest(&named).await {
                Ok(raw) => match Document::parse(&raw.bytes, &raw.descriptor.media_type) {
                    Ok(Document::Index(index)) => index,
                    Ok(Document::Manifest(_)) => return Err(wrong("the tag names an image")),
                    Err(source) => return Err(Error::Document { what, source }),
                },
                Err(error) if error.is_not_found() => Index {
                    schema_version: 2,
                    media_type: Some(MediaType::OCI_INDEX.into()),
                    manifests: Vec::new(),
                    annotations: BTreeMap::new(),
                },
                Err(error) => return Err(error),
            };
            let is_there = index
                .manifests
                .iter()
                .any(|known| known.digest == entry.digest);
            if is_there && is_confirmed {
                return Ok(());
            }
            is_confirmed = is_there;
            if !is_there {
                if writes == WRITES_MAX {
                    return Err(wrong("others overwrite it again and again"));
                }
                writes += 1;
                index.manifests.push(entry.clone());
                let bytes = Bytes::from(
                    serde_json::to_vec(&index).expect("an index is made of texts and numbers"),
                );
                let descriptor = Descriptor::of(MediaType::OCI_INDEX, &bytes);
                self.put_manifest(target, &tag, &descriptor, &bytes).await?;
            }
            let jitter = self.shared.http.backoff().next_wait(None);
            tokio::time::sleep(begin.elapsed() * 3 + jitter.unwrap_or_default()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn entries_say_what_the_manifest_says() {
        let own = Descriptor::of(MediaType::OCI_MANIFEST, b"x");
        let digest = Digest::of(b"subject");
        let subject = format!(
            r#""subject":{{"mediaType":"m","digest":"{digest}","size":7}},"annotations":{{"a":"b"}}"#
        );
        let config = format!(r#""config":{{"mediaType":"c/d","digest":"{digest}","size":7}}"#);
        let check = |text: &str, expect: Option<&str>| {
            let found = entry(&own, text.as_bytes());
            assert_eq!(
                found
                    .as_ref()
                    .and_then(|(_, entry)| entry.artifact_type.as_deref()),
                expect,
                "{text}"
            );
            if let Some((of, entry)) = found {
                assert_eq!(of.digest, digest);
                assert_eq!(entry.digest, own.digest);
                assert_eq!(entry.annotations["a"], "b");
            }
        };
        check(&format!("{{{subject},{config}}}"), Some("c/d"));
        check(
            &format!(r#"{{{subject},{config},"artifactType":"e/f"}}"#),
            Some("e/f"),
        );
        check(&format!("{{{config}}}"), None);
        check(r#"{"subject":7}"#, None);
        check("\"subject\"", None);
    }
}
