//! Submodules: what `.gitmodules` says, and where each of them is.

use std::collections::HashMap;

use url::Url;

use crate::http::Origin;
use crate::rootfs::{RelPath, escape};

use super::error::GitError;
use super::remote::GitRemote;
use super::source::{GitReference, GitSource};

/// The addresses of a repository's submodules by their paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Modules(HashMap<Vec<u8>, String>);

impl Modules {
    /// Parses `.gitmodules`: the part of git's configuration format (git-config "Syntax") that git itself writes there.
    /// What it does not know, it skips; nothing is included from elsewhere.
    pub(super) fn parse(text: &str) -> Self {
        let mut modules = Self::default();
        let mut path: Option<String> = None;
        let mut url: Option<String> = None;
        let mut is_submodule = false;
        let mut lines = text.lines().chain(["[end]"]);
        while let Some(line) = lines.next() {
            let mut line = line.trim().to_owned();
            while line.ends_with('\\') && !line.ends_with("\\\\") {
                line.pop();
                line.push_str(lines.next().unwrap_or_default());
            }
            if line.starts_with('[') {
                if let (Some(path), Some(url)) = (path.take(), url.take()) {
                    // The first one counts: a second of the same path is nobody's honest file.
                    modules.0.entry(path.into_bytes()).or_insert(url);
                }
                path = None;
                url = None;
                is_submodule = line
                    .trim_start_matches('[')
                    .trim_start()
                    .to_ascii_lowercase()
                    .starts_with("submodule");
            } else if is_submodule && let Some((key, value)) = line.split_once('=') {
                match key.trim().to_ascii_lowercase().as_str() {
                    "path" => path = Some(unquoted(value)),
                    "url" => url = Some(unquoted(value)),
                    _ => {}
                }
            }
        }
        modules
    }

    /// The source of the submodule at a path of `parent`, pinned to its commit.
    pub(super) fn source(
        &self,
        path: &RelPath,
        commit: &str,
        parent: &GitSource,
    ) -> Result<GitSource, GitError> {
        let refused = |reason: String| GitError::Refused {
            url: parent.remote.to_string(),
            path: path.to_string(),
            reason,
        };
        let key = path.as_bytes();
        let key = key.strip_prefix(b"/").unwrap_or(key);
        let address = self.0.get(key).ok_or_else(|| {
            refused("it is a submodule that .gitmodules does not name".to_owned())
        })?;
        let remote = address_of(address, &parent.remote).ok_or_else(|| {
            let shown = escape(crate::http::printable(address, 200).as_bytes());
            refused(format!(
                "the address of the submodule is \"{shown}\"; https, http, ssh and relative ones are taken"
            ))
        })?;
        let is_same_place = match (&remote, &parent.remote) {
            (GitRemote::Http(one), GitRemote::Http(other)) => Origin::of(one) == Origin::of(other),
            _ => false,
        };
        let mut source = GitSource::of(remote, None);
        if is_same_place {
            // A login in the URL, and the leave not to look at certificates, were given for that place.
            source.login.clone_from(&parent.login);
            source.skips_tls_verify = parent.skips_tls_verify;
        }
        source.reference = GitReference::Commit(commit.to_owned());
        source.has_submodules = true;
        Ok(source)
    }
}

/// Takes quotes and escapes out of a value, and a comment off its end.
fn unquoted(value: &str) -> String {
    let mut text = String::new();
    let mut is_quoted = false;
    let mut characters = value.trim().chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => is_quoted = !is_quoted,
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(other) => text.push(other),
                None => {}
            },
            '#' | ';' if !is_quoted => break,
            other => text.push(other),
        }
    }
    if is_quoted {
        text
    } else {
        text.trim_end().to_owned()
    }
}

/// Takes the address of a submodule, which may be relative to that of its repository. `None` for transports that are
/// not spoken (files, the git protocol, programs) and for what could be an option or a second line.
fn address_of(address: &str, parent: &GitRemote) -> Option<GitRemote> {
    if address.starts_with('-') || address.contains(|character: char| character.is_control()) {
        return None;
    }
    if address.starts_with("./") || address.starts_with("../") {
        return relative(address, parent);
    }
    if address.starts_with("https://") || address.starts_with("http://") {
        let mut url = Url::parse(address).ok()?;
        // A repository cannot give us a login, nor may it lead us from https to http.
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_fragment(None);
        url.set_query(None);
        let is_downgrade = url.scheme() == "http"
            && !matches!(parent, GitRemote::Http(url) if url.scheme() == "http");
        return (!is_downgrade && url.path().len() > 1).then_some(GitRemote::Http(url));
    }
    if address.starts_with("ssh://") {
        let url = Url::parse(address).ok()?;
        return GitRemote::from_ssh_url(&url).filter(|_| url.password().is_none());
    }
    if address.contains("://") || address.contains("::") {
        return None;
    }
    GitRemote::parse_scp(address)
}

