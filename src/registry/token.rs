//! Tokens: fetched from the token server that a registry names, kept until shortly before they expire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::challenge::Challenge;
use super::client::Client;
use super::error::{Error, Reply};
use super::notes::Note;
use super::options::Action;
use crate::auth::{Credential, CredentialKind};
use crate::http::{Authorization, Body, Method, Origin, Request, Secret, header, redact_url};

/// The largest answer of a token server that is read, in bytes.
const TOKEN_LIMIT: u64 = 64 * 1024;

/// How long a token is valid when its server does not say (distribution "Token Authentication Specification").
const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);

/// The longest time that a token is kept, whatever its server says.
const LONGEST_LIFETIME: Duration = Duration::from_hours(1);

/// Passwords are asked for again after this time: some are made for hours only.
const PASSWORD_LIFETIME: Duration = Duration::from_mins(10);

/// The rights that a request needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) action: Action,
    /// Repositories of the same registry to be read as well, for a mount.
    pub(super) also: Vec<String>,
}

impl Scope {
    fn names(&self) -> Vec<String> {
        let rights = match self.action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
            Action::Delete => "pull,delete",
        };
        let mut names = vec![format!("repository:{}:{rights}", self.repository)];
        names.extend(
            self.also
                .iter()
                .map(|repository| format!("repository:{repository}:pull")),
        );
        names
    }
}

/// What a request to a registry presents.
#[derive(Clone, Debug, Default)]
pub(super) struct Grant {
    pub(super) authorization: Option<Authorization>,
    /// The name of the credential's source.
    pub(super) source: Option<String>,
    number: u64,
}

#[derive(Debug)]
struct Kept {
    grant: Grant,
    expires: Instant,
}

type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// Grants by scope. The lock of a scope is held while its grant is made: all who need it wait for the one request.
#[derive(Debug, Default)]
pub(super) struct Grants {
    slots: Mutex<HashMap<Scope, Slot>>,
}

impl Grants {
    fn slot(&self, scope: &Scope) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(scope.clone()).or_default())
    }
}

impl Client {
    /// Gives the grant for a scope, made now if there is none that is valid for a while. `refused` is a grant that the
    /// registry did not accept: it is made anew, once for all who were refused.
    pub(super) async fn grant(
        &self,
        scope: &Scope,
        endpoint: &Url,
        challenge: &Challenge,
        refused: Option<&Grant>,
    ) -> Result<Grant, Error> {
        let slot = self.shared.grants.slot(scope);
        let mut kept = slot.lock().await;
        if let Some(kept) = kept.as_ref()
            && Instant::now() < kept.expires
            && refused.is_none_or(|refused| refused.number != kept.grant.number)
        {
            return Ok(kept.grant.clone());
        }
        if refused.is_some() && *challenge == Challenge::Basic {
            // It was the credential itself that was refused.
            self.shared.keychain.forget(&scope.registry);
        }
        let number = kept.as_ref().map_or(1, |kept| kept.grant.number + 1);
        let (mut grant, lifetime) = self.make_grant(scope, endpoint, challenge).await?;
        grant.number = number;
        // A quarter of the time, at most half a minute, is left for the request and for clocks that differ.
        let margin = (lifetime / 4).min(Duration::from_secs(30));
        *kept = Some(Kept {
            grant: grant.clone(),
            expires: Instant::now() + lifetime.saturating_sub(margin),
        });
        Ok(grant)
    }

