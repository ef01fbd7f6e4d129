//! `COPY --link` and `ADD --link`: a layer that does not depend on what is below it.
//!
//! The files are copied into an empty tree, which makes the layer; the layer is then put onto the stage's tree as any
//! layer of a base is, if a later step needs that tree. So the same files make the same layer on any base, links of the
//! base at the destination are replaced and not followed, and a stage of such copies unpacks no base.

use std::path::Path;

use crate::layer;
use crate::plan::CopyStep;
use crate::rootfs::{Protected, Rootfs, Timestamp};
use crate::sandbox::Ownership;
use crate::snapshot::Changes;

use super::copy::copy;
use super::destination::Destination;
use super::engine::Engine;
use super::stage::Failed;
use super::{BuildError, CopyError, UserError, user};

/// The files of a layer.
#[derive(Debug)]
pub(super) struct Linked {
    /// Where they are.
    pub(super) rootfs: Rootfs,
    /// What they are.
    pub(super) changes: Changes,
    /// Owners that the tree cannot hold.
    pub(super) owners: layer::Ownership,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// Copies into the new directory `directory`.
pub(super) fn link(
    engine: &Engine<'_>,
    step: &CopyStep,
    directory: &Path,
) -> Result<Linked, Failed> {
    std::fs::create_dir_all(directory).map_err(|source| BuildError::State {
        action: "make",
        path: directory.to_owned(),
        source,
    })?;
    let rootfs = Rootfs::open(directory).map_err(CopyError::from)?;
    let owner = match &step.chown {
        Some(text) => Some(
            user::chown(&rootfs, &text.value).map_err(|error| match error {
                UserError::NoUser { .. } | UserError::NoGroup { .. } => CopyError::LinkedName {
                    chown: text.value.clone(),
                },
                error => error.into(),
            })?,
        ),
        None => None,
    };
    let protected = Protected::none();
    let destination = Destination {
        rootfs: &rootfs,
        protected: &protected,
        owner,
        now: Timestamp {
            secs: engine.request.created,
            nanos: 0,
        },
        leaves_same: false,
        sets_owner: engine.executor.ownership() == Ownership::Real,
    };
    let downloads = engine.download(step)?;
    let copied = engine.with_source(step.from, |source| {
        copy(step, source, &downloads, &destination).map_err(Failed::Copy)
    })?;
    destination.date_parents(&copied.touched)?;
    let mut owners = layer::Ownership::default();
    for (path, owner) in copied.owners {
        owners.set_owner(path, owner);
    }
    let changes =
        Changes::from_paths(&rootfs, &engine.ignored, copied.touched).map_err(|source| {
            BuildError::Snapshot {
                display: step.instruction.to_owned(),
                source: Box::new(source),
            }
        })?;
    Ok(Linked {
        rootfs,
        changes,
        owners,
        warnings: copied.warnings,
    })
}
