//! One repository and its submodules: what is asked for is found, fetched, checked and written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use url::Url;

use crate::rootfs::{RelPath, Rootfs, Timestamp};

use super::checkout::{Checkout, Gitlink, subtree};
use super::error::GitError;
use super::keep;
use super::modules::Modules;
use super::objects::{Commit, EntryKind, Objects};
use super::protocol::{Advertised, Server};
use super::remote::GitRemote;
use super::source::{COMMIT_DIGITS, GitReference, GitSource};
use super::wire::{Wire, wait};
use super::{Fetched, GitServices};

/// Submodules of submodules are followed so deep.
const NESTING_MAX: usize = 16;
/// The most submodules of one fetch.
const SUBMODULES_MAX: u64 = 1000;
/// How many names an error lists.
const NAMES_SHOWN: usize = 10;
/// The file that says where submodules are.
const GITMODULES: &[u8] = b".gitmodules";

/// What was found and fetched of one repository.
pub(super) struct Repository {
    pub(super) objects: Objects,
    pub(super) commit: Commit,
    /// The reference that was asked for, by its full name, and its object.
    pub(super) reference: Option<(String, String)>,
    /// Where the history was cut.
    pub(super) shallow: Vec<String>,
}

struct Fetch<'a> {
    services: &'a GitServices<'a>,
    checkout: Checkout<'a>,
    scratch: PathBuf,
    received: Arc<AtomicU64>,
    /// The time of every file.
    committed: i64,
    repositories: u64,
}

/// As [`super::fetch`].
pub(super) fn fetch(
    source: &GitSource,
    destination: &Path,
    scratch: &Path,
    services: &GitServices<'_>,
) -> Result<Fetched, GitError> {
    let url = source.remote.to_string();
    let rootfs = Rootfs::open(destination)?;
    let mut fetch = Fetch {
        services,
        checkout: Checkout::new(&rootfs, services.access.takes_lfs_pointers),
        scratch: scratch.join("git"),
        received: Arc::default(),
        committed: 0,
        repositories: 0,
    };
    // It lies at the top of a repository, so a directory of one comes without it, as with BuildKit.
    let keeps_git_dir = source.keeps_git_dir && source.subdir.is_none();
    fetch.checkout.staged = keeps_git_dir.then(Vec::new);
    let fetched = fetch.top(source, destination, &url);
    let removed = std::fs::remove_dir_all(&fetch.scratch);
    let fetched = fetched?;
    removed.map_err(|source| GitError::Write {
        url,
        action: "remove the fetched objects",
        source,
    })?;
    Ok(fetched)
}

/// As [`super::resolve`].
pub(super) fn resolve(source: &GitSource, services: &GitServices<'_>) -> Result<String, GitError> {
    if let Some(commit) = named_commit(source) {
        return Ok(commit.clone());
    }
    let url = source.remote.to_string();
    let mut wire = Wire::open(source, None, services, Arc::default())?;
    let server = Server::greet(&mut wire, &url)?;
    let mut talk = Talk {
        wire,
        server,
        url: &url,
    };
    let found = talk.find(&source.reference)?;
    Ok(found.peeled.unwrap_or(found.id))
}

/// The commit that is asked for by its name.
fn named_commit(source: &GitSource) -> Option<&String> {
    match (&source.reference, &source.commit) {
        (GitReference::Commit(commit), _) => Some(commit),
        (_, Some(commit)) if !source.checks_commit => Some(commit),
        _ => None,
    }
}

