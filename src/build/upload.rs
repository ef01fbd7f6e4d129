//! What goes to registries while the next step runs: layers to the destinations, then to the caches.
//!
//! A layer's upload begins when its step ends. Nothing here writes a tag: the tag is the last write of `output`, which
//! finds these blobs in the registry. An upload that fails here is tried again there, and its failure is told there. A cache
//! that fails is told once, as a warning.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::cache::{self, Entry, Put};
use crate::oci::{Digest, Reference};
use crate::output::{self, ImageLayer, OnEvent};
use crate::registry::Client;

use super::BuildError;
use super::ahead::Faults;
use super::caching::Target;
use super::event::Events;
use super::explain::Traced;

/// The uploads of one build.
pub(super) struct Uploads {
    client: Client,
    runtime: Handle,
    on_event: OnEvent,
    destinations: Arc<[Reference]>,
    targets: Vec<Target>,
    faults: Arc<Faults>,
    events: Arc<dyn Events>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    failed: Arc<Mutex<Vec<(Digest, output::Error)>>>,
    /// What could not be kept where it must be.
    not_kept: Arc<Mutex<Vec<(String, cache::Error)>>>,
}

/// What a layer is kept as.
#[derive(Debug)]
pub(super) struct Keep {
    /// The entry.
    pub(super) entry: Entry,
    /// Its layers, bottom first.
    pub(super) layers: Vec<ImageLayer>,
}

impl Uploads {
    /// Makes ready to upload to the repositories of `destinations` and to keep layers in `caches`.
    pub(super) fn new(
        client: Client,
        runtime: Handle,
        events: Arc<dyn Events>,
        on_event: OnEvent,
        destinations: &[Reference],
        targets: Vec<Target>,
    ) -> Self {
        Self {
            client,
            runtime,
            on_event,
            destinations: destinations.into(),
            targets,
            faults: Arc::default(),
            events,
            tasks: Mutex::default(),
            failed: Arc::default(),
            not_kept: Arc::default(),
        }
    }

    /// Whether layers are kept anywhere.
    pub(super) fn keeps(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Begins to upload a layer, if it is one of the image, and to keep it.
    pub(super) fn begin(&self, layer: ImageLayer, is_uploaded: bool, keep: Option<Keep>) {
        let destinations = if is_uploaded {
            Arc::clone(&self.destinations)
        } else {
            Arc::default()
        };
        if destinations.is_empty() && keep.is_none() {
            return;
        }
        let (client, on_event) = (self.client.clone(), Arc::clone(&self.on_event));
        let failed = Arc::clone(&self.failed);
        let (targets, teller) = (self.targets.clone(), self.teller());
        let task = self.runtime.spawn(async move {
            if let Err(error) =
                output::upload(&client, &destinations, &layer, Some(&on_event)).await
            {
                tracing::debug!(%error, "an early upload failed and is left to the push");
                let digest = layer.descriptor.digest.clone();
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.push((digest, error));
            }
            // After the upload: what is at a destination can be mounted from there.
            let Some(keep) = keep else { return };
            let source = |layer: &ImageLayer| layer.source.to_blob();
            let put = Put {
                entry: keep.entry,
                sources: keep.layers.iter().map(source).collect(),
                mount_from: destinations.to_vec(),
            };
            for target in targets {
                if let Err(error) = target.cache.put(&put).await {
                    teller.tell(&target, error);
                }
            }
        });
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    /// What went wrong with the uploads so far, by layer.
    pub(super) fn failures(&self) -> Vec<(Digest, output::Error)> {
        std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until no upload is on the way, keeps what the steps were made of, and lets the caches write what they put off
    /// until now.
    pub(super) async fn finish(&self, traced: Option<&Traced>) {
        let tracing = async {
            let Some(traced) = traced else { return };
            for Target { cache, .. } in &self.targets {
                if let Err(error) = traced.keep(cache).await {
                    self.faults.tell(&*self.events, &cache.name(), &error);
                }
            }
        };
        futures_util::future::join(self.settle(), tracing).await;
        for target in &self.targets {
            if let Err(error) = target.cache.finish().await {
                self.teller().tell(target, error);
            }
        }
    }

    /// The first fault of a cache that must be written.
    ///
    /// # Errors
    /// [`BuildError::NotKept`].
    pub(super) fn check_kept(&self) -> Result<(), BuildError> {
        let mut faults = self.not_kept.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.is_empty() {
            return Ok(());
        }
        let (place, source) = faults.swap_remove(0);
        Err(BuildError::NotKept {
            place,
            source: Box::new(source),
        })
    }

    fn teller(&self) -> Teller {
        Teller {
            faults: Arc::clone(&self.faults),
            events: Arc::clone(&self.events),
            not_kept: Arc::clone(&self.not_kept),
        }
    }

    /// Waits until no upload is on the way.
    pub(super) async fn settle(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A task that panicked pushed nothing; `output` pushes again and tells what is wrong.
            let _ = task.await;
        }
    }
}

/// Tells of what could not be kept: a warning, and the end of the build where the cache must be written.
struct Teller {
    faults: Arc<Faults>,
    events: Arc<dyn Events>,
    not_kept: Arc<Mutex<Vec<(String, cache::Error)>>>,
}

impl Teller {
    fn tell(&self, target: &Target, error: cache::Error) {
        let name = target.cache.name();
        self.faults.tell(&*self.events, &name, &error);
        if target.is_required {
            let mut faults = self.not_kept.lock().unwrap_or_else(PoisonError::into_inner);
            faults.push((name, error));
        }
    }
}
