//! The grammar of everything that names a repository.

use std::fmt;

use url::Url;

use super::access::Login;
use super::remote::{GitRemote, percent_decoded};
use crate::http::Secret;

/// A repository, and what of it.
///
/// # Deviation
/// There is no `.git` directory in a context unless it is asked for (`keep-git-dir`): kaniko leaves one, with the whole
/// history, for `COPY .` to copy. BuildKit does as we do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the grammar"
)]
pub struct GitSource {
    /// Where it is.
    pub remote: GitRemote,
    /// The user and password that stood in the URL.
    pub login: Option<Login>,
    /// What to check out.
    pub reference: GitReference,
    /// The commit that it must be, or that is to be checked out of the reference's history: its first digits.
    pub commit: Option<String>,
    /// The directory to take instead of all.
    pub subdir: Option<String>,
    /// How many commits of history to fetch, 0 for all. Files come from the last one alone.
    pub depth: u32,
    /// Whether `.git` is left in place.
    pub keeps_git_dir: bool,
    /// Whether submodules are fetched too.
    pub has_submodules: bool,
    /// Whether the server's certificate is believed unseen.
    pub skips_tls_verify: bool,
    /// Whether a commit outside of the reference's history is an error.
    pub checks_commit: bool,
    /// Whether it was written as kaniko does, which leaves open how the server is spoken to.
    pub is_kaniko: bool,
}

/// What is asked for in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitReference {
    /// What the server says is its default.
    Head,
    /// `refs/...`, in full.
    Full(String),
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// A branch, or else a tag, or else what is so called below `refs/`.
    Any(String),
    /// A commit: 40 hexadecimal digits.
    Commit(String),
}

/// Why a text names no repository.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GitSourceError {
    /// The address.
    #[error("the git address \"{address}\" is not usable: {reason}")]
    Address {
        /// The address, without user and password.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The reference.
    #[error("\"{}\" is not a name that a git branch or tag can have", name.escape_debug())]
    Reference {
        /// The name.
        name: String,
    },
    /// The commit.
    #[error("\"{}\" is not a commit: expected hexadecimal digits", text.escape_debug())]
    Commit {
        /// What stands there.
        text: String,
    },
    /// A key of the query, or of `--git`.
    #[error("\"{}\" is not known: expected {expected}", key.escape_debug())]
    Key {
        /// The key.
        key: String,
        /// What is known.
        expected: &'static str,
    },
    /// The value of a key.
    #[error("{key}=\"{}\" is not {expected}", value.escape_debug())]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Two things are asked for at once.
    #[error("more than one of ref, branch, tag and the part after # is given")]
    Ambiguous,
    /// The directory.
    #[error("the directory \"{}\" of a repository may not lead out of it", path.escape_debug())]
    Subdir {
        /// The directory.
        path: String,
    },
}

/// Digits of a commit.
pub(super) const COMMIT_DIGITS: usize = 40;
/// The fewest digits that a checksum may have, as git abbreviates.
const COMMIT_DIGITS_MIN: usize = 7;

impl GitSource {
    /// Parses kaniko's form, what follows `git://` in `git://HOST/PATH[#REFERENCE][#COMMIT]`: HTTPS is spoken, and no
    /// submodules are fetched unless asked for.
    ///
    /// # Errors
    /// [`GitSourceError`] names the part.
    pub fn parse_kaniko(rest: &str) -> Result<Self, GitSourceError> {
        let (address, fragment) = split_fragment(rest);
        let mut source = Self::of_url(&format!("https://{address}"))?;
        source.has_submodules = false;
        source.is_kaniko = true;
        source.take_query()?;
        let Some(fragment) = fragment else {
            return Ok(source);
        };
        let (reference, commit) = match fragment.split_once('#') {
            Some((reference, commit)) => (reference, Some(commit)),
            None => (fragment, None),
        };
        source.take_fragment(reference)?;
        if let Some(commit) = commit.filter(|commit| !commit.is_empty()) {
            source.commit = Some(full_commit(commit)?);
        }
        Ok(source)
    }

