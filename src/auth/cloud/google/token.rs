//! Access tokens: the exchanges of each kind of identity.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::super::token::{Answer, Token, Tokens};
use super::super::{CloudError, CloudHttp, CloudOptions};
use super::adc::{self, Adc, CredentialSource, ExternalAccount, ServiceAccount};
use crate::http::{Authorization, Method, Origin, Request, Secret, header};

/// What a token may be used for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where machines find their metadata; the address saves a look-up that fails everywhere else.
const METADATA: &str = "169.254.169.254";

/// How long a token of our own signing is valid, in seconds; no more is accepted.
const ASSERTION_SECS: u64 = 3600;

/// Whoever we are to Google; clones share what was found.
#[derive(Clone, Debug)]
pub struct Google {
    options: CloudOptions,
    tokens: Tokens,
}

impl Google {
    /// Asks nobody yet.
    pub fn new(options: &CloudOptions) -> Self {
        Self {
            options: options.clone(),
            tokens: Tokens::default(),
        }
    }

    /// Gives an access token, kept until shortly before it expires.
    ///
    /// # Errors
    /// When there is no identity, naming the places that were looked at, or an exchange is refused.
    pub async fn token(&self) -> Result<Token, CloudError> {
        let now = (self.options.now)();
        self.tokens.get(SCOPE, now, self.find()).await
    }

    /// The project that pays for what is asked for in our name: what the environment says, else the file of our identity.
    pub fn quota_project(&self) -> Option<String> {
        let variables = &self.options.variables;
        let named = variables
            .get("GOOGLE_CLOUD_QUOTA_PROJECT")
            .map(str::to_owned);
        let has_file = self.options.roles.google_provider.is_none();
        named.or_else(|| adc::quota_project(variables, &self.options.http).filter(|_| has_file))
    }

    async fn find(&self) -> Result<Token, CloudError> {
        let mut tried = Vec::new();
        if let Some(provider) = &self.options.roles.google_provider {
            match self.with_job_token(provider).await? {
                Some(token) => return Ok(token),
                None => tried.push("the CI system gives no identity token".to_owned()),
            }
        }
        match adc::read(&self.options.variables, &self.options.http)? {
            Ok((adc, source)) => return self.with_adc(&adc, source).await,
            Err(reason) => tried.push(reason),
        }
        match self.of_machine().await {
            Ok(token) => Ok(token),
            Err(error) => {
                tried.push(format!("no metadata server: {error}"));
                Err(CloudError::NoIdentity { tried })
            }
        }
    }

    /// The address of one of Google's services, unless the variable that gcloud knows says another.
    fn endpoint(&self, service: &str, path: &str) -> Result<Url, CloudError> {
        let variable = format!(
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_{}",
            service.to_ascii_uppercase()
        );
        let base = match self.options.variables.get(&variable) {
            Some(text) => CloudHttp::url(text, &variable)?,
            None => CloudHttp::url(&format!("https://{service}.googleapis.com/"), service)?,
        };
        base.join(path)
            .map_err(|error| CloudError::config(variable, error))
    }

    /// Exchanges the identity token of the CI system, and impersonates a service account if one is named.
    async fn with_job_token(&self, provider: &str) -> Result<Option<Token>, CloudError> {
        let http = &self.options.http;
        let provider = provider
            .trim_start_matches("https:")
            .trim_start_matches("//iam.googleapis.com/");
        let audience = format!("https://iam.googleapis.com/{provider}");
        let Some((subject, name)) = self.options.identity.get(http, &audience).await? else {
            return Ok(None);
        };
        let source = format!("the identity token of {name}");
        let audience = format!("//iam.googleapis.com/{provider}");
        let kind = "urn:ietf:params:oauth:token-type:jwt";
        let endpoint = self.endpoint("sts", "v1/token")?;
        let token = self
            .exchange(endpoint, &audience, kind, &subject, source)
            .await?;
        let Some(account) = &self.options.roles.google_service_account else {
            return Ok(Some(token));
        };
        let path = format!("v1/projects/-/serviceAccounts/{account}:generateAccessToken");
        let url = self.endpoint("iamcredentials", &path)?;
        self.impersonate(url, token).await.map(Some)
    }

