//! Directories that outlive a build: the caches of `RUN --mount=type=cache`.
//!
//! ```text
//! <state>/cache-mounts/<map>/<key>/about      what it is: its Identity, as JSON
//! <state>/cache-mounts/<map>/<key>/lock       locked as long as a command uses it; exclusively if nothing may use it beside
//! <state>/cache-mounts/<map>/<key>/tree       its content
//! <state>/cache-mounts/<map>/<key>/lock-<n>   the same for the n-th copy of a private one, from 1
//! <state>/cache-mounts/<map>/<key>/tree-<n>
//! ```
//! `<map>` stands for the id map, since owners of files mean something else in another one; `<key>` is a hash of the
//! [`Identity`]. Locks are those of flock(2): they end with the process, and hold between processes and threads alike.
//!
//! Who saves or restores caches by their id goes through [`CacheMounts::all`] and [`CacheMounts::acquire`] with
//! [`Sharing::Locked`], and finds the files in [`HeldCache::path`].

use super::plain::copy_tree;
use super::{SandboxError, identity};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory in the state directory.
pub(super) const DIRECTORY: &str = "cache-mounts";
/// How often a lock that somebody holds is tried again: flock has no way of waiting that could be called off.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Directories of others are entered by the commands of any user in place, and listed by none.
const CLOSED: u32 = 0o711;

/// What makes one cache another than the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub id: String,
    /// What it was made from: a digest of the tree; empty if from nothing.
    pub from: String,
    /// The mode that was asked for.
    pub mode: Option<u32>,
    /// The owner that was asked for.
    pub uid: Option<u32>,
    /// The group that was asked for.
    pub gid: Option<u32>,
}

/// What others that use a cache at the same time see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All use the same.
    Shared,
    /// Each has a copy of its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// What a cache holds when it is made.
#[derive(Clone, Copy, Default)]
pub struct Beginning<'a> {
    /// The directory that it is a copy of; it is empty if there is none.
    pub copy_of: Option<&'a Path>,
    /// Asked first: fills the new, empty directory. Where it says no, what it left there is thrown away.
    pub restore: Option<&'a dyn Fn(&Path) -> bool>,
}

impl std::fmt::Debug for Beginning<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beginning")
            .field("copy_of", &self.copy_of)
            .finish_non_exhaustive()
    }
}

/// All caches of a state directory.
#[derive(Debug, Clone)]
pub struct CacheMounts {
    directory: PathBuf,
}

/// A cache in use; nobody removes or replaces it as long as this lives.
#[derive(Debug)]
pub struct HeldCache {
    path: PathBuf,
    is_new: bool,
    _lock: File,
}

impl HeldCache {
    /// The directory with its content.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was made just now, and is empty.
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

impl CacheMounts {
    /// The caches of a state directory, for the id map that this process has now.
    pub fn of(state: &Path) -> Result<Self, SandboxError> {
        let map = identity::fingerprint()
            .map_err(|source| SandboxError::path("read", "/proc/self/uid_map", source))?;
        Ok(Self {
            directory: state.join(DIRECTORY).join(map),
        })
    }

    /// What there is, in order.
    pub fn all(&self) -> Result<Vec<Identity>, SandboxError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(SandboxError::path("read", &self.directory, source)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry =
                entry.map_err(|source| SandboxError::path("read", &self.directory, source))?;
            // One that is being made says nothing of itself yet.
            if let Ok(text) = fs::read(entry.path().join("about"))
                && let Ok(identity) = serde_json::from_slice(&text)
            {
                all.push(identity);
            }
        }
        all.sort();
        Ok(all)
    }

