//! A stage in place: a plain directory beside `/`, and at `/` from its first command on.

use super::super::SandboxError;
use super::super::executor::{
    ChangeSource, FinishedStage, LayerSlot, ProtectedPath, Protection, RunOutput, RunSpec,
    RunStatus, StepKind, Workspace,
};
use super::super::launch::launch;
use super::super::order::{Opened, Order};
use super::super::plain::copy_tree;
use super::super::protocol::{Job, Place};
use super::OURS;
use super::area::Area;
use super::hidden::Hidden;
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
    /// What the base has where commands cannot see it: no reason to refuse one.
    hidden: Hidden,
    order: Order,
}

/// A finished stage's directory.
#[derive(Debug)]
pub(super) struct FinishedTree {
    number: usize,
    hidden: Hidden,
}

impl InplaceWorkspace {
    pub(super) fn on(area: &Arc<Area>, name: &str, number: usize) -> Self {
        Self {
            area: Arc::clone(area),
            name: name.to_owned(),
            number,
            tree: area.tree_path(number),
            hidden: Hidden::default(),
            order: Order::new(),
        }
    }

    pub(super) fn branch(
        area: &Arc<Area>,
        name: &str,
        finished: &FinishedTree,
        still_needed: bool,
    ) -> Result<Self, SandboxError> {
        if !still_needed {
            return Ok(Self {
                hidden: finished.hidden.clone(),
                ..Self::on(area, name, finished.number)
            });
        }
        let number = area.make_tree()?;
        let (from, to) = (area.tree_path(finished.number), area.tree_path(number));
        // The copy makes its own root.
        std::fs::remove_dir(&to).map_err(|source| SandboxError::path("remove", &to, source))?;
        copy_tree(&from, &to)
            .map_err(|source| SandboxError::path("copy a stage to", &to, source))?;
        // A copy has other inodes.
        let hidden = finished.hidden.of_copy(&to)?;
        Ok(Self {
            hidden,
            ..Self::on(area, name, number)
        })
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
        self.order.open_layer()?;
        Ok(LayerSlot::Missing)
    }

    fn seal_layer(&mut self) -> Result<(), SandboxError> {
        self.order.seal_layer()
    }

    fn abandon_layer(&mut self) -> Result<(), SandboxError> {
        self.order.abandon_layer()
    }

    fn end_base(&mut self) -> Result<(), SandboxError> {
        self.order.require(Opened::Nothing, "end the base")?;
        self.hidden = Hidden::of(&self.tree, &self.area)?;
        Ok(())
    }

    fn begin_step(&mut self, kind: StepKind) -> Result<(), SandboxError> {
        self.order.begin_step()?;
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
        self.order.seal_step()
    }

    fn run(
        &mut self,
        spec: &RunSpec,
        output: &mut RunOutput<'_>,
    ) -> Result<RunStatus, SandboxError> {
        self.order.require(Opened::Step, "run a command")?;
        if !self.area.is_installed(self.number) {
            return Err(SandboxError::OutOfOrder {
                wanted: "run a command",
            });
        }
        self.hidden.check(&self.tree, &self.area)?;
        let placed = Placed::make(&self.area, &spec.mounts)?;
        let outcome = launch(
            &Job {
                place: Place::Inplace,
                spec: spec.clone(),
            },
            output,
        );
        let removed = placed.remove(&self.area);
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

    fn finish(self: Box<Self>) -> Result<FinishedStage, SandboxError> {
        self.order.finish()?;
        // Its path must not change while other stages copy from it.
        self.area.uninstall(self.number)?;
        Ok(FinishedStage {
            name: self.name,
            root: self.tree,
            tree: Arc::new(FinishedTree {
                number: self.number,
                hidden: self.hidden,
            }),
        })
    }
}
