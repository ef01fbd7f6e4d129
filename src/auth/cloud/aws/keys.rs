//! The keys of whoever we are to AWS: what was set, what a role gives, what the machine is given.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use url::Url;

use super::super::{CloudError, CloudOptions};
use super::profile::Profiles;
use super::{sts, url};
use crate::http::{Authorization, Method, Origin, Request, Secret, header};

/// The audience that AWS expects in the identity token of a CI system.
const AUDIENCE: &str = "sts.amazonaws.com";

/// Where containers of ECS find the server of their keys.
const CONTAINER_HOST: &str = "http://169.254.170.2";

/// Where machines of EC2 find their metadata.
const METADATA: &str = "http://169.254.169.254";

/// Keys are renewed so long before they expire.
const MARGIN: Duration = Duration::from_mins(5);

/// A chain of profiles that name each other ends here.
const PROFILE_DEPTH: usize = 5;

/// Keys and where they came from.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The name of the keys, which is no secret.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: Secret,
    /// What belongs to keys that are lent.
    pub session_token: Option<Secret>,
    /// When they end.
    pub expires: Option<SystemTime>,
    /// The source, in words.
    pub source: String,
}

/// Whoever we are to AWS; clones share what was found.
#[derive(Clone, Debug)]
pub struct Aws {
    options: CloudOptions,
    profiles: Arc<Profiles>,
    kept: Arc<tokio::sync::Mutex<Option<Keys>>>,
}

/// What the servers of containers and machines answer, and a `credential_process` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, alias = "SessionToken")]
    token: Option<String>,
    #[serde(default)]
    expiration: Option<String>,
}

impl Answer {
    fn keys(self, source: String) -> Keys {
        Keys {
            access_key_id: self.access_key_id,
            secret_access_key: Secret::new(self.secret_access_key),
            session_token: self.token.map(Secret::new),
            expires: self.expiration.and_then(|text| time(&text)),
            source,
        }
    }
}

/// Reads a time as AWS writes it.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

impl Aws {
    /// Reads the shared files; asks nobody yet.
    pub fn new(options: &CloudOptions) -> Self {
        Self {
            options: options.clone(),
            profiles: Arc::new(Profiles::read(&options.variables)),
            kept: Arc::default(),
        }
    }

