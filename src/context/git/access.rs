//! Who we are to git servers, as values: the environment has been read before.

use std::path::PathBuf;

#[cfg(any(feature = "git", test))]
use url::Url;

#[cfg(any(feature = "git", test))]
use crate::http::Authorization;
use crate::http::{Origin, Secret};

use super::remote::GitRemote;
use super::source::GitSource;

/// A user and a password; a token may be either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: Secret,
    /// The password, which may be empty.
    pub password: Secret,
}

/// The token that a CI system gives for its own server.
#[derive(Clone, Debug)]
pub struct HostToken {
    /// The only place that it is for.
    pub origin: Origin,
    /// The user that goes with it.
    pub login: Login,
    /// The variable that it came in.
    pub variable: &'static str,
}

/// Who we are to git servers.
///
/// A credential goes to one host. `token` and `login` are for the host of the build's own context; where there is no
/// such host, for nobody. A token of a CI system is for that system's server.
#[derive(Clone, Debug, Default)]
pub struct GitAccess {
    /// `GIT_TOKEN`.
    pub token: Option<Secret>,
    /// `GIT_USERNAME` and `GIT_PASSWORD`.
    pub login: Option<Login>,
    /// The place that both are for: that of the context.
    pub origin: Option<Origin>,
    /// Tokens of CI systems.
    pub host_tokens: Vec<HostToken>,
    /// For SSH.
    pub ssh: SshAccess,
    /// Whether a pointer of Git LFS is taken as the file, and is no error.
    pub takes_lfs_pointers: bool,
}

/// Who we are over SSH, and whom we believe.
#[derive(Clone, Debug, Default)]
pub struct SshAccess {
    /// Private keys in the order to try, each with where it came from.
    pub keys: Vec<(String, Secret)>,
    /// What opens those of them that are encrypted.
    pub passphrase: Option<Secret>,
    /// The socket of an agent.
    pub agent: Option<PathBuf>,
    /// The text of `known_hosts` files, each with where it came from.
    pub known_hosts: Vec<(String, String)>,
}

impl GitAccess {
    /// Binds `GIT_TOKEN` and `GIT_USERNAME` to the place of the build's context.
    pub fn bind(&mut self, source: &GitSource) {
        self.origin = match &source.remote {
            GitRemote::Http(url) => Origin::of(url),
            GitRemote::Ssh { .. } => None,
        };
    }

    /// The credentials for a repository in the order to try, each with where it came from.
    #[cfg(any(feature = "git", test))]
    pub(super) fn for_url(
        &self,
        url: &Url,
        own: Option<&Login>,
    ) -> Vec<(&'static str, Authorization)> {
        let mut found = Vec::new();
        let Some(origin) = Origin::of(url) else {
            return found;
        };
        let basic =
            |user: &str, password: &Secret| Authorization::basic(origin.clone(), user, password);
        if let Some(login) = own {
            found.push(("the URL", basic(login.user.expose(), &login.password)));
        }
        if self.origin.as_ref() == Some(&origin) {
            if let Some(token) = &self.token {
                // As kaniko sends it, and as GitLab wants it.
                found.push(("GIT_TOKEN", basic(token.expose(), &Secret::default())));
                found.push(("GIT_TOKEN", basic("oauth2", token)));
            } else if let Some(login) = &self.login {
                let pair = basic(login.user.expose(), &login.password);
                found.push(("GIT_USERNAME and GIT_PASSWORD", pair));
            }
        }
        for token in &self.host_tokens {
            if token.origin == origin {
                let login = &token.login;
                found.push((token.variable, basic(login.user.expose(), &login.password)));
            }
        }
        found
    }

    /// Says of every source of credentials whether it had one for this URL.
    #[cfg(any(feature = "git", test))]
    pub(super) fn tried(&self, url: &Url, own: Option<&Login>) -> String {
        let found = self.for_url(url, own);
        let was_refused = |name: &str| found.iter().any(|(source, _)| *source == name);
        let origin = Origin::of(url);
        let mut said = Vec::new();
        let mut say = |name: &str, is_set: bool| {
            let state = if was_refused(name) {
                "was refused"
            } else if is_set {
                "is for another host"
            } else {
                "is not set"
            };
            said.push(format!("{name} {state}"));
        };
        if own.is_some() {
            say("the URL", true);
        }
        say("GIT_TOKEN", self.token.is_some());
        say("GIT_USERNAME and GIT_PASSWORD", self.login.is_some());
        for token in &self.host_tokens {
            say(token.variable, true);
        }
        if self.token.is_some() && self.login.is_some() && self.origin == origin {
            said.retain(|line| !line.starts_with("GIT_USERNAME"));
        }
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn credentials_go_to_their_host_only() {
        let mut access = GitAccess {
            token: Some(Secret::new("t")),
            host_tokens: vec![HostToken {
                origin: Origin::of(&url("https://github.com")).expect("an origin"),
                login: Login {
                    user: Secret::new("x-access-token"),
                    password: Secret::new("g"),
                },
                variable: "GITHUB_TOKEN",
            }],
            ..GitAccess::default()
        };
        let names = |access: &GitAccess, place: &str| -> Vec<&'static str> {
            let found = access.for_url(&url(place), None);
            found.into_iter().map(|(name, _)| name).collect()
        };
        assert!(names(&access, "https://h.io/a").is_empty());
        let source = GitSource::parse_kaniko("h.io/a").expect("a source");
        access.bind(&source);
        assert_eq!(names(&access, "https://h.io/b"), ["GIT_TOKEN"; 2]);
        for other in [
            "http://h.io/a",
            "https://h.io:444/a",
            "https://h.io.evil.com/a",
            "https://sub.h.io/a",
        ] {
            assert!(names(&access, other).is_empty(), "{other}");
        }
        assert_eq!(names(&access, "https://github.com/x"), ["GITHUB_TOKEN"]);
        let said = access.tried(&url("https://github.com/x"), None);
        assert!(said.contains("GIT_TOKEN is for another host"), "{said}");
        assert!(said.contains("GITHUB_TOKEN was refused"), "{said}");
    }
}
