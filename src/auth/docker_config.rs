//! Docker's `config.json`: `auths`, `credHelpers`, `credsStore`. Podman's `auth.json` has the same form.
//!
//! Within one file the most exact answer wins: an `auths` entry for the repository or a path above it, then the
//! registry's `credHelpers` entry, then `credsStore`, then the `auths` entry of the registry.
//!
//! # Deviation
//! Docker asks nothing else once a helper is configured; here a helper that knows nothing lets the search go on.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::chain::{Found, Source};
use super::helper::{self, HelperOptions};
use super::{Credential, CredentialKind, Error, names};
use crate::http::Secret;

/// Base64 with or without padding, as different tools write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The largest configuration file that is read, in bytes.
const FILE_LIMIT: u64 = 8 << 20;

/// One place where a configuration may be.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// What to call it in messages: a path, or a variable's name.
    pub name: String,
    /// The content, or where it is.
    pub content: ConfigContent,
}

/// The content of a configuration.
#[derive(Clone, Debug)]
pub enum ConfigContent {
    /// The JSON text itself.
    Inline(Secret),
    /// A variable that is not set.
    Unset,
    /// A file, which need not exist.
    File(PathBuf),
}

impl ConfigSource {
    /// A file, called by its path.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: path.display().to_string(),
            content: ConfigContent::File(path),
        }
    }

    /// A JSON text, called by the name of what held it.
    pub fn inline(name: impl Into<String>, json: Secret) -> Self {
        Self {
            name: name.into(),
            content: ConfigContent::Inline(json),
        }
    }

    /// A variable that may be set to a JSON text.
    pub fn variable(name: &str, value: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            content: value.map_or(ConfigContent::Unset, |json| {
                ConfigContent::Inline(Secret::new(json))
            }),
        }
    }
}

/// One `config.json`. A file is looked at again whenever it is asked: it may hold a token that something else renews.
///
/// Only the entries of `auths` are taken over then; the programs stay those of the beginning.
#[derive(Debug)]
pub struct DockerConfig {
    name: String,
    /// What it holds, or why it holds nothing.
    config: Mutex<Result<Arc<Config>, &'static str>>,
    /// Where it is, if it is a file that exists.
    path: Option<PathBuf>,
    helpers: HelperOptions,
}

#[derive(Debug)]
struct Config {
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<SecretText>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<SecretText>,
    #[serde(default)]
    identitytoken: Option<SecretText>,
    #[serde(default)]
    registrytoken: Option<SecretText>,
}

/// A secret as read from JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
struct SecretText(Secret);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

impl DockerConfig {
    /// Reads a source; a file that does not exist holds nothing.
    ///
    /// # Errors
    /// When the source exists and cannot be read or is not a configuration.
    pub fn load(source: &ConfigSource, helpers: HelperOptions) -> Result<Self, Error> {
        let text = match &source.content {
            ConfigContent::Inline(text) => Ok(text.clone()),
            ConfigContent::Unset => Err("is not set"),
            ConfigContent::File(path) => match helpers.files.read(path, FILE_LIMIT) {
                Ok(text) => Ok(Secret::new(text)),
                Err(error) if is_absent(&error) => Err("is not there"),
                Err(error) => {
                    return Err(Error::Read {
                        source_name: source.name.clone(),
                        source: error,
                    });
                }
            },
        };
        let path = match (&source.content, &text) {
            (ConfigContent::File(path), Ok(_)) => Some(path.clone()),
            (_, _) => None,
        };
        let config = match text {
            Ok(text) if text.expose().trim().is_empty() => Err("is empty"),
            Ok(text) => Ok(Arc::new(parse(&source.name, text.expose())?)),
            Err(reason) => Err(reason),
        };
        Ok(Self {
            name: source.name.clone(),
            config: Mutex::new(config),
            path,
            helpers,
        })
    }

