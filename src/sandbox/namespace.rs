//! Stages in our own mount namespace: base layers and steps are stacked by overlayfs, commands get namespaces of their own.

use super::SandboxError;
use super::executor::{
    ChangeSource, Executor, FinishedStage, Isolation, LayerSlot, Network, Ownership, ProtectedPath,
    RunOutput, RunSpec, RunStatus, StagedLayer, StepKind, UpperView, Workspace,
};
use super::launch::launch;
use super::mounts::Prepared;
use super::overlay::{Mounted, OverlayOptions, Writable};
use super::plain::PlainWorkspace;
use super::protocol::{Job, NamespacePlace, Place};
use super::store::BuildDirectory;
use super::stubs::{StubKind, Stubs, times};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What commands have mounted over their tree.
const MOUNT_POINTS: [(&str, StubKind); 3] = [
    ("proc", StubKind::Directory),
    ("sys", StubKind::Directory),
    ("dev", StubKind::Directory),
];

/// What a build's stages have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) build: BuildDirectory,
    pub(super) own_processes: bool,
    pub(super) user_namespace: bool,
    pub(super) run_refused: Option<String>,
    /// How overlays are mounted, where they can be.
    pub(super) overlay: Option<OverlayOptions>,
}

impl Shared {
    /// Runs a command with `root` as its `/`.
    pub(super) fn run(
        &self,
        root: &Path,
        spec: &RunSpec,
        output: &mut RunOutput<'_>,
    ) -> Result<RunStatus, SandboxError> {
        if let Some(reason) = &self.run_refused {
            return Err(SandboxError::RunRefused {
                reason: reason.clone(),
            });
        }
        self.check_special(spec.network, spec.insecure)?;
        let prepared = Prepared::make(self, &spec.mounts)?;
        let outcome = self.run_with(root, spec, &prepared, output);
        let removed = prepared.remove();
        let status = outcome?;
        removed?;
        Ok(status)
    }

    fn run_with(
        &self,
        root: &Path,
        spec: &RunSpec,
        prepared: &Prepared,
        output: &mut RunOutput<'_>,
    ) -> Result<RunStatus, SandboxError> {
        let mut points: Vec<(&str, StubKind)> = MOUNT_POINTS.to_vec();
        let mut file = |contents: &Option<String>, point: &'static str| {
            let Some(contents) = contents else {
                return Ok(None);
            };
            points.push((point, StubKind::File));
            let path = self.build.fresh_name("file");
            std::fs::write(&path, contents)
                .map_err(|source| SandboxError::path("write", &path, source))?;
            Ok::<_, SandboxError>(Some(path))
        };
        let place = NamespacePlace {
            root: root.to_owned(),
            own_processes: self.own_processes,
            user_namespace: self.user_namespace,
            hosts: file(&spec.hosts, "etc/hosts")?,
            resolv_conf: file(&spec.resolv_conf, "etc/resolv.conf")?,
            mounts: prepared.mounts.clone(),
            staging: prepared.staging.clone(),
        };
        let bound = [place.hosts.clone(), place.resolv_conf.clone()];
        let own = prepared.points.iter().map(|(path, kind)| (&**path, *kind));
        points.extend(own);
        let stubs = Stubs::make(root, &points)?;
        let outcome = launch(
            &Job {
                place: Place::Namespace(place),
                spec: spec.clone(),
            },
            output,
        );
        let removed = stubs.remove();
        for path in bound.iter().flatten() {
            std::fs::remove_file(path)
                .map_err(|source| SandboxError::path("remove", path, source))?;
        }
        let status = outcome?;
        removed?;
        Ok(status)
    }

    /// What is special about a command, and whether it can be had here.
    fn check_special(&self, _network: Network, insecure: bool) -> Result<(), SandboxError> {
        if insecure && self.user_namespace {
            return Err(SandboxError::RunRefused {
                reason: "--security=insecure needs the real root: in a user namespace there is nothing to grant".into(),
            });
        }
        Ok(())
    }
}

/// How trees are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    /// Stacked directories.
    Overlay(OverlayOptions),
    /// One copied directory a stage, where overlayfs is refused.
    Plain,
}

