//! What all stages of one build share: the plan, the images, the blobs, the results so far.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::layer;
use crate::oci::{Descriptor, Digest};
use crate::output::{ImageLayer, LayerSource};
use crate::plan::{CopyFrom, Outline, Plan};
use crate::registry::{self, Client};
use crate::rootfs::{Protected, Rootfs};
use crate::sandbox::{Executor, FinishedStage, SandboxError, Workspace};

use super::event::{Direction, Event, Events};
use super::fetch::{Image, image_error, progress, wait_before};
use super::layers::{self, Packer};
use super::need::Needs;
use super::sources::SourceTree;
use super::stage::{self, Failed, StageResult};
use super::tree::{mounted, open_image};
use super::upload::Uploads;
use super::{BuildError, Request, Services};

/// What all stages of one build share.
pub(super) struct Engine<'a> {
    pub(super) request: &'a Request,
    pub(super) plan: &'a Plan,
    pub(super) outline: &'a Outline,
    pub(super) images: &'a [Image],
    pub(super) needs: &'a Needs,
    pub(super) context: &'a Context,
    pub(super) executor: &'a dyn Executor,
    pub(super) services: &'a Services,
    /// Paths that the user leaves out.
    pub(super) ignored: Protected,
    /// A directory for this build's blobs.
    pub(super) scratch: &'a Path,
    pub(super) client: &'a Client,
    pub(super) uploads: &'a Uploads,
    pub(super) results: Mutex<Vec<Option<StageResult>>>,
    pub(super) trees: Mutex<HashMap<usize, FinishedStage>>,
    pub(super) blobs: Mutex<HashMap<Digest, Blob>>,
    /// Owners of files of an image that its trees cannot hold.
    pub(super) owners: Mutex<HashMap<usize, Arc<layer::Ownership>>>,
}

/// A layer's blob that is on the way or there.
pub(super) enum Blob {
    Coming(JoinHandle<Result<PathBuf, registry::Error>>),
    There(PathBuf),
}

