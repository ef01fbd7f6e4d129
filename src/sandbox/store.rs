//! The state directory: base layers that builds share, and each build's own directories.
//!
//! ```text
//! <state>/lock                               held while a build directory is made or stale ones are removed
//! <state>/builds/<pid>-<n>/lock              held by its build as long as it lives
//! <state>/layers/<flavour>/<hex>/tree        a base layer, complete: it appeared by one rename
//! <state>/layers/<flavour>/<hex>/boot        the boot in which it was made; locked by the builds that use the layer, and
//!                                            its time of modification says when that was last
//! ```
//! A layer that no build has used for two weeks is removed by the next build that ends.
//!
//! A layer is not synced to disk, for the time that takes: after a crash of the machine the boot differs, and the layer
//! is made again. A killed build leaves a directory that the next build removes.

use super::{SandboxError, identity};
use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, futimens};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A base layer that was not used for so long is removed.
const UNUSED_MAX: Duration = Duration::from_hours(14 * 24);

/// One build's part of the state directory; removed when dropped.
#[derive(Debug)]
pub(super) struct BuildDirectory {
    path: PathBuf,
    layers: PathBuf,
    boot: String,
    count: AtomicUsize,
    /// The locks of the base layers that the build uses, by their directories.
    used: Mutex<HashMap<PathBuf, File>>,
    _lock: File,
}

