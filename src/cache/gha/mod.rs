//! The cache service of GitHub Actions, version 2, and of what speaks its language.
//!
//! Repositories share a small number of calls in a minute, so documents do not stand alone: all of a build are one index,
//! read at the first question and written once at the end. What is kept there cannot change: every index has a name of its
//! own, and the newest counts. A layer is a blob of its own, asked for when its bytes are needed.
//!
//! What a job may read and write is said by its token: its own branch or change request, and the branches that these go to.
//! Each has an index of its own; all that may be read are read.

mod index;
mod service;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::try_join_all;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use url::Url;

use crate::http::{Http, Secret};
use crate::oci::{Descriptor, Digest};
use crate::registry::Client;

use super::shelf::{Arriving, Local, ShelfPlace, Store};
use super::{Document, DocumentName, Error, FoundDocument, Place};
use index::{Index, Kept};
use service::Service;

/// The largest index that is read, in bytes as it is sent.
const INDEX_LIMIT: u64 = 16 << 20;

/// How to reach the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GhaOptions {
    /// The service, as `ACTIONS_RESULTS_URL` says it.
    pub url: Url,
    /// The job's token, as `ACTIONS_RUNTIME_TOKEN` says it.
    pub token: Secret,
    /// What tells several caches of one repository apart.
    pub scope: String,
}

impl GhaOptions {
    /// The service as a place for a cache; what it brings goes into `scratch`, a directory of this build.
    pub fn open(&self, http: Http, client: Client, scratch: &Path) -> Arc<dyn Place> {
        let gha = Gha {
            service: Service::new(http, self.url.clone(), self.token.clone()),
            scope: self.scope.clone(),
            branches: branches(&self.token),
            index: OnceCell::new(),
            state: Mutex::default(),
        };
        Arc::new(ShelfPlace::new(gha, client, scratch))
    }
}

#[derive(Debug)]
struct Gha {
    service: Service,
    scope: String,
    branches: Vec<Branch>,
    /// What was read, or why it could not be: the question is not asked again.
    index: OnceCell<Result<Index, String>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be kept at the end.
    new: BTreeMap<DocumentName, Kept>,
    /// What was asked for and found.
    used: HashSet<DocumentName>,
}

/// What a job may use of the repository's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Branch {
    /// Eight digits that stand for the reference.
    id: String,
    may_write: bool,
}

impl Gha {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the job keeps what is new.
    fn own(&self) -> Result<&Branch, Error> {
        let own = self.branches.iter().find(|branch| branch.may_write);
        own.ok_or_else(|| Error::Service {
            what: "nothing is kept".to_owned(),
            reason: "the job's token may only read".to_owned(),
        })
    }

    fn index_name(&self, branch: &Branch) -> String {
        format!("longshore-index-1-{}-{}-", self.scope, branch.id)
    }

    async fn read(&self, branch: &Branch) -> Result<Index, Error> {
        let name = self.index_name(branch);
        match self.service.newest(&name, INDEX_LIMIT).await? {
            Some(bytes) => Index::parse(&bytes),
            None => Ok(Index::default()),
        }
    }

    /// All that may be read, as one: the job's own branch comes first.
    async fn index(&self) -> Result<&Index, Error> {
        let read = || async {
            let indexes = self.branches.iter().map(|branch| self.read(branch));
            let mut all = Index::default();
            for index in try_join_all(indexes).await? {
                all.add(index);
            }
            Ok(all)
        };
        let read = || async { read().await.map_err(|error: Error| error.to_string()) };
        let read = self.index.get_or_init(read).await;
        read.as_ref().map_err(|reason| Error::Service {
            what: "its index cannot be read".to_owned(),
            reason: reason.clone(),
        })
    }

    /// What was read, if it was.
    fn known(&self) -> Option<&Index> {
        self.index.get()?.as_ref().ok()
    }

    /// Writes the index anew, with what another build has kept meanwhile.
    async fn write_index(&self) -> Result<(), Error> {
        let (new, used) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.new), state.used.clone())
        };
        if new.is_empty() {
            return Ok(());
        }
        let own = self.own()?;
        let mut index = Index::of(new);
        // An index that cannot be read is replaced.
        if let Ok(before) = self.read(own).await {
            index.add(before);
        }
        index.shrink(&used);
        let bytes = index.to_bytes()?;
        let digest = hex::encode(Sha256::digest(&bytes));
        let name = format!("{}{}", self.index_name(own), &digest[..16]);
        let size = bytes.len() as u64;
        self.service
            .put(&name, size, &Local::Bytes(bytes.into()))
            .await
            .map(drop)
    }
}