impl Engine<'_> {
    /// Builds all stages in order and returns the target's.
    pub(super) fn stages(&self) -> Result<StageResult, BuildError> {
        for (index, planned) in self.plan.stages.iter().enumerate() {
            self.events().send(Event::StageStarted {
                name: planned.name.clone(),
                number: index + 1,
                of: self.plan.stages.len(),
                span: planned.span,
            });
            let result = stage::build(self, index)?;
            if index == self.plan.target {
                self.lock_results().clear();
                return Ok(result);
            }
            self.lock_results()[index] = Some(result);
            self.free_trees(index);
        }
        Err(SandboxError::OutOfOrder {
            wanted: "publish a stage that is not planned",
        }
        .into())
    }

    /// Where events go.
    pub(super) fn events(&self) -> &dyn Events {
        &*self.services.events
    }

    fn lock_results(&self) -> MutexGuard<'_, Vec<Option<StageResult>>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the build if a signal came.
    pub(super) fn check_cancelled(&self) -> Result<(), BuildError> {
        if self.services.token.is_cancelled() {
            Err(BuildError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// The time that the image carries, RFC 3339.
    pub(super) fn created_text(&self) -> String {
        created_text(self.request.created)
    }

    pub(super) fn packer(&self, token: CancellationToken) -> Packer {
        Packer::new(self.request, self.scratch, token)
    }

    /// Runs `work` with the tree of a stage that is built.
    pub(super) fn with_tree<T>(
        &self,
        stage: usize,
        work: impl FnOnce(&FinishedStage) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let results = self.lock_results();
        let tree = results[stage]
            .as_ref()
            .and_then(|result| result.tree.as_ref());
        match tree {
            Some(tree) => work(tree),
            None => Err(SandboxError::OutOfOrder {
                wanted: "read a stage that is not built",
            }
            .into()),
        }
    }

    /// What a built stage made, its tree left out.
    pub(super) fn result(&self, stage: usize) -> stage::Parent {
        let results = self.lock_results();
        results[stage]
            .as_ref()
            .map(StageResult::as_parent)
            .unwrap_or_default()
    }

    /// Frees the trees that no stage after `now` needs.
    fn free_trees(&self, now: usize) {
        let mut results = self.lock_results();
        for (stage, result) in results.iter_mut().enumerate() {
            if let Some(result) = result
                && !self.needs.is_used_after(stage, now)
            {
                result.tree = None;
            }
        }
    }

    /// Runs `work` with the tree that a COPY reads.
    pub(super) fn with_source<T>(
        &self,
        from: CopyFrom,
        work: impl FnOnce(&SourceTree<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        match from {
            CopyFrom::Context => work(&SourceTree {
                rootfs: self.context.rootfs(),
                ignore: self.context.ignore(),
                keeps_owner: false,
                owners: Arc::default(),
                name: "the build context".to_owned(),
            }),
            CopyFrom::Stage(stage) => {
                let root = self.with_tree(stage, |tree| Ok(Rootfs::open(tree.root())?))?;
                let owners = self.result(stage).owners;
                let name = format!("stage \"{}\"", self.plan.stages[stage].name);
                work(&SourceTree {
                    rootfs: &root,
                    ignore: None,
                    keeps_owner: true,
                    owners,
                    name,
                })
            }
            CopyFrom::Image(image) => {
                let root = self.image_tree(image)?;
                let owners = self.owners_of_image(image);
                let name = format!("image {}", self.outline.images[image].reference);
                work(&SourceTree {
                    rootfs: &root,
                    ignore: None,
                    keeps_owner: true,
                    owners,
                    name,
                })
            }
        }
    }

    /// The tree of an image that is only copied from, unpacked once.
    fn image_tree(&self, image: usize) -> Result<Rootfs, BuildError> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = match trees.entry(image) {
            Entry::Occupied(tree) => tree.into_mut(),
            Entry::Vacant(place) => {
                let name = format!("image-{image}");
                place.insert(open_image(self, image, &name)?.finish()?)
            }
        };
        Ok(Rootfs::open(tree.root())?)
    }

    /// Owners of files of an image that its trees cannot hold; known once it was unpacked.
    pub(super) fn owners_of_image(&self, image: usize) -> Arc<layer::Ownership> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(&image).cloned().unwrap_or_default()
    }

    /// A layer's blob as a file; begins to fetch all further layers of the image when the first is not there.
    pub(super) fn blob(&self, image: usize, number: usize) -> Result<PathBuf, BuildError> {
        let layers = &self.images[image].layers;
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &layers[number..] {
            let digest = &layer.descriptor.digest;
            if !blobs.contains_key(digest) {
                blobs.insert(
                    digest.clone(),
                    Blob::Coming(self.fetch(image, &layer.descriptor)),
                );
            }
        }
        let digest = layers[number].descriptor.digest.clone();
        let path = match blobs.remove(&digest) {
            Some(Blob::There(path)) => path,
            Some(Blob::Coming(task)) => match super::block_on(self.services, task)? {
                Ok(fetched) => {
                    fetched.map_err(|error| image_error(&self.outline.images[image], error))?
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            None => {
                return Err(SandboxError::OutOfOrder {
                    wanted: "fetch a layer",
                }
                .into());
            }
        };
        blobs.insert(digest, Blob::There(path.clone()));
        Ok(path)
    }

    /// Takes the blobs that were fetched for a tree from there: an output need not fetch them again.
    pub(super) fn with_fetched(&self, mut layers: Vec<ImageLayer>) -> Vec<ImageLayer> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &mut layers {
            if let Some(Blob::There(path)) = blobs.get(&layer.descriptor.digest) {
                layer.source = LayerSource::File(path.clone());
            }
        }
        layers
    }

    fn fetch(
        &self,
        image: usize,
        descriptor: &Descriptor,
    ) -> JoinHandle<Result<PathBuf, registry::Error>> {
        let client = self.client.clone();
        let reference = self.images[image].resolved.reference.clone();
        let descriptor = descriptor.clone();
        let path = self
            .scratch
            .join(format!("base-{}", descriptor.digest.hex()));
        let tries = self
            .request
            .download_retries
            .max(self.request.extract_retries);
        let on_received = progress(&self.services.events, Direction::Pull, &descriptor);
        self.services.runtime.spawn(async move {
            let mut tried = 0;
            loop {
                match client
                    .blob_to_file(&reference, &descriptor, &path, Some(&on_received))
                    .await
                {
                    Ok(()) => return Ok(path),
                    Err(error) if tried >= tries => return Err(error),
                    Err(_) => {
                        tokio::time::sleep(wait_before(tried)).await;
                        tried += 1;
                    }
                }
            }
        })
    }

    /// Applies a layer's blob to a workspace.
    pub(super) fn apply(
        &self,
        image: usize,
        number: usize,
        blob: &Path,
        workspace: &dyn Workspace,
    ) -> Result<(), BuildError> {
        let layer = &self.images[image].layers[number];
        let failed = |source: layer::Error| BuildError::Unpack {
            reference: self.images[image].resolved.reference.clone(),
            digest: layer.descriptor.digest.short().to_owned(),
            source: Box::new(source),
        };
        let file = File::open(blob).map_err(|source| BuildError::State {
            action: "open",
            path: blob.to_owned(),
            source,
        })?;
        let rootfs = Rootfs::open(workspace.root())?;
        // Not the paths that this build ignores: the layer may be shared with builds that do not.
        let protected = mounted(workspace)?;
        let (ownership, isolation) = (self.executor.ownership(), self.executor.isolation());
        let applied = layers::apply(
            file,
            &rootfs,
            &protected,
            &layer.diff_id,
            ownership,
            isolation,
        )
        .map_err(failed)?;
        if !applied.recorded.is_empty() {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            let owners = Arc::make_mut(owners.entry(image).or_default());
            for (path, owner) in applied.recorded {
                owners.set_owner(path, owner);
            }
        }
        for message in applied.warnings {
            self.events().send(Event::Warning {
                message,
                span: None,
            });
        }
        Ok(())
    }
}

/// Seconds since 1970 as RFC 3339.
pub(super) fn created_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}
