//! How far the download of a context has come, as events.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Event, Events};

/// The download of a context; its end is told when it goes.
pub(super) struct Fetching<'a> {
    events: &'a dyn Events,
    source: String,
    is_told: AtomicBool,
}

impl<'a> Fetching<'a> {
    pub(super) fn new(events: &'a dyn Events, source: String) -> Self {
        Self {
            events,
            source,
            is_told: AtomicBool::new(false),
        }
    }

    /// Tells of so many bytes.
    pub(super) fn tell(&self, done: u64, total: Option<u64>) {
        self.is_told.store(true, Ordering::Relaxed);
        self.events.send(Event::ContextFetching {
            source: self.source.clone(),
            done,
            total,
        });
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        if self.is_told.load(Ordering::Relaxed) {
            self.events.send(Event::ContextFetched);
        }
    }
}
