//! What is in a repository, and taking it away (distribution-spec "Listing Tags", "Deleting Manifests").

use super::client::{Call, Client, scope};
use super::error::Error;
use super::options::Action;
use super::pull::DOCUMENT_LIMIT;
use crate::http::{Method, Origin, Request, StatusCode, header};
use crate::oci::{Digest, Reference};

/// So many tags are asked for at once; what registries give at most differs.
const PAGE: usize = 1000;
/// More pages than this is a registry that leads in circles.
const PAGES_MAX: usize = 1000;

impl Client {
    /// Lists the tags of a repository; none if there is no such repository.
    ///
    /// # Errors
    /// When the registry does not answer, refuses, or answers with something else.
    pub async fn tags(&self, repository: &Reference) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Listed {
            /// Some registries say `null` where there are none.
            tags: Option<Vec<String>>,
        }
        let what = format!("tags of {}", repository.name());
        let path = format!("tags/list?n={PAGE}");
        let mut url = self.url(repository, Action::Pull, &path).await?;
        let mut tags = Vec::new();
        let protocol = |reason: String| Error::Protocol {
            what: what.clone(),
            reason,
        };
        for _ in 0..PAGES_MAX {
            let scope = scope(repository, Action::Pull);
            let response = self
                .call(Call {
                    what: &what,
                    scope: &scope,
                    request: Request::new(Method::GET, url.clone()),
                    accept: &[StatusCode::NOT_FOUND],
                    retries: true,
                })
                .await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(tags);
            }
            let next = response
                .headers()
                .get(header::LINK)
                .and_then(|value| value.to_str().ok())
                .and_then(next_page)
                .and_then(|link| url.join(link).ok())
                // A registry has no say about another host.
                .filter(|next| Origin::of(next) == Origin::of(&url));
            let bytes = response.bytes(DOCUMENT_LIMIT).await;
            let bytes = bytes.map_err(|source| Error::Http {
                what: what.clone(),
                source,
            })?;
            let listed: Listed =
                serde_json::from_slice(&bytes).map_err(|error| protocol(error.to_string()))?;
            tags.extend(listed.tags.unwrap_or_default());
            match next {
                Some(next) => url = next,
                None => return Ok(tags),
            }
        }
        Err(protocol("the list of tags does not end".to_owned()))
    }

    /// Deletes a manifest, and with it all tags that stand for it. One that is not there is fine.
    ///
    /// # Errors
    /// When the registry does not answer, refuses, or deletes nothing at all ([`Error::is_undeletable`]).
    pub async fn delete_manifest(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<(), Error> {
        let what = format!("deletion of {} in {}", digest.short(), repository.name());
        let path = format!("manifests/{digest}");
        let url = self.url(repository, Action::Delete, &path).await?;
        let scope = scope(repository, Action::Delete);
        self.call(Call {
            what: &what,
            scope: &scope,
            request: Request::new(Method::DELETE, url),
            accept: &[StatusCode::NOT_FOUND],
            retries: true,
        })
        .await
        .map(|_| ())
    }
}

/// The address of the next page, out of a Link header (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    let of_next = |one: &&str| one.replace(['"', ' '], "").contains(";rel=next");
    let one = link.split(',').find(of_next)?;
    let (_, rest) = one.split_once('<')?;
    rest.split_once('>').map(|(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::next_page;

    #[test]
    fn the_next_page_is_in_a_link() {
        for (link, expect) in [
            (
                "</v2/a/tags/list?last=b&n=2>; rel=\"next\"",
                Some("/v2/a/tags/list?last=b&n=2"),
            ),
            ("<x>; rel=prev, <y>; rel=next", Some("y")),
            ("<x>; rel=\"prev\"", None),
            ("", None),
        ] {
            assert_eq!(next_page(link), expect, "{link}");
        }
    }
}
