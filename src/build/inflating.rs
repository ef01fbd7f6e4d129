//! Layers of a base made ready before their turn, several at once.
//!
//! One after the other, a machine with many processors would wait for one that decompresses. Where layers are directories of their
//! own, and nothing in a layer depends on those below it, its tree is made apart and only put on top when it is its turn.
//! Else its tar lies in a file without a name, a few at a time and each of a bounded size, where the disk has room;
//! a layer for which that does not hold, or that cannot be decompressed, is applied as it comes, which tells what is wrong.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use crate::layer::{self, Alone};
use crate::oci::Digest;
use crate::rootfs::{Protected, Rootfs};
use crate::sandbox::StagedLayer;

use super::BuildError;
use super::engine::{Engine, Stack};
use super::layers::Unpacked;

/// A larger blob is applied as it comes, in bytes: should its tree turn out to depend on others, all of it is done twice.
const BLOB_BYTES_MAX: u64 = 2 << 30;
/// The tar of a larger blob is not kept, in bytes.
const TAR_BLOB_BYTES_MAX: u64 = 128 << 20;
/// Nor is a tar that is itself larger, in bytes.
const TAR_BYTES_MAX: u64 = 512 << 20;
/// So many layers are decompressed at once, if there are as many processors.
const AT_ONCE_MAX: usize = 4;
/// Room that the disk must have, in bytes, beside all tars.
const ROOM_BYTES: u64 = 2 << 30;
/// `statfs` type of tmpfs, where a file takes memory.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

type Coming<'scope> = ScopedJoinHandle<'scope, Result<Option<Unpacked>, BuildError>>;

/// Layers that are decompressed ahead of the one that is written.
pub(super) struct Inflating<'scope, 'env> {
    engine: &'env Engine<'env>,
    stack: Stack<'env>,
    scope: &'scope Scope<'scope, 'env>,
    is_over: &'env AtomicBool,
    at_once: usize,
    /// Is there room for tars?
    has_room: bool,
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
        Self {
            engine,
            stack,
            scope,
            is_over,
            at_once,
            has_room: at_once > 0 && has_room(engine.scratch, at_once),
            next: 0,
            coming: VecDeque::new(),
        }
    }

    /// The layer whose turn it is, if it was made ready; begins with those that come after it.
    pub(super) fn take(&mut self, number: usize) -> Result<Option<Unpacked>, BuildError> {
        self.next = self.next.max(number + 1);
        while self.next < self.stack.layers.len() && self.next <= number + self.at_once {
            let next = self.next;
            self.next += 1;
            if self.stack.layers[next].descriptor.size > BLOB_BYTES_MAX {
                continue;
            }
            let (engine, stack, is_over) = (self.engine, self.stack, self.is_over);
            let has_room = self.has_room;
            let work = self
                .scope
                .spawn(move || one(engine, stack, next, is_over, has_room));
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
    has_room: bool,
) -> Result<Option<Unpacked>, BuildError> {
    if is_over.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let layer = &stack.layers[number];
    let path = engine.blob(stack, number)?;
    let is_wanted = || !is_over.load(Ordering::Relaxed) && engine.check_cancelled().is_ok();
    // Whatever is wrong will be told when the layer is applied.
    let Ok(blob) = File::open(&path) else {
        return Ok(None);
    };
    let blob = Wanted(blob, &is_wanted);
    if let Some((alone, staged)) = apart(engine, blob, &layer.diff_id) {
        return Ok(Some(Unpacked::Alone(alone, staged)));
    }
    if !has_room || layer.descriptor.size > TAR_BLOB_BYTES_MAX {
        return Ok(None);
    }
    let inflated = File::open(&path).and_then(|blob| Ok((blob, nameless(engine, number)?)));
    Ok(inflated
        .ok()
        .and_then(|(blob, file)| layer::inflate(blob, file, TAR_BYTES_MAX, is_wanted).ok())
        .flatten()
        .map(Unpacked::Inflated))
}

/// The layer's tree in a directory of its own, if there can be one.
fn apart(
    engine: &Engine<'_>,
    blob: impl Read + Send,
    diff_id: &Digest,
) -> Option<(Alone, StagedLayer)> {
    let staged = engine.executor.stage_layer().ok()??;
    let rootfs = Rootfs::open(staged.tree()).ok()?;
    let protected = Protected::none();
    let options = engine.apply_options(&protected);
    let alone = layer::apply_alone(blob, &rootfs, &options, Some(diff_id)).ok()??;
    Some((alone, staged))
}

/// A file that is read as long as somebody wants what is in it.
struct Wanted<'a, W: Fn() -> bool>(File, &'a W);

impl<W: Fn() -> bool> Read for Wanted<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if (self.1)() {
            self.0.read(buffer)
        } else {
            Err(std::io::Error::other("not wanted any more"))
        }
    }
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
