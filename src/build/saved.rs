//! Cache mounts that survive the machine: restored before the first command that has them, saved after a build that went well.
//!
//! The content of a cache is one archive in a cache's place, named after the cache's id and the rest of its identity, the scope and the
//! platform. What goes wrong is a warning: the command then begins with an empty cache, and the next build with the old archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::{
    self, Cache, CacheKey, Document, DocumentName, KeyHasher, Kind, Part, SavedMount, Unfit,
};
use crate::http::Http;
use crate::layer;
use crate::oci::{Compression, Descriptor, Digest};
use crate::registry::{BlobSource, Client};
use crate::rootfs::{FileType, Protected, RelPath, Rootfs};
use crate::sandbox::{Beginning, CacheIdentity, CacheMounts, Isolation, Ownership, Sharing};
use crate::snapshot::Changes;

use super::ahead::Faults;
use super::event::{Event, Events, MountChange};
use super::layers::{self, PackJob, Packer};
use super::{BuildError, Request, Services, block_on, caching};

/// The cache mounts of a build, and the places that keep them.
pub(super) struct SavedMounts<'a> {
    request: &'a Request,
    services: &'a Services,
    client: Client,
    scratch: PathBuf,
    /// What the executor can do with owners, and how.
    rights: (Ownership, Isolation),
    from: Vec<Cache>,
    to: Vec<Cache>,
    faults: Faults,
    /// The caches that commands could write to.
    used: Mutex<BTreeSet<CacheIdentity>>,
    /// The archives that caches began with.
    restored: Mutex<BTreeMap<CacheIdentity, Digest>>,
}

impl<'a> SavedMounts<'a> {
    /// Opens the places.
    pub(super) fn new(
        request: &'a Request,
        services: &'a Services,
        (http, client): (&Http, &Client),
        scratch: &Path,
        rights: (Ownership, Isolation),
    ) -> Self {
        let open = |places| caching::open(places, request, (http, client), scratch);
        Self {
            request,
            services,
            client: client.clone(),
            scratch: scratch.to_owned(),
            rights,
            from: open(&request.mounts.from),
            to: open(&request.mounts.to),
            faults: Faults::default(),
            used: Mutex::default(),
            restored: Mutex::default(),
        }
    }

