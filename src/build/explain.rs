//! Why a step is not in the cache: what the steps are made of, as a [`Trace`] that is kept beside the layers.
//!
//! A trace is named after the image that is built: its first destination, the Dockerfile, the target and the platform. The build that
//! made layers replaces it, and the next one is compared with it.

use std::collections::HashMap;

use crate::cache::{
    self, Cache, Document, DocumentName, InputKind, KeyHasher, Kind, StepTrace, Trace,
};
use crate::oci::{Digest, Reference};
use crate::plan::{
    CopyFrom, CopySource, CopyStep, MountKind, Plan, RunMount, RunStep, StageBase, StepKind, Unpack,
};

use super::contents::Seen;
use super::event::{Event, Events};
use super::fetch::Image;
use super::keys::Keys;
use super::need::{Needs, changes_files};
use super::{BuildError, Request, Services, block_on};

/// What a trace is made of besides the plan.
pub(super) struct Facts<'a> {
    pub(super) request: &'a Request,
    pub(super) plan: &'a Plan,
    pub(super) images: &'a [Image],
    pub(super) keys: &'a Keys,
    /// For each step, by its stage and number, the files that it takes out of the context.
    pub(super) files: HashMap<(usize, usize), Seen>,
}

/// A trace, and which step of the plan each of its steps is.
pub(super) struct Traced {
    trace: Trace,
    name: DocumentName,
    places: Vec<(usize, usize)>,
}

impl Facts<'_> {
    /// Makes the trace of a build.
    pub(super) fn trace(mut self) -> Traced {
        let mut steps = Vec::new();
        let mut places = Vec::new();
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let mut is_first = true;
            for (number, step) in stage.steps.iter().enumerate() {
                if !changes_files(&step.kind) {
                    continue;
                }
                let key = self.keys.step(index, number);
                let mut trace = StepTrace::new(&stage.name, &step.display, key);
                if std::mem::take(&mut is_first) {
                    self.add_base(&mut trace, index);
                }
                match &step.kind {
                    StepKind::Run(run) => self.add_run(&mut trace, run),
                    StepKind::Copy(copy) => self.add_copy(&mut trace, copy),
                    StepKind::Workdir(workdir) => {
                        trace.add(InputKind::Instruction, "the directory", hash(&workdir.path));
                        trace.add(InputKind::Flag, "USER", hash(&workdir.user));
                    }
                    StepKind::Metadata | StepKind::Silent => {}
                }
                let taken = self.files.remove(&(index, number)).unwrap_or_default();
                for (path, content, mode) in taken {
                    trace.add_file(path, hash(content.as_str()), mode);
                }
                steps.push(trace);
                places.push((index, number));
            }
        }
        Traced {
            trace: Trace::new(steps),
            name: self.name(),
            places,
        }
    }
}

impl Traced {
    /// Tells for each step that is needed whether it is in the cache, and if not, why.
    pub(super) fn tell(
        &self,
        plan: &Plan,
        needs: &Needs,
        old: Option<&Trace>,
        events: &dyn Events,
    ) {
        for (at, (index, number)) in self.places.iter().enumerate() {
            let is_hit = *number < needs.done[*index];
            if !needs.stage[*index] && !is_hit {
                continue;
            }
            let stage = &plan.stages[*index];
            let step = &stage.steps[*number];
            events.send(Event::CacheExplained {
                stage: stage.name.clone(),
                number: number + 1,
                of: stage.steps.len(),
                display: step.display.clone(),
                miss: (!is_hit).then(|| self.trace.miss(at, old)),
            });
        }
    }

    /// The trace of the earlier build, from the first place that has one.
    ///
    /// # Errors
    /// Only when the build is called off.
    pub(super) fn earlier(
        &self,
        caches: &[Cache],
        services: &Services,
    ) -> Result<Option<Trace>, BuildError> {
        for cache in caches {
            // What is wrong with a place was told when layers were looked up.
            if let Ok(Some(found)) = block_on(services, cache.place().document(&self.name))?
                && let Some(trace) = Trace::parse(&found.text)
            {
                return Ok(Some(trace));
            }
        }
        Ok(None)
    }