impl Store for Gha {
    fn name(&self) -> String {
        format!("GitHub's cache \"{}\"", self.scope)
    }

    async fn document(&self, name: &DocumentName) -> Result<Option<FoundDocument>, Error> {
        let Some(kept) = self.index().await?.get(name) else {
            return Ok(None);
        };
        self.lock().used.insert(*name);
        Ok(Some(FoundDocument {
            text: kept.text.clone().into_bytes(),
            blobs: Some(kept.blobs.clone()),
        }))
    }

    async fn put_document(&self, name: &DocumentName, document: &Document) -> Result<(), Error> {
        self.own()?;
        let blobs = document.parts.iter().map(|part| part.blob.clone());
        let kept = Kept {
            text: document.text.clone(),
            blobs: blobs.collect(),
        };
        let known = self.known().and_then(|index| index.get(name));
        if known != Some(&kept) {
            self.lock().new.insert(*name, kept);
        }
        Ok(())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let known = self.known();
        Ok(known.is_some_and(|index| index.has_blob(&blob.digest)))
    }

    async fn bring(&self, blob: &Descriptor, file: &mut Arriving) -> Result<(), Error> {
        let name = blob_name(&blob.digest);
        if self.service.download(&name, file).await? {
            return Ok(());
        }
        Err(Error::Service {
            what: "a blob".to_owned(),
            reason: "it is not there any more".to_owned(),
        })
    }

    /// A job that was killed leaves a name that nothing can be kept under and nothing found: then another one is taken,
    /// that begins with it.
    async fn put(&self, blob: &Descriptor, content: &Local) -> Result<(), Error> {
        self.own()?;
        let name = blob_name(&blob.digest);
        if self.service.put(&name, blob.size, content).await? || self.service.has(&name).await? {
            return Ok(());
        }
        let mut hasher = Sha256::new();
        hasher.update(self.service.token_bytes());
        hasher.update(name.as_bytes());
        let suffix = hex::encode(hasher.finalize());
        let name = format!("{name}-{}", &suffix[..8]);
        self.service.put(&name, blob.size, content).await.map(drop)
    }

    async fn finish(&self) -> Result<(), Error> {
        self.write_index().await
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("longshore-blob-1-{}", digest.hex())
}

/// What a token says of the branches: claim `ac`, a list of references with 1 for read and 2 for write. A token that says
/// nothing is one of a service that has no branches.
fn branches(token: &Secret) -> Vec<Branch> {
    #[derive(Deserialize)]
    struct Claims {
        ac: String,
    }
    #[derive(Deserialize)]
    struct Access {
        #[serde(rename = "Scope")]
        reference: String,
        #[serde(rename = "Permission")]
        permission: u32,
    }
    let read = || {
        use base64::Engine as _;
        let claims = token.expose().split('.').nth(1)?;
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(claims.trim_end_matches('='))
            .ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        serde_json::from_str::<Vec<Access>>(&claims.ac).ok()
    };
    let Some(access) = read().filter(|access| !access.is_empty()) else {
        return vec![Branch {
            id: "all".to_owned(),
            may_write: true,
        }];
    };
    let mut branches: Vec<Branch> = access
        .into_iter()
        .map(|access| Branch {
            id: hex::encode(Sha256::digest(access.reference.as_bytes()))[..8].to_owned(),
            may_write: access.permission & 2 != 0,
        })
        .collect();
    branches.sort_by_key(|branch| !branch.may_write);
    branches
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn a_token_says_what_may_be_written() {
        let token = |claims: &str| {
            let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
            branches(&Secret::new(format!("e30.{encoded}.sig")))
        };
        let all = vec![Branch {
            id: "all".to_owned(),
            may_write: true,
        }];
        assert_eq!(branches(&Secret::new("opaque")), all);
        assert_eq!(token("{}"), all);
        assert_eq!(token(r#"{"ac":"[]"}"#), all);
        let found = token(
            r#"{"ac":"[{\"Scope\":\"refs/heads/main\",\"Permission\":1},{\"Scope\":\"refs/pull/1/merge\",\"Permission\":3}]"}"#,
        );
        let rights: Vec<bool> = found.iter().map(|branch| branch.may_write).collect();
        assert_eq!(rights, [true, false]);
        assert_ne!(found[0].id, found[1].id);
        assert_eq!(found[0].id.len(), 8);
    }
}