impl Fetch<'_> {
    fn top(
        &mut self,
        source: &GitSource,
        destination: &Path,
        url: &str,
    ) -> Result<Fetched, GitError> {
        let repository = self.repository(source, None)?;
        let commit = &repository.commit;
        self.committed = commit.committed;
        self.write(source, &repository, &RelPath::root(), 0)?;
        if let Some(staged) = self.checkout.staged.take() {
            keep::write(&repository, source, &staged, &destination.join(".git")).map_err(
                |source| GitError::Write {
                    url: url.to_owned(),
                    action: "write .git",
                    source,
                },
            )?;
        }
        self.checkout
            .rootfs
            .set_mode(&RelPath::root(), 0o755)
            .and_then(|()| {
                let time = self.time();
                self.checkout.rootfs.set_mtime(&RelPath::root(), time)
            })?;
        Ok(Fetched {
            commit: commit.id.clone(),
            committed: commit.committed,
            received: self.received.load(Ordering::Relaxed),
            submodules: self.repositories - 1,
        })
    }

    fn time(&self) -> Timestamp {
        Timestamp {
            secs: self.committed,
            nanos: 0,
        }
    }

    /// Writes the files of a repository and of its submodules below a directory.
    fn write(
        &mut self,
        source: &GitSource,
        repository: &Repository,
        at: &RelPath,
        nesting: usize,
    ) -> Result<(), GitError> {
        let url = source.remote.to_string();
        let objects = &repository.objects;
        let root = &repository.commit.tree;
        let tree = match &source.subdir {
            Some(path) => subtree(objects, root, path, &url)?,
            None => root.clone(),
        };
        let committed = self.committed;
        // The index of a repository that is kept lists its own files alone.
        let staged = if nesting == 0 {
            None
        } else {
            self.checkout.staged.take()
        };
        let links = self.checkout.write(objects, &tree, at, committed, &url)?;
        if source.has_submodules && !links.is_empty() {
            let modules = modules(objects, root)?;
            let staged = self.checkout.staged.take();
            for link in &links {
                self.submodule(source, &modules, link, at, nesting)?;
            }
            self.checkout.staged = staged;
        }
        if nesting > 0 {
            self.checkout.staged = staged;
        }
        Ok(())
    }

    fn submodule(
        &mut self,
        parent: &GitSource,
        modules: &Modules,
        link: &Gitlink,
        at: &RelPath,
        nesting: usize,
    ) -> Result<(), GitError> {
        let url = parent.remote.to_string();
        if nesting >= NESTING_MAX || self.repositories > SUBMODULES_MAX {
            return Err(GitError::TooLarge {
                url,
                limit: SUBMODULES_MAX,
                what: "submodules, or 16 one in another",
            });
        }
        // `.gitmodules` counts from the top of the repository.
        let full = match &parent.subdir {
            Some(directory) => RelPath::parse(directory)
                .map_err(crate::rootfs::Error::from)?
                .join(&link.path),
            None => link.path.clone(),
        };
        let failed = |source| GitError::Submodule {
            url: url.clone(),
            path: full.to_string(),
            source: Box::new(source),
        };
        let source = modules.source(&full, &link.commit, parent)?;
        let led_by = match &parent.remote {
            GitRemote::Http(url) => Some(url.clone()),
            GitRemote::Ssh { host, port, .. } => Url::parse(&format!("ssh://{host}:{port}")).ok(),
        };
        let repository = self.repository(&source, led_by.as_ref()).map_err(failed)?;
        let below = at.join(&link.path);
        self.write(&source, &repository, &below, nesting + 1)
            .map_err(failed)?;
        self.checkout.rootfs.set_mtime(&below, self.time())?;
        Ok(())
    }

    /// Fetches one repository, again if the network failed.
    fn repository(
        &mut self,
        source: &GitSource,
        led_by: Option<&Url>,
    ) -> Result<Repository, GitError> {
        let mut backoff = self.services.http.backoff();
        loop {
            self.repositories += 1;
            let directory = self.scratch.join(self.repositories.to_string());
            match self.try_repository(source, led_by, &directory) {
                Err(error) if error.is_transient() => {
                    let Some(time) = backoff.next_wait(None) else {
                        return Err(error);
                    };
                    tracing::debug!(%error, "the fetch is tried again");
                    wait(self.services, async { tokio::time::sleep(time).await })?;
                    self.repositories -= 1;
                    // What came of the first try is incomplete.
                    let _ = std::fs::remove_dir_all(&directory);
                }
                result => return result,
            }
        }
    }

    fn try_repository(
        &self,
        source: &GitSource,
        led_by: Option<&Url>,
        directory: &Path,
    ) -> Result<Repository, GitError> {
        let url = source.remote.to_string();
        let open = || {
            let received = Arc::clone(&self.received);
            Wire::open(source, led_by, self.services, received)
        };
        let mut wire = open()?;
        let server = Server::greet(&mut wire, &url)?;
        let mut talk = Talk {
            wire,
            server,
            url: &url,
        };
        let Some(id) = named_commit(source) else {
            let found = talk.find(&source.reference)?;
            let objects = Objects::create(&directory.join("objects"), &url)?;
            let shallow = talk.receive(&objects, std::slice::from_ref(&found.id), source.depth)?;
            let commit = objects.commit(&found.id)?;
            check(source, &commit, &found.id, &url)?;
            let name = found.symbolic.unwrap_or(found.name);
            return Ok(Repository {
                objects,
                commit,
                reference: Some((name, found.id)),
                shallow,
            });
        };
        // The one commit, from servers that give it.
        if talk.may_ask_for(id)? {
            let objects = Objects::create(&directory.join("objects"), &url)?;
            match talk.receive(&objects, std::slice::from_ref(id), source.depth) {
                Ok(shallow) => {
                    let commit = objects.commit(id)?;
                    check(source, &commit, id, &url)?;
                    return Ok(Repository {
                        objects,
                        commit,
                        reference: None,
                        shallow,
                    });
                }
                Err(GitError::Server { message, .. }) => {
                    tracing::debug!(message, "the server does not give a commit by its id");
                    talk.wire = open()?;
                    talk.server = Server::greet(&mut talk.wire, &url)?;
                }
                Err(error) => return Err(error),
            }
        }
        // From others, the history that has it.
        let wants: Vec<String> = match &source.reference {
            GitReference::Commit(_) => talk.all()?,
            reference => vec![talk.find(reference)?.id],
        };
        let objects = Objects::create(&directory.join("history"), &url)?;
        let shallow = talk.receive(&objects, &wants, 0)?;
        if !objects.has(id) {
            return Err(GitError::NoReference {
                what: format!("commit {id}"),
                hint: match &source.reference {
                    GitReference::Commit(_) => " in any branch or tag".to_owned(),
                    reference => format!(" in the history of {reference}"),
                },
                url,
            });
        }
        let commit = objects.commit(id)?;
        check(source, &commit, id, &url)?;
        Ok(Repository {
            objects,
            commit,
            reference: None,
            shallow,
        })
    }
}