    /// Keeps it.
    pub(super) async fn keep(&self, cache: &Cache) -> Result<(), cache::Error> {
        let text = self.trace.to_json()?;
        if text.is_empty() {
            return Ok(());
        }
        let document = Document {
            text,
            parts: Vec::new(),
        };
        cache.place().put_document(&self.name, &document).await
    }
}

impl Facts<'_> {
    fn name(&self) -> DocumentName {
        let request = self.request;
        let mut hasher = KeyHasher::new("trace");
        let destination = request.outputs.destinations.first();
        hasher.optional("destination", destination.map(Reference::name));
        hasher.field("dockerfile", format!("{:?}", request.dockerfile));
        let below = request.context_sub_path.as_ref();
        hasher.optional(
            "below",
            below.map(|path| path.to_string_lossy().into_owned()),
        );
        hasher.optional("target", request.target.as_ref());
        hasher.field("platform", request.platform.to_string());
        DocumentName {
            kind: Kind::Trace,
            key: hasher.finish(),
        }
    }

    /// What a stage begins with, and what counts for all that follows: they are told once, with the first step.
    fn add_base(&self, trace: &mut StepTrace, index: usize) {
        match self.plan.stages[index].base {
            StageBase::Scratch => trace.add(InputKind::Image, "scratch", 0),
            StageBase::Image(image) => self.add_image(trace, image),
            StageBase::Stage(parent) => {
                // What changed there is told there.
                trace.add(InputKind::Stage, &self.plan.stages[parent].name, 0);
            }
        }
        let layers = &self.request.layers;
        let snapshot = &self.request.snapshot;
        let platform = &self.plan.stages[index].platform;
        for (name, value) in [
            ("--platform", platform.to_string()),
            ("--compression", format!("{:?}", layers.compression)),
            ("--compression-level", format!("{:?}", layers.level)),
            ("--single-snapshot", layers.single.to_string()),
            ("--reproducible", format!("{:?}", layers.newest_secs)),
            ("--snapshot-mode", snapshot.by_time_only.to_string()),
            ("--ignore-path", format!("{:?}", snapshot.ignored)),
        ] {
            trace.add(InputKind::Option, name, hash(value));
        }
    }

    fn add_image(&self, trace: &mut StepTrace, image: usize) {
        let resolved = &self.images[image].resolved;
        let layers = self.images[image].layers.iter();
        let layers: Vec<&str> = layers.map(|layer| layer.diff_id.as_str()).collect();
        trace.add(
            InputKind::Image,
            &resolved.reference.to_string(),
            hash(layers.join(" ")),
        );
    }

    fn add_run(&self, trace: &mut StepTrace, run: &RunStep) {
        let command = format!("{:?} {:?}", run.argv, run.program);
        trace.add(InputKind::Instruction, "the command", hash(command));
        for (name, value) in &run.env {
            if !run.undeclared.contains(name) {
                trace.add(InputKind::Variable, name, hash(value));
            }
        }
        trace.add(InputKind::Flag, "WORKDIR", hash(&run.workdir));
        trace.add(InputKind::Flag, "USER", hash(&run.user));
        trace.add(
            InputKind::Flag,
            "--network",
            hash(format!("{:?}", run.network)),
        );
        trace.add(
            InputKind::Flag,
            "--security",
            hash(format!("{:?}", run.security)),
        );
        for (name, settings) in run.mounts.iter().map(|mount| mount_settings(&mount.kind)) {
            trace.add(InputKind::Flag, &name, hash(settings));
        }
        for from in run.mounts.iter().filter_map(RunMount::from) {
            self.add_from(trace, from);
        }
    }

    fn add_copy(&self, trace: &mut StepTrace, copy: &CopyStep) {
        self.add_from(trace, copy.from);
        trace.add(
            InputKind::Instruction,
            "the destination",
            hash(&copy.destination),
        );
        let sources: Vec<String> = copy.sources.iter().map(source).collect();
        trace.add(
            InputKind::Instruction,
            "what is copied",
            hash(sources.join("\0")),
        );
        let unpack = copy.unpack != Unpack::Never;
        for (flag, value) in [
            (
                "--chown",
                copy.chown.as_ref().map(|chown| chown.value.clone()),
            ),
            (
                "--chmod",
                copy.chmod
                    .as_ref()
                    .map(|chmod| chmod.value.as_str().to_owned()),
            ),
            (
                "--exclude",
                (!copy.exclude.is_empty()).then(|| {
                    let patterns: Vec<&str> = copy
                        .exclude
                        .iter()
                        .map(|pattern| pattern.value.as_str())
                        .collect();
                    patterns.join("\0")
                }),
            ),
            ("--link", copy.link.then(String::new)),
            ("--unpack", unpack.then(|| format!("{:?}", copy.unpack))),
        ] {
            if let Some(value) = value {
                trace.add(InputKind::Flag, flag, hash(value));
            }
        }
    }

    fn add_from(&self, trace: &mut StepTrace, from: CopyFrom) {
        match from {
            // Their files are told one by one.
            CopyFrom::Context | CopyFrom::Named(_) => {}
            CopyFrom::Image(image) => self.add_image(trace, image),
            CopyFrom::Stage(stage) => {
                let end = self.keys.end(stage);
                let end = end.map_or(0, |key| hash(key.to_string()));
                trace.add(InputKind::Stage, &self.plan.stages[stage].name, end);
            }
        }
    }
}

