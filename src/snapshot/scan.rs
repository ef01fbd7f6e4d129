//! One parallel walk of a tree into an [`Index`]: one `statx` an entry.

use std::collections::VecDeque;
use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::rootfs::{Device, Dir, FileType, Metadata, Protected, RelPath, Rootfs, Timestamp};

use super::Error;
use super::index::{Index, NO_DIR, Record, Table, UNKNOWN, pack_device};
use super::upper::image_xattrs;

/// `statfs` type of tmpfs, where a write through a shared mapping does not move ctime.
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// How long to wait for the coarse clock to pass the newest ctime. A tick is at most 10 ms; a ctime further ahead was
/// made before the clock was set back, and waiting would not help.
const CLOCK_WAIT_MILLIS_MAX: u32 = 50;
/// Contents are hashed so many bytes at a time.
const READ_BYTES: usize = 128 << 10;

/// Which contents are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contents {
    /// Those on tmpfs, where ctime says too little.
    #[default]
    WhereCtimeLies,
    /// All: a later change of mode and back, or of owner and back, can then be told from a change of content.
    All,
}

/// How a tree is walked.
#[derive(Debug, Clone, Copy)]
pub struct ScanOptions<'a> {
    /// The number of threads.
    pub threads: NonZeroUsize,
    /// Which contents are hashed.
    pub contents: Contents,
    /// An earlier index of the same root: what has kept its inode and ctime is not read again.
    pub previous: Option<&'a Index>,
}

impl Index {
    /// Walks a tree. What is protected or mounted is not in the index, nor anything below it.
    ///
    /// Returns only when a later change of any entry must get a later ctime.
    pub fn scan(
        rootfs: &Rootfs,
        protected: &Protected,
        options: ScanOptions<'_>,
    ) -> Result<Self, Error> {
        let root = rootfs.dir(&RelPath::root())?.metadata()?;
        let scan = Scan {
            rootfs,
            protected,
            options,
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            next_id: AtomicU32::new(1),
            devices: Mutex::new(Vec::new()),
        };
        scan.lock().jobs.push_back(Job {
            path: RelPath::root(),
            id: 0,
            previous: options.previous.map(|_| 0),
        });
        let outcomes: Vec<Result<Vec<(u32, Table)>, Error>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..options.threads.get())
                .map(|_| scope.spawn(|| scan.work()))
                .collect();
            workers
                .into_iter()
                .map(|worker| {
                    worker
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut dirs = Vec::new();
        dirs.resize_with(
            scan.next_id.load(Ordering::Relaxed) as usize,
            Table::default,
        );
        for outcome in outcomes {
            for (id, table) in outcome? {
                dirs[id as usize] = table;
            }
        }
        let newest_ctime = dirs
            .iter()
            .flat_map(|table| &table.records)
            .map(Record::ctime)
            .chain([root.ctime])
            .max()
            .unwrap_or_default();
        let devices = scan
            .devices
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        wait_until_clock_passed(newest_ctime);
        Ok(Self {
            dirs,
            devices: devices.into_iter().map(|(device, _)| device).collect(),
        })
    }
}

/// A directory that is to be read.
struct Job {
    path: RelPath,
    id: u32,
    /// The same directory's table in the earlier index.
    previous: Option<u32>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    busy: usize,
    has_failed: bool,
}

struct Scan<'a> {
    rootfs: &'a Rootfs,
    protected: &'a Protected,
    options: ScanOptions<'a>,
    queue: Mutex<Queue>,
    wake: Condvar,
    next_id: AtomicU32,
    /// Each device met, and whether its ctime says too little.
    devices: Mutex<Vec<(Device, bool)>>,
}

