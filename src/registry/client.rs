//! One call to a registry: where it is, who we are to it, and how often to try.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::challenge::{self, Challenge};
use super::error::{Error, Reply};
use super::mirror::Served;
use super::notes::Notes;
use super::options::{Action, RegistryOptions, dialled};
use super::token::{Grants, Scope};
use crate::auth::Keychain;
use crate::http::{
    self, Http, Method, Origin, Request, Response, StatusCode, header, is_transient, retry_after,
};
use crate::oci::{Digest, Reference};

/// How long a registry that may be without TLS has to answer a TLS greeting before it is taken to be without.
const TLS_PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of registries; clones share connections, tokens and limits.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) http: Http,
    pub(super) keychain: Arc<dyn Keychain>,
    pub(super) options: RegistryOptions,
    pub(super) grants: Grants,
    pub(super) transfers: Semaphore,
    /// Blobs that repositories are known to have.
    pub(super) known_blobs: Mutex<HashSet<(String, Digest)>>,
    pub(super) served: Served,
    pub(super) notes: Notes,
    /// Held while a list of referrers is changed.
    pub(super) referrers: tokio::sync::Mutex<()>,
    endpoints: Mutex<HashMap<(String, Action), EndpointCell>>,
}

type EndpointCell = Arc<OnceCell<Endpoint>>;

/// Where a registry is and what it asks for.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) base: Url,
    challenge: Challenge,
}

/// One request as a part of an operation.
pub(super) struct Call<'a> {
    /// The operation and its object, for messages.
    pub(super) what: &'a str,
    pub(super) scope: &'a Scope,
    pub(super) request: Request,
    /// Statuses that the caller wants to see, beside those of success.
    pub(super) accept: &'a [StatusCode],
    /// Whether a transient failure is tried again here.
    pub(super) retries: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client. The `hosts` of the HTTP client's configuration must come from [`RegistryOptions::host_tls`].
    pub fn new(http: Http, keychain: Arc<dyn Keychain>, options: RegistryOptions) -> Self {
        let transfers = Semaphore::new(options.parallel_transfers.max(1));
        let shared = Shared {
            http,
            keychain,
            options,
            grants: Grants::default(),
            transfers,
            known_blobs: Mutex::default(),
            served: Served::default(),
            notes: Notes::default(),
            referrers: tokio::sync::Mutex::default(),
            endpoints: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The HTTP client underneath, for what is no registry.
    pub fn http(&self) -> &Http {
        &self.shared.http
    }

    /// Sends a request of an operation: with the right credential, again after transient failures, and once more
    /// with a new credential when the old one is refused.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Response, Error> {
        let endpoint = self
            .endpoint(&call.scope.registry, call.scope.action)
            .await?;
        let mut challenge = endpoint.challenge.clone();
        let mut backoff = self.shared.http.backoff();
        let mut refused = None;
        let mut was_refreshed = false;
        let mut elsewhere = None;
        loop {
            let grant = self
                .grant(call.scope, &endpoint.base, &challenge, refused.as_ref())
                .await?;
            let mut request = call
                .request
                .clone()
                .authorization(grant.authorization.clone());
            request.skip_verify = self.shared.options.skips_verify(call.scope.action);
            request.led_by.get_or_insert_with(|| endpoint.base.clone());
            request.elsewhere = elsewhere.clone();
            let is_read = matches!(request.method, Method::GET | Method::HEAD);
            let result = self.shared.http.send(request).await;
            let asked = match &result {
                Ok(response) if is_transient(response.status()) => retry_after(response.headers()),
                Ok(_) | Err(_) => None,
            };
            let may_pass = match &result {
                Ok(response) => is_transient(response.status()),
                Err(error) => error.is_transient(),
            };
            if may_pass
                && call.retries
                && let Some(wait) = backoff.next_wait(asked)
            {
                tokio::time::sleep(wait).await;
                continue;
            }
            let response = result.map_err(|source| Error::Http {
                what: call.what.to_owned(),
                source,
            })?;
            let status = response.status();
            self.shared
                .notes
                .add_warnings(&call.scope.registry, &response);
            if status.is_success() || call.accept.contains(&status) {
                return Ok(response);
            }
            let is_registrys_own = Origin::of(response.url()) == Origin::of(&endpoint.base);
            let asked_for = challenge_of(&response);
            if !is_registrys_own
                && is_read
                && status == StatusCode::UNAUTHORIZED
                && elsewhere.is_none()
                && let Some(asked_for) = &asked_for
            {
                // Where a redirect leads we are nobody, and a registry may want to see a token of nobody.
                elsewhere = self
                    .anonymous_token(call.scope, response.url(), asked_for)
                    .await?;
                if elsewhere.is_some() {
                    continue;
                }
            }
            let tries = backoff.failures().max(1);
            let reply = Reply::read(response, tries).await;
            let reply = Box::new(reply.masked(grant.authorization.as_ref()));
            if is_registrys_own && !was_refreshed && wants_new_credential(&reply) {
                was_refreshed = true;
                challenge = asked_for.unwrap_or(challenge);
                refused = Some(grant);
                continue;
            }
            return Err(self.failure(call.what, &call.scope.registry, grant.source, reply));
        }
    }

    /// Finds a registry: its scheme, and what it asks for. Asked once for each registry and action.
    pub(super) async fn endpoint(&self, registry: &str, action: Action) -> Result<Endpoint, Error> {
        let key = (registry.to_owned(), action);
        let cell = {
            let mut endpoints = self
                .shared
                .endpoints
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(endpoints.entry(key).or_default())
        };
        let found = cell
            .get_or_try_init(|| self.find_endpoint(registry, action))
            .await?;
        Ok(found.clone())
    }

    async fn find_endpoint(&self, registry: &str, action: Action) -> Result<Endpoint, Error> {
        let what = format!("registry {registry}");
        let base = |scheme: &str| {
            Url::parse(&format!("{scheme}://{}/", dialled(registry))).map_err(|error| {
                Error::Protocol {
                    what: what.clone(),
                    reason: format!("no address can be made of its name: {error}"),
                }
            })
        };
        let secure = base("https")?;
        let mut chosen = secure.clone();
        if self.shared.options.may_be_plain(registry, action) {
            let probe = self.shared.http.send(self.ping(&secure, action)?);
            // A certificate that is not trusted is still TLS: there is no way around it but the user's word.
            let speaks_tls = matches!(
                tokio::time::timeout(TLS_PROBE_TIMEOUT, probe).await,
                Ok(Ok(_) | Err(http::Error::Tls { is_tls: true, .. }))
            );
            if !speaks_tls {
                chosen = base("http")?;
            }
        }
        let request = self.ping(&chosen, action)?;
        let http = |source| Error::Http {
            what: what.clone(),
            source,
        };
        let response = self
            .shared
            .http
            .send_retrying(&request)
            .await
            .map_err(http)?;
        let challenge = match response.status() {
            StatusCode::UNAUTHORIZED => {
                challenge_of(&response).ok_or_else(|| Error::Challenge {
                    registry: registry.to_owned(),
                    reason: "it names neither Basic nor Bearer".to_owned(),
                })?
            }
            _ => Challenge::None,
        };
        Ok(Endpoint {
            base: chosen,
            challenge,
        })
    }

    fn ping(&self, base: &Url, action: Action) -> Result<Request, Error> {
        let mut request = Request::new(Method::GET, join(base, "v2/")?);
        request.skip_verify = self.shared.options.skips_verify(action);
        Ok(request)
    }

    /// Makes the URL of something in a repository.
    pub(super) async fn url(
        &self,
        reference: &Reference,
        action: Action,
        path: &str,
    ) -> Result<Url, Error> {
        let endpoint = self.endpoint(reference.registry(), action).await?;
        join(
            &endpoint.base,
            &format!("v2/{}/{path}", reference.repository()),
        )
    }
}

