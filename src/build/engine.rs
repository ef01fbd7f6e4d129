//! What all stages of one build share: the plan, the images, the blobs, the results so far.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::http::Http;
use crate::layer;
use crate::oci::{Descriptor, Digest, Reference};
use crate::output::{ImageLayer, LayerSource};
use crate::plan::{CopyFrom, CopyStep, Outline, Plan, StageBase};
use crate::registry::{self, Client};
use crate::rootfs::{Owner, Protected, RelPath, Rootfs};
use crate::sandbox::{Executor, FinishedStage, SandboxError, Workspace};

use super::ahead::Hits;
use super::download::{Downloaded, download};
use super::event::{Direction, Event, Events};
use super::fetch::{Image, image_error, progress, wait_before};
use super::keys::Keys;
use super::layers::{self, Packed, Packer, Unpacked};
use super::named::NamedFiles;
use super::need::{Needs, read_by};
use super::repository::Git;
use super::saved::SavedMounts;
use super::schedule;
use super::sources::SourceTree;
use super::stage::{Failed, Parent, StageResult};
use super::tree::{mounted, open_layers};
use super::upload::Uploads;
use super::{BuildError, CopyError, Request, Services, mount};

/// What all stages of one build share.
pub(super) struct Engine<'a> {
    pub(super) request: &'a Request,
    /// Cache mounts that survive the machine.
    pub(super) mounts: &'a SavedMounts<'a>,
    pub(super) plan: &'a Plan,
    pub(super) outline: &'a Outline,
    pub(super) images: &'a [Image],
    pub(super) needs: &'a Needs,
    /// What layers are remembered under; `None` if nothing is remembered.
    pub(super) keys: Option<&'a Keys>,
    /// The steps that need not be carried out.
    pub(super) hits: &'a Hits,
    /// Whether no step has to be carried out.
    pub(super) is_all_done: bool,
    /// Whether layers out of one cache are kept in another.
    pub(super) keeps_hits: bool,
    pub(super) context: &'a Context,
    /// The named contexts of files that steps name.
    pub(super) named: &'a [Option<NamedFiles>],
    pub(super) executor: &'a dyn Executor,
    pub(super) services: &'a Services,
    /// Paths that the user leaves out.
    pub(super) ignored: Protected,
    /// A directory for this build's blobs.
    pub(super) scratch: &'a Path,
    pub(super) http: &'a Http,
    pub(super) client: &'a Client,
    pub(super) uploads: &'a Uploads,
    pub(super) results: Mutex<Vec<Option<StageResult>>>,
    /// The stages that still need each stage's tree.
    pub(super) users: Mutex<Vec<BTreeSet<usize>>>,
    /// Trees of images that are only copied from, with the owners that the trees cannot hold.
    pub(super) trees: Mutex<HashMap<usize, (FinishedStage, Arc<layer::Ownership>)>>,
    pub(super) blobs: Mutex<HashMap<Digest, Arc<Mutex<Blob>>>>,
    /// Held while a layer is unpacked on top of others, so that stages with the same base unpack it once.
    pub(super) unpacking: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// How many copies had something downloaded.
    pub(super) downloads: AtomicUsize,
    /// Parts of the context that were copied aside for mounts.
    pub(super) copies: mount::Copies,
}

/// A layer's blob.
#[derive(Default)]
pub(super) enum Blob {
    Coming(JoinHandle<Result<PathBuf, registry::Error>>),
    There(PathBuf),
    /// It could not be had, which was told.
    #[default]
    Lost,
}

/// The layers that a tree begins with: those of an image, then those that caches have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack<'a> {
    pub(super) image: Option<usize>,
    pub(super) layers: &'a [ImageLayer],
}