    fn with_adc<'a>(
        &'a self,
        adc: &'a Adc,
        source: String,
    ) -> BoxFuture<'a, Result<Token, CloudError>> {
        Box::pin(async move {
            match adc {
                Adc::ServiceAccount(account) => self.with_key(account, source).await,
                Adc::AuthorizedUser(user) => {
                    let url = CloudHttp::url(&user.token_uri, "token_uri")?;
                    let form = [
                        ("grant_type", "refresh_token"),
                        ("client_id", &user.client_id),
                        ("client_secret", &user.client_secret),
                        ("refresh_token", &user.refresh_token),
                    ];
                    let what = format!("access token of the user of {source}");
                    let answer: Answer = self
                        .options
                        .http
                        .json(&CloudHttp::form(url, &form), &what)
                        .await?;
                    Ok(answer.token(source))
                }
                Adc::ExternalAccount(account) => self.with_external(account, source).await,
                Adc::ImpersonatedServiceAccount(impersonated) => {
                    let url = &impersonated.service_account_impersonation_url;
                    let url = CloudHttp::url(url, "service_account_impersonation_url")?;
                    let token = self
                        .with_adc(&impersonated.source_credentials, source)
                        .await?;
                    self.impersonate(url, token).await
                }
            }
        })
    }

    async fn with_key(
        &self,
        account: &ServiceAccount,
        source: String,
    ) -> Result<Token, CloudError> {
        let url = CloudHttp::url(&account.token_uri, "token_uri")?;
        let now = (self.options.now)()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let assertion = sign(account, now)
            .map_err(|reason| CloudError::config(format!("private_key of {source}"), reason))?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", &assertion),
        ];
        let what = format!("access token of {}", account.client_email);
        let answer: Answer = self
            .options
            .http
            .json(&CloudHttp::form(url, &form), &what)
            .await?;
        Ok(answer.token(source))
    }

    async fn with_external(
        &self,
        account: &ExternalAccount,
        source: String,
    ) -> Result<Token, CloudError> {
        let subject = self.subject(&account.credential_source, &source).await?;
        let url = CloudHttp::url(&account.token_url, "token_url")?;
        let kind = &account.subject_token_type;
        let token = self
            .exchange(url, &account.audience, kind, &subject, source)
            .await?;
        match &account.service_account_impersonation_url {
            Some(url) => {
                let url = CloudHttp::url(url, "service_account_impersonation_url")?;
                self.impersonate(url, token).await
            }
            None => Ok(token),
        }
    }

    /// Gets the identity token of an external account.
    async fn subject(&self, from: &CredentialSource, source: &str) -> Result<Secret, CloudError> {
        let what = format!("credential_source of {source}");
        let text = if let Some(file) = &from.file {
            self.options.http.read_file(file)?
        } else if let Some(url) = &from.url {
            let mut request = Request::new(Method::GET, CloudHttp::url(url, &what)?);
            for (name, value) in &from.headers {
                let name = header::HeaderName::from_bytes(name.as_bytes());
                let value = header::HeaderValue::from_str(value);
                let (Ok(name), Ok(mut value)) = (name, value) else {
                    return Err(CloudError::config(what, "has a header that cannot be sent"));
                };
                value.set_sensitive(true);
                if name == header::AUTHORIZATION {
                    let secret = Secret::new(String::from_utf8_lossy(value.as_bytes()));
                    request.authorization =
                        Origin::of(&request.url).map(|origin| Authorization::new(origin, secret));
                } else {
                    request.headers.insert(name, value);
                }
            }
            let bytes = self.options.http.bytes(&request, &what).await?;
            Secret::new(String::from_utf8_lossy(&bytes).trim())
        } else {
            return Err(CloudError::config(
                what,
                "is neither a file nor a URL: programs and AWS identities are not supported",
            ));
        };
        let field = from
            .format
            .as_ref()
            .filter(|format| format.kind.as_deref() == Some("json"));
        let Some(field) = field.and_then(|format| format.subject_token_field_name.as_deref())
        else {
            return Ok(text);
        };
        let value: serde_json::Value = serde_json::from_str(text.expose())
            .map_err(|_| CloudError::Answer { what: what.clone() })?;
        let token = value.get(field).and_then(serde_json::Value::as_str);
        token.map(Secret::new).ok_or(CloudError::Answer { what })
    }

    /// Exchanges an identity token for an access token (RFC 8693).
    async fn exchange(
        &self,
        url: Url,
        audience: &str,
        kind: &str,
        subject: &Secret,
        source: String,
    ) -> Result<Token, CloudError> {
        let form = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("scope", SCOPE),
            ("audience", audience),
            ("subject_token_type", kind),
            ("subject_token", subject.expose()),
        ];
        let what = format!("exchange of {source}");
        let answer: Answer = self
            .options
            .http
            .json(&CloudHttp::form(url, &form), &what)
            .await?;
        Ok(answer.token(source))
    }

    /// Becomes a service account.
    async fn impersonate(&self, url: Url, token: Token) -> Result<Token, CloudError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Impersonation {
            access_token: String,
            #[serde(default)]
            expire_time: Option<String>,
        }
        let account = url.path().rsplit('/').next().unwrap_or_default();
        let account = account.split(':').next().unwrap_or_default().to_owned();
        let what = format!("access token of {account} with {}", token.source);
        let authorization =
            Origin::of(&url).map(|origin| Authorization::bearer(origin, &token.access_token));
        let request =
            CloudHttp::post_json(url, &json!({ "scope": [SCOPE] })).authorization(authorization);
        let answer: Impersonation = self.options.http.json(&request, &what).await?;
        let expires = answer
            .expire_time
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map(SystemTime::from);
        let left = expires.and_then(|expires| expires.duration_since((self.options.now)()).ok());
        Ok(Token {
            access_token: Secret::new(answer.access_token),
            lifetime: left.unwrap_or(Duration::from_mins(5)),
            source: format!("{account} by {}", token.source),
        })
    }

    /// The token of the machine, the pod (workload identity) or the build (Cloud Build).
    async fn of_machine(&self) -> Result<Token, CloudError> {
        const NAME: &str = "GCE_METADATA_HOST";
        let host = self.options.variables.get(NAME).unwrap_or(METADATA);
        let path = "computeMetadata/v1/instance/service-accounts/default/token";
        let url = Url::parse(&format!("http://{host}/{path}"))
            .map_err(|error| CloudError::config(NAME, error))?;
        let request = Request::new(Method::GET, url).header(
            header::HeaderName::from_static("metadata-flavor"),
            header::HeaderValue::from_static("Google"),
        );
        let answer: Answer = self
            .options
            .http
            .near_json(&request, "metadata server")
            .await?;
        Ok(answer.token("the metadata server".to_owned()))
    }
}

