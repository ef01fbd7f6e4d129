//! One stage: its base into a tree, then step by step, each step's changes into a layer. Steps at its beginning whose layers a
//! cache has are not carried out.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::cache::Record;
use crate::layer;
use crate::oci::{Digest, History, ImageConfig};
use crate::output::ImageLayer;
use crate::plan::{CopyStep, StageBase, StagePlan, Step, StepKind, WorkdirStep};
use crate::rootfs::{Owner, Protected, RelPath, Rootfs, Timestamp};
use crate::sandbox::{ChangeSource, FinishedStage, Ownership, StepKind as SandboxStep, Workspace};
use crate::snapshot::{ChangeKind, Changes, Contents, Index, ScanOptions};

use super::copy::copy;
use super::destination::{Destination, make_parents};
use super::engine::Engine;
use super::event::{Event, StepResult};
use super::layers::{PackJob, Packing};
use super::link::{Linked, link};
use super::need::changes_files;
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
    /// What the layers above the image are remembered as; `None` where one of them cannot be.
    pub(super) records: Option<Vec<Record>>,
}

/// What a stage that continues another takes over from it.
#[derive(Debug, Default)]
pub(super) struct Parent {
    config: ImageConfig,
    layers: Vec<ImageLayer>,
    pub(super) owners: Arc<layer::Ownership>,
    pub(super) records: Option<Vec<Record>>,
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
            records: self.records.clone(),
        }
    }
}

/// A stage while it is built.
pub(super) struct Building<'e> {
    pub(super) engine: &'e Engine<'e>,
    pub(super) stage: &'e StagePlan,
    /// Its place in the plan.
    pub(super) index: usize,
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<ImageLayer>,
    /// The entries of its own steps; what is not dated yet gets the time of its neighbour.
    pub(super) history: Vec<History>,
    /// The last walk of the tree, where changes are found by walks.
    scanned: Option<Index>,
    /// Whether changes are found by walks, and those of a copy by what it wrote.
    is_scanned: bool,
    /// Whether nothing was changed since that walk.
    is_scan_current: bool,
    /// The layer that is packed in the background, and the number of its step.
    pub(super) packing: Option<Packing>,
    pub(super) owners: Arc<layer::Ownership>,
    /// What the steps so far wrote, where one layer is made at the end.
    pub(super) deferred: BTreeMap<RelPath, ChangeKind>,
    /// When the one layer was made, in a stage that has only one.
    pub(super) single: Option<String>,
    /// What the layers above the image are remembered as, as long as all of them can be.
    pub(super) records: Option<Vec<Record>>,
}

/// Builds a stage whose needs are built already.
pub(super) fn build(engine: &Engine<'_>, index: usize) -> Result<StageResult, BuildError> {
    let stage = &engine.plan.stages[index];
    let mut config = stage.config.clone();
    let mut records = engine.keys.map(|_| Vec::new());
    // As in BuildKit, settings on an image that gets no layer are as old as the image.
    let last = config
        .history
        .last()
        .and_then(|entry| entry.created.clone());
    let mut before = last.or_else(|| config.created.clone());
    let layers = match stage.base {
        StageBase::Scratch => {
            before = None;
            Vec::new()
        }
        StageBase::Image(image) => engine.images[image].layers.clone(),
        StageBase::Stage(parent) => {
            let parent = engine.result(parent);
            config.rootfs = parent.config.rootfs;
            config.history = parent.config.history;
            records = parent.records;
            before = parent.config.created;
            parent.layers
        }
    };
    let mut building = Building {
        engine,
        stage,
        index,
        config,
        layers,
        history: Vec::new(),
        scanned: None,
        is_scan_current: false,
        is_scanned: false,
        packing: None,
        owners: Arc::default(),
        deferred: BTreeMap::new(),
        single: None,
        records,
    };
    let done = engine.needs.done[index];
    for number in 0..done {
        if changes_files(&stage.steps[number].kind) {
            building.replay(number);
        } else {
            building.step(number, None)?;
        }
    }
    let mut workspace = None;
    if engine.needs.tree[index] {
        let (opened, owners) = open(engine, index, &building.layers)?;
        building.owners = owners;
        workspace = Some(opened);
    }
    for number in done..stage.steps.len() {
        engine.check_cancelled()?;
        if let Err(error) = building.step(number, workspace.as_mut()) {
            // What was made before is worth keeping; why the build fails is known already.
            if engine.uploads.keeps() {
                let _ = building.join_packing();
            }
            return Err(error);
        }
    }
    if let Some(workspace) = &workspace {
        building.end_single(workspace.as_ref())?;
    }
    building.join_packing()?;
    building.end_history();
    let is_used = !engine.needs.users[index].is_empty();
    let tree = match workspace {
        Some(workspace) if is_used => Some(workspace.finish()?),
        Some(_) | None => None,
    };
    if engine.request.cache.is_created_explicit {
        before = None;
    }
    let created = date(&mut building.history, before, &engine.created_text());
    let Building {
        mut config,
        layers,
        history,
        owners,
        records,
        ..
    } = building;
    config.history.extend(history);
    config.created = Some(created);
    Ok(StageResult {
        config,
        layers,
        tree,
        owners,
        records,
    })
}

/// Dates what has no time of its own: as the entry before it, else as the one after it, else `before`, else `now`. Gives the
/// time of the last. So a build that finds everything in a cache makes the image that was made before, and not another one.
fn date(history: &mut [History], before: Option<String>, now: &str) -> String {
    let first = history.iter().find_map(|entry| entry.created.clone());
    let mut time = first.or(before).unwrap_or_else(|| now.to_owned());
    for entry in history {
        match &entry.created {
            Some(created) => time.clone_from(created),
            None => entry.created = Some(time.clone()),
        }
    }
    time
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
        // A setting is as old as what it is set on.
        let created = (!is_empty_layer).then(|| self.engine.created_text());
        self.add_history(step.created_by.clone(), created, is_empty_layer);
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
            self.is_scan_current = false;
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
                    self.scanned = Some(after);
                    self.is_scan_current = true;
                    changes
                } else {
                    self.is_scan_current = false;
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
        match self.scanned.take() {
            Some(index) if self.is_scan_current => Ok(index),
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
                run::run((&self.stage.name, step, command), workspace, self.engine)?;
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
        // As in --chown, a number alone is the group's number, too; a RUN has group 0 then.
        let is_number = !step.user.is_empty() && step.user.bytes().all(|b| b.is_ascii_digit());
        let owner = Owner {
            uid: identity.uid,
            gid: if is_number {
                identity.uid
            } else {
                identity.gid
            },
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
