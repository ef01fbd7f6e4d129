//! One stage: its base into a tree, then step by step, each step's changes into a layer.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::layer;
use crate::oci::{Descriptor, Digest, History, ImageConfig};
use crate::output::{ImageLayer, LayerSource};
use crate::plan::{CopyStep, HISTORY_COMMENT, StageBase, StagePlan, Step, StepKind, WorkdirStep};
use crate::rootfs::{Owner, Protected, RelPath, Rootfs, Timestamp};
use crate::sandbox::{ChangeSource, FinishedStage, Ownership, StepKind as SandboxStep, Workspace};
use crate::snapshot::{Change, ChangeKind, Changes, Contents, Index, ScanOptions};

use super::copy::copy;
use super::destination::{Destination, make_parents};
use super::engine::Engine;
use super::event::{Event, StepResult};
use super::layers::{PackJob, Packed, Packing};
use super::link::{Linked, link};
use super::sources::SourceTree;
use super::tree::{mounted, open, protected};
use super::{BuildError, CopyError, CopyFailure, DownloadError, run, timed, user};

/// What became of a stage.
#[derive(Debug)]
pub(super) struct StageResult {
    /// The configuration, with the stage's layers and history.
    pub(super) config: ImageConfig,
    /// The layers, base first.
    pub(super) layers: Vec<ImageLayer>,
    /// The tree, if another stage needs it.
    pub(super) tree: Option<FinishedStage>,
    /// Owners that the tree cannot hold.
    pub(super) owners: Arc<layer::Ownership>,
}

/// What a stage that continues another takes over from it.
#[derive(Debug, Default)]
pub(super) struct Parent {
    config: ImageConfig,
    layers: Vec<ImageLayer>,
    pub(super) owners: Arc<layer::Ownership>,
}

impl Parent {
    /// What the stage's tree consists of.
    pub(super) fn diff_ids(&self) -> Vec<Digest> {
        self.config.rootfs.diff_ids.clone()
    }
}

impl StageResult {
    /// What a stage that continues this one takes over.
    pub(super) fn as_parent(&self) -> Parent {
        Parent {
            config: self.config.clone(),
            layers: self.layers.clone(),
            owners: Arc::clone(&self.owners),
        }
    }
}

/// A stage while it is built.
struct Building<'e> {
    engine: &'e Engine<'e>,
    stage: &'e StagePlan,
    config: ImageConfig,
    layers: Vec<ImageLayer>,
    history: Vec<History>,
    /// The last walk of the tree, where changes are found by walks.
    index: Option<Index>,
    /// Whether changes are found by walks, and those of a copy by what it wrote.
    is_scanned: bool,
    /// Whether nothing was changed since that walk.
    is_index_current: bool,
    /// The layer that is packed in the background, and the number of its step.
    packing: Option<Packing>,
    owners: Arc<layer::Ownership>,
    /// What the steps so far wrote, where one layer is made at the end.
    deferred: BTreeMap<RelPath, ChangeKind>,
}

/// Builds a stage whose needs are built already.
pub(super) fn build(engine: &Engine<'_>, index: usize) -> Result<StageResult, BuildError> {
    let stage = &engine.plan.stages[index];
    let (layers, config, owners) = match stage.base {
        StageBase::Scratch => (Vec::new(), stage.config.clone(), Arc::default()),
        StageBase::Image(image) => (
            engine.images[image].layers.clone(),
            stage.config.clone(),
            Arc::default(),
        ),
        StageBase::Stage(parent) => {
            let parent = engine.result(parent);
            let mut config = stage.config.clone();
            config.rootfs = parent.config.rootfs;
            config.history = parent.config.history;
            (parent.layers, config, parent.owners)
        }
    };
    let mut building = Building {
        engine,
        stage,
        config,
        layers,
        history: Vec::new(),
        index: None,
        is_index_current: false,
        is_scanned: false,
        packing: None,
        owners,
        deferred: BTreeMap::new(),
    };
    let mut workspace = if engine.needs.tree[index] {
        Some(open(engine, index)?)
    } else {
        None
    };
    if let (StageBase::Image(image), Some(_)) = (stage.base, &workspace) {
        building.owners = engine.owners_of_image(image);
    }
    for number in 0..stage.steps.len() {
        engine.check_cancelled()?;
        building.step(number, workspace.as_mut())?;
    }
    if let Some(workspace) = &workspace {
        building.end_single(workspace.as_ref())?;
    }
    building.join_packing()?;
    let tree = match workspace {
        Some(workspace) if engine.needs.is_used_after(index, index) => Some(workspace.finish()?),
        Some(_) | None => None,
    };
    let Building {
        mut config,
        layers,
        history,
        owners,
        ..
    } = building;
    config.history.extend(history);
    config.created = Some(engine.created_text());
    Ok(StageResult {
        config,
        layers,
        tree,
        owners,
    })
}