/// Goes up and down from the address of a repository, as git does: each `../` takes the last part away.
fn relative(address: &str, parent: &GitRemote) -> Option<GitRemote> {
    let base = match parent {
        GitRemote::Http(url) => url.path().to_owned(),
        GitRemote::Ssh { path, .. } => path.clone(),
    };
    let is_absolute = base.starts_with('/');
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in address.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return None;
    }
    let joined = format!("{}{}", if is_absolute { "/" } else { "" }, parts.join("/"));
    Some(match parent {
        GitRemote::Http(url) => {
            let mut url = url.clone();
            url.set_path(&joined);
            GitRemote::Http(url)
        }
        GitRemote::Ssh {
            user, host, port, ..
        } => GitRemote::Ssh {
            user: user.clone(),
            host: host.clone(),
            port: *port,
            path: joined,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitmodules_parse() {
        let modules = Modules::parse(
            "[submodule \"a\"]\n\tpath = lib/a\n\turl = ../a.git ; comment\n\
             [core]\n\tpath = x\n\turl = y\n\
             [submodule \"b\"]\n\tURL = \"https://h/b #1.git\"\n\tpath = \"b c\"\n\
             [submodule \"evil\"]\n\tpath = lib/a\n\turl = ssh://evil/x\n",
        );
        let expect = [
            (b"lib/a".to_vec(), "../a.git".to_owned()),
            (b"b c".to_vec(), "https://h/b #1.git".to_owned()),
        ];
        assert_eq!(modules, Modules(expect.into_iter().collect()));
    }

    #[test]
    fn addresses_are_relative_or_of_a_transport_that_is_spoken() {
        let parent = GitSource::parse_kaniko("h.io/o/r.git").expect("a source");
        let ssh = GitRemote::parse_scp("git@h.io:o/r.git").expect("a remote");
        let check = |address: &str, parent: &GitRemote, expect: Option<&str>| {
            let found = address_of(address, parent).map(|remote| remote.to_string());
            assert_eq!(found.as_deref(), expect, "{address}");
        };
        let http = &parent.remote;
        check("../s.git", http, Some("https://h.io/o/s.git"));
        check("./s", http, Some("https://h.io/o/r.git/s"));
        check("../../p/s", http, Some("https://h.io/p/s"));
        check("../../../p", http, None);
        check("../s.git", &ssh, Some("ssh://git@h.io/o/s.git"));
        check("https://u:p@k.io/x", http, Some("https://k.io/x"));
        check("git@k.io:x/y", http, Some("ssh://git@k.io/x/y"));
        check("ssh://k.io/x", http, Some("ssh://git@k.io/x"));
        for refused in [
            "http://h.io/x",
            "file:///etc",
            "/etc",
            "ext::sh -c x",
            "git://h.io/x",
            "--upload-pack=x",
            "-x@h:y",
            "https://h.io/x\r",
            "ssh://-oProxyCommand=x/y",
            "ftp://h/x",
            "",
        ] {
            check(refused, http, None);
        }
    }

    #[test]
    fn a_login_stays_with_its_host() {
        let parent = GitSource::parse_kaniko("tok@h.io/o/r.git").expect("a source");
        let modules = Modules::parse(
            "[submodule \"a\"]\npath = a\nurl = ../a\n[submodule \"b\"]\npath = b\nurl = https://k.io/b\n",
        );
        let source = |path: &str| {
            let path = RelPath::parse(path).expect("a path");
            modules
                .source(&path, &"0".repeat(40), &parent)
                .expect("a source")
        };
        assert!(source("a").login.is_some());
        assert!(source("b").login.is_none());
        let missing = RelPath::parse("c").expect("a path");
        assert!(modules.source(&missing, "", &parent).is_err());
    }
}
