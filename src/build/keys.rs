//! What each step's layer is remembered under: the keys of a whole plan, known before anything is unpacked.
//!
//! A key takes in everything that can alter the layer, and nothing that cannot. Left out are, as in `BuildKit`: times, of files
//! and of the build (the layer that is found has those of the build that made it), unless the times of layers are bounded; proxies that nothing declares; what
//! `/etc/hosts` and `/etc/resolv.conf` say; labels and other settings of the image. A step whose sources cannot be told in
//! advance has no key, nor have those after it: they are carried out.

use crate::cache::{CacheKey, KeyHasher};
use crate::dockerfile::{Span, Spanned};
use crate::oci::{Compression, Digest, Platform};
use crate::plan::{
    CacheMount, ChmodSpec, CopyFrom, CopySource, CopyStep, MountAccess, MountKind, Plan,
    RunNetwork, RunSecurity, RunStep, StageBase, StepKind, Unpack, WorkdirStep,
};

use super::mount;
use super::request::{LayerOptions, SnapshotOptions};

/// The keys of a plan.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keys {
    stages: Vec<StageKeys>,
}

/// The keys of a stage.
#[derive(Debug, PartialEq, Eq)]
struct StageKeys {
    /// What the stage begins with.
    below: Option<Chain>,
    /// For each step the key of its layer, if it makes one that can be remembered.
    steps: Vec<Option<CacheKey>>,
    /// What the stage ends with.
    end: Option<Chain>,
}

/// What the keys are made of besides the plan.
pub(super) trait Inputs {
    /// Is told which step comes next.
    fn begin(&mut self, _stage: usize, _number: usize) {}

    /// The digests of an image's layers, uncompressed.
    fn layers_of_image(&self, image: usize) -> Vec<Digest>;

    /// The digest of what a COPY takes out of a context, `from`; `None` if that cannot be told.
    fn contents(
        &mut self,
        from: CopyFrom,
        sources: &[CopySource],
        chmod: Option<&ChmodSpec>,
    ) -> Option<Digest>;
}

/// What leads from a base to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The key of the base.
    pub(super) base: CacheKey,
    /// The keys of all layers above the base, bottom first.
    pub(super) keys: Vec<CacheKey>,
}

impl Chain {
    fn on(base: CacheKey) -> Self {
        Self {
            base,
            keys: Vec::new(),
        }
    }

    /// The key of the topmost layer, or of the base where there is none above.
    pub(super) fn top(&self) -> CacheKey {
        self.keys.last().copied().unwrap_or(self.base)
    }
}

impl Keys {
    /// Works out the keys of all stages.
    pub(super) fn of(
        plan: &Plan,
        layers: &LayerOptions,
        snapshot: &SnapshotOptions,
        inputs: &mut dyn Inputs,
    ) -> Self {
        let settings = settings(layers, snapshot);
        let mut keys = Self { stages: Vec::new() };
        for (index, stage) in plan.stages.iter().enumerate() {
            let below = match stage.base {
                StageBase::Scratch => Some(Chain::on(base(&stage.platform, &[]))),
                StageBase::Image(image) => {
                    let layers = inputs.layers_of_image(image);
                    Some(Chain::on(base(&stage.platform, &layers)))
                }
                StageBase::Stage(parent) => keys.stages[parent].end.clone(),
            };
            let mut current = below.as_ref().map(Chain::top);
            let mut steps: Vec<Option<CacheKey>> = Vec::new();
            for (number, step) in stage.steps.iter().enumerate() {
                inputs.begin(index, number);
                let own = match &step.kind {
                    StepKind::Metadata | StepKind::Silent => {
                        steps.push(None);
                        continue;
                    }
                    StepKind::Workdir(workdir) => Some(of_workdir(workdir)),
                    StepKind::Run(run) => keys.of_run(run, inputs),
                    StepKind::Copy(copy) => keys.of_copy(copy, inputs),
                };
                current = current.zip(own).map(|(below, own)| {
                    let mut hasher = KeyHasher::new("step");
                    hasher
                        .field("settings", settings)
                        .field("below", below)
                        .field("step", own);
                    hasher.finish()
                });
                steps.push(current);
            }
            if layers.single {
                // There is one layer, at the end.
                for key in &mut steps {
                    *key = key.filter(|key| Some(*key) == current);
                }
            }
            let end = below.clone().zip(current).map(|(mut chain, _)| {
                chain.keys.extend(steps.iter().flatten());
                chain
            });
            keys.stages.push(StageKeys { below, steps, end });
        }
        keys
    }