    /// The region that was set, if any was.
    pub fn region(&self) -> Option<&str> {
        let set = self
            .options
            .variables
            .first(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
        set.map(|(_, region)| region)
            .or_else(|| self.profiles.get(self.profile(), "region"))
    }

    /// The address of a service: what its own variable says, what the common one says, or the default.
    ///
    /// # Errors
    /// When the variable holds no address that keys may be sent to.
    pub fn endpoint(&self, variable: &str, default: &str) -> Result<Url, CloudError> {
        match self
            .options
            .variables
            .first(&[variable, "AWS_ENDPOINT_URL"])
        {
            Some((name, text)) => url(text, name),
            None => url(default, variable),
        }
    }

    /// Gives the keys, kept until shortly before they expire. `region` is used where none is set.
    ///
    /// # Errors
    /// When there are none, naming the places that were looked at, or when a role that is to be taken is refused.
    pub async fn keys(&self, region: &str) -> Result<Keys, CloudError> {
        let mut kept = self.kept.lock().await;
        if let Some(keys) = kept.as_ref()
            && keys
                .expires
                .is_none_or(|expires| (self.options.now)() + MARGIN < expires)
        {
            return Ok(keys.clone());
        }
        let keys = self.find(region).await?;
        *kept = Some(keys.clone());
        Ok(keys)
    }

    async fn find(&self, region: &str) -> Result<Keys, CloudError> {
        let region = self.region().unwrap_or(region);
        let mut tried = Vec::new();
        if let Some(role) = &self.options.roles.aws_role {
            match self.with_job_token(role, region).await? {
                Some(keys) => return Ok(keys),
                None => tried.push(format!(
                    "the CI system gives no identity token for role {role}"
                )),
            }
        }
        match self.of_environment() {
            Ok(keys) => return Ok(keys),
            Err(reason) => tried.push(reason),
        }
        match self.of_profile(self.profile(), region, 0).await? {
            Ok(keys) => return Ok(keys),
            Err(reason) => tried.push(reason),
        }
        match self.of_web_identity(region).await? {
            Ok(keys) => return Ok(keys),
            Err(reason) => tried.push(reason),
        }
        match self.of_container().await? {
            Ok(keys) => return Ok(keys),
            Err(reason) => tried.push(reason),
        }
        match self.of_machine().await {
            Ok(keys) => Ok(keys),
            Err(reason) => {
                tried.push(reason);
                Err(CloudError::NoIdentity { tried })
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.options.variables.get(name)
    }

    fn profile(&self) -> &str {
        self.options
            .variables
            .first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
            .map_or("default", |(_, name)| name)
    }

    fn sts(&self, region: &str) -> Result<Url, CloudError> {
        let suffix = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        self.endpoint(
            "AWS_ENDPOINT_URL_STS",
            &format!("https://sts.{region}.{suffix}/"),
        )
    }

    fn of_environment(&self) -> Result<Keys, String> {
        let id = self.get("AWS_ACCESS_KEY_ID");
        let secret = self
            .options
            .variables
            .first(&["AWS_SECRET_ACCESS_KEY", "SECRET_ACCESS_KEY"]);
        match (id, secret) {
            (Some(id), Some((_, secret))) => Ok(Keys {
                access_key_id: id.to_owned(),
                secret_access_key: Secret::new(secret),
                session_token: self.get("AWS_SESSION_TOKEN").map(Secret::new),
                expires: None,
                source: "AWS_ACCESS_KEY_ID".to_owned(),
            }),
            (Some(_), None) => Err("AWS_SECRET_ACCESS_KEY is not set".to_owned()),
            (None, _) => Err("AWS_ACCESS_KEY_ID is not set".to_owned()),
        }
    }

    /// Becomes a role by the identity token of the CI system; nothing if that gives none.
    async fn with_job_token(&self, role: &str, region: &str) -> Result<Option<Keys>, CloudError> {
        let http = &self.options.http;
        let Some((token, name)) = self.options.identity.get(http, AUDIENCE).await? else {
            return Ok(None);
        };
        let source = format!("the identity token of {name}");
        let keys = sts::with_web_identity(http, self.sts(region)?, role, &token, source).await?;
        Ok(Some(keys))
    }

    /// The role of a pod (IRSA), or any other that a file with an identity token belongs to.
    async fn of_web_identity(&self, region: &str) -> Result<Result<Keys, String>, CloudError> {
        let Some(role) = self.get("AWS_ROLE_ARN") else {
            return Ok(Err("AWS_ROLE_ARN is not set".to_owned()));
        };
        let Some(file) = self.get("AWS_WEB_IDENTITY_TOKEN_FILE") else {
            let found = self.with_job_token(role, region).await?;
            return Ok(found.ok_or_else(|| {
                "AWS_WEB_IDENTITY_TOKEN_FILE is not set, and the CI system gives no identity token".to_owned()
            }));
        };
        let token = self.options.http.read_file(Path::new(file))?;
        let source = "AWS_WEB_IDENTITY_TOKEN_FILE".to_owned();
        let endpoint = self.sts(region)?;
        sts::with_web_identity(&self.options.http, endpoint, role, &token, source)
            .await
            .map(Ok)
    }

    fn of_profile<'a>(
        &'a self,
        name: &'a str,
        region: &'a str,
        depth: usize,
    ) -> BoxFuture<'a, Result<Result<Keys, String>, CloudError>> {
        Box::pin(async move {
            if !self.profiles.has(name) {
                return Ok(Err(format!("there is no profile {name}")));
            }
            if depth > PROFILE_DEPTH {
                return Err(CloudError::config(
                    format!("profile {name}"),
                    "is nested too deeply",
                ));
            }
            let get = |key: &str| self.profiles.get(name, key);
            if let Some(role) = get("role_arn") {
                if let Some(file) = get("web_identity_token_file") {
                    let token = self.options.http.read_file(Path::new(file))?;
                    let http = &self.options.http;
                    let source = format!("profile {name}");
                    let endpoint = self.sts(region)?;
                    return sts::with_web_identity(http, endpoint, role, &token, source)
                        .await
                        .map(Ok);
                }
                let base = match (get("source_profile"), get("credential_source")) {
                    // A profile may be its own source: its keys are meant then.
                    (Some(source), _) if source == name => self.static_keys(name),
                    (Some(source), _) => self.of_profile(source, region, depth + 1).await?,
                    (None, Some("Environment")) => self.of_environment(),
                    (None, Some("EcsContainer")) => self.of_container().await?,
                    (None, Some("Ec2InstanceMetadata")) => self.of_machine().await,
                    (None, _) => Err(format!("profile {name} has a role and no source for it")),
                };
                let base = match base {
                    Ok(base) => base,
                    Err(reason) => return Ok(Err(reason)),
                };
                let place = (region, (self.options.now)());
                let endpoint = self.sts(region)?;
                let external = get("external_id");
                let http = &self.options.http;
                return sts::with_keys(http, endpoint, role, external, &base, place)
                    .await
                    .map(Ok);
            }
            if let Some(command) = get("credential_process") {
                return self.of_process(name, command).await.map(Ok);
            }
            Ok(self.static_keys(name))
        })
    }

    fn static_keys(&self, name: &str) -> Result<Keys, String> {
        let get = |key: &str| self.profiles.get(name, key);
        match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Ok(Keys {
                access_key_id: id.to_owned(),
                secret_access_key: Secret::new(secret),
                session_token: get("aws_session_token").map(Secret::new),
                expires: None,
                source: format!("profile {name}"),
            }),
            (_, _)
                if get("sso_session")
                    .or_else(|| get("sso_start_url"))
                    .is_some() =>
            {
                Err(format!(
                    "profile {name} wants a single sign-on, which takes a browser and is not supported"
                ))
            }
            (_, _) => Err(format!("profile {name} has no keys")),
        }
    }