impl Scan<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // The queue is whole between any two statements, so a panic elsewhere leaves it usable.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Result<Vec<(u32, Table)>, Error> {
        let mut done = Vec::new();
        while let Some(job) = self.take() {
            let outcome = self.read(&job);
            let mut queue = self.lock();
            queue.busy -= 1;
            match outcome {
                Ok((table, children)) => {
                    queue.jobs.extend(children);
                    done.push((job.id, table));
                }
                Err(error) => {
                    queue.has_failed = true;
                    self.wake.notify_all();
                    return Err(error);
                }
            }
            self.wake.notify_all();
        }
        Ok(done)
    }

    fn take(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.has_failed {
                return None;
            }
            // The newest first: the queue stays as short as the tree is deep.
            if let Some(job) = queue.jobs.pop_back() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(&self, job: &Job) -> Result<(Table, Vec<Job>), Error> {
        let dir = match self.rootfs.open_dir(&job.path) {
            Ok(dir) => dir,
            Err(error) if error.is_not_found() => return Ok((Table::default(), Vec::new())),
            Err(error) => return Err(error.into()),
        };
        let previous = match (self.options.previous, job.previous) {
            (Some(index), Some(id)) => index.dirs.get(id as usize).map(|table| (index, table)),
            _ => None,
        };
        let mut listed = dir.names()?;
        listed.sort_unstable();
        let mut names = Vec::with_capacity(listed.iter().map(Vec::len).sum());
        let mut records = Vec::with_capacity(listed.len());
        let mut children = Vec::new();
        for name in listed {
            if !self.protected.is_empty() && self.protected.covers(&job.path.child(&name)) {
                continue;
            }
            let Some(stat) = dir.lstat(&name)? else {
                continue;
            };
            if stat.is_mount_root {
                continue;
            }
            let known = previous.and_then(|(index, table)| Some((index, table.find(&name)?)));
            let mut record = self.record(stat, &name, &dir, known)?;
            names.extend_from_slice(&name);
            record.name_end = u32::try_from(names.len()).unwrap_or(u32::MAX);
            if stat.is_dir() {
                record.child = self.next_id.fetch_add(1, Ordering::Relaxed);
                children.push(Job {
                    path: job.path.child(&name),
                    id: record.child,
                    previous: known
                        .map(|(_, old)| old.child)
                        .filter(|&child| child != NO_DIR),
                });
            }
            records.push(record);
        }
        let table = Table {
            names: names.into_boxed_slice(),
            records: records.into_boxed_slice(),
        };
        Ok((table, children))
    }

    /// Makes the record of one entry.
    fn record(
        &self,
        stat: Metadata,
        name: &[u8],
        dir: &Dir,
        known: Option<(&Index, &Record)>,
    ) -> Result<Record, Error> {
        let (dev, ctime_lies) = self.device(stat.dev);
        let type_bits = match stat.file_type {
            FileType::File => 0o100_000,
            FileType::Dir => 0o040_000,
            FileType::Symlink => 0o120_000,
            FileType::Char => 0o020_000,
            FileType::Block => 0o060_000,
            FileType::Fifo => 0o010_000,
            FileType::Socket => 0o140_000,
        };
        let mut record = Record {
            ino: stat.ino,
            size: stat.size,
            ctime_secs: stat.ctime.secs,
            mtime_secs: stat.mtime.secs,
            body: UNKNOWN,
            xattrs: UNKNOWN,
            ctime_nanos: stat.ctime.nanos,
            mtime_nanos: stat.mtime.nanos,
            uid: stat.owner.uid,
            gid: stat.owner.gid,
            nlink: stat.nlink,
            name_end: 0,
            child: NO_DIR,
            mode: u16::try_from(type_bits | stat.mode).unwrap_or_default(),
            dev,
        };
        let wants_content =
            stat.is_file() && (ctime_lies || self.options.contents == Contents::All);
        if let Some((index, old)) = known
            && !ctime_lies
            && old.ino == record.ino
            && old.ctime() == record.ctime()
            && index.devices.get(usize::from(old.dev)) == Some(&stat.dev)
            && (!wants_content || old.body != UNKNOWN)
        {
            record.body = old.body;
            record.xattrs = old.xattrs;
            return Ok(record);
        }
        record.body = match stat.file_type {
            FileType::Symlink => hash(&dir.read_link(name)?),
            FileType::Char | FileType::Block => pack_device(stat.rdev),
            FileType::File if wants_content => hash_content(dir, name)?,
            FileType::File | FileType::Dir | FileType::Fifo | FileType::Socket => UNKNOWN,
        };
        if matches!(stat.file_type, FileType::File | FileType::Dir) {
            record.xattrs = hash_xattrs(dir, name)?;
        }
        Ok(record)
    }

    fn device(&self, device: Device) -> (u16, bool) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let known = devices.iter().position(|(known, _)| *known == device);
        let at = known.unwrap_or_else(|| {
            // Mounts are left out, so all that is met is on the root's file system, whatever device an overlay shows.
            let lies =
                rustix::fs::fstatfs(self.rootfs.as_fd()).is_ok_and(|fs| fs.f_type == TMPFS_MAGIC);
            devices.push((device, lies));
            devices.len() - 1
        });
        (u16::try_from(at).unwrap_or(u16::MAX), devices[at].1)
    }
}

/// Waits until the clock that stamps inodes shows a later time than any stamp seen.
fn wait_until_clock_passed(newest: Timestamp) {
    for _ in 0..CLOCK_WAIT_MILLIS_MAX {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let now = (now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or_default());
        if now > (newest.secs, newest.nanos) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A hash that is never `UNKNOWN`.
fn hash(bytes: &[u8]) -> u64 {
    shorten(Sha256::digest(bytes).as_slice())
}

fn hash_xattrs(dir: &Dir, name: &[u8]) -> Result<u64, Error> {
    let found = image_xattrs(dir, name)?;
    if found.is_empty() {
        return Ok(1);
    }
    let mut digest = Sha256::new();
    for (key, value) in found {
        for part in [key, value] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    Ok(shorten(digest.finalize().as_slice()))
}

fn hash_content(dir: &Dir, name: &[u8]) -> Result<u64, Error> {
    let mut file = dir.open_file(name)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(shorten(digest.finalize().as_slice())),
            Ok(length) => digest.update(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(Error::Read {
                    path: dir.path().child(name).to_string(),
                    source,
                });
            }
        }
    }
}

fn shorten(digest: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first).max(2)
}
