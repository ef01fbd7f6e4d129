//! Azure: access tokens of Entra ID from wherever Azure gives them, and their exchange for a token of ACR.

mod assertion;
mod entra;

use serde::Deserialize;
use url::Url;

use super::{CloudError, CloudHttp, CloudOptions, Minted};
use crate::auth::{Credential, CredentialKind};
use crate::http::Secret;

pub use entra::Azure;

/// The national clouds: the ending of their registries, where Entra ID is, and what the token is asked for.
const CLOUDS: [(&str, &str, &str); 4] = [
    (
        ".azurecr.io",
        "https://login.microsoftonline.com/",
        "https://management.azure.com/",
    ),
    (
        ".azurecr.cn",
        "https://login.chinacloudapi.cn/",
        "https://management.chinacloudapi.cn/",
    ),
    (
        ".azurecr.us",
        "https://login.microsoftonline.us/",
        "https://management.usgovcloudapi.net/",
    ),
    (
        ".azurecr.de",
        "https://login.microsoftonline.de/",
        "https://management.microsoftazure.de/",
    ),
];

/// Says whether a host is one of ACR's.
pub(super) fn is_registry(host: &str) -> bool {
    cloud(host).is_some()
}

fn cloud(host: &str) -> Option<(&'static str, &'static str)> {
    CLOUDS
        .into_iter()
        .find_map(|(suffix, authority, resource)| {
            let name = host.strip_suffix(suffix)?;
            let is_name = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
                && !name.ends_with('.');
            is_name.then_some((authority, resource))
        })
}

/// ACR.
#[derive(Debug)]
pub(super) struct Acr {
    azure: Azure,
    options: CloudOptions,
}

impl Acr {
    pub(super) fn new(options: &CloudOptions) -> Self {
        Self {
            azure: Azure::new(options),
            options: options.clone(),
        }
    }

    /// Exchanges an access token for the refresh token of a registry.
    pub(super) async fn mint(&self, host: &str) -> Result<Minted, CloudError> {
        #[derive(Deserialize)]
        struct Answer {
            refresh_token: String,
        }
        let (authority, resource) =
            cloud(host).ok_or_else(|| CloudError::config(host, "not a registry of ACR"))?;
        let token = self.azure.token(authority, resource).await?;
        // A registry that is spoken to without TLS is one that the user named so.
        let scheme = if self.options.plain_http.contains(host) {
            "http"
        } else {
            "https"
        };
        let url = Url::parse(&format!("{scheme}://{host}/oauth2/exchange"))
            .map_err(|error| CloudError::config(host, error))?;
        let tenant = token.tenant();
        let mut form = vec![
            ("grant_type", "access_token"),
            ("service", host),
            ("access_token", token.access_token.expose()),
        ];
        form.extend(tenant.as_deref().map(|tenant| ("tenant", tenant)));
        let what = format!("exchange of {} at {host}", token.source);
        let answer: Answer = self
            .options
            .http
            .json(&CloudHttp::form(url, &form), &what)
            .await?;
        Ok(Minted {
            credential: Credential {
                kind: CredentialKind::IdentityToken(Secret::new(answer.refresh_token)),
                source: format!("Azure ACR with {}", token.source),
            },
            lifetime: token.lifetime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_of_acr() {
        for host in [
            "reg.azurecr.io",
            "reg.westeurope.data.azurecr.io",
            "reg.azurecr.cn",
            "reg.azurecr.us",
        ] {
            assert!(is_registry(host), "{host}");
        }
        for host in [
            "reg.azurecr.io.evil.com",
            "regazurecr.io",
            "azurecr.io",
            ".azurecr.io",
            "evil.com/x.azurecr.io",
            "reg.azurecr.io:443",
            "docker.io",
        ] {
            assert!(!is_registry(host), "{host}");
        }
    }
}