    /// The key of a step's layer.
    pub(super) fn step(&self, stage: usize, number: usize) -> Option<CacheKey> {
        self.stages[stage].steps[number]
    }

    /// The steps of a stage that have keys, the last one first.
    pub(super) fn steps(&self, stage: usize) -> impl Iterator<Item = (usize, CacheKey)> {
        let steps = self.stages[stage].steps.iter().enumerate().rev();
        steps.filter_map(|(number, key)| Some((number, (*key)?)))
    }

    /// What a stage begins with.
    pub(super) fn below(&self, stage: usize) -> Option<&Chain> {
        self.stages[stage].below.as_ref()
    }

    /// The key of what a stage ends with.
    pub(super) fn end(&self, stage: usize) -> Option<CacheKey> {
        self.stages[stage].end.as_ref().map(Chain::top)
    }

    /// What leads from the base at the bottom to the layer of a step.
    pub(super) fn chain(&self, stage: usize, number: usize) -> Option<Chain> {
        let known = &self.stages[stage];
        known.steps[number]?;
        let mut chain = known.below.clone()?;
        chain.keys.extend(known.steps[..=number].iter().flatten());
        Some(chain)
    }

    fn of_copy(&self, step: &CopyStep, inputs: &mut dyn Inputs) -> Option<CacheKey> {
        let CopyStep {
            instruction: _,
            from,
            sources,
            destination,
            chown,
            chmod,
            exclude,
            link,
            unpack,
            span: _,
        } = step;
        let mut hasher = KeyHasher::new("copy");
        let mode = chmod.as_ref().map(|mode| &mode.value);
        match from {
            CopyFrom::Context | CopyFrom::Named(_) => {
                hasher.field("contents", inputs.contents(*from, sources, mode)?.as_str());
            }
            CopyFrom::Stage(_) | CopyFrom::Image(_) => {
                hasher.field("tree", self.tree(*from, inputs)?);
                add_sources(&mut hasher, sources);
            }
        }
        // Of a `--parents` or an `--exclude` the contents are those of the whole directory, and the patterns say what of it.
        add_patterns(&mut hasher, sources)?;
        hasher.list("exclude", exclude.iter().map(|pattern| &pattern.value));
        hasher.number("link", u64::from(*link));
        hasher.field("destination", destination);
        hasher.optional("chown", chown.as_ref().map(|chown| &chown.value));
        // What it makes of files is in their digest; directories on the way to the destination take it too.
        hasher.optional("chmod", chmod.as_ref().map(|chmod| chmod.value.as_str()));
        hasher.field(
            "unpack",
            match unpack {
                Unpack::Auto => "auto",
                Unpack::Always => "always",
                Unpack::Never => "never",
            },
        );
        Some(hasher.finish())
    }