impl BuildDirectory {
    /// Makes one in `state`, and removes those that killed builds have left. `trusted` says whose overlay marks its layers carry.
    pub(super) fn make(state: &Path, trusted: bool) -> Result<Self, SandboxError> {
        let builds = state.join("builds");
        let map = identity::fingerprint()
            .map_err(|source| SandboxError::path("read", "/proc/self/uid_map", source))?;
        let layers = state.join("layers").join(format!(
            "{}-{map}",
            if trusted { "trusted" } else { "user" }
        ));
        // Closed to others: a RUN of another user has nothing to look for here.
        for directory in [&builds, &layers] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|source| SandboxError::path("create", directory, source))?;
        }
        let path = state.join("lock");
        let gate = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| SandboxError::path("open", &path, source))?;
        flock(&gate, FlockOperation::LockExclusive)
            .map_err(|source| SandboxError::path("lock", &path, source))?;
        remove_stale(&builds).map_err(|source| SandboxError::path("read", &builds, source))?;
        let (path, lock) = make_locked(&builds)
            .map_err(|source| SandboxError::path("create a directory in", &builds, source))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            path,
            layers,
            boot,
            count: AtomicUsize::new(0),
            used: Mutex::default(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A name in the build's directory that nothing else has.
    pub(super) fn fresh_name(&self, prefix: &str) -> PathBuf {
        self.path.join(format!(
            "{prefix}{}",
            self.count.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// A new, empty directory of mode 0755.
    pub(super) fn fresh_directory(&self, prefix: &str) -> Result<PathBuf, SandboxError> {
        let path = self.fresh_name(prefix);
        DirBuilder::new()
            .mode(0o755)
            .create(&path)
            .map_err(|source| SandboxError::path("create", &path, source))?;
        Ok(path)
    }

    /// The tree of a base layer, if it was made by an earlier stage or build. Nobody removes it as long as this build lives.
    pub(super) fn layer(&self, chain_id: &str) -> Option<PathBuf> {
        let directory = self.layer_directory(chain_id);
        if self.lock_used().contains_key(&directory) {
            return Some(directory.join("tree"));
        }
        let path = directory.join("boot");
        let mut marker = File::open(&path).ok()?;
        // Whoever has it exclusively removes it.
        flock(&marker, FlockOperation::NonBlockingLockShared).ok()?;
        let (held, there) = (marker.metadata().ok()?, fs::metadata(&path).ok()?);
        if (held.dev(), held.ino()) != (there.dev(), there.ino()) {
            return None;
        }
        let mut boot = String::new();
        marker.read_to_string(&mut boot).ok()?;
        if boot != self.boot || boot.is_empty() {
            return None;
        }
        let tree = directory.join("tree");
        self.uses(directory, marker);
        Some(tree)
    }

    /// Keeps the lock of a layer, and notes that it is used now.
    fn uses(&self, directory: PathBuf, marker: File) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        // A state directory that is read-only is not pruned either.
        let _ = futimens(&marker, &times);
        self.lock_used().insert(directory, marker);
    }

    fn lock_used(&self) -> MutexGuard<'_, HashMap<PathBuf, File>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes base layers that no build has used for a long time. What cannot be removed stays.
    pub(super) fn prune(&self) {
        self.prune_unused(UNUSED_MAX);
    }

    fn prune_unused(&self, unused_max: Duration) {
        // The file system's own idea of now.
        let now = File::create(self.path.join("now")).and_then(|file| file.metadata()?.modified());
        let (Ok(now), Ok(entries)) = (now, fs::read_dir(&self.layers)) else {
            return;
        };
        for entry in entries.flatten() {
            let directory = entry.path();
            let Ok(marker) = File::open(directory.join("boot")) else {
                continue;
            };
            let age = marker
                .metadata()
                .and_then(|found| found.modified())
                .ok()
                .and_then(|used| now.duration_since(used).ok());
            if age.is_none_or(|age| age < unused_max)
                || flock(&marker, FlockOperation::NonBlockingLockExclusive).is_err()
            {
                continue;
            }
            // Away first: who waits for the lock then finds that the layer is not there.
            let away = self.fresh_name("unused");
            if fs::rename(&directory, &away).is_ok() {
                let _ = fs::remove_dir_all(&away);
            }
        }
    }

    /// Hands a complete layer (`holder/tree`) over to the store; returns where its tree is now.
    pub(super) fn keep_layer(
        &self,
        chain_id: &str,
        holder: &Path,
    ) -> Result<PathBuf, SandboxError> {
        let marker = holder.join("boot");
        let written = fs::write(&marker, &self.boot).and_then(|()| File::open(&marker));
        let written = written.map_err(|source| SandboxError::path("write", &marker, source))?;
        // Before it has its name: nobody removes it in between.
        flock(&written, FlockOperation::NonBlockingLockShared)
            .map_err(|source| SandboxError::path("lock", &marker, source))?;
        let directory = self.layer_directory(chain_id);
        loop {
            match rustix::fs::rename(holder, &directory) {
                Ok(()) => {
                    let tree = directory.join("tree");
                    self.uses(directory, written);
                    return Ok(tree);
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(source) => return Err(SandboxError::path("rename to", &directory, source)),
            }
            // Another build was faster: its layer is as good as ours.
            if let Some(tree) = self.layer(chain_id) {
                return Ok(tree);
            }
            // Left by an earlier boot.
            match rustix::fs::rename(&directory, self.fresh_name("stale")) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(source) => return Err(SandboxError::path("move away", &directory, source)),
            }
        }
    }

    fn layer_directory(&self, chain_id: &str) -> PathBuf {
        self.layers.join(chain_id.replace([':', '/'], "-"))
    }

    /// Removes everything of this build.
    pub(super) fn remove(&self) -> Result<(), SandboxError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(SandboxError::path("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for BuildDirectory {
    fn drop(&mut self) {
        // What cannot be removed now is removed as stale by the next build.
        let _ = self.remove();
    }
}

fn make_locked(builds: &Path) -> io::Result<(PathBuf, File)> {
    for number in 0.. {
        let path = builds.join(format!("{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                let lock = File::create(path.join("lock"))?;
                flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
                return Ok((path, lock));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Removes the directories whose builds do not live any more. Called with the gate locked, so none is half made.
fn remove_stale(builds: &Path) -> io::Result<()> {
    for entry in fs::read_dir(builds)? {
        let path = entry?.path();
        let held = File::open(path.join("lock"))
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
        if !held {
            // Files of another id map are not ours to remove, and do no harm.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_shared_when_it_is_complete() {
        let state = tempfile::tempdir().unwrap();
        let first = BuildDirectory::make(state.path(), true).unwrap();
        let second = BuildDirectory::make(state.path(), true).unwrap();
        let holder = first.fresh_directory("layer").unwrap();
        fs::create_dir(holder.join("tree")).unwrap();
        assert!(second.layer("sha256:aa").is_none());
        let tree = first.keep_layer("sha256:aa", &holder).unwrap();
        assert_eq!(second.layer("sha256:aa").as_ref(), Some(&tree));
        // The second one to finish the same layer uses the first one's.
        let late = second.fresh_directory("layer").unwrap();
        fs::create_dir(late.join("tree")).unwrap();
        assert_eq!(second.keep_layer("sha256:aa", &late).unwrap(), tree);
        // Another flavour has none of it.
        assert!(
            BuildDirectory::make(state.path(), false)
                .unwrap()
                .layer("sha256:aa")
                .is_none()
        );
        // Nor is it believed after a crash.
        fs::write(tree.parent().unwrap().join("boot"), "earlier").unwrap();
        let later = BuildDirectory::make(state.path(), true).unwrap();
        assert!(later.layer("sha256:aa").is_none());
        assert!(late.exists());
        assert_eq!(later.keep_layer("sha256:aa", &late).unwrap(), tree);
        assert!(later.layer("sha256:aa").is_some());
    }

    #[test]
    fn layers_that_nobody_uses_go() {
        let state = tempfile::tempdir().unwrap();
        let keep = |build: &BuildDirectory, name: &str| {
            let holder = build.fresh_directory("layer").unwrap();
            fs::create_dir(holder.join("tree")).unwrap();
            build.keep_layer(name, &holder).unwrap()
        };
        let first = BuildDirectory::make(state.path(), true).unwrap();
        let (made, old) = (keep(&first, "sha256:aa"), keep(&first, "sha256:bb"));
        let other = BuildDirectory::make(state.path(), true).unwrap();
        let set_age = |tree: &Path| {
            let marker = File::open(tree.with_file_name("boot")).unwrap();
            let then = marker.metadata().unwrap().modified().unwrap() - UNUSED_MAX * 2;
            marker.set_modified(then).unwrap();
        };
        // In use, however old; then in use by the other one.
        set_age(&made);
        other.prune();
        assert!(made.exists() && old.exists());
        assert_eq!(other.layer("sha256:aa").as_ref(), Some(&made));
        set_age(&made);
        set_age(&old);
        drop(first);
        let third = BuildDirectory::make(state.path(), true).unwrap();
        third.prune();
        assert!(made.exists() && !old.exists());
        assert!(third.layer("sha256:bb").is_none());
        // Used a moment ago, by a build that is over.
        assert!(third.layer("sha256:aa").is_some());
        drop((other, third));
        let last = BuildDirectory::make(state.path(), true).unwrap();
        last.prune();
        assert!(made.exists());
        // A layer that is made again after that is whole.
        assert_eq!(keep(&last, "sha256:bb"), old);
    }

    #[test]
    fn stale_directories_go_and_live_ones_stay() {
        let state = tempfile::tempdir().unwrap();
        let live = BuildDirectory::make(state.path(), true).unwrap();
        let stale = state.path().join("builds/1-0");
        fs::create_dir(&stale).unwrap();
        fs::write(stale.join("lock"), "").unwrap();
        let other = BuildDirectory::make(state.path(), true).unwrap();
        assert!(live.path().exists() && other.path().exists() && !stale.exists());
        let path = live.path().to_owned();
        drop(live);
        assert!(!path.exists());
    }
}