fn join(base: &Url, path: &str) -> Result<Url, Error> {
    base.join(path).map_err(|error| Error::Protocol {
        what: base.to_string(),
        reason: format!("no URL can be made: {error}"),
    })
}

/// Makes the scope of a reference's repository.
pub(super) fn scope(reference: &Reference, action: Action) -> Scope {
    Scope {
        registry: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
        action,
        also: Vec::new(),
    }
}

fn challenge_of(response: &Response) -> Option<Challenge> {
    let values = response.headers().get_all(header::WWW_AUTHENTICATE);
    challenge::choose(values.iter().filter_map(|value| value.to_str().ok()))
}

/// A 401 may be cured by a new credential; a 403 only when it says that the old one has expired, as ECR does.
fn wants_new_credential(reply: &Reply) -> bool {
    let says_expired = || {
        reply
            .errors
            .iter()
            .any(|error| error.message.to_ascii_lowercase().contains("expired"))
    };
    reply.status == StatusCode::UNAUTHORIZED
        || (reply.status == StatusCode::FORBIDDEN && says_expired())
}

impl Client {
    fn failure(
        &self,
        what: &str,
        registry: &str,
        credential: Option<String>,
        reply: Box<Reply>,
    ) -> Error {
        let what = what.to_owned();
        match reply.status {
            http::StatusCode::UNAUTHORIZED | http::StatusCode::FORBIDDEN => Error::Unauthorized {
                what,
                registry: registry.to_owned(),
                misses: self.misses(registry, credential.as_ref()),
                credential,
                reply,
            },
            _ => Error::Status { what, reply },
        }
    }

    /// Why there is no credential for a registry, if there is none.
    pub(super) fn misses(&self, registry: &str, credential: Option<&String>) -> Vec<String> {
        if credential.is_some() {
            return Vec::new();
        }
        self.shared.keychain.misses(registry)
    }
}