    /// Remembers that a command has a cache, and may write to it.
    pub(super) fn is_used(&self, identity: &CacheIdentity) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(identity.clone());
    }

    /// Fills the new and empty directory of a cache with what was saved of it. If that fails, something may be in it.
    pub(super) fn restore(&self, identity: &CacheIdentity, directory: &Path) -> bool {
        let keys = self.keys(identity);
        let places = keys
            .iter()
            .flat_map(|key| self.from.iter().map(move |cache| (*key, cache)));
        for (key, cache) in places {
            match self.restore_from(cache, key, directory) {
                Ok(Some(saved)) => {
                    let digest = saved.archive.digest;
                    self.lock_restored().insert(identity.clone(), digest);
                    self.tell(
                        identity,
                        MountChange::Restored {
                            bytes: saved.archive.size,
                        },
                    );
                    return true;
                }
                Ok(None) => {}
                Err(Failure::Cancelled) => return false,
                Err(Failure::Cache(error)) => {
                    self.faults.tell(self.events(), &cache.name(), &error);
                }
                Err(Failure::Unpack(error)) => {
                    self.warn(identity, &format!("cannot be restored: {error}"));
                    return false;
                }
            }
        }
        false
    }

    fn restore_from(
        &self,
        cache: &Cache,
        key: CacheKey,
        directory: &Path,
    ) -> Result<Option<SavedMount>, Failure> {
        let unfit = |reason| Failure::Cache(cache::Error::Unfit { key, reason });
        let name = DocumentName {
            kind: Kind::Mount,
            key,
        };
        let place = cache.place();
        let Some(found) = block_on(self.services, place.document(&name))?? else {
            return Ok(None);
        };
        let saved = SavedMount::parse(&found.text, &key).map_err(unfit)?;
        let archive = &saved.archive;
        if found.blobs.is_some_and(|blobs| blobs != [archive.clone()]) {
            return Err(unfit(Unfit::OtherLayers));
        }
        if saved.size > self.request.mounts.max_size {
            return Ok(None);
        }
        let source = block_on(self.services, place.source(archive))??;
        let missing = || unfit(Unfit::Layer(archive.digest.short().to_owned()));
        let path = self.file(archive, source.ok_or_else(missing)?)?;
        let file = File::open(&path).map_err(|error| Failure::Unpack(error.to_string()))?;
        let rootfs = Rootfs::open(directory).map_err(|error| Failure::Unpack(error.to_string()))?;
        let (ownership, isolation) = self.rights;
        let protected = Protected::none();
        let options = layers::apply_options(&protected, ownership, isolation);
        layer::apply(file, &rootfs, &options, Some(&saved.diff_id))
            .map_err(|error| Failure::Unpack(error.to_string()))?;
        Ok(Some(saved))
    }

    /// A file with the bytes of an archive, verified.
    fn file(&self, archive: &Descriptor, source: BlobSource) -> Result<PathBuf, Failure> {
        Ok(match source {
            BlobSource::File(path) => path,
            BlobSource::Remote(reference) => {
                let path = self.scratch.join(format!("mount-{}", archive.digest.hex()));
                let fetch = self.client.blob_to_file(&reference, archive, &path, None);
                block_on(self.services, fetch)?.map_err(cache::Error::from)?;
                path
            }
            BlobSource::Elsewhere(elsewhere) => {
                block_on(self.services, elsewhere.file())?.map_err(cache::Error::from)?
            }
            // No place has archives in memory, or within other files.
            BlobSource::Bytes(_) | BlobSource::Part { .. } => {
                return Err(Failure::Unpack("it is within another file".to_owned()));
            }
        })
    }

    /// Saves the caches that commands had.
    ///
    /// # Errors
    /// Only when the build is called off.
    pub(super) fn save(&self) -> Result<(), BuildError> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if self.to.is_empty() || used.is_empty() {
            return Ok(());
        }
        let store = CacheMounts::of(&self.request.state_dir)?;
        for (number, identity) in used.iter().enumerate() {
            let before = self.lock_restored().get(identity).cloned();
            match self.save_one(&store, number, identity, before.as_ref()) {
                Ok(()) => {}
                Err(Failure::Cancelled) => return Err(BuildError::Cancelled),
                Err(Failure::Cache(error)) => {
                    self.warn(identity, &format!("cannot be saved: {error}"));
                }
                Err(Failure::Unpack(error)) => {
                    self.warn(identity, &format!("cannot be saved: {error}"));
                }
            }
        }
        Ok(())
    }

    fn save_one(
        &self,
        store: &CacheMounts,
        number: usize,
        identity: &CacheIdentity,
        before: Option<&Digest>,
    ) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Unpack(error.to_string());
        let is_cancelled = || self.services.token.is_cancelled();
        let held = store
            .acquire(
                identity,
                Sharing::Locked,
                &Beginning::default(),
                &is_cancelled,
            )
            .map_err(|error| failed(&error))?
            .ok_or(Failure::Cancelled)?;
        let rootfs = Rootfs::open(held.path()).map_err(|error| failed(&error))?;
        let mut files = Files::default();
        files
            .walk(&rootfs, &RelPath::root())
            .map_err(|error| failed(&error))?;
        let limit = self.request.mounts.max_size;
        if files.size > limit {
            let bytes = files.size;
            self.tell(identity, MountChange::TooLarge { bytes, limit });
            return Ok(());
        }
        if files.paths.is_empty() {
            return Ok(());
        }
        let changes = Changes::from_paths(&rootfs, &Protected::none(), files.paths)
            .map_err(|error| failed(&error))?;
        let job = PackJob {
            display: format!("cache mount {}", identity.id),
            changes,
            rootfs,
            owners: Arc::default(),
            held: None,
        };
        let packer = Packer {
            compression: Compression::Zstd,
            level: None,
            newest_mtime: None,
            threads: NonZeroUsize::new(self.request.threads).unwrap_or(NonZeroUsize::MIN),
            scratch: self.scratch.clone(),
            token: self.services.token.clone(),
        };
        let packed = packer
            .pack(job, &format!("cache-mount-{number}"))
            .map_err(|error| failed(&error))?;
        drop(held);
        if before == Some(&packed.descriptor.digest) && self.request.mounts.is_one_place() {
            self.tell(identity, MountChange::Unchanged);
            return Ok(());
        }
        let key = self.keys(identity)[0];
        let archive = packed.descriptor.clone();
        let blob = (archive.clone(), packed.diff_id.clone());
        let created = self.request.cache.now;
        let saved = SavedMount::new(key, &identity.id, created, files.size, blob);
        let document = Document {
            text: saved.to_json()?,
            parts: vec![Part {
                blob: archive.clone(),
                diff_id: packed.diff_id,
                title: format!("cache mount {}", identity.id),
            }],
        };
        let name = DocumentName {
            kind: Kind::Mount,
            key,
        };
        let source = BlobSource::File(packed.path.clone());
        for cache in &self.to {
            let place = cache.place();
            block_on(self.services, place.put_blob(&archive, &source, &[]))??;
            block_on(self.services, place.put_document(&name, &document))??;
            block_on(self.services, place.finish())??;
        }
        self.tell(
            identity,
            MountChange::Saved {
                bytes: archive.size,
            },
        );
        // The archive may be large, and the build's directory may live on.
        let _ = std::fs::remove_file(&packed.path);
        Ok(())
    }

    /// The keys of a cache in all scopes, that of the own one first.
    fn keys(&self, identity: &CacheIdentity) -> Vec<CacheKey> {
        let key = |scope: Option<&String>| {
            let mut hasher = KeyHasher::new("mount");
            hasher.optional("scope", scope.filter(|scope| !scope.is_empty()));
            hasher.field("platform", self.request.platform.normalized().to_string());
            hasher.field("identity", identity.key());
            hasher.finish()
        };
        let scopes = &self.request.mounts.scopes;
        if scopes.is_empty() {
            return vec![key(None)];
        }
        scopes.iter().map(|scope| key(Some(scope))).collect()
    }

    fn lock_restored(&self) -> MutexGuard<'_, BTreeMap<CacheIdentity, Digest>> {
        self.restored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, identity: &CacheIdentity, change: MountChange) {
        self.events().send(Event::CacheMount {
            id: identity.id.clone(),
            change,
        });
    }

    fn warn(&self, identity: &CacheIdentity, message: &str) {
        self.events().send(Event::Warning {
            message: format!(
                "the cache mount \"{}\" {message}",
                identity.id.escape_debug()
            ),
            span: None,
        });
    }

    fn events(&self) -> &dyn Events {
        &*self.services.events
    }
}

/// All that is in a directory.
#[derive(Default)]
struct Files {
    paths: Vec<RelPath>,
    size: u64,
}

impl Files {
    fn walk(&mut self, rootfs: &Rootfs, at: &RelPath) -> Result<(), crate::rootfs::Error> {
        let mut names = rootfs.read_dir(at)?;
        names.sort_unstable();
        for name in names {
            let path = at.child(&name);
            let Some(found) = rootfs.lstat(&path)? else {
                continue;
            };
            self.paths.push(path.clone());
            match found.file_type {
                FileType::Dir => self.walk(rootfs, &path)?,
                FileType::File => self.size += found.size,
                FileType::Symlink
                | FileType::Fifo
                | FileType::Char
                | FileType::Block
                | FileType::Socket => {}
            }
        }
        Ok(())
    }
}

/// Why a cache was not restored or saved.
enum Failure {
    Cancelled,
    Cache(cache::Error),
    /// Of the files or the archive.
    Unpack(String),
}

impl From<BuildError> for Failure {
    /// A wait ends early for one reason only.
    fn from(_: BuildError) -> Self {
        Self::Cancelled
    }
}

impl From<cache::Error> for Failure {
    fn from(error: cache::Error) -> Self {
        Self::Cache(error)
    }
}