/// A conversation with a server.
struct Talk<'a> {
    wire: Wire<'a>,
    server: Server,
    url: &'a str,
}

impl Talk<'_> {
    fn references(&mut self, prefixes: &[String]) -> Result<Vec<Advertised>, GitError> {
        self.server.references(&mut self.wire, prefixes, self.url)
    }

    /// Finds a reference by the rules of [`GitReference`].
    fn find(&mut self, reference: &GitReference) -> Result<Advertised, GitError> {
        let names: Vec<String> = match reference {
            GitReference::Head | GitReference::Commit(_) => vec!["HEAD".to_owned()],
            GitReference::Full(name) => vec![name.clone()],
            GitReference::Branch(name) => vec![format!("refs/heads/{name}")],
            GitReference::Tag(name) => vec![format!("refs/tags/{name}")],
            GitReference::Any(name) => ["refs/heads/", "refs/tags/", "refs/"]
                .iter()
                .map(|prefix| format!("{prefix}{name}"))
                .collect(),
        };
        let found = self.references(&names)?;
        for name in &names {
            if let Some(reference) = found.iter().find(|reference| reference.name == *name) {
                return Ok(reference.clone());
            }
        }
        let others = self.references(&["refs/heads/".to_owned()])?;
        if others.is_empty() {
            return Err(GitError::Empty {
                url: self.url.to_owned(),
            });
        }
        Err(GitError::NoReference {
            url: self.url.to_owned(),
            what: match reference {
                GitReference::Head | GitReference::Commit(_) => {
                    "default branch: name one".to_owned()
                }
                GitReference::Full(name) => format!("reference {name}"),
                GitReference::Branch(name) => format!("branch {name}"),
                GitReference::Tag(name) => format!("tag {name}"),
                GitReference::Any(name) => format!("branch or tag {name}"),
            },
            hint: hint(reference, &others),
        })
    }

    /// Whether it makes sense to ask for a commit by its id.
    fn may_ask_for(&mut self, id: &str) -> Result<bool, GitError> {
        if self.server.allows_any_commit() {
            return Ok(true);
        }
        let known = self.references(&[])?;
        Ok(known.iter().any(|reference| reference.id == id))
    }

    /// The objects of all branches and tags.
    fn all(&mut self) -> Result<Vec<String>, GitError> {
        let prefixes = ["refs/heads/".to_owned(), "refs/tags/".to_owned()];
        let mut ids: Vec<String> = self
            .references(&prefixes)?
            .into_iter()
            .filter(|reference| {
                reference.name.starts_with("refs/heads/")
                    || reference.name.starts_with("refs/tags/")
            })
            .map(|reference| reference.id)
            .collect();
        ids.sort();
        ids.dedup();
        if ids.is_empty() {
            return Err(GitError::Empty {
                url: self.url.to_owned(),
            });
        }
        Ok(ids)
    }

    fn receive(
        &mut self,
        objects: &Objects,
        wants: &[String],
        depth: u32,
    ) -> Result<Vec<String>, GitError> {
        let mut receiving = objects.receive()?;
        let shallow = self
            .server
            .fetch(&mut self.wire, wants, depth, self.url, |bytes| {
                receiving.write(bytes)
            })?;
        receiving.finish()?;
        Ok(shallow)
    }
}

