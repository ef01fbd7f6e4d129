//! The sources of registry credentials, in their order.
//!
//! What was typed comes first, then what was set for a host, then configuration files, then the identity that a platform gives.
//!
//! # Deviation
//! kaniko asks `config.json` before its `KANIKO_<HOST>_USER` variables; here what is set for one host wins.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::auth::{
    Chain, ConfigSource, DockerConfig, Files, Given, HelperOptions, HostVariables, Source,
    Variables,
};

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use crate::auth::cloud::{CloudHttp, CloudOptions, Roles};
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use crate::auth::identity::{IdentityToken, IdentityTokens};
use crate::http::HttpConfig;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use crate::http::Secret;
use crate::store::Stores;

use super::UsageError;
use super::env::Env;

/// Where credentials come from.
#[derive(Clone, Default, Args)]
pub(super) struct CredentialArgs {
    /// A registry's user and password, or a file that holds USER:PASSWORD; may be repeated. A password that is typed here can
    /// be read by every process of the machine
    #[arg(
        long,
        value_name = "HOST=@FILE|HOST=USER:PASSWORD",
        help_heading = "Credentials"
    )]
    pub registry_auth: Vec<String>,
    /// The built-in sources to ask, of env, google, ecr, acr, gitlab, github, harbor; may be repeated, and one that is empty
    /// selects none [default: all]
    #[arg(long, value_name = "NAME", help_heading = "Credentials")]
    pub credential_helpers: Vec<String>,
    /// A file with the identity token of the CI system, which is exchanged for the credential of a cloud's registry
    #[arg(long, value_name = "FILE", help_heading = "Credentials")]
    pub identity_token_file: Option<PathBuf>,
    /// The AWS role to take with the identity token
    #[arg(long, value_name = "ARN", help_heading = "Credentials")]
    pub aws_role: Option<String>,
    /// The Google workload identity provider to present the identity token to
    #[arg(
        long,
        value_name = "projects/N/locations/global/...",
        help_heading = "Credentials"
    )]
    pub google_identity_provider: Option<String>,
    /// The Google service account to impersonate with what the provider gives
    #[arg(
        long,
        value_name = "EMAIL",
        requires = "google_identity_provider",
        help_heading = "Credentials"
    )]
    pub google_service_account: Option<String>,
    /// The Azure application to be with the identity token, or the managed identity [default: AZURE_CLIENT_ID]
    #[arg(long, value_name = "ID", help_heading = "Credentials")]
    pub azure_client_id: Option<String>,
    /// The Azure tenant [default: AZURE_TENANT_ID]
    #[arg(long, value_name = "ID", help_heading = "Credentials")]
    pub azure_tenant_id: Option<String>,
}

/// How long a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// Places of a configuration that only some images and platforms have.
const FURTHER_PLACES: [&str; 3] = [
    "/kaniko/.docker/config.json",
    "/tekton/creds/.docker/config.json",
    "/tekton/home/.docker/config.json",
];

/// What `--credential-helpers` may select, and whether it is built in; all are on by default. The first five are kaniko's.
const HELPERS: [(&str, bool); 7] = [
    ("env", true),
    ("google", cfg!(feature = "gcs")),
    ("ecr", cfg!(feature = "s3")),
    ("acr", cfg!(feature = "azure")),
    ("gitlab", true),
    ("github", true),
    ("harbor", true),
];

/// Variables that name a file with a token or key.
const FILE_VARIABLES: [&str; 6] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "LONGSHORE_IDENTITY_TOKEN_FILE",
];

/// Variables that hold an identity token as it is: ours, the one that `id_tokens` of a GitLab job should name, CircleCI's, Bitbucket's.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
const TOKEN_VARIABLES: [&str; 4] = [
    "LONGSHORE_IDENTITY_TOKEN",
    "OCI_ID_TOKEN",
    "CIRCLE_OIDC_TOKEN_V2",
    "BITBUCKET_STEP_OIDC_TOKEN",
];