    /// Gives what the file holds now; what it held before if that is of no use, as a file that is just being written.
    fn current(&self) -> Result<Arc<Config>, &'static str> {
        let mut kept = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let files = &self.helpers.files;
        let path = self.path.as_ref();
        let text = path.and_then(|path| files.read(path, FILE_LIMIT).ok());
        if let Some(Ok(read)) = text.map(|text| parse(&self.name, &text)) {
            let (helpers, store) = match &*kept {
                Ok(first) => (first.helpers.clone(), first.store.clone()),
                Err(_) => (BTreeMap::new(), None),
            };
            *kept = Ok(Arc::new(Config {
                auths: read.auths,
                helpers,
                store,
            }));
        }
        kept.clone()
    }

    async fn look_up(&self, registry: &str, repository: &str) -> Result<Found, Error> {
        let config = match self.current() {
            Ok(config) => config,
            Err(reason) => return Ok(Found::NotApplicable(reason.to_owned())),
        };
        let host = names::normalize(registry);
        let mut asked = None;
        for scope in names::scopes(&host, repository) {
            if scope == host {
                let program = config.helpers.get(&host).or(config.store.as_ref());
                if let Some(program) = program {
                    let found = helper::get(program, registry, &self.helpers, &self.name).await?;
                    if let Some(credential) = found {
                        return Ok(Found::Credential(credential));
                    }
                    asked = Some(program);
                }
            }
            if let Some(entry) = config.auths.get(&scope)
                && let Some(kind) = entry.credential().map_err(|reason| Error::Malformed {
                    source_name: self.name.clone(),
                    reason: format!("the entry for {scope} {reason}"),
                })?
            {
                return Ok(Found::Credential(Credential {
                    kind,
                    source: self.name.clone(),
                }));
            }
        }
        Ok(match asked {
            Some(program) => Found::Nothing(format!(
                "docker-credential-{} knows nothing of {host}",
                crate::http::printable(program, 60)
            )),
            None => Found::NotApplicable(format!("has no entry for {host}")),
        })
    }
}

impl Source for DockerConfig {
    fn name(&self) -> &str {
        &self.name
    }

    fn find<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Found, Error>> {
        Box::pin(self.look_up(registry, repository))
    }
}

impl Entry {
    /// Gives what the entry holds; an empty entry (left by `credsStore`) holds nothing.
    fn credential(&self) -> Result<Option<CredentialKind>, &'static str> {
        let given = |field: &Option<SecretText>| {
            field
                .as_ref()
                .map(|text| text.0.clone())
                .filter(|text| !text.is_empty())
        };
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(CredentialKind::IdentityToken(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(CredentialKind::RegistryToken(token)));
        }
        if let Some(auth) = given(&self.auth) {
            let decoded = BASE64
                .decode(auth.expose().trim())
                .map_err(|_| "has an `auth` that is not base64")?;
            let pair = String::from_utf8(decoded).map_err(|_| "has an `auth` that is not text")?;
            let (username, password) = pair
                .split_once(':')
                .ok_or("has an `auth` that is not `user:password`")?;
            return Ok(Some(password_or_token(
                username,
                password.trim_end_matches('\0'),
            )));
        }
        match (self.username.as_deref(), given(&self.password)) {
            (Some(username), Some(password)) if !username.is_empty() => {
                Ok(Some(password_or_token(username, password.expose())))
            }
            (_, _) => Ok(None),
        }
    }
}