    /// Parses BuildKit's forms: `https://HOST/PATH.git`, `ssh://`, `user@host:path` and `github.com/OWNER/NAME`, each
    /// with `#REFERENCE:SUBDIR` or a query (`ref`, `branch`, `tag`, `checksum`, `subdir`, `keep-git-dir`, `submodules`).
    /// Submodules are fetched unless the query says otherwise. `None` if the text has none of these forms.
    ///
    /// # Errors
    /// [`GitSourceError`] names the part.
    pub fn parse_url(text: &str) -> Option<Result<Self, GitSourceError>> {
        let (address, fragment) = split_fragment(text);
        let path = address.split_once('?').map_or(address, |(path, _)| path);
        let made = if let Some(rest) = address.strip_prefix("github.com/") {
            Self::of_url(&format!("https://github.com/{rest}"))
        } else if address.starts_with("ssh://")
            || (address.starts_with("https://") || address.starts_with("http://"))
                && path.strip_suffix(".git").is_some()
        {
            Self::of_url(address)
        } else if !address.contains("://") {
            let (path, query) = match address.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (address, None),
            };
            let remote = GitRemote::parse_scp(path)?;
            let mut source = Self::of(remote, None);
            match query.map_or(Ok(()), |query| source.apply_query(query)) {
                Ok(()) => Ok(source),
                Err(error) => Err(error),
            }
        } else {
            return None;
        };
        Some(made.and_then(|mut source| {
            source.take_query()?;
            if let Some(fragment) = fragment {
                source.take_fragment(fragment)?;
            }
            Ok(source)
        }))
    }

    /// Parses the source of an ADD: BuildKit's forms, of which `github.com/OWNER/NAME` is none here.
    ///
    /// # Deviation
    /// `git://` is spoken over HTTPS, as in kaniko; BuildKit speaks git's own protocol, which nothing encrypts.
    ///
    /// # Errors
    /// [`GitSourceError`] names the part.
    pub fn parse_add(text: &str) -> Result<Self, GitSourceError> {
        if let Some(rest) = text.strip_prefix("git://") {
            let mut source = Self::parse_kaniko(rest)?;
            source.has_submodules = true;
            return Ok(source);
        }
        Self::parse_url(text).unwrap_or_else(|| {
            Err(GitSourceError::Address {
                address: without_login(text),
                reason: "expected https://HOST/PATH.git, ssh://HOST/PATH or USER@HOST:PATH",
            })
        })
    }

    /// Makes sure of a commit, by its first digits or all.
    ///
    /// # Errors
    /// When it is no commit.
    pub fn expect_commit(&mut self, digits: &str) -> Result<(), GitSourceError> {
        self.commit = Some(commit_digits(digits)?);
        self.checks_commit = true;
        Ok(())
    }

    /// What of a repository is taken, apart from the commit: in one line, without secrets.
    pub fn taken(&self) -> String {
        let Self {
            remote,
            login: _,
            reference,
            commit: _,
            subdir,
            depth,
            keeps_git_dir,
            has_submodules,
            skips_tls_verify: _,
            checks_commit: _,
            is_kaniko: _,
        } = self;
        let subdir = subdir.as_deref().unwrap_or_default();
        let history = match keeps_git_dir {
            true => format!(" .git of {reference} depth {depth}"),
            false => String::new(),
        };
        format!("{remote} submodules {has_submodules} directory {subdir:?}{history}")
    }

    /// A repository at a place, all of its default branch.
    pub fn of(remote: GitRemote, login: Option<Login>) -> Self {
        Self {
            remote,
            login,
            reference: GitReference::Head,
            commit: None,
            subdir: None,
            depth: 1,
            keeps_git_dir: false,
            has_submodules: true,
            skips_tls_verify: false,
            checks_commit: false,
            is_kaniko: false,
        }
    }

    /// Speaks plain HTTP where HTTPS would have been spoken.
    pub fn over_http(&mut self) {
        if let GitRemote::Http(url) = &mut self.remote {
            // An http URL may take the place of an https URL; there is nothing that could fail.
            let _ = url.set_scheme("http");
        }
    }

    /// Parses an http, https or ssh URL, which may carry user and password.
    fn of_url(text: &str) -> Result<Self, GitSourceError> {
        let failed = |reason| GitSourceError::Address {
            address: without_login(text),
            reason,
        };
        let mut url = Url::parse(text).map_err(|_| failed("it is not a URL"))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(failed("it names no host"));
        }
        if url.scheme() == "ssh" {
            if url.password().is_some() {
                return Err(failed("a password for SSH is not supported: use a key"));
            }
            let query = url.query().map(str::to_owned);
            let remote =
                GitRemote::from_ssh_url(&url).ok_or_else(|| failed("host or path is missing"))?;
            let mut source = Self::of(remote, None);
            if let Some(query) = query {
                source.apply_query(&query)?;
            }
            return Ok(source);
        }
        if url.path().len() < 2 {
            return Err(failed("it names no repository"));
        }
        let has_login = !url.username().is_empty() || url.password().is_some();
        let login = login_of(&url).ok_or_else(|| failed("user or password are not text"))?;
        let is_cleared = url.set_username("").is_ok() && url.set_password(None).is_ok();
        if !is_cleared {
            return Err(failed("it names no host"));
        }
        url.set_fragment(None);
        Ok(Self::of(GitRemote::Http(url), has_login.then_some(login)))
    }

    /// Takes what the query says out of the URL.
    fn take_query(&mut self) -> Result<(), GitSourceError> {
        let GitRemote::Http(url) = &mut self.remote else {
            return Ok(());
        };
        let Some(query) = url.query().map(str::to_owned) else {
            return Ok(());
        };
        url.set_query(None);
        self.apply_query(&query)
    }

    fn apply_query(&mut self, query: &str) -> Result<(), GitSourceError> {
        let mut keeps = None;
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let switch = || match &*value {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(GitSourceError::Value {
                    key: key.to_string(),
                    value: value.to_string(),
                    expected: "true or false",
                }),
            };
            match &*key {
                "ref" => self.set_reference(any_reference(&value)?)?,
                "branch" => self.set_reference(GitReference::Branch(reference_name(&value)?))?,
                "tag" => self.set_reference(GitReference::Tag(reference_name(&value)?))?,
                "checksum" | "commit" => {
                    self.commit = Some(commit_digits(&value)?);
                    self.checks_commit = true;
                }
                "subdir" => self.subdir = subdir(&value)?,
                "keep-git-dir" => keeps = Some(switch()?),
                "submodules" => self.has_submodules = switch()?,
                _ => {
                    return Err(GitSourceError::Key {
                        key: key.to_string(),
                        expected: "ref, branch, tag, checksum, subdir, keep-git-dir or submodules",
                    });
                }
            }
        }
        self.keeps_git_dir |= keeps.unwrap_or(false);
        Ok(())
    }

    /// Takes `REFERENCE[:SUBDIR]`.
    fn take_fragment(&mut self, fragment: &str) -> Result<(), GitSourceError> {
        let (reference, directory) = match fragment.split_once(':') {
            Some((reference, directory)) => (reference, Some(directory)),
            None => (fragment, None),
        };
        if !reference.is_empty() {
            self.set_reference(any_reference(reference)?)?;
        }
        if let Some(directory) = directory {
            self.subdir = subdir(directory)?;
        }
        Ok(())
    }

    fn set_reference(&mut self, reference: GitReference) -> Result<(), GitSourceError> {
        if self.reference != GitReference::Head {
            return Err(GitSourceError::Ambiguous);
        }
        self.reference = reference;
        Ok(())
    }
}

