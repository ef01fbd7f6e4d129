//! `RUN --mount`: what the command line and the build have to give, as mounts for the sandbox.
//!
//! Files of the context are seen as COPY sees them: without what the ignore rules hide, owned by root. They are copied aside
//! once, unless the directory itself looks just so. Files of stages and images are mounted where they are.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::dockerfile::{self, Span, Spanned};
use crate::oci::Digest;
use crate::plan::{
    CacheMount, CopyFrom, CopySource, CopyStep, MountAccess, MountKind, RunNetwork, RunSecurity,
    RunStep, Step, Unpack,
};
use crate::rootfs::{Protected, RelPath, Rootfs, Timestamp};
use crate::sandbox::{
    Beginning, CacheIdentity, CacheMounts, Content, HeldCache, Mount, MountKind as SandboxKind,
    Network, Ownership, Sharing, Writes,
};

use super::copy::copy;
use super::destination::Destination;
use super::engine::Engine;
use super::sources::{SourceTree, find_one};
use super::stage::Failed;
use super::{BuildError, CopyError, CopyFailure, Request};

/// A secret's mode where none was given.
const SECRET_MODE: u32 = 0o400;
/// A socket's.
const SOCKET_MODE: u32 = 0o600;
/// The variable that leads programs to an SSH agent.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// Why a RUN cannot have what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum MountFailure {
    /// A secret that was not given.
    #[error("the secret \"{}\" is required, and the command line gives none of that id", id.escape_debug())]
    NoSecret {
        /// Its name.
        id: String,
    },
    /// An SSH agent that was not given.
    #[error("the SSH agent \"{}\" is required, and the command line gives none of that id", id.escape_debug())]
    NoAgent {
        /// Its name.
        id: String,
    },
    /// A secret that cannot be the value of a variable.
    #[error("the secret \"{}\" cannot be the value of a variable: it is not text", id.escape_debug())]
    NotText {
        /// Its name.
        id: String,
    },
    /// More than a container may, without leave.
    #[error("--security=insecure was not allowed on the command line")]
    NotAllowed,
    /// The isolation says no.
    #[error("the isolation cannot do it")]
    Isolation(#[source] Box<crate::sandbox::SandboxError>),
}

impl MountFailure {
    /// What to do next.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NoSecret { id } => Some(format!(
                "pass --secret id={id},src=FILE or --secret id={id},env=VARIABLE"
            )),
            Self::NoAgent { id } => Some(format!(
                "start an agent and pass --ssh {id} (its socket is taken from SSH_AUTH_SOCK) or --ssh {id}=SOCKET"
            )),
            Self::NotText { id } => {
                Some(format!("mount it as a file: --mount=type=secret,id={id}"))
            }
            Self::NotAllowed => Some("pass --allow security.insecure if it is meant".to_owned()),
            Self::Isolation(_) => None,
        }
    }
}

/// The parts of the context that were copied aside, by their paths.
#[derive(Debug, Default)]
pub(super) struct Copies(Mutex<HashMap<(CopyFrom, RelPath), PathBuf>>);

/// What a command gets besides its stage's tree.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) mounts: Vec<Mount>,
    /// Secrets that are variables, and the way to an agent.
    pub(super) env: Vec<(String, String)>,
    /// In use as long as the command runs.
    caches: Vec<HeldCache>,
}

/// Says before anything is unpacked why a RUN cannot have what it asks for.
pub(super) fn check(
    step: &Step,
    run: &RunStep,
    request: &Request,
    executor: &dyn crate::sandbox::Executor,
) -> Result<(), BuildError> {
    for mount in &run.mounts {
        let failure = match &mount.kind {
            MountKind::Secret {
                id, required: true, ..
            } if !request.secrets.contains_key(id) => MountFailure::NoSecret { id: id.clone() },
            MountKind::Ssh {
                id, required: true, ..
            } if !request.agents.contains_key(id) => MountFailure::NoAgent { id: id.clone() },
            _ => continue,
        };
        return Err(failed(step, mount.span, failure));
    }
    let span = step.origin.span;
    let insecure = run.security == RunSecurity::Insecure;
    if insecure && !request.allows_insecure {
        return Err(failed(step, span, MountFailure::NotAllowed));
    }
    let network = network(run);
    executor
        .check_special(network, insecure)
        .map_err(|source| failed(step, span, MountFailure::Isolation(Box::new(source))))
}

/// The network of a RUN.
///
/// # Deviation
/// In BuildKit `host` has to be allowed. Here the default network is the builder's own, and `host` means the same.
pub(super) fn network(run: &RunStep) -> Network {
    match run.network {
        RunNetwork::None => Network::None,
        RunNetwork::Host | RunNetwork::Default => Network::Host,
    }
}

