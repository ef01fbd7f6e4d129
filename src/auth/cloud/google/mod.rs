//! Google: access tokens from wherever Google gives them. An access token is the password of Artifact Registry.
//!
//! # Deviation
//! The tokens are found by our own code and not by `google-cloud-auth`: that reads the process's environment, which is
//! empty here (it is sealed away from RUN steps), and cannot be given our HTTP client.

mod adc;
mod token;

use super::{CloudError, CloudOptions, Minted};
use crate::auth::{Credential, CredentialKind};

pub use token::Google;

/// The user name that goes with an access token.
const USERNAME: &str = "oauth2accesstoken";

/// Says whether a host is Artifact Registry or Container Registry.
pub(super) fn is_registry(host: &str) -> bool {
    let below = |suffix: &str| {
        host.strip_suffix(suffix)
            .is_some_and(|label| !label.is_empty() && !label.ends_with('.'))
    };
    host == "gcr.io" || below(".gcr.io") || below(".pkg.dev")
}

/// Artifact Registry.
#[derive(Debug)]
pub(super) struct Registry {
    google: Google,
}

impl Registry {
    pub(super) fn new(options: &CloudOptions) -> Self {
        Self {
            google: Google::new(options),
        }
    }

    pub(super) async fn mint(&self) -> Result<Minted, CloudError> {
        let token = self.google.token().await?;
        Ok(Minted {
            credential: Credential {
                kind: CredentialKind::Password {
                    username: USERNAME.to_owned(),
                    password: token.access_token,
                },
                source: format!("Google Artifact Registry with {}", token.source),
            },
            lifetime: token.lifetime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_googles() {
        for host in [
            "gcr.io",
            "eu.gcr.io",
            "europe-west1-docker.pkg.dev",
            "docker.pkg.dev",
        ] {
            assert!(is_registry(host), "{host}");
        }
        for host in [
            "gcr.io.evil.com",
            "evilgcr.io",
            "europe-docker.pkg.dev.evil.com",
            "evilpkg.dev",
            "pkg.dev",
            ".gcr.io",
            "gcr.io:443",
            "docker.io",
        ] {
            assert!(!is_registry(host), "{host}");
        }
    }
}