/// The isolation `namespace`.
#[derive(Debug)]
pub(super) struct NamespaceExecutor {
    pub(super) shared: Arc<Shared>,
    pub(super) backing: Backing,
    pub(super) ownership: Ownership,
    pub(super) summary: String,
}

impl Executor for NamespaceExecutor {
    fn isolation(&self) -> Isolation {
        Isolation::Namespace
    }

    fn describe(&self) -> String {
        self.summary.clone()
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    fn ownership(&self) -> Ownership {
        self.ownership
    }

    fn check_run(&self) -> Result<(), SandboxError> {
        match &self.shared.run_refused {
            Some(reason) => Err(SandboxError::RunRefused {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_special(&self, network: Network, insecure: bool) -> Result<(), SandboxError> {
        self.shared.check_special(network, insecure)
    }

    fn workspace(&self, name: &str) -> Result<Box<dyn Workspace>, SandboxError> {
        Ok(match self.backing {
            Backing::Overlay(options) => Box::new(OverlayWorkspace::make(
                &self.shared,
                options,
                name,
                Vec::new(),
            )?),
            Backing::Plain => Box::new(PlainWorkspace::make(&self.shared, name)?),
        })
    }

    fn branch(
        &self,
        name: &str,
        finished: &FinishedStage,
        still_needed: bool,
    ) -> Result<Box<dyn Workspace>, SandboxError> {
        Ok(match self.backing {
            Backing::Overlay(options) => {
                // Frozen directories are shared, whether they are still needed or not.
                let tree = finished
                    .tree
                    .downcast_ref::<FinishedOverlay>()
                    .ok_or(FOREIGN_STAGE)?;
                Box::new(OverlayWorkspace::make(
                    &self.shared,
                    options,
                    name,
                    tree.lowers.clone(),
                )?)
            }
            Backing::Plain => Box::new(PlainWorkspace::branch(
                &self.shared,
                name,
                finished,
                still_needed,
            )?),
        })
    }

    fn stage_layer(&self) -> Result<Option<StagedLayer>, SandboxError> {
        match self.backing {
            Backing::Overlay(_) => {
                let (holder, tree) = layer_directory(&self.shared)?;
                let holder = Some(holder);
                Ok(Some(StagedLayer { holder, tree }))
            }
            Backing::Plain => Ok(None),
        }
    }

    fn scratch(&self) -> &Path {
        self.shared.build.path()
    }

    fn restore(&self) -> Result<(), SandboxError> {
        // Nothing of the machine was moved.
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), SandboxError> {
        self.shared.build.prune();
        self.shared.build.remove()
    }
}

/// A new directory around a layer, and the layer's empty tree in it.
fn layer_directory(shared: &Shared) -> Result<(PathBuf, PathBuf), SandboxError> {
    let holder = shared.build.fresh_directory("layer")?;
    let tree = holder.join("tree");
    std::fs::create_dir(&tree).map_err(|source| SandboxError::path("create", &tree, source))?;
    Ok((holder, tree))
}

/// A stage of another executor was given to this one.
pub(super) const FOREIGN_STAGE: SandboxError = SandboxError::OutOfOrder {
    wanted: "continue on a stage of another build",
};

/// A directory to look at a tree through, and the mount that makes it, if one is needed.
#[derive(Debug)]
struct View {
    // First, so that it is unmounted before the build's directory goes.
    _mounted: Option<Mounted>,
    path: PathBuf,
    _shared: Arc<Shared>,
}

/// A finished stage's frozen directories.
#[derive(Debug)]
struct FinishedOverlay {
    lowers: Vec<PathBuf>,
    _view: Arc<View>,
}

/// A stage on overlayfs.
#[derive(Debug)]
struct OverlayWorkspace {
    shared: Arc<Shared>,
    options: OverlayOptions,
    name: String,
    /// Frozen directories, the bottom first.
    lowers: Vec<PathBuf>,
    /// The frozen directories as one.
    view: Arc<View>,
    open: Option<Open>,
}

/// The directory that takes changes now.
#[derive(Debug)]
struct Open {
    top: View,
    upper: PathBuf,
    /// The chain id of the layer that it is going to be, and the directory around it; `None` for a step.
    layer: Option<(String, PathBuf)>,
}

impl OverlayWorkspace {
    fn make(
        shared: &Arc<Shared>,
        options: OverlayOptions,
        name: &str,
        lowers: Vec<PathBuf>,
    ) -> Result<Self, SandboxError> {
        let view = Arc::new(view_of(shared, options, &lowers)?);
        Ok(Self {
            shared: Arc::clone(shared),
            options,
            name: name.to_owned(),
            lowers,
            view,
            open: None,
        })
    }

    /// Opens an empty directory on top, at `upper`.
    fn open_on(
        &mut self,
        upper: PathBuf,
        layer: Option<(String, PathBuf)>,
    ) -> Result<(), SandboxError> {
        let shared = Arc::clone(&self.shared);
        let top = if self.lowers.is_empty() {
            // Nothing can be deleted from nothing: the directory itself will do.
            View {
                _mounted: None,
                path: upper.clone(),
                _shared: shared,
            }
        } else {
            adopt_root_attributes(&self.view.path, &upper)?;
            let work = shared.build.fresh_directory("work")?;
            let point = shared.build.fresh_name("merged");
            let mounted = self
                .options
                .mount(
                    &self.lowers,
                    Some(Writable {
                        upper: &upper,
                        work: &work,
                    }),
                    &point,
                )
                .map_err(|source| SandboxError::path("mount an overlay at", &point, source))?;
            View {
                path: mounted.point().to_owned(),
                _mounted: Some(mounted),
                _shared: shared,
            }
        };
        self.open = Some(Open { top, upper, layer });
        Ok(())
    }

    /// Freezes `tree` on top of the others.
    fn push(&mut self, tree: PathBuf) -> Result<(), SandboxError> {
        self.lowers.push(tree);
        self.view = Arc::new(view_of(&self.shared, self.options, &self.lowers)?);
        Ok(())
    }

    fn require_closed(&self, wanted: &'static str) -> Result<(), SandboxError> {
        if self.open.is_none() {
            Ok(())
        } else {
            Err(SandboxError::OutOfOrder { wanted })
        }
    }
}

impl Workspace for OverlayWorkspace {
    fn root(&self) -> &Path {
        self.open
            .as_ref()
            .map_or(&self.view.path, |open| &open.top.path)
    }

    fn open_layer(&mut self, chain_id: &str) -> Result<LayerSlot, SandboxError> {
        self.require_closed("open a layer")?;
        if let Some(tree) = self.shared.build.layer(chain_id) {
            self.push(tree)?;
            return Ok(LayerSlot::Present);
        }
        let (holder, tree) = layer_directory(&self.shared)?;
        self.open_on(tree, Some((chain_id.to_owned(), holder)))?;
        Ok(LayerSlot::Missing)
    }

    fn adopt_layer(&mut self, mut staged: StagedLayer) -> Result<(), SandboxError> {
        let wanted = SandboxError::OutOfOrder {
            wanted: "take a layer that was made apart",
        };
        let Some(Open {
            top,
            upper,
            layer: Some((_, holder)),
        }) = &mut self.open
        else {
            return Err(wanted);
        };
        let tree = staged.tree.clone();
        if !self.lowers.is_empty() {
            adopt_root_attributes(&self.view.path, &tree)?;
        }
        let made = staged.holder.take().ok_or(wanted)?;
        // Unmounted before its directory goes. What stays of that goes with the build's.
        *top = View {
            _mounted: None,
            path: tree.clone(),
            _shared: Arc::clone(&self.shared),
        };
        *upper = tree;
        let empty = std::mem::replace(holder, made);
        let _ = std::fs::remove_dir_all(empty);
        Ok(())
    }

    fn seal_layer(&mut self) -> Result<(), SandboxError> {
        let wanted = SandboxError::OutOfOrder {
            wanted: "seal a layer",
        };
        let Some(Open {
            top,
            layer: Some((chain_id, holder)),
            ..
        }) = self.open.take()
        else {
            return Err(wanted);
        };
        // Unmounted before it is shared.
        drop(top);
        let tree = self.shared.build.keep_layer(&chain_id, &holder)?;
        self.push(tree)
    }

    fn abandon_layer(&mut self) -> Result<(), SandboxError> {
        let wanted = SandboxError::OutOfOrder {
            wanted: "abandon a layer",
        };
        let Some(Open {
            top,
            layer: Some((_, holder)),
            ..
        }) = self.open.take()
        else {
            return Err(wanted);
        };
        drop(top);
        std::fs::remove_dir_all(&holder)
            .map_err(|source| SandboxError::path("remove", &holder, source))
    }

    fn begin_step(&mut self, _kind: StepKind) -> Result<(), SandboxError> {
        self.require_closed("begin a step")?;
        let upper = self.shared.build.fresh_directory("upper")?;
        self.open_on(upper, None)
    }

    fn changes(&self) -> Result<ChangeSource, SandboxError> {
        let open = self.open.as_ref().filter(|open| open.layer.is_none());
        let open = open.ok_or(SandboxError::OutOfOrder {
            wanted: "look for a step's changes",
        })?;
        // The view holds the build's directory, and with it the upper one.
        let held = Arc::clone(&self.view);
        Ok(ChangeSource::Upper(UpperView {
            upper: open.upper.clone(),
            lower: self.view.path.clone(),
            _held: held,
        }))
    }

    fn seal_step(&mut self) -> Result<(), SandboxError> {
        let wanted = SandboxError::OutOfOrder {
            wanted: "seal a step",
        };
        let Some(Open {
            top,
            upper,
            layer: None,
        }) = self.open.take()
        else {
            return Err(wanted);
        };
        drop(top);
        self.push(upper)
    }

    fn run(
        &mut self,
        spec: &RunSpec,
        output: &mut RunOutput<'_>,
    ) -> Result<RunStatus, SandboxError> {
        let open = self.open.as_ref().filter(|open| open.layer.is_none());
        let open = open.ok_or(SandboxError::OutOfOrder {
            wanted: "run a command",
        })?;
        self.shared.run(&open.top.path, spec, output)
    }

    fn protected(&self) -> Result<Vec<ProtectedPath>, SandboxError> {
        // The mounts of a command are in its own namespace, and gone with it.
        Ok(Vec::new())
    }

    fn finish(self: Box<Self>) -> Result<FinishedStage, SandboxError> {
        self.require_closed("finish")?;
        let tree = FinishedOverlay {
            lowers: self.lowers,
            _view: Arc::clone(&self.view),
        };
        Ok(FinishedStage {
            name: self.name,
            root: self.view.path.clone(),
            tree: Arc::new(tree),
        })
    }
}

/// A view of frozen directories: none at all is an empty directory, one is itself, more are mounted read-only.
fn view_of(
    shared: &Arc<Shared>,
    options: OverlayOptions,
    lowers: &[PathBuf],
) -> Result<View, SandboxError> {
    let (mounted, path) = match lowers {
        [] => (None, shared.build.fresh_directory("empty")?),
        [only] => (None, only.clone()),
        _ => {
            let point = shared.build.fresh_name("view");
            let mounted = options
                .mount(lowers, None, &point)
                .map_err(|source| SandboxError::path("mount an overlay at", &point, source))?;
            (Some(mounted), point)
        }
    };
    Ok(View {
        _mounted: mounted,
        path,
        _shared: Arc::clone(shared),
    })
}

/// The root of an overlay has the attributes of its upper directory's root.
pub(super) fn adopt_root_attributes(from: &Path, to: &Path) -> Result<(), SandboxError> {
    let explain = |source| SandboxError::path("copy the attributes of the root to", to, source);
    let stat = rustix::fs::stat(from).map_err(explain)?;
    rustix::fs::chown(
        to,
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
    )
    .map_err(explain)?;
    rustix::fs::chmod(to, rustix::fs::Mode::from_raw_mode(stat.st_mode)).map_err(explain)?;
    super::plain::copy_xattrs(from, to).map_err(explain)?;
    rustix::fs::utimensat(
        rustix::fs::CWD,
        to,
        &times(&stat),
        rustix::fs::AtFlags::empty(),
    )
    .map_err(explain)
}