/// The user name `<token>` marks an identity token, in files as in the answers of helpers.
pub(super) fn password_or_token(username: &str, password: &str) -> CredentialKind {
    if username == "<token>" {
        CredentialKind::IdentityToken(Secret::new(password))
    } else {
        CredentialKind::Password {
            username: username.to_owned(),
            password: Secret::new(password),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn parse(name: &str, text: &str) -> Result<Config, Error> {
    // serde_json's own message may quote a value of the file: only the place is told.
    let file: File = serde_json::from_str(text).map_err(|error| Error::Malformed {
        source_name: name.to_owned(),
        reason: format!(
            "not a JSON configuration, line {} column {}",
            error.line(),
            error.column()
        ),
    })?;
    let mut auths = BTreeMap::new();
    for (key, entry) in file.auths.unwrap_or_default() {
        let Some(entry) = entry else { continue };
        let normal = names::normalize(&key);
        // Docker's own key for Docker Hub wins over its aliases.
        if key == names::DOCKER_HUB_KEY || !auths.contains_key(&normal) {
            auths.insert(normal, entry);
        }
    }
    let helpers = file.cred_helpers.unwrap_or_default().into_iter();
    Ok(Config {
        auths,
        helpers: helpers
            .map(|(key, program)| (names::normalize(&key), program))
            .collect(),
        store: file.creds_store.filter(|store| !store.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(pair: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(pair)
    }

    async fn resolve(json: &str, registry: &str, repository: &str) -> Result<Found, Error> {
        let source = ConfigSource::inline("TEST", Secret::new(json));
        DockerConfig::load(&source, HelperOptions::default())?
            .find(registry, repository)
            .await
    }

    fn user(found: Found) -> Option<String> {
        let Found::Credential(credential) = found else {
            return None;
        };
        match credential.kind {
            CredentialKind::Password { username, password } => {
                Some(format!("{username}/{}", password.expose()))
            }
            CredentialKind::IdentityToken(token) => Some(format!("identity {}", token.expose())),
            CredentialKind::RegistryToken(token) => Some(format!("registry {}", token.expose())),
        }
    }

    #[tokio::test]
    async fn the_most_exact_entry_wins() {
        let json = format!(
            r#"{{"auths":{{
                "https://index.docker.io/v1/":{{"auth":"{}"}},
                "ghcr.io":{{"auth":"{}"}},
                "ghcr.io/org":{{"auth":"{}"}},
                "ghcr.io/org/app":{{"username":"exact","password":"p3"}},
                "localhost:5000":{{"auth":"{}","identitytoken":"idt"}},
                "quay.io":{{"registrytoken":"rt"}},
                "empty.io":{{}},
                "token.io":{{"auth":"{}"}}
            }}}}"#,
            encode("hub:p:0"),
            encode("host:p1").trim_end_matches('='),
            encode("org:p2"),
            encode("x:y"),
            encode("<token>:refresh"),
        );
        let cases = [
            ("docker.io", "library/alpine", Some("hub/p:0")),
            ("ghcr.io", "other/app", Some("host/p1")),
            ("ghcr.io", "org/other", Some("org/p2")),
            ("ghcr.io", "org/app", Some("exact/p3")),
            ("ghcr.io", "organization/app", Some("host/p1")),
            ("localhost:5000", "a", Some("identity idt")),
            ("localhost:5001", "a", None),
            ("localhost", "a", None),
            ("quay.io", "a", Some("registry rt")),
            ("empty.io", "a", None),
            ("token.io", "a", Some("identity refresh")),
            ("ghcr.io.evil.com", "org/app", None),
            ("evil-ghcr.io", "org/app", None),
        ];
        for (registry, repository, expect) in cases {
            let found = resolve(&json, registry, repository)
                .await
                .expect("a readable configuration");
            assert_eq!(user(found).as_deref(), expect, "{registry}/{repository}");
        }
    }

    #[tokio::test]
    async fn errors_name_the_source_and_no_secret() {
        for json in [
            r#"{"auths":{"h":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"h":{"auth":["hunter2"]}}}"#,
            r#"{"auths":"hunter2"}"#,
            "hunter2",
        ] {
            let error = resolve(json, "h", "r").await.expect_err("malformed");
            let text = format!("{error} {error:?}");
            assert!(text.contains("TEST") && !text.contains("hunter2"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_read_again_and_its_programs_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let auths = |password: &str, rest: &str| {
            let entry = encode(&format!("u:{password}"));
            format!(r#"{{"auths":{{"h":{{"auth":"{entry}"}}}}{rest}}}"#)
        };
        write(&auths("one", ""));
        let source = ConfigSource::file(&path);
        let helpers = HelperOptions::default();
        let files = helpers.files.clone();
        let config = DockerConfig::load(&source, helpers).unwrap();
        let found = async || user(config.find("h", "r").await.unwrap());
        assert_eq!(found().await.as_deref(), Some("u/one"));
        write(&auths(
            "two",
            r#","credsStore":"evil","credHelpers":{"h":"evil"}"#,
        ));
        assert_eq!(found().await.as_deref(), Some("u/two"));
        write(r#"{"auths":{"h":"#);
        assert_eq!(found().await.as_deref(), Some("u/two"), "half of a file");
        // As Kubernetes does: a link to a directory is replaced.
        for name in ["first", "second"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
            let file = directory.path().join(name).join("config.json");
            std::fs::write(file, auths(name, "")).unwrap();
            let (data, fresh) = (
                directory.path().join("data"),
                directory.path().join("fresh"),
            );
            std::os::unix::fs::symlink(name, &fresh).unwrap();
            std::fs::rename(&fresh, &data).unwrap();
            let _ = std::fs::remove_file(&path);
            std::os::unix::fs::symlink("data/config.json", &path).unwrap();
            assert_eq!(found().await, Some(format!("u/{name}")));
        }
        // While an image is in the machine's place nothing leads out of the directory, and one in its place is another one.
        files.leave();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(elsewhere.path(), auths("elsewhere", "")).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &path).unwrap();
        assert_eq!(found().await.as_deref(), Some("u/second"));
        let moved = directory.path().with_extension("moved");
        std::fs::rename(directory.path(), &moved).unwrap();
        std::fs::create_dir(directory.path()).unwrap();
        write(&auths("image", ""));
        assert_eq!(found().await.as_deref(), Some("u/second"));
        std::fs::remove_dir_all(moved).unwrap();
    }

    #[tokio::test]
    async fn what_is_not_there_says_so() {
        for (source, expect) in [
            (
                ConfigSource::file("/nonexistent/config.json"),
                "is not there",
            ),
            (ConfigSource::variable("X", None), "is not set"),
            (ConfigSource::variable("X", Some(" ")), "is empty"),
            (
                ConfigSource::variable("X", Some("{}")),
                "has no entry for h",
            ),
        ] {
            let config = DockerConfig::load(&source, HelperOptions::default()).expect("readable");
            let found = config.find("h", "r").await.expect("readable");
            assert_eq!(found, Found::NotApplicable(expect.to_owned()));
        }
    }
}