impl Engine<'_> {
    /// Builds the stages and returns the target's.
    pub(super) fn stages(&self) -> Result<StageResult, BuildError> {
        schedule::run(self)?;
        let target = self.lock_results()[self.plan.target].take();
        self.lock_results().clear();
        target.ok_or_else(|| {
            SandboxError::OutOfOrder {
                wanted: "publish a stage that is not planned",
            }
            .into()
        })
    }

    /// Takes what a stage made, and frees the trees that nothing needs any more.
    pub(super) fn stage_is_done(&self, index: usize, result: StageResult) {
        let mut results = self.lock_results();
        results[index] = Some(result);
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        for (stage, users) in users.iter_mut().enumerate() {
            users.remove(&index);
            if users.is_empty()
                && let Some(Some(result)) = results.get_mut(stage)
            {
                result.tree = None;
            }
        }
    }

    /// Whether the tree of `stage` is needed after `user` has begun to continue it.
    pub(super) fn is_needed_beside(&self, stage: usize, user: usize) -> bool {
        let mut steps = self.plan.stages[user].steps.iter();
        let reads_it = steps.any(|step| read_by(&step.kind).contains(&stage));
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        reads_it || users[stage].iter().any(|other| *other != user)
    }

    /// Whether the layers of a stage are layers of the image.
    pub(super) fn is_part_of_image(&self, stage: usize) -> bool {
        let mut part = self.plan.target;
        loop {
            match self.plan.stages[part].base {
                _ if part == stage => return true,
                StageBase::Stage(parent) => part = parent,
                StageBase::Scratch | StageBase::Image(_) => return false,
            }
        }
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
    pub(super) fn result(&self, stage: usize) -> Parent {
        let results = self.lock_results();
        results[stage]
            .as_ref()
            .map(StageResult::as_parent)
            .unwrap_or_default()
    }

    /// Runs `work` with the tree that a COPY reads.
    pub(super) fn with_source<T>(
        &self,
        from: CopyFrom,
        work: impl FnOnce(&SourceTree<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        match from {
            CopyFrom::Context => work(&SourceTree::of_context(self.context)),
            CopyFrom::Named(number) => work(&self.named_files(number)?.tree()),
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
                let (root, owners) = self.image_tree(image)?;
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

    /// The files of a named context.
    fn named_files(&self, number: usize) -> Result<&NamedFiles, BuildError> {
        let named = self.named.get(number).and_then(Option::as_ref);
        named.ok_or_else(|| {
            SandboxError::OutOfOrder {
                wanted: "read a context that no step names",
            }
            .into()
        })
    }

    /// Downloads the URLs and repositories that a copy names.
    pub(super) fn download(&self, step: &CopyStep) -> Result<Vec<Downloaded>, CopyError> {
        let number = self.downloads.fetch_add(1, Ordering::Relaxed);
        let directory = self.scratch.join(format!("downloads-{number}"));
        let git = Git {
            http: self.http,
            access: &self.request.git,
            services: self.services,
        };
        download(step, git, &self.request.secrets, &directory)
    }

    /// Where the files are that a mount shows.
    pub(super) fn root_of(&self, from: CopyFrom) -> Result<PathBuf, BuildError> {
        match from {
            CopyFrom::Context => Ok(self.context.directory().to_owned()),
            CopyFrom::Named(number) => Ok(self.named_files(number)?.context.directory().to_owned()),
            CopyFrom::Stage(stage) => self.with_tree(stage, |tree| Ok(tree.root().to_owned())),
            CopyFrom::Image(image) => Ok(self.image_root(image)?.0),
        }
    }

    /// The tree of an image that is only copied from, unpacked once, and owners that it cannot hold.
    fn image_tree(&self, image: usize) -> Result<(Rootfs, Arc<layer::Ownership>), BuildError> {
        let (root, owners) = self.image_root(image)?;
        Ok((Rootfs::open(&root)?, owners))
    }

    fn image_root(&self, image: usize) -> Result<(PathBuf, Arc<layer::Ownership>), BuildError> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let (tree, owners) = match trees.entry(image) {
            Entry::Occupied(tree) => tree.into_mut(),
            Entry::Vacant(place) => {
                let stack = Stack {
                    image: Some(image),
                    layers: &self.images[image].layers,
                };
                let (workspace, owners) = open_layers(self, &format!("image-{image}"), stack)?;
                place.insert((workspace.finish()?, owners))
            }
        };
        Ok((tree.root().to_owned(), Arc::clone(owners)))
    }

    /// A layer's blob as a file; begins to fetch all further layers of the stack when the first is not there.
    pub(super) fn blob(&self, stack: Stack<'_>, number: usize) -> Result<PathBuf, BuildError> {
        let digest = &stack.layers[number].descriptor.digest;
        let blob = {
            let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            for layer in &stack.layers[number..] {
                let digest = layer.descriptor.digest.clone();
                blobs.entry(digest).or_insert_with(|| {
                    Arc::new(Mutex::new(match &layer.source {
                        LayerSource::File(path) => Blob::There(path.clone()),
                        LayerSource::Remote(from) => {
                            Blob::Coming(self.fetch(from, &layer.descriptor))
                        }
                        LayerSource::Elsewhere(blob) => {
                            let blob = blob.clone();
                            let coming = async move { blob.file().await };
                            Blob::Coming(self.services.runtime.spawn(coming))
                        }
                    }))
                });
            }
            blobs.get(digest).map(Arc::clone).unwrap_or_default()
        };
        let mut blob = blob.lock().unwrap_or_else(PoisonError::into_inner);
        let path = match std::mem::take(&mut *blob) {
            Blob::There(path) => path,
            Blob::Coming(task) => match super::block_on(self.services, task)? {
                Ok(fetched) => fetched.map_err(|source| self.fetch_error(stack, number, source))?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            Blob::Lost => {
                return Err(SandboxError::OutOfOrder {
                    wanted: "use a layer that could not be fetched",
                }
                .into());
            }
        };
        *blob = Blob::There(path.clone());
        Ok(path)
    }

    /// What is held while the layer of this chain id is unpacked.
    pub(super) fn unpacking(&self, chain_id: &Digest) -> Arc<Mutex<()>> {
        let mut gates = self
            .unpacking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(chain_id.clone()).or_default())
    }

    /// Whether a layer of a stack is the image's own; else it is out of a cache.
    fn image_of(&self, stack: Stack<'_>, number: usize) -> Option<usize> {
        let image = stack.image?;
        (number < self.images[image].layers.len()).then_some(image)
    }

    fn fetch_error(&self, stack: Stack<'_>, number: usize, source: registry::Error) -> BuildError {
        match self.image_of(stack, number) {
            Some(image) => image_error(&self.outline.images[image], source),
            None => BuildError::CachedFetch {
                digest: stack.layers[number].descriptor.digest.short().to_owned(),
                source: Box::new(source),
            },
        }
    }

    /// Takes the blobs that were fetched for a tree from there: an output need not fetch them again.
    pub(super) fn with_fetched(&self, mut layers: Vec<ImageLayer>) -> Vec<ImageLayer> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &mut layers {
            let Some(blob) = blobs.get(&layer.descriptor.digest) else {
                continue;
            };
            let blob = blob.lock().unwrap_or_else(PoisonError::into_inner);
            if let Blob::There(path) = &*blob {
                layer.source = LayerSource::File(path.clone());
            }
        }
        layers
    }

    fn fetch(
        &self,
        from: &Reference,
        descriptor: &Descriptor,
    ) -> JoinHandle<Result<PathBuf, registry::Error>> {
        let client = self.client.clone();
        let reference = from.clone();
        let descriptor = descriptor.clone();
        let path = self
            .scratch
            .join(format!("base-{}", descriptor.digest.hex()));
        let tries = self
            .request
            .download_retries
            .max(self.request.extract_retries);
        let on_received = progress(&self.services.events, Direction::Pull, &descriptor);
        let warm = self.warm_layer(&descriptor);
        self.services.runtime.spawn(async move {
            if let Some(path) = warm.await {
                return Ok(path);
            }
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

    /// The file of a base's layer that is on this machine already.
    fn warm_layer(
        &self,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Option<PathBuf>> + Send + 'static {
        let warm = self.request.warm.clone();
        let events = Arc::clone(&self.services.events);
        let images = self.images.iter();
        let images: Vec<Digest> = images
            .filter(|image| image.resolved.manifest.layers.contains(descriptor))
            .map(|image| image.resolved.descriptor.digest.clone())
            .collect();
        let descriptor = descriptor.clone();
        async move {
            match warm?.layer(&images, &descriptor).await {
                Ok(found) => found,
                Err(error) => {
                    events.send(Event::Warning {
                        message: format!("{error}: the layer is fetched from its registry"),
                        span: None,
                    });
                    None
                }
            }
        }
    }

    /// Takes layers of bases that are on this machine from there, where an output would fetch them otherwise.
    pub(super) fn with_warm(
        &self,
        mut layers: Vec<ImageLayer>,
    ) -> Result<Vec<ImageLayer>, BuildError> {
        let outputs = &self.request.outputs;
        let is_written = outputs.tar_path.is_some() || outputs.oci_layout_path.is_some();
        for layer in &mut layers {
            let LayerSource::Remote(from) = &layer.source else {
                continue;
            };
            let mut pushed = outputs.pushed_to().iter();
            let is_sent = pushed.any(|destination| destination.registry() != from.registry());
            if is_written || is_sent {
                let found = self.warm_layer(&layer.descriptor);
                if let Some(path) = super::block_on(self.services, found)? {
                    layer.source = LayerSource::File(path);
                }
            }
        }
        Ok(layers)
    }

    /// Puts a layer that this build made onto a workspace.
    pub(super) fn apply_blob(
        &self,
        packed: &Packed,
        workspace: &dyn Workspace,
    ) -> Result<layer::Applied, BuildError> {
        let file = File::open(&packed.path).map_err(|source| BuildError::State {
            action: "open",
            path: packed.path.clone(),
            source,
        })?;
        let rootfs = Rootfs::open(workspace.root())?;
        let protected = mounted(workspace)?;
        let options = self.apply_options(&protected);
        layer::apply(file, &rootfs, &options, Some(&packed.diff_id)).map_err(|source| {
            BuildError::Layer {
                display: "a --link copy".to_owned(),
                source: Box::new(source),
            }
        })
    }

    /// How a layer is put into a tree.
    pub(super) fn apply_options<'a>(&self, protected: &'a Protected) -> layer::ApplyOptions<'a> {
        let (ownership, isolation) = (self.executor.ownership(), self.executor.isolation());
        layers::apply_options(protected, ownership, isolation)
    }

    /// Applies a layer to a workspace; gives the owners that the tree cannot hold.
    pub(super) fn apply(
        &self,
        stack: Stack<'_>,
        number: usize,
        unpacked: Unpacked,
        workspace: &mut dyn Workspace,
    ) -> Result<Vec<(RelPath, Owner)>, BuildError> {
        let layer = &stack.layers[number];
        let digest = || layer.descriptor.digest.short().to_owned();
        let failed = |source: layer::Error| match self.image_of(stack, number) {
            Some(image) => BuildError::Unpack {
                reference: self.images[image].resolved.reference.clone(),
                digest: digest(),
                source: Box::new(source),
            },
            None => BuildError::CachedUnpack {
                digest: digest(),
                source: Box::new(source),
            },
        };
        let rootfs = Rootfs::open(workspace.root())?;
        // Not the paths that this build ignores: the layer may be shared with builds that do not.
        let protected = mounted(workspace)?;
        let options = self.apply_options(&protected);
        let diff_id = Some(&layer.diff_id);
        let apply_blob = |path: PathBuf| {
            let blob = File::open(&path).map_err(|source| BuildError::State {
                action: "open",
                path,
                source,
            })?;
            layer::apply(blob, &rootfs, &options, diff_id).map_err(failed)
        };
        let applied = match unpacked {
            Unpacked::Blob(path) => apply_blob(path)?,
            Unpacked::Inflated(tar) => {
                layer::apply_inflated(tar, &rootfs, &options, diff_id).map_err(failed)?
            }
            Unpacked::Alone(alone, staged) => match alone.onto(&rootfs) {
                Some(applied) => {
                    workspace.adopt_layer(staged)?;
                    applied
                }
                None => apply_blob(self.blob(stack, number)?)?,
            },
        };
        for message in applied.warnings {
            self.events().send(Event::Warning {
                message,
                span: None,
            });
        }
        Ok(applied.recorded)
    }
}

/// Seconds since 1970 as RFC 3339.
pub(super) fn created_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}