/// What to call a mount, and what of it counts but the files that it shows.
fn mount_settings(mount: &MountKind) -> (String, String) {
    // What the context has there is told file by file.
    let path = |from: &Option<CopyFrom>, source: &str| match from {
        Some(CopyFrom::Context | CopyFrom::Named(_)) => String::new(),
        Some(CopyFrom::Stage(_) | CopyFrom::Image(_)) => source.to_owned(),
        None => "nothing".to_owned(),
    };
    let name = |kind: &str, target: &str| format!("--mount=type={kind},target={target}");
    match mount {
        MountKind::Bind {
            from,
            source,
            target,
            read_only,
        } => (
            name("bind", target),
            format!("{read_only} {}", path(from, source)),
        ),
        MountKind::Cache(cache) => (
            name("cache", &cache.target),
            format!("{} {:?} {}", cache.read_only, cache.access, cache.source),
        ),
        MountKind::Tmpfs {
            target,
            size,
            read_only,
        } => (name("tmpfs", target), format!("{read_only} {size:?}")),
        MountKind::Secret {
            id,
            target,
            env,
            required,
            access,
        } => (
            format!("--mount=type=secret,id={id}"),
            format!("{target:?} {env:?} {required} {access:?}"),
        ),
        MountKind::Ssh {
            id,
            target,
            required,
            access,
        } => (
            format!("--mount=type=ssh,id={id}"),
            format!("{target:?} {required} {access:?}"),
        ),
    }
}

/// What tells a source apart but the files themselves.
fn source(source: &CopySource) -> String {
    match source {
        CopySource::Path(path) => path.value.clone(),
        CopySource::Parents { root, pattern, .. } => format!("{}/./{pattern}", root.value),
        CopySource::Inline { name, content } => format!("{name}\n{content}"),
        CopySource::Url(url) => format!("{} {:?}", url.name, url.checksum),
        CopySource::Repository(repository) => {
            format!("{} {:?}", repository.url.value, repository.pinned)
        }
    }
}

/// Tells two values apart, and does not tell what they are.
fn hash(value: impl AsRef<[u8]>) -> u64 {
    let digest = Digest::of(value.as_ref());
    let start = digest.hex().get(..16).unwrap_or_default();
    u64::from_str_radix(start, 16).unwrap_or_default()
}
