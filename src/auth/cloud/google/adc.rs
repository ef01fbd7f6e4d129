//! The file of application default credentials, in all its kinds.

use std::io::ErrorKind;
use std::path::PathBuf;

use serde::Deserialize;

use super::super::{CloudError, CloudHttp};
use crate::auth::Variables;

/// The content of such a file. Values may be secret: it is never printed.
#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Adc {
    ServiceAccount(ServiceAccount),
    AuthorizedUser(AuthorizedUser),
    ExternalAccount(ExternalAccount),
    ImpersonatedServiceAccount(Impersonated),
}

#[derive(Clone, Deserialize)]
pub(super) struct ServiceAccount {
    pub(super) client_email: String,
    pub(super) private_key: String,
    #[serde(default)]
    pub(super) private_key_id: Option<String>,
    #[serde(default = "default_token_uri")]
    pub(super) token_uri: String,
}

#[derive(Clone, Deserialize)]
pub(super) struct AuthorizedUser {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) refresh_token: String,
    #[serde(default = "default_token_uri")]
    pub(super) token_uri: String,
}

#[derive(Clone, Deserialize)]
pub(super) struct ExternalAccount {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: String,
    #[serde(default)]
    pub(super) service_account_impersonation_url: Option<String>,
    pub(super) credential_source: CredentialSource,
}

/// Where the identity token of an external account is.
#[derive(Clone, Deserialize)]
pub(super) struct CredentialSource {
    #[serde(default)]
    pub(super) file: Option<PathBuf>,
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub(super) format: Option<Format>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Format {
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) subject_token_field_name: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Impersonated {
    pub(super) service_account_impersonation_url: String,
    pub(super) source_credentials: Box<Adc>,
}

fn default_token_uri() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

const NAME: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// The file that is named, or the one that gcloud writes, and what to call it; else why there is none.
fn place(variables: &Variables) -> Result<(PathBuf, String), String> {
    if let Some(path) = variables.get(NAME) {
        return Ok((PathBuf::from(path), NAME.to_owned()));
    }
    let directory = match variables.first(&["CLOUDSDK_CONFIG", "HOME"]) {
        Some(("CLOUDSDK_CONFIG", path)) => PathBuf::from(path),
        Some((_, home)) => PathBuf::from(home).join(".config/gcloud"),
        None => return Err(format!("{NAME} is not set")),
    };
    let path = directory.join("application_default_credentials.json");
    let source = path.display().to_string();
    Ok((path, source))
}

/// The project that the file names to pay for what is asked for.
pub(super) fn quota_project(variables: &Variables, http: &CloudHttp) -> Option<String> {
    #[derive(Deserialize)]
    struct Quota {
        quota_project_id: Option<String>,
    }
    let (path, _) = place(variables).ok()?;
    let text = http.read_file(&path).ok()?;
    let quota: Quota = serde_json::from_str(text.expose()).ok()?;
    quota.quota_project_id
}

/// Reads the file. `Err` inside says why there is none.
pub(super) fn read(
    variables: &Variables,
    http: &CloudHttp,
) -> Result<Result<(Adc, String), String>, CloudError> {
    let (path, source) = match place(variables) {
        Ok(place) => place,
        Err(reason) => return Ok(Err(reason)),
    };
    let text = match http.read_file(&path) {
        Err(CloudError::File { source: error, .. })
            if source != NAME && error.kind() == ErrorKind::NotFound =>
        {
            return Ok(Err(format!("{NAME} is not set, and {source} is not there")));
        }
        read => read?,
    };
    let adc = serde_json::from_str(text.expose()).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        CloudError::config(
            path.display().to_string(),
            format!("not a service account, user, external account or impersonation ({place})"),
        )
    })?;
    Ok(Ok((adc, source)))
}