impl fmt::Display for GitSource {
    /// Writes it without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.remote)?;
        if self.reference != GitReference::Head || self.subdir.is_some() {
            write!(f, "#{}", self.reference)?;
        }
        if let Some(subdir) = &self.subdir {
            write!(f, ":{subdir}")?;
        }
        Ok(())
    }
}

impl fmt::Display for GitReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => Ok(()),
            Self::Full(name)
            | Self::Branch(name)
            | Self::Tag(name)
            | Self::Any(name)
            | Self::Commit(name) => f.write_str(name),
        }
    }
}

fn split_fragment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('#') {
        Some((address, fragment)) => (address, Some(fragment)),
        None => (text, None),
    }
}

/// The user and password of a URL.
fn login_of(url: &Url) -> Option<Login> {
    Some(Login {
        user: Secret::new(percent_decoded(url.username())?),
        password: Secret::new(percent_decoded(url.password().unwrap_or_default())?),
    })
}

/// An address that does not parse, as it may be shown.
fn without_login(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let shown: String = host.chars().take(200).collect();
    format!("{scheme}://{}", shown.escape_debug())
}

/// Takes a commit, a full reference, or the name of a branch or tag.
fn any_reference(text: &str) -> Result<GitReference, GitSourceError> {
    if is_full_commit(text) {
        return Ok(GitReference::Commit(text.to_ascii_lowercase()));
    }
    let name = reference_name(text)?;
    Ok(match &*name {
        "HEAD" => GitReference::Head,
        name if name.starts_with("refs/") => GitReference::Full(name.to_owned()),
        _ => GitReference::Any(name),
    })
}

/// Checks a name as `git check-ref-format` does.
pub(super) fn reference_name(text: &str) -> Result<String, GitSourceError> {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.strip_suffix(".lock").is_none()
            && !part.ends_with('.')
    };
    let is_name = !text.starts_with('-')
        && text != "@"
        && text.len() <= 1024
        && text.split('/').all(is_part)
        && !text.contains("..")
        && !text.contains("@{")
        && !text
            .contains(|character: char| character.is_control() || " ~^:?*[\\".contains(character));
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(GitSourceError::Reference {
            name: text.chars().take(100).collect(),
        })
    }
}

/// Whether a text is a whole commit id.
pub(super) fn is_full_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn full_commit(text: &str) -> Result<String, GitSourceError> {
    if is_full_commit(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(GitSourceError::Commit {
        text: text.chars().take(80).collect(),
    })
}

/// The first digits of a commit, or all.
fn commit_digits(text: &str) -> Result<String, GitSourceError> {
    let is_commit = (COMMIT_DIGITS_MIN..=COMMIT_DIGITS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit {
        return Ok(text.to_ascii_lowercase());
    }
    Err(GitSourceError::Commit {
        text: text.chars().take(80).collect(),
    })
}

/// Checks a directory of a repository; the whole repository is none.
fn subdir(text: &str) -> Result<Option<String>, GitSourceError> {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") || text.contains('\0') {
        return Err(GitSourceError::Subdir {
            path: text.chars().take(200).collect(),
        });
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