    /// Of mounts counts what the command can see of them and cannot leave behind: not what is in a cache, not the value of a
    /// secret, and not the names that only the command line knows them by.
    fn of_run(&self, step: &RunStep, inputs: &mut dyn Inputs) -> Option<CacheKey> {
        let RunStep {
            argv,
            program,
            env,
            undeclared,
            workdir,
            user,
            shell_form: _,
            mounts,
            network,
            security,
            hostname,
        } = step;
        let mut hasher = KeyHasher::new("run");
        hasher.list("argv", argv);
        hasher.optional("program", program.as_ref().map(|(_, content)| content));
        let mut env: Vec<_> = env
            .iter()
            .filter(|(name, _)| !undeclared.contains(name))
            .collect();
        env.sort_unstable();
        hasher.list("names", env.iter().map(|(name, _)| name));
        hasher.list("values", env.iter().map(|(_, value)| value));
        hasher.field("workdir", workdir).field("user", user);
        hasher.field(
            "network",
            match network {
                RunNetwork::Default => "default",
                RunNetwork::None => "none",
                RunNetwork::Host => "host",
            },
        );
        hasher.field(
            "security",
            match security {
                RunSecurity::Sandbox => "sandbox",
                RunSecurity::Insecure => "insecure",
            },
        );
        if let Some(hostname) = hostname {
            hasher.field("hostname", hostname);
        }
        let mounts = mounts
            .iter()
            .map(|mount| self.of_mount(&mount.kind, inputs))
            .collect::<Option<Vec<_>>>()?;
        hasher.list("mounts", mounts);
        Some(hasher.finish())
    }

    fn of_mount(&self, mount: &MountKind, inputs: &mut dyn Inputs) -> Option<CacheKey> {
        let hasher = match mount {
            MountKind::Bind {
                from,
                source,
                target,
                read_only,
            } => {
                let mut hasher = KeyHasher::new("bind");
                match from {
                    None => hasher.field("tree", "nothing"),
                    Some(from @ (CopyFrom::Context | CopyFrom::Named(_))) => {
                        let path = Spanned::new(mount::literal(source), Span::default());
                        let contents = inputs.contents(*from, &[CopySource::Path(path)], None)?;
                        hasher.field("contents", contents.as_str())
                    }
                    Some(from) => hasher
                        .field("tree", self.tree(*from, inputs)?)
                        .field("source", source),
                };
                hasher.field("target", target);
                hasher.number("read only", u64::from(*read_only));
                hasher
            }
            MountKind::Cache(CacheMount {
                id: _,
                sharing: _,
                from,
                source,
                target,
                read_only,
                access,
            }) => {
                let mut hasher = KeyHasher::new("cache");
                match from {
                    None => hasher.field("tree", "nothing"),
                    Some(from @ (CopyFrom::Context | CopyFrom::Named(_))) => {
                        let path = Spanned::new(mount::literal(source), Span::default());
                        let contents = inputs.contents(*from, &[CopySource::Path(path)], None)?;
                        hasher.field("contents", contents.as_str())
                    }
                    Some(from) => hasher.field("tree", self.tree(*from, inputs)?),
                };
                hasher.field("source", source).field("target", target);
                hasher.number("read only", u64::from(*read_only));
                add_access(&mut hasher, *access);
                hasher
            }
            MountKind::Tmpfs {
                target,
                size,
                read_only,
            } => {
                let mut hasher = KeyHasher::new("tmpfs");
                hasher.field("target", target);
                hasher.optional("size", size.map(u64::to_le_bytes));
                hasher.number("read only", u64::from(*read_only));
                hasher
            }
            MountKind::Secret {
                id,
                target,
                env,
                required,
                access,
            } => {
                let mut hasher = KeyHasher::new("secret");
                // Without a target the name is where the command sees it.
                let is_seen = target.is_none() && env.is_none();
                hasher.optional("id", is_seen.then_some(id));
                hasher.optional("target", target.as_ref());
                hasher.optional("env", env.as_ref());
                hasher.number("required", u64::from(*required));
                add_access(&mut hasher, *access);
                hasher
            }
            MountKind::Ssh {
                id: _,
                target,
                required,
                access,
            } => {
                let mut hasher = KeyHasher::new("ssh");
                hasher.optional("target", target.as_ref());
                hasher.number("required", u64::from(*required));
                add_access(&mut hasher, *access);
                hasher
            }
        };
        Some(hasher.finish())
    }

