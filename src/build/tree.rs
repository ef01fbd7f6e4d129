//! The tree that a stage begins with: nothing, an image's layers, or another stage's tree.

use std::time::Instant;

use crate::oci::Digest;
use crate::plan::StageBase;
use crate::rootfs::{Protected, RelPath};
use crate::sandbox::{LayerSlot, Protection, Workspace};

use super::BuildError;
use super::engine::Engine;
use super::event::Event;

/// Opens the tree that a stage begins with.
pub(super) fn open(engine: &Engine<'_>, index: usize) -> Result<Box<dyn Workspace>, BuildError> {
    let stage = &engine.plan.stages[index];
    match stage.base {
        StageBase::Scratch => Ok(engine.executor.workspace(&stage.name)?),
        StageBase::Image(image) => open_image(engine, image, &stage.name),
        StageBase::Stage(parent) => {
            let is_needed = engine
                .needs
                .is_used_after_branching(engine.plan, parent, index);
            engine.with_tree(parent, |tree| {
                Ok(engine.executor.branch(&stage.name, tree, is_needed)?)
            })
        }
    }
}

/// Puts the layers of an image into a new tree.
pub(super) fn open_image(
    engine: &Engine<'_>,
    image: usize,
    name: &str,
) -> Result<Box<dyn Workspace>, BuildError> {
    let mut workspace = engine.executor.workspace(name)?;
    let layers = &engine.images[image].layers;
    let mut chain: Option<Digest> = None;
    for (number, layer) in layers.iter().enumerate() {
        engine.check_cancelled()?;
        let started = Instant::now();
        let chain_id = match &chain {
            None => layer.diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {}", layer.diff_id).as_bytes()),
        };
        let is_reused = match workspace.open_layer(chain_id.as_str())? {
            LayerSlot::Present => true,
            LayerSlot::Missing => {
                let applied = engine
                    .blob(image, number)
                    .and_then(|blob| engine.apply(image, number, &blob, workspace.as_ref()));
                if let Err(error) = applied {
                    workspace.abandon_layer()?;
                    return Err(error);
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
    Ok(workspace)
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
