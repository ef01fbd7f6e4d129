//! Who we are, to any registry: [`Keychain`] gives the credential for a registry and repository.
//!
//! A credential says where it came from by name, so that a message can tell which source was used; its secret is
//! masked wherever it could be printed. Nothing here reads the environment: files, contents, search paths, variables
//! and the environment of helper programs arrive as values. Entry points: [`Chain`] asks its [`Source`]s in order and can
//! explain what each said. The sources: [`Given`] for what was typed or set, [`HostVariables`] for variables named after a
//! host, [`DockerConfig`] for `config.json` and its helper programs, and `cloud` for the identity that a platform gives.

mod chain;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub mod cloud;
mod docker_config;
mod files;
mod given;
mod helper;
pub mod identity;
mod login;
mod names;
mod variables;

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::http::Secret;

pub use chain::{Chain, Found, Source, Verdict, VerdictKind};
pub use docker_config::{ConfigContent, ConfigSource, DockerConfig};
pub use files::Files;
pub use given::{Given, GivenError, HostVariables};
pub use helper::HelperOptions;
pub use login::{LoginError, save_login};
pub use names::normalize as registry_name;
pub use variables::Variables;

/// Gives credentials. Asked again whenever a credential is needed or was refused, so that short-lived ones can be renewed.
pub trait Keychain: Debug + Send + Sync {
    /// Finds the credential for a repository (`library/alpine`) of a registry (`docker.io`, `ghcr.io`,
    /// `localhost:5000`); none means to go anonymously.
    ///
    /// # Errors
    /// When a source that should know cannot be read or run. The error names the source, never a secret.
    fn resolve<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, Error>>;

    /// Drops what is kept for a registry that refused it: the next answer is made anew.
    fn forget(&self, _registry: &str) {}

    /// Says why the sources that are meant for this registry gave nothing when they were last asked.
    fn misses(&self, _registry: &str) -> Vec<String> {
        Vec::new()
    }
}

/// A credential and the name of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What to present.
    pub kind: CredentialKind,
    /// Where it came from, as a user can recognize it: a file, a helper, a variable's name.
    pub source: String,
}

/// The forms that registries accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// User name and password, sent as `Basic` to the registry or its token server.
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, to be exchanged at the token server (`docker login` writes it as `identitytoken`).
    IdentityToken(Secret),
    /// A token to be sent to the registry as it is (`registrytoken`).
    RegistryToken(Secret),
}

impl CredentialKind {
    /// Names the form, without anything of the content.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Password { .. } => "user name and password",
            Self::IdentityToken(_) => "identity token",
            Self::RegistryToken(_) => "registry token",
        }
    }
}

/// A source of credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there and cannot be read.
    #[error("cannot read registry credentials from {source_name}: {source}")]
    Read {
        /// The source.
        source_name: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The content is not what it should be.
    #[error("registry credentials in {source_name} are malformed: {reason}")]
    Malformed {
        /// The source.
        source_name: String,
        /// What is wrong, without any value.
        reason: String,
    },
    /// A helper program cannot be used.
    #[error("credential helper {program} for {registry}: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// The registry asked about.
        registry: String,
        /// What went wrong.
        reason: String,
    },
}

/// Credentials known beforehand, by exact registry host and port.
#[derive(Clone, Debug, Default)]
pub struct Fixed(pub BTreeMap<String, Credential>);

impl Keychain for Fixed {
    fn resolve<'a>(
        &'a self,
        registry: &'a str,
        _repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        let found = self
            .0
            .get(registry)
            .or_else(|| names::aliases(registry).find_map(|alias| self.0.get(alias)));
        Box::pin(std::future::ready(Ok(found.cloned())))
    }
}