/// Gets everything that a command has mounted.
pub(super) fn give(engine: &Engine<'_>, step: &Step, run: &RunStep) -> Result<Given, BuildError> {
    let giver = Giver { engine, step };
    let mut given = Given::default();
    let caches = giver.caches(run, &mut given)?;
    let mut agents = 0;
    for mount in &run.mounts {
        match &mount.kind {
            MountKind::Bind {
                from,
                source,
                target,
                read_only,
            } => {
                let source = giver.files(*from, source, mount.span)?;
                let writes = if *read_only {
                    Writes::Refused
                } else {
                    Writes::Discarded
                };
                given.add(target, SandboxKind::Bind { source, writes });
            }
            MountKind::Cache(cache) => {
                let writes = if cache.read_only {
                    Writes::Refused
                } else {
                    Writes::Kept
                };
                let tree = caches.get(cache.target.as_str());
                let tree = tree.ok_or(crate::sandbox::SandboxError::OutOfOrder {
                    wanted: "mount a cache that was not taken",
                })?;
                let source = giver.inside(tree, &cache.source, &cache.id, mount.span)?;
                given.add(&cache.target, SandboxKind::Bind { source, writes });
            }
            MountKind::Tmpfs {
                target,
                size,
                read_only,
            } => {
                let (size, read_only) = (*size, *read_only);
                given.add(target, SandboxKind::Tmpfs { size, read_only });
            }
            MountKind::Secret {
                id,
                target,
                env,
                access,
                ..
            } => {
                // One that was not given and is not required is no file, and an empty variable, as in BuildKit.
                let Some(content) = engine.request.secrets.get(id) else {
                    let empty = env.iter().map(|name| (name.clone(), String::new()));
                    given.env.extend(empty);
                    continue;
                };
                if let Some(target) = target {
                    given.add(target, file(content, *access));
                }
                if let Some(name) = env {
                    let text = std::str::from_utf8(content.expose()).ok();
                    let text = text.filter(|text| !text.contains('\0')).ok_or_else(|| {
                        failed(step, mount.span, MountFailure::NotText { id: id.clone() })
                    })?;
                    given.env.push((name.clone(), text.to_owned()));
                }
            }
            MountKind::Ssh {
                id, target, access, ..
            } => {
                let target = match target {
                    Some(target) => target.clone(),
                    None => format!("/run/buildkit/ssh_agent.{agents}"),
                };
                if agents == 0 && !run.env.iter().any(|(name, _)| name == AGENT_VARIABLE) {
                    given.env.push((AGENT_VARIABLE.to_owned(), target.clone()));
                }
                agents += 1;
                if let Some(agent) = engine.request.agents.get(id) {
                    let kind = SandboxKind::Agent {
                        agent: agent.clone(),
                        mode: access.mode.unwrap_or(SOCKET_MODE),
                        uid: access.uid.unwrap_or(0),
                        gid: access.gid.unwrap_or(0),
                    };
                    given.add(&target, kind);
                }
            }
        }
    }
    Ok(given)
}

impl Given {
    fn add(&mut self, target: &str, kind: SandboxKind) {
        self.mounts.push(Mount {
            target: target.to_owned(),
            kind,
        });
    }
}

fn file(content: &Content, access: MountAccess) -> SandboxKind {
    SandboxKind::File {
        content: content.clone(),
        mode: access.mode.unwrap_or(SECRET_MODE),
        uid: access.uid.unwrap_or(0),
        gid: access.gid.unwrap_or(0),
    }
}

struct Giver<'a> {
    engine: &'a Engine<'a>,
    step: &'a Step,
}

