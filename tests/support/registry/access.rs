//! Who may come in: passwords, and a token server under `/token`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::State;
use super::answer::{Answer, plain};

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub(crate) enum Auth {
    /// Everybody.
    #[default]
    Open,
    /// `user` with `password`.
    Basic,
    /// Who has a token of the token server, which knows `user`, `password`, and the identity token `identity`.
    /// Without any of them it gives tokens to pull.
    Bearer {
        /// How often a token is accepted.
        uses: usize,
        /// Where the token server is said to be; the registry itself if nothing is said.
        realm: Option<String>,
    },
}

/// The password that the registry and its token server accept, and that must not go anywhere else.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// The identity token that the token server accepts.
pub(crate) const IDENTITY: &str = "identity-token-of-user";

impl State {
    fn basic(&self) -> String {
        basic(self.password.as_deref().unwrap_or(PASSWORD))
    }

    pub(super) fn token(
        &mut self,
        method: &Method,
        headers: &HeaderMap,
        pairs: &[(String, String)],
    ) -> Answer {
        let values = |name: &'static str| {
            pairs
                .iter()
                .filter(move |(key, _)| key == name)
                .map(|(_, value)| value)
        };
        let scopes: BTreeSet<String> = values("scope")
            .flat_map(|scope| scope.split(' '))
            .map(str::to_owned)
            .collect();
        let knows = match *method {
            Method::POST => values("refresh_token").any(|token| token == IDENTITY),
            _ => headers
                .get(header::AUTHORIZATION)
                .is_some_and(|value| value == self.basic().as_str()),
        };
        let has_tried = *method == Method::POST || headers.contains_key(header::AUTHORIZATION);
        if has_tried && !knows {
            return plain(
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong credentials"}]}"#,
            );
        }
        let Auth::Bearer { uses, .. } = self.auth else {
            return plain(404, "");
        };
        self.counter += 1;
        let token = format!("token-{}", self.counter);
        let granted = scopes
            .into_iter()
            .filter(|scope| knows || scope.ends_with(":pull"))
            .collect();
        self.tokens.insert(token.clone(), (granted, uses));
        let lifetime = self.token_lifetime.as_deref();
        let lifetime = lifetime.unwrap_or(r#""expires_in":300"#);
        let comma = if lifetime.is_empty() { "" } else { "," };
        plain(200, format!(r#"{{"token":"{token}"{comma}{lifetime}}}"#))
    }

    pub(super) fn refusal(
        &mut self,
        rest: &str,
        method: &Method,
        headers: &HeaderMap,
        address: SocketAddr,
    ) -> Option<Answer> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let challenge = match &self.auth {
            Auth::Open => return None,
            Auth::Basic => {
                if given == Some(self.basic().as_str()) {
                    return None;
                }
                r#"Basic realm="test, registry""#.to_owned()
            }
            Auth::Bearer { realm, .. } => {
                let realm = realm
                    .clone()
                    .unwrap_or_else(|| format!("http://{address}/token"));
                let challenge =
                    format!(r#"Bearer realm="{realm}",service="test",scope="repository:a,b:pull""#);
                let token = given
                    .and_then(|given| given.strip_prefix("Bearer "))
                    .unwrap_or_default();
                if let Some((granted, uses)) = self.tokens.get_mut(token)
                    && *uses > 0
                {
                    let is_write = !matches!(*method, Method::GET | Method::HEAD);
                    let repository = rest
                        .split("/blobs/")
                        .next()
                        .and_then(|rest| rest.split("/manifests/").next());
                    let repository = repository.unwrap_or_default();
                    let needed = format!("repository:{repository}:");
                    let allows = |scope: &String| {
                        scope
                            .strip_prefix(&needed)
                            .is_some_and(|rights| !is_write || rights.contains("push"))
                    };
                    if granted.iter().any(allows) {
                        *uses -= 1;
                        return None;
                    }
                }
                challenge
            }
        };
        let mut answer = plain(
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        );
        answer.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_str(&challenge).expect("a header"),
        );
        Some(answer)
    }
}

/// The header by which `user` identifies itself.
fn basic(password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
    format!("Basic {pair}")
}
