//! A stage in place: a plain directory beside `/`, and at `/` from its first command on.

use super::super::SandboxError;
use super::super::executor::{
    ChangeSource, FinishedStage, LayerSlot, ProtectedPath, Protection, RunOutput, RunSpec,
    RunStatus, StepKind, Workspace,
};
use super::super::launch::launch;
use super::super::plain::copy_tree;
use super::super::protocol::{Job, Place};
use super::OURS;
use super::area::Area;
use super::mounts::Placed;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stage that may come to live at `/`.
#[derive(Debug)]
pub(super) struct InplaceWorkspace {
    area: Arc<Area>,
    name: String,
    number: usize,
    tree: PathBuf,
    open: Opened,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    Nothing,
    Layer,
    Step,
}

/// A finished stage's directory.
#[derive(Debug)]
pub(super) struct FinishedTree {
    number: usize,
}

impl InplaceWorkspace {
    pub(super) fn on(area: &Arc<Area>, name: &str, number: usize) -> Self {
        Self {
            area: Arc::clone(area),
            name: name.to_owned(),
            number,
            tree: area.tree_path(number),
            open: Opened::Nothing,
        }
    }

    pub(super) fn branch(
        area: &Arc<Area>,
        name: &str,
        finished: &FinishedTree,
        still_needed: bool,
    ) -> Result<Self, SandboxError> {
        if !still_needed {
            return Ok(Self::on(area, name, finished.number));
        }
        let number = area.make_tree()?;
        let (from, to) = (area.tree_path(finished.number), area.tree_path(number));
        // The copy makes its own root.
        std::fs::remove_dir(&to).map_err(|source| SandboxError::path("remove", &to, source))?;
        copy_tree(&from, &to)
            .map_err(|source| SandboxError::path("copy a stage to", &to, source))?;
        Ok(Self::on(area, name, number))
    }

    fn step(&mut self, from: Opened, to: Opened, wanted: &'static str) -> Result<(), SandboxError> {
        if self.open != from {
            return Err(SandboxError::OutOfOrder { wanted });
        }
        self.open = to;
        Ok(())
    }
}

impl Workspace for InplaceWorkspace {
    fn root(&self) -> &Path {
        if self.area.is_installed(self.number) {
            self.area.root_path()
        } else {
            &self.tree
        }
    }

    fn open_layer(&mut self, _chain_id: &str) -> Result<LayerSlot, SandboxError> {
        self.step(Opened::Nothing, Opened::Layer, "open a layer")?;
        Ok(LayerSlot::Missing)
    }

    fn seal_layer(&mut self) -> Result<(), SandboxError> {
        self.step(Opened::Layer, Opened::Nothing, "seal a layer")
    }

    fn abandon_layer(&mut self) -> Result<(), SandboxError> {
        // What was applied is mixed with the layers below: the stage ends here, and its directory with the build.
        self.step(Opened::Layer, Opened::Layer, "abandon a layer")
    }

    fn begin_step(&mut self, kind: StepKind) -> Result<(), SandboxError> {
        self.step(Opened::Nothing, Opened::Step, "begin a step")?;
        match kind {
            StepKind::Run => self.area.install(self.number),
            // In its own directory no mount is in the way of a copy. The next command brings it back.
            StepKind::Files => self.area.uninstall(self.number),
        }
    }

    fn changes(&self) -> Result<ChangeSource, SandboxError> {
        Ok(ChangeSource::Scan {
            root: self.root().to_owned(),
        })
    }

    fn seal_step(&mut self) -> Result<(), SandboxError> {
        self.step(Opened::Step, Opened::Nothing, "seal a step")
    }

    fn run(
        &mut self,
        spec: &RunSpec,
        output: &mut RunOutput<'_>,
    ) -> Result<RunStatus, SandboxError> {
        if self.open != Opened::Step || !self.area.is_installed(self.number) {
            return Err(SandboxError::OutOfOrder {
                wanted: "run a command",
            });
        }
        let placed = Placed::make(&self.area, &spec.mounts)?;
        let outcome = launch(
            &Job {
                place: Place::Inplace,
                spec: spec.clone(),
            },
            output,
        );
        let removed = placed.remove();
        let status = outcome?;
        removed?;
        Ok(status)
    }

    fn protected(&self) -> Result<Vec<ProtectedPath>, SandboxError> {
        if !self.area.is_installed(self.number) {
            return Ok(Vec::new());
        }
        let mut protected = BTreeMap::new();
        for pin in self.area.pins().iter() {
            let ours = OURS.iter().any(|ours| pin == Path::new(ours));
            protected.insert(
                pin.clone(),
                if ours {
                    Protection::Ours
                } else {
                    Protection::Mount
                },
            );
            for above in pin
                .ancestors()
                .skip(1)
                .filter(|above| !above.as_os_str().is_empty())
            {
                // What the stage itself has at that name lies in its own directory, behind the pinned one.
                let stand_in = self.tree.join(above);
                let protection = match std::fs::symlink_metadata(&stand_in) {
                    Ok(found) if found.is_dir() => continue,
                    Ok(_) => Protection::Mount,
                    Err(error)
                        if [ErrorKind::NotFound, ErrorKind::NotADirectory]
                            .contains(&error.kind()) =>
                    {
                        Protection::Pinned
                    }
                    Err(source) => return Err(SandboxError::path("look at", stand_in, source)),
                };
                protected.entry(above.to_owned()).or_insert(protection);
            }
        }
        let absolute = |(path, protection)| ProtectedPath {
            path: Path::new("/").join(path),
            protection,
        };
        Ok(protected.into_iter().map(absolute).collect())
    }

    fn finish(mut self: Box<Self>) -> Result<FinishedStage, SandboxError> {
        self.step(Opened::Nothing, Opened::Nothing, "finish")?;
        // Its path must not change while other stages copy from it.
        self.area.uninstall(self.number)?;
        Ok(FinishedStage {
            name: self.name,
            root: self.tree,
            tree: Arc::new(FinishedTree {
                number: self.number,
            }),
        })
    }
}