impl Giver<'_> {
    /// Takes all caches of a command, in an order in which no two commands wait for each other; by their targets.
    fn caches<'r>(
        &self,
        run: &'r RunStep,
        given: &mut Given,
    ) -> Result<HashMap<&'r str, PathBuf>, BuildError> {
        let mut wanted: BTreeMap<CacheIdentity, Vec<(&'r CacheMount, Span)>> = BTreeMap::new();
        for mount in &run.mounts {
            if let MountKind::Cache(cache) = &mount.kind {
                let identity = self.identity(cache);
                wanted
                    .entry(identity)
                    .or_default()
                    .push((cache, mount.span));
            }
        }
        let mut paths = HashMap::new();
        if wanted.is_empty() {
            return Ok(paths);
        }
        let store = CacheMounts::of(&self.engine.request.state_dir)?;
        let is_cancelled = || self.engine.services.token.is_cancelled();
        for (identity, users) in wanted {
            let seed = match users.first() {
                Some((cache, span)) if !identity.from.is_empty() => {
                    Some(self.files(cache.from, ".", *span)?)
                }
                _ => None,
            };
            let mounts = self.engine.mounts;
            let restore = |directory: &Path| mounts.restore(&identity, directory);
            let beginning = Beginning {
                copy_of: seed.as_deref(),
                restore: Some(&restore),
            };
            let take = |sharing| {
                let held = store.acquire(&identity, sharing, &beginning, &is_cancelled)?;
                held.ok_or(BuildError::Cancelled)
            };
            if users.iter().any(|(cache, _)| !cache.read_only) {
                mounts.is_used(&identity);
            }
            // One command that has the same cache twice does not wait for itself.
            let (private, common): (Vec<_>, Vec<_>) = users
                .into_iter()
                .partition(|(cache, _)| cache.sharing == dockerfile::Sharing::Private);
            if !common.is_empty() {
                let is_locked = common
                    .iter()
                    .any(|(cache, _)| cache.sharing == dockerfile::Sharing::Locked);
                let held = take(if is_locked {
                    Sharing::Locked
                } else {
                    Sharing::Shared
                })?;
                for (cache, _) in common {
                    paths.insert(cache.target.as_str(), held.path().to_owned());
                }
                given.caches.push(held);
            }
            for (cache, _) in private {
                let held = take(Sharing::Private)?;
                paths.insert(cache.target.as_str(), held.path().to_owned());
                given.caches.push(held);
            }
        }
        Ok(paths)
    }

    /// What makes a cache another one than the next: with an owner or a mode it begins as an empty directory of those.
    fn identity(&self, cache: &CacheMount) -> CacheIdentity {
        let is_own_directory = cache.source == "." && cache.access != MountAccess::default();
        let from = match cache.from {
            Some(from) if !is_own_directory => self.digest(from),
            _ => String::new(),
        };
        let access = if is_own_directory {
            cache.access
        } else {
            MountAccess::default()
        };
        CacheIdentity {
            id: cache.id.clone(),
            from,
            mode: access.mode,
            uid: access.uid,
            gid: access.gid,
        }
    }

    /// What a stage or an image consists of.
    fn digest(&self, from: CopyFrom) -> String {
        let layers: Vec<Digest> = match from {
            CopyFrom::Context => return "context".to_owned(),
            CopyFrom::Named(number) => {
                return format!("context {}", self.engine.request.contexts[number].name);
            }
            CopyFrom::Stage(stage) => self.engine.result(stage).diff_ids(),
            CopyFrom::Image(image) => {
                let layers = &self.engine.images[image].layers;
                layers.iter().map(|layer| layer.diff_id.clone()).collect()
            }
        };
        let text: Vec<String> = layers.iter().map(Digest::to_string).collect();
        Digest::of(text.join(" ").as_bytes()).to_string()
    }

    /// Where files are that are to be mounted.
    fn files(
        &self,
        from: Option<CopyFrom>,
        source: &str,
        span: Span,
    ) -> Result<PathBuf, BuildError> {
        let spec = Spanned::new(source.to_owned(), span);
        let Some(from) = from else {
            return self.nothing(&spec);
        };
        if matches!(from, CopyFrom::Context | CopyFrom::Named(_)) {
            return self.of_context(from, &spec);
        }
        let root = self.engine.root_of(from)?;
        self.engine
            .with_source(from, |tree| {
                let found = find_one(tree, &spec)?;
                Ok(below(&root, &found.path))
            })
            .map_err(|error| self.failed(error, span))
    }

    /// A path in a cache's directory.
    fn inside(
        &self,
        tree: &Path,
        source: &str,
        id: &str,
        span: Span,
    ) -> Result<PathBuf, BuildError> {
        if source == "." {
            return Ok(tree.to_owned());
        }
        let rootfs = Rootfs::open(tree)?;
        let tree_of = SourceTree {
            rootfs: &rootfs,
            ignore: None,
            keeps_owner: true,
            owners: std::sync::Arc::default(),
            name: format!("the cache \"{id}\""),
        };
        let spec = Spanned::new(source.to_owned(), span);
        let found = find_one(&tree_of, &spec).map_err(|error| self.failed(error.into(), span))?;
        Ok(below(tree, &found.path))
    }

    /// `scratch`: a directory without files.
    fn nothing(&self, spec: &Spanned<String>) -> Result<PathBuf, BuildError> {
        let path = self.engine.scratch.join("nothing");
        std::fs::create_dir_all(&path).map_err(|source| state("create", &path, source))?;
        let rootfs = Rootfs::open(&path)?;
        let tree = SourceTree {
            rootfs: &rootfs,
            ignore: None,
            keeps_owner: true,
            owners: std::sync::Arc::default(),
            name: "scratch".to_owned(),
        };
        let found = find_one(&tree, spec).map_err(|error| self.failed(error.into(), spec.span))?;
        Ok(below(&path, &found.path))
    }

    fn of_context(&self, from: CopyFrom, spec: &Spanned<String>) -> Result<PathBuf, BuildError> {
        let engine = self.engine;
        let mut copies = engine
            .copies
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let number = copies.len();
        let root = engine.root_of(from)?;
        engine
            .with_source(from, |tree| {
                let found = find_one(tree, spec)?;
                if let Some(path) = copies.get(&(from, found.path.clone())) {
                    return Ok(path.clone());
                }
                let path = if looks_as_copied(tree, &found.path)? {
                    below(&root, &found.path)
                } else {
                    self.copy_aside(tree, &found.path, spec.span, number)?
                };
                copies.insert((from, found.path), path.clone());
                Ok(path)
            })
            .map_err(|error| self.failed(error, spec.span))
    }

    /// Copies a part of the context as COPY would.
    fn copy_aside(
        &self,
        tree: &SourceTree<'_>,
        path: &RelPath,
        span: Span,
        number: usize,
    ) -> Result<PathBuf, Failed> {
        let directory = self.engine.scratch.join(format!("context-{number}"));
        std::fs::create_dir(&directory)
            .map_err(|source| state("create", &directory, source))
            .map_err(Failed::Build)?;
        let rootfs = Rootfs::open(&directory).map_err(CopyError::from)?;
        let name = match path.to_string().trim_start_matches('/') {
            "" => ".".to_owned(),
            name => literal(name),
        };
        let step = CopyStep {
            instruction: "COPY",
            from: CopyFrom::Context,
            sources: vec![CopySource::Path(Spanned::new(name, span))],
            destination: "/files".to_owned(),
            chown: None,
            chmod: None,
            exclude: Vec::new(),
            link: false,
            unpack: Unpack::Never,
            span,
        };
        let protected = Protected::none();
        let destination = Destination {
            rootfs: &rootfs,
            protected: &protected,
            owner: None,
            now: Timestamp {
                secs: self.engine.request.created,
                nanos: 0,
            },
            leaves_same: false,
            sets_owner: self.engine.executor.ownership() == Ownership::Real,
        };
        copy(&step, tree, &[], &destination)?;
        let files = RelPath::parse("files").map_err(crate::rootfs::Error::from);
        let files = files.map_err(CopyError::from)?;
        // COPY gives the directory that it copies into a mode of its own; a mount shows the directory itself.
        let found = tree.rootfs.lstat(path).map_err(CopyError::from)?;
        if let Some(found) = found.filter(|found| found.is_dir() && !path.is_root()) {
            rootfs
                .set_mode(&files, found.mode)
                .map_err(CopyError::from)?;
        }
        Ok(directory.join("files"))
    }

    fn failed(&self, error: Failed, span: Span) -> BuildError {
        match error {
            Failed::Build(error) => error,
            Failed::Copy(source) => BuildError::Copy(CopyFailure {
                display: self.step.display.clone(),
                span,
                source: Box::new(source),
            }),
        }
    }
}

