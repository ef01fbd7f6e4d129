//! Layers of a base decompressed before their turn, several at once.
//!
//! They have to be written one after the other, and with that alone a machine with many processors would wait for one that
//! decompresses. The tars lie in files without a name, a few at a time and each of a bounded size, where the disk has room;
//! a layer for which that does not hold, or that cannot be decompressed, is applied as it comes, which tells what is wrong.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use crate::layer::{self, Inflated};

use super::BuildError;
use super::engine::{Engine, Stack};

/// A larger blob is applied as it comes, in bytes.
const BLOB_BYTES_MAX: u64 = 128 << 20;
/// So is a layer whose tar is larger, in bytes.
const TAR_BYTES_MAX: u64 = 512 << 20;
/// So many layers are decompressed at once, if there are as many processors.
const AT_ONCE_MAX: usize = 4;
/// Room that the disk must have, in bytes, beside all tars.
const ROOM_BYTES: u64 = 2 << 30;
/// `statfs` type of tmpfs, where a file takes memory.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

type Coming<'scope> = ScopedJoinHandle<'scope, Result<Option<Inflated>, BuildError>>;

/// Layers that are decompressed ahead of the one that is written.
pub(super) struct Inflating<'scope, 'env> {
    engine: &'env Engine<'env>,
    stack: Stack<'env>,
    scope: &'scope Scope<'scope, 'env>,
    is_over: &'env AtomicBool,
    at_once: usize,
    /// The first layer that was not looked at.
    next: usize,
    coming: VecDeque<(usize, Coming<'scope>)>,
}

impl<'scope, 'env> Inflating<'scope, 'env> {
    /// Nothing yet; `is_over` ends what is begun here.
    pub(super) fn new(
        engine: &'env Engine<'env>,
        stack: Stack<'env>,
        scope: &'scope Scope<'scope, 'env>,
        is_over: &'env AtomicBool,
    ) -> Self {
        let at_once = match engine.request.threads {
            0 | 1 => 0,
            threads => threads.min(AT_ONCE_MAX),
        };
        let at_once = if at_once > 0 && has_room(engine.scratch, at_once) {
            at_once
        } else {
            0
        };
        Self {
            engine,
            stack,
            scope,
            is_over,
            at_once,
            next: 0,
            coming: VecDeque::new(),
        }
    }

    /// The layer whose turn it is, if it was decompressed; begins with those that come after it.
    pub(super) fn take(&mut self, number: usize) -> Result<Option<Inflated>, BuildError> {
        self.next = self.next.max(number + 1);
        while self.next < self.stack.layers.len() && self.next <= number + self.at_once {
            let next = self.next;
            self.next += 1;
            if self.stack.layers[next].descriptor.size > BLOB_BYTES_MAX {
                continue;
            }
            let (engine, stack, is_over) = (self.engine, self.stack, self.is_over);
            let work = self.scope.spawn(move || one(engine, stack, next, is_over));
            self.coming.push_back((next, work));
        }
        // A layer that another build put into the store meanwhile is not asked for.
        while self.coming.front().is_some_and(|(next, _)| *next < number) {
            self.coming.pop_front();
        }
        let Some((_, work)) = self.coming.pop_front_if(|(next, _)| *next == number) else {
            return Ok(None);
        };
        work.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Ends what was begun, however the layers end.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn one(
    engine: &Engine<'_>,
    stack: Stack<'_>,
    number: usize,
    is_over: &AtomicBool,
) -> Result<Option<Inflated>, BuildError> {
    if is_over.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let blob = engine.blob(stack, number)?;
    let is_wanted = || !is_over.load(Ordering::Relaxed) && engine.check_cancelled().is_ok();
    let inflated = File::open(blob).and_then(|blob| Ok((blob, nameless(engine, number)?)));
    // Whatever is wrong will be told when the layer is applied.
    Ok(inflated
        .ok()
        .and_then(|(blob, file)| layer::inflate(blob, file, TAR_BYTES_MAX, is_wanted).ok())
        .flatten())
}

/// A new file that goes when it is closed.
fn nameless(engine: &Engine<'_>, number: usize) -> std::io::Result<File> {
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let name = format!("inflated-{process}-{thread:?}-{number}");
    let path = engine.scratch.join(name);
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn has_room(directory: &Path, at_once: usize) -> bool {
    let wanted = ROOM_BYTES + TAR_BYTES_MAX * at_once as u64;
    let found = rustix::fs::statfs(directory)
        .ok()
        .zip(rustix::fs::statvfs(directory).ok());
    found.is_some_and(|(kind, room)| {
        kind.f_type != TMPFS_MAGIC && room.f_bavail.saturating_mul(room.f_frsize) >= wanted
    })
}
