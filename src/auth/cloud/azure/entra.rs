//! Access tokens of Entra ID: a secret, a certificate, a federated identity token, or what the machine is given.

use std::io::ErrorKind;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use url::Url;

use super::super::token::{Answer, Token, Tokens};
use super::super::{CloudError, CloudHttp, CloudOptions};
use super::assertion;
use crate::http::{Method, Request, header};

/// The audience that Entra ID expects in the identity token of a CI system.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// How an identity token is presented (RFC 7523).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The variable that names a file with a certificate and its key.
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";

/// Where machines find their metadata.
const METADATA: &str = "http://169.254.169.254";

impl Token {
    /// The tenant that the token says it is of.
    pub fn tenant(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Claims {
            tid: String,
        }
        let claims = self.access_token.expose().split('.').nth(1)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        Some(claims.tid)
    }
}

/// Whoever we are to Azure; clones share what was found.
#[derive(Clone, Debug)]
pub struct Azure {
    options: CloudOptions,
    tokens: Tokens,
}

impl Azure {
    /// Asks nobody yet.
    pub fn new(options: &CloudOptions) -> Self {
        Self {
            options: options.clone(),
            tokens: Tokens::default(),
        }
    }

    /// Gives an access token for a resource (`https://management.azure.com/`), kept until shortly before it expires.
    ///
    /// # Errors
    /// When there is no identity, naming the places that were looked at, or an exchange is refused.
    pub async fn token(&self, authority: &str, resource: &str) -> Result<Token, CloudError> {
        let now = (self.options.now)();
        let found = self.find(authority, resource);
        self.tokens.get(resource, now, found).await
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.options.variables.get(name)
    }

    fn client(&self) -> Option<&str> {
        let flag = self.options.roles.azure_client_id.as_deref();
        flag.or_else(|| self.get("AZURE_CLIENT_ID"))
    }

    fn tenant(&self) -> Option<&str> {
        let flag = self.options.roles.azure_tenant_id.as_deref();
        flag.or_else(|| self.get("AZURE_TENANT_ID"))
    }

    async fn find(&self, authority: &str, resource: &str) -> Result<Token, CloudError> {
        let mut tried = Vec::new();
        match (self.client(), self.tenant()) {
            (Some(client), Some(tenant)) => {
                let who = Client {
                    id: client,
                    tenant,
                    authority: self.get("AZURE_AUTHORITY_HOST").unwrap_or(authority),
                    scope: format!("{resource}.default"),
                };
                if let Some(secret) = self.get("AZURE_CLIENT_SECRET") {
                    let proof = [("client_secret", secret)];
                    return self
                        .ask(&who, &proof, "AZURE_CLIENT_SECRET".to_owned())
                        .await;
                }
                tried.push("AZURE_CLIENT_SECRET is not set".to_owned());
                if let Some(file) = self.get(CERTIFICATE) {
                    let pem = self.options.http.read_file(Path::new(file));
                    let pem = pem.map_err(|error| match error {
                        // A file of PKCS#12 is no text.
                        CloudError::File { source, .. }
                            if source.kind() == ErrorKind::InvalidData =>
                        {
                            CloudError::config(CERTIFICATE, assertion::NO_PEM)
                        }
                        other => other,
                    })?;
                    let now = (self.options.now)();
                    let audience = who.token_url()?;
                    let assertion = assertion::sign(pem.expose(), who.id, audience.as_str(), now)
                        .map_err(|reason| CloudError::config(CERTIFICATE, reason))?;
                    let proof = [
                        ("client_assertion_type", ASSERTION),
                        ("client_assertion", assertion.expose()),
                    ];
                    return self.ask(&who, &proof, CERTIFICATE.to_owned()).await;
                }
                let federated = match self.get("AZURE_FEDERATED_TOKEN_FILE") {
                    Some(file) => Some((
                        self.options.http.read_file(Path::new(file))?,
                        "AZURE_FEDERATED_TOKEN_FILE".to_owned(),
                    )),
                    None => {
                        self.options
                            .identity
                            .get(&self.options.http, AUDIENCE)
                            .await?
                    }
                };
                if let Some((token, name)) = federated {
                    let proof = [
                        ("client_assertion_type", ASSERTION),
                        ("client_assertion", token.expose()),
                    ];
                    let source = format!("the identity token of {name}");
                    return self.ask(&who, &proof, source).await;
                }
                tried.push("AZURE_FEDERATED_TOKEN_FILE is not set, and the CI system gives no identity token".to_owned());
            }
            (None, _) => tried.push("AZURE_CLIENT_ID is not set".to_owned()),
            (Some(_), None) => tried.push("AZURE_TENANT_ID is not set".to_owned()),
        }
        match self.of_machine(resource).await {
            Ok(token) => Ok(token),
            Err(error) => {
                tried.push(format!("no managed identity: {error}"));
                Err(CloudError::NoIdentity { tried })
            }
        }
    }

    async fn ask(
        &self,
        who: &Client<'_>,
        proof: &[(&str, &str)],
        source: String,
    ) -> Result<Token, CloudError> {
        let url = who.token_url()?;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", who.id),
            ("scope", &who.scope),
        ];
        form.extend_from_slice(proof);
        let what = format!("access token of {} with {source}", who.id);
        let answer: Answer = self
            .options
            .http
            .json(&CloudHttp::form(url, &form), &what)
            .await?;
        Ok(answer.token(source))
    }

    /// The managed identity of an app or job (`IDENTITY_ENDPOINT`), or of the machine.
    async fn of_machine(&self, resource: &str) -> Result<Token, CloudError> {
        const WHAT: &str = "managed identity";
        let resource = resource.trim_end_matches('/');
        let (text, variable, version, header_name, header_value) =
            if let (Some(endpoint), Some(secret)) =
                (self.get("IDENTITY_ENDPOINT"), self.get("IDENTITY_HEADER"))
            {
                (
                    endpoint.to_owned(),
                    "IDENTITY_ENDPOINT",
                    "2019-08-01",
                    "x-identity-header",
                    secret,
                )
            } else {
                let name = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
                let host = self.get(name).unwrap_or(METADATA).trim_end_matches('/');
                (
                    format!("{host}/metadata/identity/oauth2/token"),
                    name,
                    "2018-02-01",
                    "metadata",
                    "true",
                )
            };
        let mut url: Url = CloudHttp::url(&text, variable)?;
        url.query_pairs_mut()
            .append_pair("api-version", version)
            .append_pair("resource", resource);
        if let Some(client) = self.client() {
            url.query_pairs_mut().append_pair("client_id", client);
        }
        let mut value = header::HeaderValue::from_str(header_value)
            .map_err(|error| CloudError::config("IDENTITY_HEADER", error))?;
        value.set_sensitive(true);
        let request = Request::new(Method::GET, url)
            .header(header::HeaderName::from_static(header_name), value);
        let answer: Answer = self.options.http.near_json(&request, WHAT).await?;
        Ok(answer.token(format!("the {WHAT}")))
    }
}

/// An application of Entra ID.
struct Client<'a> {
    id: &'a str,
    tenant: &'a str,
    authority: &'a str,
    scope: String,
}

impl Client<'_> {
    fn token_url(&self) -> Result<Url, CloudError> {
        CloudHttp::url(self.authority, "AZURE_AUTHORITY_HOST")?
            .join(&format!("/{}/oauth2/v2.0/token", self.tenant))
            .map_err(|error| CloudError::config("AZURE_TENANT_ID", error))
    }
}
