//! The one rule of which request may carry which credential.
//!
//! A credential is bound to the origin (scheme, host, port) it was made for, and is sent there and nowhere else:
//! not after a redirect to another origin, not to an upload location elsewhere, not to a lookalike.

use std::fmt;

use url::Url;

use super::{MASK, Secret};

/// Scheme, host and port: two URLs of one origin are the same server to us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Gives the origin of a URL; a URL without a host has none.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.trim_end_matches('.').to_ascii_lowercase(),
            port: url.port_or_known_default()?,
        })
    }

    /// Says whether both name the same host and port, whatever the scheme.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }

    /// The host, without port.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// The value of an `Authorization` header and the only origin that may see it.
#[derive(Clone, Debug)]
pub struct Authorization {
    origin: Origin,
    value: Secret,
}

impl Authorization {
    /// Binds a header value to an origin.
    pub fn new(origin: Origin, value: Secret) -> Self {
        Self { origin, value }
    }

    /// Makes the `Basic` form.
    pub fn basic(origin: Origin, username: &str, password: &Secret) -> Self {
        use base64::Engine as _;
        let pair = format!("{username}:{}", password.expose());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        Self::new(origin, Secret::new(format!("Basic {encoded}")))
    }

    /// Makes the `Bearer` form.
    pub fn bearer(origin: Origin, token: &Secret) -> Self {
        Self::new(origin, Secret::new(format!("Bearer {}", token.expose())))
    }

    /// Masks what is secret in it wherever a text repeats it, as a server's message may.
    pub fn mask(&self, text: &str) -> String {
        let (scheme, given) = self.value.expose().split_once(' ').unwrap_or_default();
        let mut masked = text.to_owned();
        let mut mask = |secret: &str| {
            if !secret.is_empty() && masked.contains(secret) {
                masked = masked.replace(secret, MASK);
            }
        };
        mask(given);
        if scheme == "Basic" {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(given);
            let decoded = decoded.unwrap_or_default();
            let pair = String::from_utf8_lossy(&decoded);
            mask(pair.split_once(':').unwrap_or_default().1);
        }
        masked
    }

    /// Gives the header value if a request to this URL may carry it.
    pub fn for_url(&self, url: &Url) -> Option<&Secret> {
        (Origin::of(url).as_ref() == Some(&self.origin)).then_some(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_masked() {
        let url = Url::parse("https://reg.io").expect("a URL");
        let origin = Origin::of(&url).expect("an origin");
        let basic = Authorization::basic(origin.clone(), "user", &Secret::new("hunter2"));
        assert_eq!(
            basic.mask("no dXNlcjpodW50ZXIy, no hunter2 of user"),
            "no ***, no *** of user"
        );
        let bearer = Authorization::bearer(origin, &Secret::new("abc.def"));
        assert_eq!(bearer.mask("bad token abc.def"), "bad token ***");
    }

    #[test]
    fn a_credential_goes_to_its_own_origin_only() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let authorization = Authorization::new(
            Origin::of(&url("https://reg.io/v2/")).expect("an origin"),
            Secret::new("Basic x"),
        );
        let check = |target: &str, expect: bool| {
            assert_eq!(
                authorization.for_url(&url(target)).is_some(),
                expect,
                "{target}"
            );
        };
        check("https://reg.io/v2/a/blobs/uploads/?x=1", true);
        check("https://REG.io:443/", true);
        check("https://reg.io./", true);
        check("http://reg.io/", false);
        check("http://reg.io:443/", false);
        check("https://reg.io:444/", false);
        check("https://reg.io.evil.com/", false);
        check("https://evil-reg.io/", false);
        check("https://sub.reg.io/", false);
        check("https://reg.io@evil.com/", false);
    }
}
