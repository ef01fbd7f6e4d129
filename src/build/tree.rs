//! The tree that a stage begins with: nothing, an image's layers, or another stage's tree.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use crate::layer::Ownership;
use crate::oci::Digest;
use crate::output::ImageLayer;
use crate::plan::StageBase;
use crate::rootfs::{Protected, RelPath};
use crate::sandbox::{LayerSlot, Protection, Workspace};

use super::BuildError;
use super::ahead::bottom;
use super::engine::{Engine, Stack};
use super::event::Event;
use super::inflating::{Inflating, Over};
use super::layers::Unpacked;

/// A new tree and the owners that it cannot hold.
pub(super) type Opened = (Box<dyn Workspace>, Arc<Ownership>);

/// Opens the tree that a stage begins with; `layers` are all that lie under the first step that is carried out.
pub(super) fn open(
    engine: &Engine<'_>,
    index: usize,
    layers: &[ImageLayer],
) -> Result<Opened, BuildError> {
    let stage = &engine.plan.stages[index];
    match stage.base {
        StageBase::Stage(parent) if engine.needs.branches(engine.plan, index) => {
            let is_needed = engine.is_needed_beside(parent, index);
            let workspace = engine.with_tree(parent, |tree| {
                Ok(engine.executor.branch(&stage.name, tree, is_needed)?)
            })?;
            Ok((workspace, engine.result(parent).owners))
        }
        StageBase::Scratch | StageBase::Image(_) | StageBase::Stage(_) => {
            let image = bottom(engine.plan, index);
            open_layers(engine, &stage.name, Stack { image, layers })
        }
    }
}

/// Puts layers into a new tree.
pub(super) fn open_layers(
    engine: &Engine<'_>,
    name: &str,
    stack: Stack<'_>,
) -> Result<Opened, BuildError> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        let mut inflating = Inflating::new(engine, stack, scope, &is_over);
        put_layers(engine, name, stack, &mut inflating)
    })
}

fn put_layers(
    engine: &Engine<'_>,
    name: &str,
    stack: Stack<'_>,
    inflating: &mut Inflating<'_, '_>,
) -> Result<Opened, BuildError> {
    let mut workspace = engine.executor.workspace(name)?;
    let mut owners = Ownership::default();
    let mut chain: Option<Digest> = None;
    let base = stack
        .image
        .map_or(0, |image| engine.images[image].layers.len());
    for (number, layer) in stack.layers.iter().enumerate() {
        if number == base {
            workspace.end_base()?;
        }
        engine.check_cancelled()?;
        let started = Instant::now();
        let chain_id = match &chain {
            None => layer.diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {}", layer.diff_id).as_bytes()),
        };
        let gate = engine.unpacking(&chain_id);
        let _held = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let is_reused = match workspace.open_layer(chain_id.as_str())? {
            LayerSlot::Present => true,
            LayerSlot::Missing => {
                let applied = inflating.take(number).and_then(|inflated| {
                    let layer = match inflated {
                        Some(inflated) => inflated,
                        None => Unpacked::Blob(engine.blob(stack, number)?),
                    };
                    engine.apply(stack, number, layer, workspace.as_mut())
                });
                match applied {
                    Ok(recorded) => {
                        for (path, owner) in recorded {
                            owners.set_owner(path, owner);
                        }
                    }
                    Err(error) => {
                        workspace.abandon_layer()?;
                        return Err(error);
                    }
                }
                workspace.seal_layer()?;
                false
            }
        };
        engine.events().send(Event::LayerUnpacked {
            digest: layer.descriptor.digest.clone(),
            is_reused,
            took: started.elapsed(),
        });
        chain = Some(chain_id);
    }
    if stack.layers.len() <= base {
        workspace.end_base()?;
    }
    Ok((workspace, Arc::new(owners)))
}

/// What must never get into a layer of this workspace.
pub(super) fn protected(
    engine: &Engine<'_>,
    workspace: &dyn Workspace,
) -> Result<Protected, BuildError> {
    with_mounted(engine.ignored.clone(), workspace)
}

/// What must not be written in this workspace.
pub(super) fn mounted(workspace: &dyn Workspace) -> Result<Protected, BuildError> {
    with_mounted(Protected::none(), workspace)
}

fn with_mounted(
    mut protected: Protected,
    workspace: &dyn Workspace,
) -> Result<Protected, BuildError> {
    for path in workspace.protected()? {
        match path.protection {
            Protection::Mount | Protection::Ours => {
                let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.path.as_os_str());
                protected.add(RelPath::parse_chrooted(bytes).map_err(crate::rootfs::Error::from)?);
            }
            Protection::Pinned => {}
        }
    }
    Ok(protected)
}
