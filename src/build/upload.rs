//! What goes to registries while the next step runs: layers to the destinations, then to the caches.
//!
//! A layer's upload begins when its step ends. Nothing here writes a tag: the tag is the last write of `output`, which
//! finds these blobs in the registry. An upload that fails here is tried again there, and its failure is told there. A cache
//! that fails is told once, as a warning.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::cache::{Cache, Entry, Put};
use crate::oci::{Digest, Reference};
use crate::output::{self, ImageLayer, OnEvent};
use crate::registry::Client;

use super::ahead::Faults;
use super::event::Events;
use super::explain::Traced;

/// The uploads of one build.
pub(super) struct Uploads {
    client: Client,
    runtime: Handle,
    on_event: OnEvent,
    destinations: Arc<[Reference]>,
    caches: Vec<Cache>,
    faults: Arc<Faults>,
    events: Arc<dyn Events>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    failed: Arc<Mutex<Vec<(Digest, output::Error)>>>,
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
        caches: Vec<Cache>,
    ) -> Self {
        Self {
            client,
            runtime,
            on_event,
            destinations: destinations.into(),
            caches,
            faults: Arc::default(),
            events,
            tasks: Mutex::default(),
            failed: Arc::default(),
        }
    }

    /// Whether layers are kept anywhere.
    pub(super) fn keeps(&self) -> bool {
        !self.caches.is_empty()
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
        let (caches, faults, events) = (
            self.caches.clone(),
            Arc::clone(&self.faults),
            Arc::clone(&self.events),
        );
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
            for cache in caches {
                if let Err(error) = cache.put(&put).await {
                    faults.tell(&*events, &cache.name(), &error);
                }
            }
        });
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    /// Keeps what the steps were made of.
    pub(super) async fn keep_trace(&self, traced: Option<&Traced>) {
        let Some(traced) = traced else { return };
        for cache in &self.caches {
            if let Err(error) = traced.keep(cache).await {
                self.faults.tell(&*self.events, &cache.name(), &error);
            }
        }
    }

    /// What went wrong with the uploads so far, by layer.
    pub(super) fn failures(&self) -> Vec<(Digest, output::Error)> {
        std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner))
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