/// Makes the chain.
#[cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azure")),
    expect(unused_variables, reason = "some are for the clouds only")
)]
pub(super) fn chain(
    args: &CredentialArgs,
    env: &Env,
    http: &HttpConfig,
    plain_http: &BTreeSet<String>,
    files: &Files,
) -> Result<Chain, UsageError> {
    let selected = selected(&args.credential_helpers)?;
    let is_on = |name: &str| selected.contains(&name);
    let variables = variables(env);
    hold(args, &variables, files);
    let helpers = helpers(env, files);
    let mut sources: Vec<Arc<dyn Source>> = vec![
        Arc::new(
            Given::parse(
                "--registry-auth",
                "is not given",
                args.registry_auth.iter().map(String::as_str),
            )
            .map_err(|error| UsageError::flag("--registry-auth", error))?,
        ),
        Arc::new(
            Given::parse(
                "LONGSHORE_REGISTRY_AUTH",
                "is not set",
                variables
                    .get("LONGSHORE_REGISTRY_AUTH")
                    .unwrap_or_default()
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty()),
            )
            .map_err(|error| UsageError::flag("LONGSHORE_REGISTRY_AUTH", error))?,
        ),
    ];
    if is_on("env") {
        sources.push(Arc::new(HostVariables::new(variables.clone())));
    }
    for source in config_sources(env) {
        let config =
            DockerConfig::load(&source, helpers.clone()).map_err(UsageError::Credentials)?;
        sources.push(Arc::new(config));
    }
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    sources.extend(clouds(args, &variables, helpers, http, plain_http, &is_on)?);
    if is_on("gitlab") {
        sources.push(Arc::new(gitlab(&variables)));
    }
    if is_on("github") {
        sources.push(Arc::new(github(&variables)));
    }
    if is_on("harbor") {
        sources.push(Arc::new(harbor(&variables)));
    }
    Ok(Chain::new(sources))
}

/// Whether a password stands among the arguments, where every process of the machine can read it.
pub(super) fn has_secret_in_arguments(args: &CredentialArgs) -> bool {
    args.registry_auth
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .any(|(_, value)| !value.starts_with('@'))
}

/// The directory in which `login` writes, and which is read first.
pub(super) fn config_directory(env: &Env) -> Option<PathBuf> {
    env.os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(env.os("HOME")?).join(".docker")))
}

fn selected(typed: &[String]) -> Result<Vec<&'static str>, UsageError> {
    let built_in = HELPERS
        .into_iter()
        .filter_map(|(name, is_built_in)| is_built_in.then_some(name));
    let built_in: Vec<&'static str> = built_in.collect();
    if typed.is_empty() {
        return Ok(built_in);
    }
    typed
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        // One empty value selects none, as in kaniko.
        .filter(|name| !name.is_empty())
        .map(|name| {
            let known = built_in.iter().copied().find(|helper| *helper == name);
            known.ok_or_else(|| {
                let reason = format!("\"{name}\" is not one of {}", built_in.join(", "));
                UsageError::flag("--credential-helpers", reason)
            })
        })
        .collect()
}