    async fn make_grant(
        &self,
        scope: &Scope,
        endpoint: &Url,
        challenge: &Challenge,
    ) -> Result<(Grant, Duration), Error> {
        let refuse = |reason: String| Error::Challenge {
            registry: scope.registry.clone(),
            reason,
        };
        if *challenge == Challenge::None {
            return Ok((Grant::default(), LONGEST_LIFETIME));
        }
        let origin =
            Origin::of(endpoint).ok_or_else(|| refuse("the registry has no host".to_owned()))?;
        let credential = self
            .shared
            .keychain
            .resolve(&scope.registry, &scope.repository)
            .await?;
        let mut source = credential
            .as_ref()
            .map(|credential| credential.source.clone());
        self.shared.notes.add(Note::Credential {
            registry: scope.registry.clone(),
            source: source.clone(),
        });
        let (authorization, lifetime) = match (challenge, credential) {
            (
                _,
                Some(Credential {
                    kind: CredentialKind::RegistryToken(token),
                    ..
                }),
            ) => (
                Some(Authorization::bearer(origin, &token)),
                PASSWORD_LIFETIME,
            ),
            (
                Challenge::Basic,
                Some(Credential {
                    kind: CredentialKind::Password { username, password },
                    ..
                }),
            ) => (
                Some(Authorization::basic(origin, &username, &password)),
                PASSWORD_LIFETIME,
            ),
            (
                Challenge::Basic,
                Some(Credential {
                    kind: CredentialKind::IdentityToken(_),
                    source,
                }),
            ) => {
                return Err(refuse(format!(
                    "it wants a password, and {source} holds an identity token"
                )));
            }
            (Challenge::None | Challenge::Basic, _) => (None, PASSWORD_LIFETIME),
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let realm = check_realm(realm, endpoint).map_err(refuse)?;
                let ask = |realm, credential| {
                    self.fetch_token(scope, endpoint, realm, service.as_deref(), credential)
                };
                let mut asked = ask(realm.clone(), credential.clone()).await;
                if matches!(asked, Err(Error::Unauthorized { .. })) && credential.is_some() {
                    // What was refused may have been old: it is forgotten now, and there may be something new.
                    let keychain = &self.shared.keychain;
                    let fresh = keychain.resolve(&scope.registry, &scope.repository).await?;
                    if fresh.is_some() && fresh != credential {
                        source = fresh.as_ref().map(|fresh| fresh.source.clone());
                        asked = ask(realm, fresh).await;
                    }
                }
                let (token, lifetime) = asked?;
                (Some(Authorization::bearer(origin, &token)), lifetime)
            }
        };
        Ok((
            Grant {
                authorization,
                source,
                number: 0,
            },
            lifetime,
        ))
    }

    async fn fetch_token(
        &self,
        scope: &Scope,
        endpoint: &Url,
        realm: Url,
        service: Option<&str>,
        credential: Option<Credential>,
    ) -> Result<(Secret, Duration), Error> {
        let what = format!(
            "token for {}/{} from {}",
            scope.registry,
            scope.repository,
            redact_url(&realm)
        );
        let source = credential
            .as_ref()
            .map(|credential| credential.source.clone());
        let mut request = token_request(scope, realm, service, credential).led_by(endpoint.clone());
        request.skip_verify = self.shared.options.skips_verify(scope.action);
        let http = |source| Error::Http {
            what: what.clone(),
            source,
        };
        let mut backoff = self.shared.http.backoff();
        let body = loop {
            let response = self
                .shared
                .http
                .send_retrying(&request)
                .await
                .map_err(http)?;
            if !response.status().is_success() {
                let reply = Reply::read(response, 1).await;
                let reply = Box::new(reply.masked(request.authorization.as_ref()));
                return Err(match reply.status.as_u16() {
                    400 | 401 | 403 => {
                        // What is kept may have expired: who tries again gets a new one.
                        self.shared.keychain.forget(&scope.registry);
                        Error::Unauthorized {
                            what,
                            registry: scope.registry.clone(),
                            misses: self.misses(&scope.registry, source.as_ref()),
                            credential: source,
                            reply,
                        }
                    }
                    _ => Error::Status { what, reply },
                });
            }
            match response.bytes(TOKEN_LIMIT).await {
                Ok(body) => break body,
                // An answer may break off as well as fail to come.
                Err(error) => match backoff.next_wait(None) {
                    Some(wait) if error.is_transient() => tokio::time::sleep(wait).await,
                    Some(_) | None => return Err(http(error)),
                },
            }
        };
        read_token(&body).ok_or_else(|| Error::Protocol {
            what,
            reason: "the answer holds no token".to_owned(),
        })
    }
}

impl Client {
    /// Asks for a token for nobody, at the token server of a place that a redirect of the registry led to. `None` if there
    /// is none to be had: what the place said counts then.
    pub(super) async fn anonymous_token(
        &self,
        scope: &Scope,
        place: &Url,
        challenge: &Challenge,
    ) -> Result<Option<Authorization>, Error> {
        let Challenge::Bearer {
            realm,
            service,
            scope: rights,
        } = challenge
        else {
            return Ok(None);
        };
        let refuse = |reason: String| Error::Challenge {
            registry: redact_url(place),
            reason,
        };
        let mut url = check_realm(realm, place).map_err(refuse)?;
        {
            let mut query = url.query_pairs_mut();
            for (name, value) in [("service", service), ("scope", rights)] {
                if let Some(value) = value {
                    query.append_pair(name, value);
                }
            }
        }
        let mut request = Request::new(Method::GET, url).led_by(place.clone());
        request.skip_verify = self.shared.options.skips_verify(scope.action);
        let what = format!("token of nobody for {}", redact_url(place));
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
        if !response.status().is_success() {
            return Ok(None);
        }
        let body = response.bytes(TOKEN_LIMIT).await.map_err(http)?;
        let token = read_token(&body);
        Ok(Origin::of(place)
            .zip(token)
            .map(|(origin, (token, _))| Authorization::bearer(origin, &token)))
    }
}

/// Makes the request for a token: GET with the password as Basic, or POST with the identity token in a form.
fn token_request(
    scope: &Scope,
    realm: Url,
    service: Option<&str>,
    credential: Option<Credential>,
) -> Request {
    let names = scope.names();
    match credential.map(|credential| credential.kind) {
        Some(CredentialKind::IdentityToken(token)) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "longshore");
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            form.append_pair("scope", &names.join(" "))
                .append_pair("refresh_token", token.expose());
            let mut request = Request::new(Method::POST, realm)
                .header(
                    header::CONTENT_TYPE,
                    header::HeaderValue::from_static("application/x-www-form-urlencoded"),
                )
                .body(Body::Bytes(Bytes::from(form.finish())));
            // The form holds the secret: it goes to the realm itself and is not handed on.
            request.follows_redirects = false;
            request
        }
        kind => {
            let origin = Origin::of(&realm);
            let mut url = realm;
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for name in &names {
                    query.append_pair("scope", name);
                }
            }
            let authorization = match (kind, origin) {
                (Some(CredentialKind::Password { username, password }), Some(origin)) => {
                    Some(Authorization::basic(origin, &username, &password))
                }
                (_, _) => None,
            };
            Request::new(Method::GET, url).authorization(authorization)
        }
    }
}