/// What a mistaken name could have been.
fn hint(reference: &GitReference, branches: &[Advertised]) -> String {
    if let GitReference::Any(name) = reference
        && (7..COMMIT_DIGITS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return format!("; a commit is named by all its {COMMIT_DIGITS} digits");
    }
    let names: Vec<&str> = branches
        .iter()
        .filter_map(|branch| branch.name.strip_prefix("refs/heads/"))
        .take(NAMES_SHOWN)
        .collect();
    let more = if branches.len() > NAMES_SHOWN {
        ", ..."
    } else {
        ""
    };
    let names = crate::http::printable(&names.join(", "), 400);
    format!("; its branches are {names}{more}")
}

/// Compares the commit with the one that it has to be.
fn check(source: &GitSource, commit: &Commit, object: &str, url: &str) -> Result<(), GitError> {
    match &source.commit {
        // The checksum of an annotated tag may be that of the tag.
        Some(expected) if !commit.id.starts_with(expected) && !object.starts_with(expected) => {
            Err(GitError::Checksum {
                url: url.to_owned(),
                reference: match &source.reference {
                    GitReference::Head => "HEAD".to_owned(),
                    reference => reference.to_string(),
                },
                found: commit.id.clone(),
                expected: expected.clone(),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads `.gitmodules` of a repository's top directory.
fn modules(objects: &Objects, tree: &str) -> Result<Modules, GitError> {
    let entry = objects
        .tree(tree)?
        .into_iter()
        .find(|entry| entry.name == GITMODULES && matches!(entry.kind, EntryKind::File { .. }));
    match entry {
        Some(entry) => {
            let blob = objects.blob(&entry.id)?;
            Ok(Modules::parse(&String::from_utf8_lossy(blob.data())))
        }
        None => Ok(Modules::default()),
    }
}