/// Whether a part of the context looks the same without being copied: nothing is hidden, and all of it belongs to root.
fn looks_as_copied(tree: &SourceTree<'_>, path: &RelPath) -> Result<bool, CopyError> {
    if tree.ignore.is_some() {
        return Ok(false);
    }
    let Some(found) = tree.rootfs.lstat(path)? else {
        return Ok(false);
    };
    if (found.owner.uid, found.owner.gid) != (0, 0) {
        return Ok(false);
    }
    if found.is_dir() {
        for name in tree.rootfs.read_dir(path)? {
            if !looks_as_copied(tree, &path.child(&name))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A name in which no character stands for others.
pub(super) fn literal(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A path without links, below a directory.
fn below(root: &Path, path: &RelPath) -> PathBuf {
    let relative = std::os::unix::ffi::OsStrExt::from_bytes(path.as_bytes());
    let relative: &std::ffi::OsStr = relative;
    if path.is_root() {
        root.to_owned()
    } else {
        root.join(relative)
    }
}

fn failed(step: &Step, span: Span, source: MountFailure) -> BuildError {
    BuildError::Mount {
        display: step.display.clone(),
        span,
        source,
    }
}

fn state(action: &'static str, path: &Path, source: std::io::Error) -> BuildError {
    BuildError::State {
        action,
        path: path.to_owned(),
        source,
    }
}