/// Accepts a token server that is reached by https, or is the registry itself.
fn check_realm(realm: &str, endpoint: &Url) -> Result<Url, String> {
    let shown = crate::http::printable(realm, 200);
    let url = endpoint
        .join(realm)
        .map_err(|error| format!("its token server \"{shown}\" is no URL: {error}"))?;
    if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "its token server \"{}\" is not a plain address",
            redact_url(&url)
        ));
    }
    let is_registry = match (Origin::of(endpoint), Origin::of(&url)) {
        (Some(registry), Some(realm)) => registry == realm,
        (_, _) => false,
    };
    if url.scheme() == "https" || is_registry {
        Ok(url)
    } else {
        Err(format!(
            "its token server {} is another host without TLS",
            redact_url(&url)
        ))
    }
}

fn read_token(body: &[u8]) -> Option<(Secret, Duration)> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        expires_in: Option<f64>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = [answer.token, answer.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())?;
    let lifetime = match answer.expires_in {
        Some(seconds) if seconds > 0.0 => {
            Duration::from_secs_f64(seconds.min(LONGEST_LIFETIME.as_secs_f64()))
        }
        _ => DEFAULT_LIFETIME,
    };
    Some((Secret::new(token), lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_are_https_or_the_registry() {
        let check = |realm: &str, endpoint: &str, expect: bool| {
            let endpoint = Url::parse(endpoint).expect("a URL");
            assert_eq!(
                check_realm(realm, &endpoint).is_ok(),
                expect,
                "{realm} of {endpoint}"
            );
        };
        check(
            "https://auth.docker.io/token",
            "https://registry-1.docker.io",
            true,
        );
        check("http://reg.io/token", "https://reg.io", false);
        check("http://localhost:5000/token", "http://localhost:5000", true);
        check("/token", "http://localhost:5000", true);
        check(
            "http://localhost:5001/token",
            "http://localhost:5000",
            false,
        );
        check("http://169.254.169.254/latest", "https://reg.io", false);
        check("http://evil.io/token", "http://localhost:5000", false);
        check("file:///etc/passwd", "https://reg.io", false);
        check("https://user:pw@reg.io/", "https://reg.io", false);
        check("", "https://reg.io", true);
    }

    #[test]
    fn token_answers_are_read() {
        let check = |body: &str, expect: Option<(&str, f64)>| {
            let found = read_token(body.as_bytes());
            let found = found
                .as_ref()
                .map(|(token, lifetime)| (token.expose(), lifetime.as_secs_f64()));
            assert_eq!(found, expect, "{body}");
        };
        check(r#"{"token":"a"}"#, Some(("a", 60.0)));
        check(
            r#"{"access_token":"b","expires_in":300}"#,
            Some(("b", 300.0)),
        );
        check(
            r#"{"token":"","access_token":"b","expires_in":1}"#,
            Some(("b", 1.0)),
        );
        check(r#"{"token":"a","expires_in":1e300}"#, Some(("a", 3600.0)));
        check(r#"{"token":"a","expires_in":-5}"#, Some(("a", 60.0)));
        check("{}", None);
        check("<html>", None);
    }

    #[test]
    fn an_identity_token_is_posted_and_a_password_is_basic() {
        let scope = Scope {
            registry: "r.io".to_owned(),
            repository: "a/b".to_owned(),
            action: Action::Push,
            also: vec!["c".to_owned()],
        };
        let credential = |kind| {
            Some(Credential {
                kind,
                source: "test".to_owned(),
            })
        };
        let realm = || Url::parse("https://auth.io/token?x=1").expect("a URL");
        let request = token_request(
            &scope,
            realm(),
            Some("r"),
            credential(CredentialKind::IdentityToken(Secret::new("idt"))),
        );
        assert_eq!(request.method, Method::POST);
        let Body::Bytes(form) = &request.body else {
            panic!("a form")
        };
        assert_eq!(
            form.as_ref(),
            b"grant_type=refresh_token&client_id=longshore&service=r&scope=repository%3Aa%2Fb%3Apull%2Cpush+repository%3Ac%3Apull&refresh_token=idt"
        );
        let password = CredentialKind::Password {
            username: "u".to_owned(),
            password: Secret::new("p"),
        };
        let request = token_request(&scope, realm(), Some("r"), credential(password));
        assert_eq!(
            request.url.as_str(),
            "https://auth.io/token?x=1&service=r&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"
        );
        let authorization = request.authorization.expect("a credential");
        assert_eq!(
            authorization
                .for_url(&request.url)
                .expect("for the realm")
                .expose(),
            "Basic dTpw"
        );
    }
}
