//! Uploads that run while the next step runs.
//!
//! A layer's upload begins when its step ends. Nothing here writes a tag: the tag is the last write of `output`, which
//! finds these blobs in the registry. An upload that fails here is tried again there, and its failure is told there.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::oci::Reference;
use crate::output::{self, ImageLayer, OnEvent};
use crate::registry::Client;

/// The uploads of one build.
pub(super) struct Uploads {
    client: Client,
    runtime: Handle,
    on_event: OnEvent,
    destinations: Arc<[Reference]>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Uploads {
    /// Makes ready to upload to the repositories of `destinations`.
    pub(super) fn new(
        client: Client,
        runtime: Handle,
        on_event: OnEvent,
        destinations: &[Reference],
    ) -> Self {
        Self {
            client,
            runtime,
            on_event,
            destinations: destinations.into(),
            tasks: Mutex::default(),
        }
    }

    /// Begins to upload a layer.
    pub(super) fn begin(&self, layer: ImageLayer) {
        if self.destinations.is_empty() {
            return;
        }
        let (client, destinations, on_event) = (
            self.client.clone(),
            Arc::clone(&self.destinations),
            Arc::clone(&self.on_event),
        );
        let task = self.runtime.spawn(async move {
            if let Err(error) =
                output::upload(&client, &destinations, &layer, Some(&on_event)).await
            {
                tracing::debug!(%error, "an early upload failed and is left to the push");
            }
        });
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
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