/// How the object stores are reached: with the identities that the registries of the same clouds are reached with.
#[cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azure")),
    expect(
        unused_variables,
        clippy::unnecessary_wraps,
        reason = "they are for the clouds, and with one it may fail"
    )
)]
pub(super) fn stores(
    args: &CredentialArgs,
    env: &Env,
    http: &HttpConfig,
    files: &Files,
) -> Result<Stores, UsageError> {
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    {
        let variables = variables(env);
        let options = cloud_options(
            args,
            &variables,
            helpers(env, files),
            http,
            &BTreeSet::new(),
        )?;
        Ok(Stores {
            clouds: Some(options),
        })
    }
    #[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
    Ok(Stores::default())
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn cloud_options(
    args: &CredentialArgs,
    variables: &Variables,
    helpers: HelperOptions,
    http: &HttpConfig,
    plain_http: &BTreeSet<String>,
) -> Result<CloudOptions, UsageError> {
    Ok(CloudOptions {
        http: CloudHttp::new(http, helpers.files.clone())
            .map_err(|error| UsageError::flag("certificates", error))?,
        variables: variables.clone(),
        identity: identity_tokens(args, variables)?,
        roles: roles(args, variables),
        plain_http: plain_http.clone(),
        now: std::time::SystemTime::now,
        helpers,
    })
}

fn variables(env: &Env) -> Variables {
    env.iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
        .collect()
}

/// The clouds, which are asked about their own hosts only.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn clouds(
    args: &CredentialArgs,
    variables: &Variables,
    helpers: HelperOptions,
    http: &HttpConfig,
    plain_http: &BTreeSet<String>,
    is_on: &dyn Fn(&str) -> bool,
) -> Result<Vec<Arc<dyn Source>>, UsageError> {
    use crate::auth::cloud::Cloud;

    let options = cloud_options(args, variables, helpers, http, plain_http)?;
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    #[cfg(feature = "s3")]
    if is_on("ecr") {
        sources.push(Arc::new(Cloud::ecr(&options)));
    }
    #[cfg(feature = "gcs")]
    if is_on("google") {
        sources.push(Arc::new(Cloud::google(&options)));
    }
    #[cfg(feature = "azure")]
    if is_on("acr") {
        sources.push(Arc::new(Cloud::acr(&options)));
    }
    Ok(sources)
}

/// Who to become with an identity token of the CI system.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn roles(args: &CredentialArgs, variables: &Variables) -> Roles {
    let either = |flag: &Option<String>, name: &str| {
        let set = || variables.get(name).map(str::to_owned);
        flag.clone().or_else(set)
    };
    Roles {
        aws_role: either(&args.aws_role, "LONGSHORE_AWS_ROLE"),
        google_provider: either(
            &args.google_identity_provider,
            "LONGSHORE_GOOGLE_IDENTITY_PROVIDER",
        ),
        google_service_account: either(
            &args.google_service_account,
            "LONGSHORE_GOOGLE_SERVICE_ACCOUNT",
        ),
        azure_client_id: args.azure_client_id.clone(),
        azure_tenant_id: args.azure_tenant_id.clone(),
    }
}

/// The ways to the identity token of the CI system.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn identity_tokens(
    args: &CredentialArgs,
    variables: &Variables,
) -> Result<IdentityTokens, UsageError> {
    const FILE: &str = "LONGSHORE_IDENTITY_TOKEN_FILE";
    const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
    let mut ways = Vec::new();
    let file = args.identity_token_file.clone();
    if let Some(path) = file.or_else(|| variables.get(FILE).map(PathBuf::from)) {
        ways.push(IdentityToken::File { path });
    }
    for name in TOKEN_VARIABLES {
        if let Some(token) = variables.get(name) {
            ways.push(IdentityToken::Value {
                name: name.to_owned(),
                token: Secret::new(token),
            });
        }
    }
    let bearer = variables.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    if let (Some(text), Some(bearer)) = (variables.get(URL), bearer) {
        let url = url::Url::parse(text)
            .map_err(|error| UsageError::flag("ACTIONS_ID_TOKEN_REQUEST_URL", error))?;
        ways.push(IdentityToken::Request {
            name: "GitHub Actions".to_owned(),
            url,
            bearer: Secret::new(bearer),
        });
    }
    Ok(IdentityTokens(ways))
}

/// Opens the directories of the files with tokens and keys that are read when a credential is made or renewed.
fn hold(args: &CredentialArgs, variables: &Variables, files: &Files) {
    let named = FILE_VARIABLES
        .iter()
        .filter_map(|name| variables.get(name))
        .map(Path::new);
    for file in named.chain(args.identity_token_file.as_deref()) {
        files.hold(file);
    }
}

fn helpers(env: &Env, files: &Files) -> HelperOptions {
    HelperOptions {
        path: env.os("PATH").unwrap_or_default().to_owned(),
        env: env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        timeout: HELPER_TIMEOUT,
        files: files.clone(),
    }
}

