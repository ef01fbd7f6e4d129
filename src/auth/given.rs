//! Credentials that were typed or set beforehand, for named hosts.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;

use super::chain::{Found, Source};
use super::docker_config::password_or_token;
use super::{Credential, CredentialKind, Error, Variables, names};
use crate::http::Secret;

/// Credentials by host or host and path.
#[derive(Clone, Debug)]
pub struct Given {
    name: String,
    entries: BTreeMap<String, CredentialKind>,
    absent: String,
}

/// A credential that cannot be read. The text holds nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// The form is wrong.
    #[error("an entry is not of the form HOST=USER:PASSWORD or HOST=@FILE")]
    Form,
    /// The part after the host is wrong.
    #[error("the entry for {host} is not of the form USER:PASSWORD or @FILE")]
    Pair {
        /// The host.
        host: String,
    },
    /// The file cannot be read.
    #[error("the file {path} for {host} cannot be read: {source}")]
    File {
        /// The host.
        host: String,
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The content of the file is wrong.
    #[error("the file {path} for {host} does not hold USER:PASSWORD")]
    Content {
        /// The host.
        host: String,
        /// The file.
        path: String,
    },
}

impl Given {
    /// A source without entries; `absent` says why.
    pub fn empty(name: impl Into<String>, absent: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            entries: BTreeMap::new(),
            absent: absent.into(),
        }
    }

    /// Adds a user and a password for a host; the first entry of a host stays.
    #[must_use]
    pub fn with(mut self, host: &str, username: &str, password: &str) -> Self {
        self.entries
            .entry(names::normalize(host))
            .or_insert_with(|| password_or_token(username, password));
        self
    }

    /// Reads entries of the form `HOST[/PATH]=USER:PASSWORD` or `HOST[/PATH]=@FILE`, the file holding `USER:PASSWORD`.
    ///
    /// # Errors
    /// When one is of another form, or its file cannot be read.
    pub fn parse<'a>(
        name: impl Into<String>,
        absent: impl Into<String>,
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, GivenError> {
        let mut given = Self::empty(name, absent);
        for entry in entries {
            let (host, value) = entry.split_once('=').ok_or(GivenError::Form)?;
            if host.is_empty() || host.contains(':') && host.contains('@') {
                return Err(GivenError::Form);
            }
            let (username, password) = if let Some(path) = value.strip_prefix('@') {
                let text = std::fs::read_to_string(path).map_err(|source| GivenError::File {
                    host: host.to_owned(),
                    path: path.to_owned(),
                    source,
                })?;
                pair(text.trim_end_matches(['\r', '\n'])).ok_or_else(|| GivenError::Content {
                    host: host.to_owned(),
                    path: path.to_owned(),
                })?
            } else {
                pair(value).ok_or_else(|| GivenError::Pair {
                    host: host.to_owned(),
                })?
            };
            given = given.with(host, &username, password.expose());
        }
        Ok(given)
    }
}

fn pair(text: &str) -> Option<(String, Secret)> {
    let (username, password) = text.split_once(':')?;
    (!username.is_empty() && !password.is_empty())
        .then(|| (username.to_owned(), Secret::new(password)))
}

impl Source for Given {
    fn name(&self) -> &str {
        &self.name
    }

    fn find<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Found, Error>> {
        let host = names::normalize(registry);
        let scopes = names::scopes(&host, repository);
        let found = if let Some(kind) = scopes.iter().find_map(|scope| self.entries.get(scope)) {
            Found::Credential(Credential {
                kind: kind.clone(),
                source: self.name.clone(),
            })
        } else if self.entries.is_empty() {
            Found::NotApplicable(self.absent.clone())
        } else {
            let hosts: Vec<_> = self.entries.keys().map(String::as_str).collect();
            Found::NotApplicable(format!("is for {}", hosts.join(", ")))
        };
        Box::pin(std::future::ready(Ok(found)))
    }
}

/// Variables that are named after a host: `LONGSHORE_GHCR_IO_USER`, `KANIKO_GHCR_IO_PASSWORD`.
///
/// The host is written in capitals with `_` for everything that a variable's name cannot hold. Labels are left out from
/// the front one by one, so `KANIKO_EXAMPLE_COM_USER` also serves `registry.example.com`.
///
/// # Deviation
/// kaniko goes on to the last label: `KANIKO_COM_USER` would go to every registry of `.com`. Here at least two stay.
#[derive(Clone, Debug)]
pub struct HostVariables {
    name: String,
    variables: Variables,
}

impl HostVariables {
    /// Makes the source out of all variables.
    pub fn new(variables: Variables) -> Self {
        Self {
            name: "LONGSHORE_<HOST>_USER and _PASSWORD, KANIKO_<HOST>_USER and _PASSWORD"
                .to_owned(),
            variables,
        }
    }