    /// Takes a cache, and makes it as `beginning` says if it is not there. Waits for others as `sharing` says, and asks `is_cancelled` meanwhile.
    /// `None` when that said yes.
    ///
    /// Who takes several has to take them in the order of their identities, or two may wait for each other.
    pub fn acquire(
        &self,
        identity: &Identity,
        sharing: Sharing,
        beginning: &Beginning<'_>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<HeldCache>, SandboxError> {
        let directory = self.directory.join(identity.key());
        make_directory(&directory)?;
        let about = directory.join("about");
        if !about.exists() {
            let text = serde_json::to_vec(identity)
                .map_err(|error| SandboxError::path("write", &about, error))?;
            fs::write(&about, text)
                .map_err(|source| SandboxError::path("write", &about, source))?;
        }
        if sharing == Sharing::Private {
            return private(&directory, identity, beginning).map(Some);
        }
        let operation = if sharing == Sharing::Shared {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        loop {
            if let Some(lock) = try_lock(&directory.join("lock"), operation)? {
                return hold(directory.join("tree"), identity, beginning, lock).map(Some);
            }
            if is_cancelled() {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Identity {
    /// The name of its directory: letters and digits, the same for the same identity.
    pub fn key(&self) -> String {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        for part in [
            self.id.clone(),
            self.from.clone(),
            format!("{:?}", [self.mode, self.uid, self.gid]),
        ] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

/// The first copy that nobody uses.
fn private(
    directory: &Path,
    identity: &Identity,
    beginning: &Beginning<'_>,
) -> Result<HeldCache, SandboxError> {
    let mut number = 0_u32;
    loop {
        let name = |what: &str| match number {
            0 => directory.join(what),
            number => directory.join(format!("{what}-{number}")),
        };
        if let Some(lock) = try_lock(&name("lock"), FlockOperation::NonBlockingLockExclusive)? {
            return hold(name("tree"), identity, beginning, lock);
        }
        number += 1;
    }
}

fn try_lock(path: &Path, operation: FlockOperation) -> Result<Option<File>, SandboxError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| SandboxError::path("open", path, source))?;
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
        Err(source) => Err(SandboxError::path("lock", path, source)),
    }
}

/// Makes the directory of a cache whose lock is held, perhaps with others.
fn hold(
    path: PathBuf,
    identity: &Identity,
    beginning: &Beginning<'_>,
    lock: File,
) -> Result<HeldCache, SandboxError> {
    let explain = |source| SandboxError::path("create", &path, source);
    let is_new = !path.exists();
    if is_new {
        // It appears complete: who shares the lock may look for it at this moment, or make it as well.
        let number = lock.as_raw_fd();
        let fresh = path.with_extension(format!("new-{}-{number}", std::process::id()));
        // Left by a process of the same number that was killed.
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(explain(error)),
            _ => {}
        }
        make_empty(&fresh, identity).map_err(explain)?;
        if !beginning.restore.is_some_and(|restore| restore(&fresh)) {
            fs::remove_dir_all(&fresh).map_err(explain)?;
            match beginning.copy_of {
                Some(seed) => copy_tree(seed, &fresh).map_err(explain)?,
                None => make_empty(&fresh, identity).map_err(explain)?,
            }
        }
        match fs::rename(&fresh, &path) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) =>
            {
                fs::remove_dir_all(&fresh).map_err(explain)?;
            }
            Err(error) => return Err(explain(error)),
        }
    }
    Ok(HeldCache {
        path,
        is_new,
        _lock: lock,
    })
}

fn make_empty(path: &Path, identity: &Identity) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let (uid, gid) = (identity.uid.unwrap_or(0), identity.gid.unwrap_or(0));
    chown(path, Some(uid), Some(gid))?;
    fs::set_permissions(
        path,
        fs::Permissions::from_mode(identity.mode.unwrap_or(0o755)),
    )
}

/// Makes a directory and those above it, and lets others enter them.
fn make_directory(path: &Path) -> Result<(), SandboxError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(CLOSED)
        .create(path)
        .map_err(|source| SandboxError::path("create", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn identity(id: &str) -> Identity {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        Identity {
            id: id.into(),
            from: String::new(),
            mode: None,
            uid: Some(uid),
            gid: Some(gid),
        }
    }

    fn take(caches: &CacheMounts, identity: &Identity, sharing: Sharing) -> Option<HeldCache> {
        let beginning = Beginning::default();
        let taken = caches.acquire(identity, sharing, &beginning, &|| true);
        taken.unwrap()
    }

    #[test]
    fn a_cache_stays_and_is_found_by_its_id() {
        let state = tempfile::tempdir().unwrap();
        let caches = CacheMounts::of(state.path()).unwrap();
        assert_eq!(caches.all().unwrap(), []);
        let held = take(&caches, &identity("a"), Sharing::Shared).unwrap();
        assert!(held.is_new());
        fs::write(held.path().join("x"), "1").unwrap();
        drop(held);
        let again = take(&caches, &identity("a"), Sharing::Locked).unwrap();
        assert!(!again.is_new() && again.path().join("x").exists());
        let mut other = identity("a");
        other.mode = Some(0o700);
        let other = take(&caches, &other, Sharing::Shared).unwrap();
        assert_ne!(other.path(), again.path());
        assert_eq!(
            fs::metadata(other.path()).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        assert_eq!(caches.all().unwrap().len(), 2);
    }

    #[test]
    fn a_new_cache_is_restored_or_begins_empty() {
        let state = tempfile::tempdir().unwrap();
        let caches = CacheMounts::of(state.path()).unwrap();
        for (id, is_restored) in [("a", true), ("b", false)] {
            let restore = |directory: &Path| {
                fs::write(directory.join("x"), id).unwrap();
                is_restored
            };
            let beginning = Beginning {
                copy_of: None,
                restore: Some(&restore),
            };
            for is_new in [true, false] {
                let held = caches.acquire(&identity(id), Sharing::Shared, &beginning, &|| true);
                let held = held.unwrap().unwrap();
                assert_eq!(held.is_new(), is_new);
                assert_eq!(held.path().join("x").exists(), is_restored);
            }
        }
    }

    #[test]
    fn who_waits_for_whom() {
        let state = tempfile::tempdir().unwrap();
        let caches = CacheMounts::of(state.path()).unwrap();
        let name = identity("a");
        let first = take(&caches, &name, Sharing::Shared).unwrap();
        let second = take(&caches, &name, Sharing::Shared).unwrap();
        assert_eq!(first.path(), second.path());
        assert!(take(&caches, &name, Sharing::Locked).is_none());
        let private = take(&caches, &name, Sharing::Private).unwrap();
        assert_ne!(private.path(), first.path());
        drop((first, second));
        let locked = take(&caches, &name, Sharing::Locked).unwrap();
        assert!(take(&caches, &name, Sharing::Shared).is_none());
        // It goes on as soon as the other one is done.
        let locked = Cell::new(Some(locked));
        let held = caches
            .acquire(&name, Sharing::Locked, &Beginning::default(), &|| {
                locked.take();
                false
            })
            .unwrap();
        assert!(held.is_some());
    }
}