fn config_sources(env: &Env) -> Vec<ConfigSource> {
    let inline = env.text("DOCKER_AUTH_CONFIG");
    let mut sources = vec![match inline.map(Path::new) {
        // A GitLab variable of type file holds a path.
        Some(path) if path.is_absolute() => ConfigSource::file(path),
        Some(_) | None => ConfigSource::variable("DOCKER_AUTH_CONFIG", inline),
    }];
    let mut files: Vec<PathBuf> = Vec::new();
    if let Some(directory) = env.os("DOCKER_CONFIG").map(Path::new) {
        files.push(directory.join("config.json"));
        // A secret of Kubernetes that is mounted whole.
        files.extend(Some(directory.join(".dockerconfigjson")).filter(|path| path.exists()));
    }
    let further = FURTHER_PLACES.into_iter().map(PathBuf::from);
    files.extend(further.filter(|path| path.exists()));
    let home = env.os("HOME").map(Path::new);
    files.extend(home.map(|home| home.join(".docker/config.json")));
    // Podman's, skopeo's and buildah's.
    if let Some(file) = env.os("REGISTRY_AUTH_FILE") {
        files.push(file.into());
    } else {
        let run = env.os("XDG_RUNTIME_DIR").map(Path::new);
        let config = env
            .os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(home?.join(".config")));
        let places = [run.map(Path::to_owned), config].into_iter().flatten();
        files.extend(places.map(|place| place.join("containers/auth.json")));
    }
    let mut seen = Vec::new();
    for file in files {
        if !seen.contains(&file) {
            sources.push(ConfigSource::file(&file));
            seen.push(file);
        }
    }
    sources
}

/// GitLab's registry and dependency proxy, by what a job is given.
fn gitlab(variables: &Variables) -> Given {
    let mut given = Given::empty(
        "GitLab CI",
        "CI_REGISTRY and CI_DEPENDENCY_PROXY_SERVER are not set",
    );
    let get = |name| variables.get(name);
    if let Some(host) = get("CI_REGISTRY") {
        let user = get("CI_REGISTRY_USER").zip(get("CI_REGISTRY_PASSWORD"));
        let deploy = get("CI_DEPLOY_USER").zip(get("CI_DEPLOY_PASSWORD"));
        let job = get("CI_JOB_TOKEN").map(|token| ("gitlab-ci-token", token));
        if let Some((username, password)) = user.or(deploy).or(job) {
            given = given.with(host, username, password);
        }
    }
    let proxy = get("CI_DEPENDENCY_PROXY_USER").zip(get("CI_DEPENDENCY_PROXY_PASSWORD"));
    if let (Some(host), Some((username, password))) = (get("CI_DEPENDENCY_PROXY_SERVER"), proxy) {
        given = given.with(host, username, password);
    }
    given
}

/// GitHub's registry. The token is in the environment only if the workflow puts it there.
fn github(variables: &Variables) -> Given {
    let given = Given::empty("GITHUB_TOKEN", "is not set");
    match variables.get("GITHUB_TOKEN") {
        // The registry looks at the token alone, and wants some name.
        Some(token) => given.with(
            "ghcr.io",
            variables.get("GITHUB_ACTOR").unwrap_or("github-actions"),
            token,
        ),
        None => given,
    }
}

