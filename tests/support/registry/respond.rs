//! What the registry answers: blobs and manifests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderValue};
use longshore::oci::Digest;

use super::answer::{Answer, plain, unknown, with};
use super::{State, digest_like};

/// A request to a repository, taken apart.
pub(super) struct Given<'a> {
    pub(super) method: &'a Method,
    pub(super) repository: &'a str,
    pub(super) name: &'a str,
    pub(super) query: &'a BTreeMap<String, String>,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

impl State {
    pub(super) fn respond(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
        address: SocketAddr,
    ) -> Answer {
        let (path, raw_query) = path.split_once('?').unwrap_or((path, ""));
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(raw_query.as_bytes())
            .into_owned()
            .collect();
        if path == "/token" {
            let pairs = if *method == Method::POST {
                &body[..]
            } else {
                raw_query.as_bytes()
            };
            let pairs: Vec<(String, String)> =
                url::form_urlencoded::parse(pairs).into_owned().collect();
            return self.token(method, headers, &pairs);
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return plain(404, "");
        };
        if let Some(refusal) = self.refusal(rest, method, headers, address) {
            return refusal;
        }
        if rest.is_empty() {
            return plain(200, "{}");
        }
        if rest.contains("/referrers/") {
            return plain(if self.has_referrers { 200 } else { 404 }, "{}");
        }
        for (marker, handle) in [
            (
                "/blobs/uploads/",
                Self::upload as fn(&mut Self, &Given<'_>) -> Answer,
            ),
            ("/blobs/", Self::get_blob),
            ("/manifests/", Self::manifest),
            ("/tags/", Self::tags),
        ] {
            if let Some((repository, name)) = rest.rsplit_once(marker) {
                return handle(
                    self,
                    &Given {
                        method,
                        repository,
                        name,
                        query: &query,
                        headers,
                        body,
                    },
                );
            }
        }
        plain(404, "")
    }

    fn get_blob(&mut self, given: &Given<'_>) -> Answer {
        let key = (given.repository.to_owned(), given.name.to_owned());
        let Some(bytes) = self.blobs.get(&key) else {
            return unknown("BLOB_UNKNOWN");
        };
        let range = given
            .headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        let start = range.and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        let total = bytes.len();
        match start {
            Some(start) if start >= total => plain(416, ""),
            Some(start) => {
                let mut answer = with(206, bytes.slice(start..), given.method);
                let range = format!("bytes {start}-{}/{total}", total - 1);
                answer.headers_mut().insert(
                    header::CONTENT_RANGE,
                    HeaderValue::from_str(&range).expect("a header"),
                );
                answer
            }
            None => with(200, bytes.clone(), given.method),
        }
    }

    /// Lists tags, a few at a time, whatever is asked for.
    fn tags(&mut self, given: &Given<'_>) -> Answer {
        const PAGE: usize = 3;
        let last = given.query.get("last").cloned().unwrap_or_default();
        let names = self.manifests.keys();
        let mut tags: Vec<&str> = names
            .filter(|(repository, tag)| repository == given.repository && !tag.contains(':'))
            .map(|(_, tag)| tag.as_str())
            .filter(|tag| *tag > last.as_str())
            .collect();
        let is_last = tags.len() <= PAGE;
        tags.truncate(PAGE);
        let body = serde_json::json!({"name": given.repository, "tags": tags}).to_string();
        let mut answer = plain(200, body);
        if let (false, Some(last)) = (is_last, tags.last()) {
            let link = format!(
                "</v2/{}/tags/list?last={last}&n={PAGE}>; rel=\"next\"",
                given.repository
            );
            let link = HeaderValue::from_str(&link).expect("a header");
            answer.headers_mut().insert(header::LINK, link);
        }
        answer
    }

    fn delete(&mut self, given: &Given<'_>) -> Answer {
        if self.refuses_deletion || !given.name.contains(':') {
            return plain(
                405,
                r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#,
            );
        }
        let before = self.manifests.len();
        self.manifests.retain(|(repository, _), (_, bytes)| {
            repository != given.repository || Digest::of(bytes).as_str() != given.name
        });
        if self.manifests.len() == before {
            return unknown("MANIFEST_UNKNOWN");
        }
        plain(202, "")
    }

    fn manifest(&mut self, given: &Given<'_>) -> Answer {
        let key = (given.repository.to_owned(), given.name.to_owned());
        if *given.method == Method::DELETE {
            return self.delete(given);
        }
        if *given.method != Method::PUT {
            let Some((media_type, bytes)) = self.manifests.get(&key) else {
                return unknown("MANIFEST_UNKNOWN");
            };
            let mut answer = with(200, bytes.clone(), given.method);
            answer.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_str(media_type).expect("a header"),
            );
            if !self.hides_digest {
                let digest = HeaderValue::from_str(Digest::of(bytes).as_str()).expect("a header");
                answer.headers_mut().insert("docker-content-digest", digest);
            }
            return answer;
        }
        let digest = digest_like(given.name, given.body);
        if given.name.contains(':') && given.name != digest.as_str() {
            return plain(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
        }
        let document: serde_json::Value = serde_json::from_slice(given.body).unwrap_or_default();
        let repository = given.repository.to_owned();
        for child in document["manifests"].as_array().into_iter().flatten() {
            let wanted = child["digest"].as_str().unwrap_or_default().to_owned();
            if !self.manifests.contains_key(&(repository.clone(), wanted)) {
                return plain(
                    404,
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                );
            }
        }
        let config = document.get("config");
        let layers = document["layers"].as_array().cloned().unwrap_or_default();
        for descriptor in layers.iter().chain(config) {
            let wanted = descriptor["digest"].as_str().unwrap_or_default();
            let is_foreign = descriptor["urls"].is_array();
            if !is_foreign
                && !self
                    .blobs
                    .contains_key(&(given.repository.to_owned(), wanted.to_owned()))
            {
                return plain(
                    400,
                    r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#,
                );
            }
        }
        let media_type = given
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let entry = (
            media_type.unwrap_or_default().to_owned(),
            given.body.clone(),
        );
        for name in [given.name, digest.as_str()] {
            self.manifests.insert(
                (given.repository.to_owned(), name.to_owned()),
                entry.clone(),
            );
        }
        let mut answer = plain(201, "");
        if let (true, Some(subject)) = (self.has_referrers, document["subject"]["digest"].as_str())
        {
            let value = HeaderValue::from_str(subject).expect("a header");
            answer.headers_mut().insert("oci-subject", value);
        }
        answer
    }
}