    fn look_up(&self, registry: &str) -> Found {
        let mut half = None;
        let aliases = names::aliases(registry).flat_map(stems);
        for stem in stems(registry).into_iter().chain(aliases) {
            for prefix in ["LONGSHORE", "KANIKO"] {
                let user = format!("{prefix}_{stem}_USER");
                let password = format!("{prefix}_{stem}_PASSWORD");
                match (self.variables.get(&user), self.variables.get(&password)) {
                    (Some(username), Some(secret)) => {
                        return Found::Credential(Credential {
                            kind: password_or_token(username, secret),
                            source: format!("{user} and {password}"),
                        });
                    }
                    (Some(_), None) => half = half.or(Some((user, password))),
                    (None, Some(_)) => half = half.or(Some((password, user))),
                    (None, None) => {}
                }
            }
        }
        match half {
            Some((there, missing)) => Found::Nothing(format!("{there} is set, {missing} is not")),
            None => Found::NotApplicable(format!(
                "{} is not set",
                stems(registry)
                    .first()
                    .map_or_else(String::new, |stem| format!("LONGSHORE_{stem}_USER"))
            )),
        }
    }
}

impl Source for HostVariables {
    fn name(&self) -> &str {
        &self.name
    }

    fn find<'a>(
        &'a self,
        registry: &'a str,
        _repository: &'a str,
    ) -> BoxFuture<'a, Result<Found, Error>> {
        Box::pin(std::future::ready(Ok(self.look_up(registry))))
    }
}

/// The names that a host has in variables, the whole one first.
fn stems(host: &str) -> Vec<String> {
    let labels: Vec<&str> = host.split('.').collect();
    // `localhost:5000` has one label and keeps it.
    let last = labels.len().saturating_sub(1).max(1);
    (0..last)
        .map(|start| {
            let name = labels[start..].join("_");
            name.chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_uppercase()
                    } else {
                        '_'
                    }
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(found: Found) -> Option<String> {
        match found {
            Found::Credential(Credential {
                kind: CredentialKind::Password { username, password },
                ..
            }) => Some(format!("{username}/{}", password.expose())),
            Found::Credential(_) | Found::NotApplicable(_) | Found::Nothing(_) => None,
        }
    }

    #[tokio::test]
    async fn entries_are_for_their_host_and_path_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "f:from:file\n").unwrap();
        let of_file = format!("h.io/team=@{}", file.display());
        let entries = ["ghcr.io=u:p=:q", "docker.io=d:x", of_file.as_str()];
        let given = Given::parse("--registry-auth", "is not given", entries).unwrap();
        for (registry, repository, expect) in [
            ("ghcr.io", "a/b", Some("u/p=:q")),
            ("docker.io", "library/x", Some("d/x")),
            ("h.io", "team/app", Some("f/from:file")),
            ("h.io", "teams/app", None),
            ("ghcr.io.evil.com", "a/b", None),
        ] {
            let found = given.find(registry, repository).await.unwrap();
            assert_eq!(user(found).as_deref(), expect, "{registry}/{repository}");
        }
    }

    #[test]
    fn mistakes_hold_no_secret() {
        for entry in [
            "hunter2",
            "h=hunter2",
            "=u:hunter2",
            "h=:hunter2",
            "h=@/nonexistent",
        ] {
            let error = Given::parse("x", "y", [entry]).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn variables_are_named_after_hosts() {
        let variables: Variables = [
            ("KANIKO_REGISTRY_EXAMPLE_COM_USER", "a"),
            ("KANIKO_REGISTRY_EXAMPLE_COM_PASSWORD", "1"),
            ("KANIKO_EXAMPLE_COM_USER", "b"),
            ("KANIKO_EXAMPLE_COM_PASSWORD", "2"),
            ("KANIKO_COM_USER", "c"),
            ("KANIKO_COM_PASSWORD", "3"),
            ("LONGSHORE_EXAMPLE_COM_USER", "d"),
            ("LONGSHORE_EXAMPLE_COM_PASSWORD", "4"),
            ("LONGSHORE_LOCALHOST_5000_USER", "e"),
            ("LONGSHORE_LOCALHOST_5000_PASSWORD", "5"),
            ("KANIKO_INDEX_DOCKER_IO_USER", "f"),
            ("KANIKO_INDEX_DOCKER_IO_PASSWORD", "6"),
            ("KANIKO_HALF_IO_USER", "g"),
        ]
        .into_iter()
        .collect();
        let source = HostVariables::new(variables);
        for (host, expect) in [
            ("registry.example.com", Some("a/1")),
            ("other.example.com", Some("d/4")),
            ("example.com", Some("d/4")),
            ("evil.com", None),
            ("localhost:5000", Some("e/5")),
            ("localhost:5001", None),
            ("docker.io", Some("f/6")),
            ("half.io", None),
        ] {
            assert_eq!(user(source.look_up(host)).as_deref(), expect, "{host}");
        }
        assert_eq!(
            source.look_up("half.io"),
            Found::Nothing("KANIKO_HALF_IO_USER is set, KANIKO_HALF_IO_PASSWORD is not".to_owned())
        );
    }
}