/// Makes the signed statement (RFC 7523) that a service account's key is worth a token for.
fn sign(account: &ServiceAccount, now: u64) -> Result<String, String> {
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": account.private_key_id});
    let claims = json!({
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + ASSERTION_SECS,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    // Not the error's own text: it may quote the key.
    let der = PrivateKeyDer::from_pem_slice(account.private_key.as_bytes())
        .map_err(|_| "is no private key in PEM".to_owned())?;
    let key = rustls::crypto::ring::sign::any_supported_type(&der)
        .map_err(|_| "is of a kind that is not supported".to_owned())?;
    let signer = key
        .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
        .ok_or_else(|| "is not an RSA key".to_owned())?;
    let signature = signer
        .sign(text.as_bytes())
        .map_err(|_| "cannot sign".to_owned())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assertions_are_signed_as_openssl_signs_them() {
        let key = include_str!("../../../../tests/fixtures/google/service-account-key.pem");
        let mut account = ServiceAccount {
            client_email: "builder@project.iam.gserviceaccount.com".to_owned(),
            private_key: key.to_owned(),
            private_key_id: Some("k1".to_owned()),
            token_uri: "https://oauth2.googleapis.com/token".to_owned(),
        };
        let expect = include_str!("../../../../tests/fixtures/google/assertion.jwt");
        assert_eq!(sign(&account, 1_700_000_000).unwrap(), expect);
        account.private_key = "hunter2".to_owned();
        let error = sign(&account, 1_700_000_000).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