    async fn of_process(&self, name: &str, command: &str) -> Result<Keys, CloudError> {
        let what = format!("credential_process of profile {name}");
        let helpers = &self.options.helpers;
        helpers
            .files
            .require_programs()
            .map_err(|error| CloudError::config(&what, error))?;
        let running = tokio::process::Command::new("/bin/sh")
            .args(["-c", command])
            .env_clear()
            .envs(helpers.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(helpers.timeout, running).await {
            Ok(Ok(output)) if output.status.success() => output,
            Ok(Ok(output)) => return Err(CloudError::config(what, output.status)),
            Ok(Err(error)) => return Err(CloudError::config(what, error)),
            Err(_) => return Err(CloudError::config(what, "gave no answer in time")),
        };
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|_| CloudError::Answer { what: what.clone() })?;
        Ok(answer.keys(what))
    }

    /// The keys of a container of ECS, or of a pod by EKS Pod Identity.
    async fn of_container(&self) -> Result<Result<Keys, String>, CloudError> {
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let (name, address) = match (self.get(RELATIVE), self.get(FULL)) {
            (Some(path), _) => (RELATIVE, url(&format!("{CONTAINER_HOST}{path}"), RELATIVE)?),
            (None, Some(text)) => (FULL, url(text, FULL)?),
            (None, None) => return Ok(Err(format!("{RELATIVE} and {FULL} are not set"))),
        };
        let token = match self.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => Some(self.options.http.read_file(Path::new(file))?),
            None => self
                .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
                .map(Secret::new),
        };
        let authorization = token
            .zip(Origin::of(&address))
            .map(|(token, origin)| Authorization::new(origin, token));
        let request = Request::new(Method::GET, address).authorization(authorization);
        let answer: Answer = self.options.http.near_json(&request, name).await?;
        Ok(Ok(answer.keys(name.to_owned())))
    }

    /// The keys of a machine of EC2 (IMDSv2).
    async fn of_machine(&self) -> Result<Keys, String> {
        let is_off = self
            .get("AWS_EC2_METADATA_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_off {
            return Err("AWS_EC2_METADATA_DISABLED is set".to_owned());
        }
        self.ask_machine()
            .await
            .map_err(|error| format!("no metadata server: {error}"))
    }

    async fn ask_machine(&self) -> Result<Keys, CloudError> {
        const WHAT: &str = "EC2 metadata";
        const TOKEN: header::HeaderName =
            header::HeaderName::from_static("x-aws-ec2-metadata-token");
        let text = self
            .get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .unwrap_or(METADATA);
        let host = url(text, "AWS_EC2_METADATA_SERVICE_ENDPOINT")?;
        let at = |path: &str| {
            host.join(path)
                .map_err(|error| CloudError::config("AWS_EC2_METADATA_SERVICE_ENDPOINT", error))
        };
        let request = Request::new(Method::PUT, at("/latest/api/token")?).header(
            header::HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds"),
            header::HeaderValue::from_static("21600"),
        );
        let near = &self.options.http;
        let token = near.near(&request, WHAT).await?;
        let mut token =
            header::HeaderValue::from_bytes(&token).map_err(|_| CloudError::Answer {
                what: WHAT.to_owned(),
            })?;
        token.set_sensitive(true);
        let roles = "/latest/meta-data/iam/security-credentials/";
        let request = Request::new(Method::GET, at(roles)?).header(TOKEN, token.clone());
        let role = near.near(&request, WHAT).await?;
        let role = String::from_utf8_lossy(&role).trim().to_owned();
        let role = role.lines().next().unwrap_or_default();
        let request =
            Request::new(Method::GET, at(&format!("{roles}{role}"))?).header(TOKEN, token);
        let answer: Answer = near.near_json(&request, WHAT).await?;
        Ok(answer.keys(format!("the role {role} of this machine")))
    }
}
