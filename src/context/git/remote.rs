//! Where a repository is.

use std::fmt;

use url::Url;

use crate::http::redact_url;

/// The place of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GitRemote {
    /// Smart HTTP; the URL has neither user nor fragment.
    Http(Url),
    /// SSH.
    Ssh {
        /// Whom to log in as.
        user: String,
        /// The host: a name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// The path on the server as it is passed to `git-upload-pack`.
        path: String,
    },
}

/// The user that hosting services expect.
pub(super) const SSH_USER: &str = "git";
/// The port of SSH.
pub(super) const SSH_PORT: u16 = 22;

impl GitRemote {
    /// The host, without port.
    pub fn host(&self) -> &str {
        match self {
            Self::Http(url) => url.host_str().unwrap_or_default(),
            Self::Ssh { host, .. } => host,
        }
    }

    /// Parses `user@host:path`, unless it is anything else.
    ///
    /// As for git, a slash before the colon makes it a path.
    pub(super) fn parse_scp(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('@')?;
        let is_user = !user.is_empty()
            && !user.starts_with('-')
            && user
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !is_user {
            return None;
        }
        let (host, path) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once("]:")?,
            None => rest.split_once(':')?,
        };
        let is_host = is_ssh_host(host);
        (is_host && !path.is_empty()).then(|| Self::Ssh {
            user: user.to_owned(),
            host: host.to_ascii_lowercase(),
            port: SSH_PORT,
            path: path.to_owned(),
        })
    }

    /// Makes an SSH remote of an `ssh://` URL.
    pub(super) fn from_ssh_url(url: &Url) -> Option<Self> {
        let host = url
            .host_str()?
            .trim_start_matches('[')
            .trim_end_matches(']');
        let path = percent_decoded(url.path())?;
        if !is_ssh_host(host) || path.len() < 2 {
            return None;
        }
        let user = match url.username() {
            "" => SSH_USER.to_owned(),
            user => percent_decoded(user)?,
        };
        // `/~user/x` is relative to a home directory for the shell on the other side.
        let path = match path.strip_prefix("/~") {
            Some(_) => path[1..].to_owned(),
            None => path,
        };
        Some(Self::Ssh {
            user,
            host: host.to_ascii_lowercase(),
            port: url.port().unwrap_or(SSH_PORT),
            path,
        })
    }
}

/// Whether a host is a name or an address and nothing that a program could take for an option.
fn is_ssh_host(host: &str) -> bool {
    !host.is_empty()
        && !host.starts_with('-')
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
}

/// Decodes `%XX`; `None` if the result is not text that fits into one line.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains(|character: char| character.is_control())).then_some(text)
}

impl fmt::Display for GitRemote {
    /// Writes it without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&redact_url(url)),
            Self::Ssh {
                user,
                host,
                port,
                path,
            } => {
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                let slash = if path.starts_with('/') { "" } else { "/" };
                write!(f, "ssh://{user}@{host}")?;
                if *port != SSH_PORT {
                    write!(f, ":{port}")?;
                }
                write!(f, "{slash}{path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scp_forms_parse() {
        let check = |text: &str, expect: Option<(&str, &str, &str)>| {
            let parsed = GitRemote::parse_scp(text);
            let parsed = parsed.as_ref().map(|remote| match remote {
                GitRemote::Ssh {
                    user, host, path, ..
                } => (user.as_str(), host.as_str(), path.as_str()),
                GitRemote::Http(url) => panic!("{url}"),
            });
            assert_eq!(parsed, expect, "{text}");
        };
        check("git@h.io:a/b.git", Some(("git", "h.io", "a/b.git")));
        check("me@H:~/x", Some(("me", "h", "~/x")));
        check("git@[::1]:x", Some(("git", "::1", "x")));
        check("git@-oProxyCommand=x:y", None);
        check("-x@h:y", None);
        check("a/b@h:y", None);
        check("git@h/x:y", None);
        check("git@h:", None);
        check("host:path", None);
    }

    #[test]
    fn percents_are_decoded() {
        assert_eq!(percent_decoded("a%20b").as_deref(), Some("a b"));
        assert_eq!(percent_decoded("a%0ab"), None);
        assert_eq!(percent_decoded("a%zz"), None);
        assert_eq!(percent_decoded("a%2"), None);
        assert_eq!(percent_decoded("%ff"), None);
    }
}