impl Building<'_> {
    fn step(
        &mut self,
        number: usize,
        workspace: Option<&mut Box<dyn Workspace>>,
    ) -> Result<(), BuildError> {
        let started = Instant::now();
        let step = &self.stage.steps[number];
        self.engine.events().send(Event::StepStarted {
            stage: self.stage.name.clone(),
            number: number + 1,
            of: self.stage.steps.len(),
            display: step.display.clone(),
        });
        let is_empty_layer = match &step.kind {
            StepKind::Silent => {
                self.finished(number, StepResult::Metadata, started.elapsed());
                return Ok(());
            }
            StepKind::Metadata => true,
            StepKind::Workdir(_) | StepKind::Run(_) | StepKind::Copy(_) => {
                self.engine.request.layers.single
            }
        };
        self.history.push(History {
            created: Some(self.engine.created_text()),
            created_by: Some(step.created_by.clone()),
            author: None,
            comment: Some(HISTORY_COMMENT.to_owned()),
            empty_layer: is_empty_layer,
        });
        match &step.kind {
            StepKind::Metadata | StepKind::Silent => {
                self.finished(number, StepResult::Metadata, started.elapsed());
            }
            StepKind::Copy(copy) if copy.link => {
                self.linked(number, copy, workspace, started)?;
            }
            StepKind::Workdir(_) | StepKind::Run(_) | StepKind::Copy(_) => {
                let workspace = workspace.ok_or(crate::sandbox::SandboxError::OutOfOrder {
                    wanted: "run a step",
                })?;
                self.change(number, workspace.as_mut(), started)?;
            }
        }
        Ok(())
    }

    /// Carries out a copy that makes a layer without looking at the tree. The tree, if there is one, gets that layer.
    fn linked(
        &mut self,
        number: usize,
        copy: &CopyStep,
        workspace: Option<&mut Box<dyn Workspace>>,
        started: Instant,
    ) -> Result<(), BuildError> {
        let step = &self.stage.steps[number];
        let name = format!("layer-{}-{number}", self.stage.number);
        let directory = self.engine.scratch.join(format!("{name}-files"));
        let Linked {
            rootfs,
            changes,
            owners,
            warnings,
        } = link(self.engine, copy, &directory).map_err(|failed| copy_error(step, failed))?;
        self.warn(warnings);
        self.engine.check_cancelled()?;
        self.join_packing()?;
        let paths = changes.clone();
        let job = PackJob {
            display: step.display.clone(),
            changes,
            rootfs,
            owners: Arc::new(owners),
            held: None,
        };
        let token = self.engine.services.token.clone();
        let packed = self.engine.packer(token).pack(job, &name)?;
        if let Some(workspace) = workspace {
            workspace.begin_step(SandboxStep::Files)?;
            let applied = self.engine.apply_blob(&packed, workspace.as_ref())?;
            workspace.seal_step()?;
            self.is_index_current = false;
            self.record(applied.recorded);
        }
        // The layer is made of it.
        drop(std::fs::remove_dir_all(&directory));
        if self.engine.request.layers.single {
            for change in &paths {
                self.deferred
                    .entry(change.path.clone())
                    .or_insert(change.kind);
            }
            self.finished(number, StepResult::Deferred, started.elapsed());
        } else {
            let spent = started.elapsed().saturating_sub(packed.took);
            self.add_layer(number, spent, packed);
        }
        Ok(())
    }

    /// Carries out a step that changes files.
    fn change(
        &mut self,
        number: usize,
        workspace: &mut dyn Workspace,
        started: Instant,
    ) -> Result<(), BuildError> {
        let step = &self.stage.steps[number];
        let is_run = matches!(step.kind, StepKind::Run(_));
        let single = self.engine.request.layers.single;
        let by_time = is_run && self.engine.request.snapshot.by_time_only;
        workspace.begin_step(if is_run {
            SandboxStep::Run
        } else {
            SandboxStep::Files
        })?;
        let protected = protected(self.engine, workspace)?;
        let source = workspace.changes()?;
        self.is_scanned = matches!(source, ChangeSource::Scan { .. });
        let before = match &source {
            ChangeSource::Scan { root } if is_run => Some(self.before(root, &protected, step)?),
            ChangeSource::Scan { .. } | ChangeSource::Upper(_) => None,
        };
        // A path that is ignored can be written, for the steps that follow: it only gets into no layer.
        let mounted = mounted(workspace)?;
        let touched = self.carry_out(step, workspace, &mounted)?;
        self.engine.check_cancelled()?;
        let (changes, root) = match &source {
            ChangeSource::Upper(view) => {
                let (upper, lower) = (Rootfs::open(view.upper())?, Rootfs::open(view.lower())?);
                let changes = crate::snapshot::from_upper(&upper, &lower, &protected)
                    .map_err(|e| snapshot_error(step, e))?;
                let changes = if by_time {
                    let before = |path: &RelPath| Ok(lower.lstat(path)?.map(|there| there.mtime));
                    timed::only_newer(&changes, &upper, before)?
                } else {
                    changes
                };
                (changes, upper)
            }
            ChangeSource::Scan { root } => {
                let rootfs = Rootfs::open(root)?;
                let changes = if let Some(before) = before {
                    let after = self.scan(&rootfs, &protected, Some(&before), step)?;
                    let mut changes = after.changes_since(&before);
                    if by_time {
                        changes =
                            timed::only_newer(&changes, &rootfs, |path| Ok(before.modified(path)))?;
                    }
                    self.index = Some(after);
                    self.is_index_current = true;
                    changes
                } else {
                    self.is_index_current = false;
                    Changes::from_paths(&rootfs, &protected, touched)
                        .map_err(|e| snapshot_error(step, e))?
                };
                (changes, rootfs)
            }
        };
        workspace.seal_step()?;
        if single {
            for change in &changes {
                // What happened first says whether the path was there before the stage.
                self.deferred
                    .entry(change.path.clone())
                    .or_insert(change.kind);
            }
            self.finished(number, StepResult::Deferred, started.elapsed());
            return Ok(());
        }
        let job = PackJob {
            display: step.display.clone(),
            changes,
            rootfs: root,
            owners: Arc::clone(&self.owners),
            // An upper directory stays as it is; a tree that is scanned goes on changing.
            held: matches!(source, ChangeSource::Upper(_)).then_some(source),
        };
        self.pack(number, started, job)
    }

    /// The index from before a RUN: the one after the step before, or a new one.
    fn before(
        &mut self,
        root: &Path,
        protected: &Protected,
        step: &Step,
    ) -> Result<Index, BuildError> {
        match self.index.take() {
            Some(index) if self.is_index_current => Ok(index),
            older => self.scan(&Rootfs::open(root)?, protected, older.as_ref(), step),
        }
    }

    /// Walks the tree. Contents are hashed in the first walk, and after it only those that `previous` does not vouch for:
    /// so a mode or owner that is set to what it was is told from a change.
    fn scan(
        &self,
        rootfs: &Rootfs,
        protected: &Protected,
        previous: Option<&Index>,
        step: &Step,
    ) -> Result<Index, BuildError> {
        let options = ScanOptions {
            threads: NonZeroUsize::new(self.engine.request.threads).unwrap_or(NonZeroUsize::MIN),
            contents: Contents::All,
            previous,
        };
        Index::scan(rootfs, protected, options).map_err(|error| snapshot_error(step, error))
    }

    /// Does a step's work in the tree and returns the paths that it wrote itself.
    fn carry_out(
        &mut self,
        step: &Step,
        workspace: &mut dyn Workspace,
        protected: &Protected,
    ) -> Result<Vec<RelPath>, BuildError> {
        match &step.kind {
            StepKind::Run(command) => {
                run::run(step, command, workspace, self.engine)?;
                Ok(Vec::new())
            }
            StepKind::Copy(copy) => {
                let rootfs = Rootfs::open(workspace.root())?;
                self.copy(copy, &rootfs, protected)
                    .map_err(|failed| copy_error(step, failed))
            }
            StepKind::Workdir(workdir) => {
                let rootfs = Rootfs::open(workspace.root())?;
                self.workdir(workdir, &rootfs, protected)
                    .map_err(|error| copy_error(step, error.into()))
            }
            StepKind::Metadata | StepKind::Silent => Ok(Vec::new()),
        }
    }

    fn copy(
        &mut self,
        step: &CopyStep,
        rootfs: &Rootfs,
        protected: &Protected,
    ) -> Result<Vec<RelPath>, Failed> {
        let owner = match &step.chown {
            Some(text) => Some(user::chown(rootfs, &text.value).map_err(CopyError::from)?),
            None => None,
        };
        let destination = self.destination(rootfs, protected, owner);
        let engine = self.engine;
        let downloads = engine.download(step)?;
        let copied = engine.with_source(step.from, |source: &SourceTree<'_>| {
            copy(step, source, &downloads, &destination).map_err(Failed::Copy)
        })?;
        destination.date_parents(&copied.touched)?;
        self.record(copied.owners);
        self.warn(copied.warnings);
        Ok(copied.touched)
    }

    /// Makes the directory of a WORKDIR; one that is there stays as it is.
    fn workdir(
        &mut self,
        step: &WorkdirStep,
        rootfs: &Rootfs,
        protected: &Protected,
    ) -> Result<Vec<RelPath>, CopyError> {
        let path =
            RelPath::parse_chrooted(step.path.as_bytes()).map_err(crate::rootfs::Error::from)?;
        let identity = user::identity(rootfs, &step.user)?;
        let owner = Owner {
            uid: identity.uid,
            gid: identity.gid,
        };
        let destination = self.destination(rootfs, protected, Some(owner));
        if protected.covers(&path) {
            return Ok(Vec::new());
        }
        let mut owners = Vec::new();
        let made = make_parents(&destination, &path, 0o755, owner, &mut owners)?;
        destination.date_parents(&made)?;
        self.record(owners);
        Ok(made)
    }

    fn record(&mut self, owners: Vec<(RelPath, Owner)>) {
        if owners.is_empty() {
            return;
        }
        let recorded = Arc::make_mut(&mut self.owners);
        for (path, owner) in owners {
            recorded.set_owner(path, owner);
        }
    }

    fn destination<'a>(
        &self,
        rootfs: &'a Rootfs,
        protected: &'a Protected,
        owner: Option<Owner>,
    ) -> Destination<'a> {
        Destination {
            rootfs,
            protected,
            owner,
            now: Timestamp {
                secs: self.engine.request.created,
                nanos: 0,
            },
            leaves_same: self.is_scanned,
            sets_owner: self.engine.executor.ownership() == Ownership::Real,
        }
    }

    /// Makes a layer: in the background where the changes stay as they are, else at once.
    fn pack(&mut self, number: usize, started: Instant, job: PackJob) -> Result<(), BuildError> {
        let spent = started.elapsed();
        self.join_packing()?;
        let token = self.engine.services.token.child_token();
        let packer = self.engine.packer(token.clone());
        let name = format!("layer-{}-{number}", self.stage.number);
        if job.held.is_some() {
            let work = std::thread::Builder::new()
                .name("pack".to_owned())
                .spawn(move || packer.pack(job, &name))
                .map_err(|source| BuildError::State {
                    action: "start a thread for",
                    path: "a layer".into(),
                    source,
                })?;
            self.packing = Some(Packing {
                number,
                spent,
                work: Some(work),
                token,
            });
            return Ok(());
        }
        let packed = packer.pack(job, &name)?;
        self.add_layer(number, spent, packed);
        Ok(())
    }

    /// Waits for the layer in the background.
    fn join_packing(&mut self) -> Result<(), BuildError> {
        if let Some(mut packing) = self.packing.take()
            && let Some(work) = packing.work.take()
        {
            match work.join() {
                Ok(packed) => self.add_layer(packing.number, packing.spent, packed?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }

    /// Adds a layer; the step took `spent` apart from packing.
    fn add_layer(&mut self, number: usize, spent: Duration, packed: Packed) {
        let Packed {
            descriptor,
            diff_id,
            path,
            entries,
            warnings,
            took,
        } = packed;
        self.warn(warnings);
        let result = StepResult::Layer {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            entries,
        };
        self.append(image_layer(descriptor, diff_id, path));
        self.finished(number, result, spent + took);
    }

    /// Makes the one layer of a stage that has only one.
    fn end_single(&mut self, workspace: &dyn Workspace) -> Result<(), BuildError> {
        if !self.engine.request.layers.single || self.deferred.is_empty() {
            return Ok(());
        }
        let protected = protected(self.engine, workspace)?;
        let rootfs = Rootfs::open(workspace.root())?;
        let display = format!("stage {}", self.stage.name);
        let mut changes = Vec::new();
        for (path, first) in std::mem::take(&mut self.deferred) {
            if protected.covers(&path) {
                continue;
            }
            let kind = match (rootfs.lstat(&path)?, first) {
                (
                    Some(_),
                    kind @ (ChangeKind::Added | ChangeKind::Modified | ChangeKind::Parent),
                ) => kind,
                (Some(_), ChangeKind::Deleted) => ChangeKind::Modified,
                // It came and went within the stage.
                (None, ChangeKind::Added) => continue,
                (None, ChangeKind::Modified | ChangeKind::Deleted | ChangeKind::Parent) => {
                    ChangeKind::Deleted
                }
            };
            changes.push(Change { path, kind });
        }
        let changes = Changes::new(changes);
        let job = PackJob {
            display: display.clone(),
            changes,
            rootfs,
            owners: Arc::clone(&self.owners),
            held: None,
        };
        let packed = self
            .engine
            .packer(self.engine.services.token.clone())
            .pack(job, &format!("layer-{}", self.stage.number))?;
        self.history.push(History {
            created: Some(self.engine.created_text()),
            created_by: Some(format!("{display} # single layer")),
            author: None,
            comment: Some(HISTORY_COMMENT.to_owned()),
            empty_layer: false,
        });
        let Packed {
            descriptor,
            diff_id,
            path,
            warnings,
            ..
        } = packed;
        self.warn(warnings);
        self.append(image_layer(descriptor, diff_id, path));
        Ok(())
    }

    fn warn(&self, warnings: Vec<String>) {
        for message in warnings {
            self.engine.events().send(Event::Warning {
                message,
                span: None,
            });
        }
    }

    /// Puts a layer on top, and on its way.
    fn append(&mut self, layer: ImageLayer) {
        self.engine.uploads.begin(layer.clone());
        self.config.rootfs.diff_ids.push(layer.diff_id.clone());
        self.layers.push(layer);
    }

    fn finished(&self, number: usize, result: StepResult, took: Duration) {
        self.engine.events().send(Event::StepFinished {
            stage: self.stage.name.clone(),
            number: number + 1,
            of: self.stage.steps.len(),
            result,
            took,
        });
    }
}

/// What can go wrong in a copy: the copy, or getting at its source.
pub(super) enum Failed {
    Copy(CopyError),
    Build(BuildError),
}

impl From<CopyError> for Failed {
    fn from(error: CopyError) -> Self {
        Self::Copy(error)
    }
}

impl From<BuildError> for Failed {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

fn image_layer(descriptor: Descriptor, diff_id: Digest, path: PathBuf) -> ImageLayer {
    ImageLayer {
        descriptor,
        diff_id,
        source: LayerSource::File(path),
    }
}

/// Says where a copy failed.
fn copy_error(step: &Step, failed: Failed) -> BuildError {
    match failed {
        Failed::Copy(CopyError::Download { source, .. })
            if matches!(*source, DownloadError::Cancelled) =>
        {
            BuildError::Cancelled
        }
        Failed::Copy(source) => BuildError::Copy(CopyFailure {
            display: step.display.clone(),
            span: step.origin.span,
            source: Box::new(source),
        }),
        Failed::Build(error) => error,
    }
}

fn snapshot_error(step: &Step, source: crate::snapshot::Error) -> BuildError {
    BuildError::Snapshot {
        display: step.display.clone(),
        source: Box::new(source),
    }
}