    /// The key of a whole tree that is not the context.
    fn tree(&self, from: CopyFrom, inputs: &dyn Inputs) -> Option<CacheKey> {
        match from {
            CopyFrom::Context | CopyFrom::Named(_) => None,
            CopyFrom::Stage(stage) => Some(self.stages[stage].end.as_ref()?.top()),
            CopyFrom::Image(image) => {
                let layers = inputs.layers_of_image(image);
                let mut hasher = KeyHasher::new("image");
                hasher.list("layers", layers.iter().map(Digest::as_str));
                Some(hasher.finish())
            }
        }
    }
}

fn add_access(hasher: &mut KeyHasher, access: MountAccess) {
    let MountAccess { mode, uid, gid } = access;
    for (name, value) in [("mode", mode), ("uid", uid), ("gid", gid)] {
        hasher.optional(name, value.map(u32::to_le_bytes));
    }
}

/// The options that alter layers.
fn settings(layers: &LayerOptions, snapshot: &SnapshotOptions) -> CacheKey {
    let LayerOptions {
        compression,
        level,
        single,
        newest_secs,
        // It is in the time by now.
        is_dated_by_commit: _,
    } = layers;
    let SnapshotOptions {
        by_time_only,
        ignored,
    } = snapshot;
    let mut hasher = KeyHasher::new("settings");
    hasher.field(
        "compression",
        match compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        },
    );
    hasher.optional("level", level.map(|level| level.to_string()));
    hasher.number("single", u64::from(*single));
    hasher.optional("newest", newest_secs.map(i64::to_le_bytes));
    hasher.number("by time only", u64::from(*by_time_only));
    let mut ignored = ignored.clone();
    ignored.sort_unstable();
    ignored.dedup();
    hasher.list("ignored", &ignored);
    hasher.finish()
}

/// What a stage begins with: layers by what is in them, however they are compressed.
fn base(platform: &Platform, layers: &[Digest]) -> CacheKey {
    let platform = platform.normalized();
    let mut hasher = KeyHasher::new("base");
    hasher.field("os", &platform.os);
    hasher.field("architecture", &platform.architecture);
    hasher.optional("variant", platform.variant.as_ref());
    hasher.optional("os version", platform.os_version.as_ref());
    hasher.list("layers", layers.iter().map(Digest::as_str));
    hasher.finish()
}

fn of_workdir(step: &WorkdirStep) -> CacheKey {
    let WorkdirStep { path, user } = step;
    let mut hasher = KeyHasher::new("workdir");
    hasher.field("path", path).field("user", user);
    hasher.finish()
}

/// Adds the kinds of sources and what is special to them; `None` where what a URL or repository has cannot be told.
fn add_patterns(hasher: &mut KeyHasher, sources: &[CopySource]) -> Option<()> {
    for source in sources {
        match source {
            CopySource::Path(_) => hasher.field("source", "path"),
            CopySource::Inline { .. } => hasher.field("source", "inline"),
            CopySource::Parents {
                pattern,
                is_literal: _,
                root: _,
            } => hasher.field("source", "parents").field("pattern", pattern),
            CopySource::Url(url) => {
                let checksum = url.checksum.as_ref()?;
                hasher
                    .field("source", "url")
                    .field("name", &url.name)
                    .field("checksum", checksum.as_str())
            }
            CopySource::Repository(repository) => {
                let pinned = repository.pinned.as_ref()?;
                hasher
                    .field("source", "repository")
                    .field("commit", &pinned.commit)
                    .field("taken", &pinned.taken)
            }
        };
    }
    Some(())
}

fn add_sources(hasher: &mut KeyHasher, sources: &[CopySource]) {
    let paths = sources.iter().filter_map(|source| match source {
        CopySource::Path(path) => Some(&path.value),
        CopySource::Parents { root, .. } => Some(&root.value),
        CopySource::Inline { .. } | CopySource::Url(_) | CopySource::Repository(_) => None,
    });
    hasher.list("paths", paths.collect::<Vec<_>>());
    for source in sources {
        if let CopySource::Inline { name, content } = source {
            hasher.field("inline", name).field("content", content);
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
