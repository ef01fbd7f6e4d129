//! The environment as a value, and the one table of the variables that are read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// The variables that longshore reads, with their meaning.
///
/// Flags win over variables; `LONGSHORE_*` wins over `KANIKO_*`.
pub(super) const VARIABLES: &[(&str, &str)] = &[
    (
        "LONGSHORE_STATE_DIR, KANIKO_DIR",
        "where layers and work directories are kept, as --state-dir",
    ),
    (
        "LONGSHORE_NO_PUSH, KANIKO_NO_PUSH",
        "do not push, as --no-push: true or false",
    ),
    (
        "LONGSHORE_ISOLATION",
        "how RUN steps are isolated, as --isolation",
    ),
    (
        "LONGSHORE_VERBOSITY",
        "how much the log says, as --verbosity",
    ),
    (
        "LONGSHORE_LOG_FORMAT",
        "how the log is written, as --log-format",
    ),
    ("LONGSHORE_CI", "the CI system, as --ci"),
    (
        "LONGSHORE_CI_REF, LONGSHORE_CI_SHA, LONGSHORE_CI_EVENT, LONGSHORE_CI_BASE_REF, LONGSHORE_CI_DEFAULT_BRANCH, \
         LONGSHORE_CI_COMMIT_TIME, LONGSHORE_CI_URL, LONGSHORE_CI_TITLE, LONGSHORE_CI_BUILD_URL, LONGSHORE_CI_IMAGE",
        "the commit, the event and the image, where the CI system says nothing (Tekton, Argo), or instead of what it says",
    ),
    (
        "LONGSHORE_REGISTRY_MAP, KANIKO_REGISTRY_MAP",
        "where to pull the images of a registry from instead, beside --registry-map",
    ),
    (
        "LONGSHORE_REGISTRY_MIRROR, KANIKO_REGISTRY_MIRROR",
        "mirrors of Docker Hub with commas between them, beside --registry-mirror",
    ),
    (
        "LONGSHORE_REGISTRY_AUTH",
        "registry credentials, one a line, as --registry-auth",
    ),
    (
        "LONGSHORE_<HOST>_USER, LONGSHORE_<HOST>_PASSWORD, KANIKO_<HOST>_USER, KANIKO_<HOST>_PASSWORD",
        "the credential of a registry, its host in capitals with _ for . and -",
    ),
    (
        "DOCKER_AUTH_CONFIG",
        "registry credentials: the content of a config.json, or its absolute path",
    ),
    (
        "AWS_BUCKET, BUILDKIT_AZURE_STORAGE_ACCOUNT_URL",
        "the bucket of type=s3 and the account of type=azblob, where the cache's own fields do not say it",
    ),
    (
        "ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN",
        "where GitHub's cache service is, and the job's token for it: type=gha",
    ),
    ("DOCKER_CONFIG", "the directory of config.json"),
    (
        "REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME",
        "podman's auth.json, or where containers/auth.json is",
    ),
    (
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, AWS_REGION, AWS_DEFAULT_REGION, AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "who we are to Amazon, with the meaning that its own tools give them",
    ),
    (
        "S3_ENDPOINT, S3_FORCE_PATH_STYLE, AWS_ENDPOINT_URL_S3, AWS_REQUEST_PAYER",
        "where the buckets of s3:// contexts are, and whether their names stand in the path: true or false; `requester` where the reader pays",
    ),
    (
        "STORAGE_EMULATOR_HOST, GOOGLE_CLOUD_QUOTA_PROJECT",
        "where the buckets of gs:// contexts are, which then need no identity; the project that pays for the request",
    ),
    (
        "AZURE_STORAGE_ACCESS_KEY, AZURE_STORAGE_BLOB_ENDPOINT",
        "the key of the account that holds the context, and where the account is",
    ),
    (
        "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL_ECR, AWS_ENDPOINT_URL_ECR_PUBLIC",
        "where Amazon's services are",
    ),
    (
        "GOOGLE_APPLICATION_CREDENTIALS, CLOUDSDK_CONFIG, GCE_METADATA_HOST",
        "who we are to Google",
    ),
    (
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS, CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS, CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
        "where Google's services are",
    ),
    (
        "AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_FEDERATED_TOKEN_FILE, IDENTITY_ENDPOINT, IDENTITY_HEADER",
        "who we are to Azure",
    ),
    (
        "AZURE_AUTHORITY_HOST, AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "where Azure's services are",
    ),
    (
        "LONGSHORE_AWS_ROLE, LONGSHORE_GOOGLE_IDENTITY_PROVIDER, LONGSHORE_GOOGLE_SERVICE_ACCOUNT",
        "who to become with the CI system's identity token, as the flags of these names",
    ),
    (
        "LONGSHORE_IDENTITY_TOKEN_FILE, LONGSHORE_IDENTITY_TOKEN, OCI_ID_TOKEN, CIRCLE_OIDC_TOKEN_V2, BITBUCKET_STEP_OIDC_TOKEN, ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "the identity token of the CI system, or where to ask for it",
    ),
    (
        "CI_REGISTRY, CI_REGISTRY_USER, CI_REGISTRY_PASSWORD, CI_DEPLOY_USER, CI_DEPLOY_PASSWORD, CI_JOB_TOKEN, CI_DEPENDENCY_PROXY_SERVER, CI_DEPENDENCY_PROXY_USER, CI_DEPENDENCY_PROXY_PASSWORD",
        "the credentials of GitLab's registry and dependency proxy",
    ),
    (
        "GITHUB_TOKEN, GITHUB_ACTOR",
        "the credential of ghcr.io; the token also for repositories on GITHUB_SERVER_URL",
    ),
    (
        "GIT_TOKEN, GIT_USERNAME, GIT_PASSWORD",
        "the credential of the git context, for its host alone; the token wins",
    ),
    (
        "GIT_SSH_KEY, GIT_SSH_KNOWN_HOSTS",
        "the private key for repositories over SSH and the hosts that are believed, each as a file or its content, beside ~/.ssh",
    ),
    (
        "GIT_SSH_KEY_PASSPHRASE",
        "the passphrase of the keys for repositories over SSH that have one",
    ),
    (
        "GIT_PULL_METHOD",
        "how the server of a git:// context is spoken to: https, or http",
    ),
    (
        "GIT_LFS_SKIP_SMUDGE",
        "take the pointers of Git LFS as the files: true or false",
    ),
    (
        "GITHUB_SERVER_URL, CI_SERVER_URL",
        "the servers that GITHUB_TOKEN and CI_JOB_TOKEN are for",
    ),
    (
        "HARBOR_HOST, HARBOR_USERNAME, HARBOR_PASSWORD",
        "the credential of a Harbor registry",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "certificate authorities to trust instead of the system's",
    ),
    (
        "HTTP_PROXY, HTTPS_PROXY, NO_PROXY",
        "proxies, in lower case too",
    ),
    (
        "SOURCE_DATE_EPOCH",
        "the time that the image carries, in seconds since 1970; a build argument too, and one of this name wins",
    ),
    (
        "SSH_AUTH_SOCK",
        "the SSH agent that --ssh ID forwards, and that knows our keys for repositories over SSH",
    ),
    ("NO_COLOR", "no colours in the log"),
    (
        "PATH",
        "where credential helpers and newuidmap are looked for",
    ),
    (
        "HOME, XDG_STATE_HOME",
        "where config.json and, for ordinary users, the state are by default",
    ),
];

/// The environment that the program was started with.
#[derive(Clone, Default)]
pub(super) struct Env(BTreeMap<OsString, OsString>);

impl std::fmt::Debug for Env {
    /// Names only: values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Env {
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// The value of a variable that is set and not empty.
    pub(super) fn os(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// The value of a variable that is set, empty or not.
    pub(super) fn raw(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A set and non-empty value as text; a value that is not UTF-8 counts as not set.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.os(name).and_then(OsStr::to_str)
    }

    /// Sets a variable of this value, not of the process.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.into(), value.into());
    }

    /// Forgets variables.
    pub(super) fn remove(&mut self, names: &[&str]) {
        self.0
            .retain(|name, _| !names.iter().any(|removed| name == removed));
    }

    /// Those that are text, for the CI systems' room.
    pub(super) fn pairs(&self) -> crate::ci::Env {
        self.iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
            .collect()
    }

    /// All of them, as they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }
}