/// What GitLab's Harbor integration sets.
fn harbor(variables: &Variables) -> Given {
    let given = Given::empty("HARBOR_HOST", "is not set");
    let host = variables.first(&["HARBOR_HOST", "HARBOR_URL"]);
    let user = variables
        .get("HARBOR_USERNAME")
        .zip(variables.get("HARBOR_PASSWORD"));
    match (host, user) {
        (Some((_, host)), Some((username, password))) => given.with(host, username, password),
        (_, _) => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Keychain as _;

    async fn source(args: &CredentialArgs, env: &[(&str, &str)], registry: &str) -> Option<String> {
        let env = Env::new(
            env.iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
        );
        let chain = chain(
            args,
            &env,
            &HttpConfig::default(),
            &BTreeSet::new(),
            &Files::default(),
        )
        .unwrap();
        let found = chain.resolve(registry, "a/b").await.unwrap();
        found.map(|credential| credential.source)
    }

    #[tokio::test]
    async fn the_order_is_as_stated() {
        let directory = tempfile::tempdir().unwrap();
        let auths = r#"{"auths":{"ghcr.io":{"auth":"dTpw"}}}"#;
        let docker = directory.path().join("docker");
        for path in ["docker", "home/.docker", "run/containers"] {
            std::fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        for path in [
            "docker/config.json",
            "home/.docker/config.json",
            "run/containers/auth.json",
        ] {
            std::fs::write(directory.path().join(path), auths).unwrap();
        }
        let place = |path: &str| directory.path().join(path).to_str().unwrap().to_owned();
        let (home, run) = (place("home"), place("run"));
        let mut env = vec![
            ("LONGSHORE_REGISTRY_AUTH", "ghcr.io=u:p"),
            ("KANIKO_GHCR_IO_USER", "u"),
            ("DOCKER_AUTH_CONFIG", auths),
            ("DOCKER_CONFIG", docker.to_str().unwrap()),
            ("HOME", &home),
            ("XDG_RUNTIME_DIR", &run),
            ("GITHUB_TOKEN", "t"),
            ("KANIKO_GHCR_IO_PASSWORD", "p"),
        ];
        let mut args = CredentialArgs {
            registry_auth: vec!["ghcr.io=u:p".to_owned()],
            ..CredentialArgs::default()
        };
        assert_eq!(
            source(&args, &env, "ghcr.io").await.unwrap(),
            "--registry-auth"
        );
        args.registry_auth.clear();
        for expect in [
            "LONGSHORE_REGISTRY_AUTH",
            "KANIKO_GHCR_IO_USER and KANIKO_GHCR_IO_PASSWORD",
            "DOCKER_AUTH_CONFIG",
            &place("docker/config.json"),
            &place("home/.docker/config.json"),
            &place("run/containers/auth.json"),
            "GITHUB_TOKEN",
        ] {
            assert_eq!(source(&args, &env, "ghcr.io").await.unwrap(), expect);
            env.remove(0);
        }
        assert_eq!(source(&args, &env, "ghcr.io").await, None);
    }

    #[tokio::test]
    async fn platforms_vouch_for_their_own_registries_only() {
        let env = [
            ("CI_REGISTRY", "registry.gitlab.com"),
            ("CI_JOB_TOKEN", "t"),
            ("CI_DEPENDENCY_PROXY_SERVER", "gitlab.com:443"),
            ("CI_DEPENDENCY_PROXY_USER", "u"),
            ("CI_DEPENDENCY_PROXY_PASSWORD", "p"),
            ("HARBOR_HOST", "harbor.example"),
            ("HARBOR_USERNAME", "robot$x"),
            ("HARBOR_PASSWORD", "p"),
            ("GITHUB_TOKEN", "t"),
        ];
        let mut args = CredentialArgs::default();
        for (registry, expect) in [
            ("registry.gitlab.com", Some("GitLab CI")),
            ("gitlab.com:443", Some("GitLab CI")),
            ("harbor.example", Some("HARBOR_HOST")),
            ("ghcr.io", Some("GITHUB_TOKEN")),
            ("ghcr.io.evil.com", None),
            ("registry.gitlab.com.evil.com", None),
            ("docker.io", None),
        ] {
            assert_eq!(
                source(&args, &env, registry).await.as_deref(),
                expect,
                "{registry}"
            );
        }
        args.credential_helpers = vec!["gitlab".to_owned()];
        assert_eq!(source(&args, &env, "ghcr.io").await, None);
        assert!(source(&args, &env, "registry.gitlab.com").await.is_some());
        args.credential_helpers = vec![String::new()];
        assert_eq!(source(&args, &env, "registry.gitlab.com").await, None);
        assert!(selected(&["nonsense".to_owned()]).is_err());
    }
}
