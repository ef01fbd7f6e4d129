//! Amazon: keys from wherever AWS gives them, and the credential of ECR and ECR Public by one signed request.
//!
//! # Deviation
//! The keys are found by our own chain and not by `aws-config`: that reads the process's environment, which is empty here
//! (it is sealed away from RUN steps), and brings an HTTP client of its own.

mod keys;
mod profile;
mod sign;
mod sts;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use super::{CloudError, CloudHttp, CloudOptions, Minted};
use crate::auth::{Credential, CredentialKind};
use crate::http::{Body, Method, Request, Secret, header};

pub use keys::{Aws, Keys};
pub use sign::sign;

/// ECR's passwords are valid for twelve hours; what the answer says counts, up to this.
const PASSWORD_LIFETIME: Duration = Duration::from_hours(12);

/// The host of ECR Public, which has one for all and lives in one region.
const PUBLIC: &str = "public.ecr.aws";

/// What the name of a registry of ECR says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    is_public: bool,
    is_fips: bool,
    region: String,
    suffix: &'static str,
}

impl Host {
    /// Reads `ACCOUNT.dkr.ecr.REGION.amazonaws.com` and its kin; anything else is not of ECR.
    pub fn parse(host: &str) -> Option<Self> {
        if host == PUBLIC {
            return Some(Self {
                is_public: true,
                is_fips: false,
                region: "us-east-1".to_owned(),
                suffix: "amazonaws.com",
            });
        }
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (service, rest) = if let Some(rest) = rest.strip_prefix("dkr.") {
            rest.split_once('.')?
        } else {
            rest.strip_prefix("dkr-")?.split_once('.')?
        };
        let is_fips = match service {
            "ecr" => false,
            "ecr-fips" => true,
            _ => return None,
        };
        let (region, domain) = rest.split_once('.')?;
        // The domain of a registry and that of the service that gives its password.
        let suffix = [
            ("amazonaws.com", "amazonaws.com"),
            ("amazonaws.com.cn", "amazonaws.com.cn"),
            ("amazonaws.eu", "amazonaws.eu"),
            ("c2s.ic.gov", "c2s.ic.gov"),
            ("sc2s.sgov.gov", "sc2s.sgov.gov"),
            ("cloud.adc-e.uk", "cloud.adc-e.uk"),
            ("csp.hci.ic.gov", "csp.hci.ic.gov"),
            ("on.aws", "amazonaws.com"),
            ("on.amazonwebservices.com.cn", "amazonaws.com.cn"),
        ]
        .into_iter()
        .find_map(|(known, suffix)| (domain == known).then_some(suffix))?;
        let is_region = !region.is_empty()
            && region
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        is_region.then(|| Self {
            is_public: false,
            is_fips,
            region: region.to_owned(),
            suffix,
        })
    }
}

/// ECR and ECR Public.
#[derive(Debug)]
pub(super) struct Ecr {
    aws: Aws,
    options: CloudOptions,
}

impl Ecr {
    pub(super) fn new(options: &CloudOptions) -> Self {
        Self {
            aws: Aws::new(options),
            options: options.clone(),
        }
    }

    /// Asks for the password of a registry.
    pub(super) async fn mint(&self, host: &str) -> Result<Minted, CloudError> {
        let place =
            Host::parse(host).ok_or_else(|| CloudError::config(host, "not a registry of ECR"))?;
        let keys = self.aws.keys(&place.region).await?;
        let what = format!("password of {host} (keys of {})", keys.source);
        let (url, target, service) = self.endpoint(&place)?;
        let request = Request::new(Method::POST, url)
            .header(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/x-amz-json-1.1"),
            )
            .header(
                header::HeaderName::from_static("x-amz-target"),
                header::HeaderValue::from_static(target),
            )
            .body(Body::Bytes(Bytes::from_static(b"{}")));
        let request = sign(
            request,
            b"{}",
            &keys,
            &place.region,
            service,
            (self.options.now)(),
        )?;
        let answer: serde_json::Value = self.options.http.json(&request, &what).await?;
        let grant =
            Grant::read(&answer).ok_or_else(|| CloudError::Answer { what: what.clone() })?;
        let expires = grant.expires_at.map(Duration::from_secs_f64);
        let now = (self.options.now)()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let lifetime = expires
            .map_or(PASSWORD_LIFETIME, |expires| expires.saturating_sub(now))
            .min(PASSWORD_LIFETIME);
        Ok(Minted {
            credential: Credential {
                kind: CredentialKind::Password {
                    username: grant.username,
                    password: grant.password,
                },
                source: format!("Amazon ECR with {}", keys.source),
            },
            lifetime,
        })
    }

    /// Where to ask, with what words.
    fn endpoint(&self, place: &Host) -> Result<(Url, &'static str, &'static str), CloudError> {
        let (variable, default, target, service) = if place.is_public {
            (
                "AWS_ENDPOINT_URL_ECR_PUBLIC",
                "https://api.ecr-public.us-east-1.amazonaws.com/".to_owned(),
                "SpencerFrontendService.GetAuthorizationToken",
                "ecr-public",
            )
        } else {
            let api = if place.is_fips { "ecr-fips" } else { "api.ecr" };
            (
                "AWS_ENDPOINT_URL_ECR",
                format!("https://{api}.{}.{}/", place.region, place.suffix),
                "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
                "ecr",
            )
        };
        Ok((self.aws.endpoint(variable, &default)?, target, service))
    }
}

/// What `GetAuthorizationToken` gives.
struct Grant {
    username: String,
    password: Secret,
    expires_at: Option<f64>,
}

impl Grant {
    fn read(answer: &serde_json::Value) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            authorization_token: String,
            #[serde(default)]
            expires_at: Option<serde_json::Value>,
        }
        // A list of one in ECR, the object itself in ECR Public.
        let data = answer.get("authorizationData")?;
        let data = data.get(0).unwrap_or(data);
        let entry = Entry::deserialize(data).ok()?;
        let pair = base64::engine::general_purpose::STANDARD
            .decode(entry.authorization_token)
            .ok()?;
        let pair = String::from_utf8(pair).ok()?;
        let (username, password) = pair.split_once(':')?;
        Some(Self {
            username: username.to_owned(),
            password: Secret::new(password),
            expires_at: entry
                .expires_at
                .and_then(|value| value.as_f64())
                .filter(|seconds| seconds.is_finite() && (0.0..1e11).contains(seconds)),
        })
    }
}

/// Reads a URL that AWS's own variables hold.
fn url(text: &str, variable: &str) -> Result<Url, CloudError> {
    CloudHttp::url(text, variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_of_ecr() {
        let check = |host: &str, expect: Option<(&str, &str)>| {
            let parsed = Host::parse(host);
            let parsed = parsed
                .as_ref()
                .map(|host| (host.region.as_str(), host.suffix));
            assert_eq!(parsed, expect, "{host}");
        };
        check(
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            Some(("eu-west-1", "amazonaws.com")),
        );
        check(
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            Some(("us-gov-west-1", "amazonaws.com")),
        );
        check(
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            Some(("cn-north-1", "amazonaws.com.cn")),
        );
        check(
            "123456789012.dkr-ecr.us-west-2.on.aws",
            Some(("us-west-2", "amazonaws.com")),
        );
        check("public.ecr.aws", Some(("us-east-1", "amazonaws.com")));
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
            "evil123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "12345678901x.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.evil.com/x.amazonaws.com",
            "123456789012.dkr.s3.eu-west-1.amazonaws.com",
            "public.ecr.aws.evil.com",
            "evilpublic.ecr.aws",
            "docker.io",
        ] {
            check(host, None);
        }
    }
}
