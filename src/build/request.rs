//! What a build is asked to do: every decision made, nothing left to look up in the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::{Files, Keychain};
use crate::cache::WarmBases;
use crate::cache::{BucketOptions, GhaOptions};
use crate::context::git::GitAccess;
use crate::context::{DockerfileSource, Source};
use crate::http::HttpConfig;
use crate::oci::{Compression, Digest, Platform, Reference};
use crate::output::Format;
use crate::plan::RunNetwork;
use crate::registry::RegistryOptions;
use crate::sandbox::{Agent, Content};
use crate::store::Stores;

/// What a build is asked to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the files are.
    pub context: Source,
    /// The directory of the context that counts as its root.
    pub context_sub_path: Option<PathBuf>,
    /// The most that an archive with a context may unpack to, in bytes.
    pub context_limit: u64,
    /// What stands for names in the Dockerfile.
    pub contexts: Vec<BuildContext>,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// Build arguments in order; the last one of a name counts.
    pub build_args: Vec<(String, String)>,
    /// The stage to build; the last one if absent.
    pub target: Option<String>,
    /// The platform of the image.
    pub platform: Platform,
    /// Whether that platform was asked for.
    pub is_platform_explicit: bool,
    /// Labels of the image.
    pub labels: Vec<(String, String)>,
    /// What becomes of the image.
    pub outputs: Outputs,
    /// How layers are compressed.
    pub layers: LayerOptions,
    /// How changes are told apart and which paths are left out.
    pub snapshot: SnapshotOptions,
    /// How registries are reached.
    pub registry: RegistryOptions,
    /// How anything is reached over HTTP.
    pub http: HttpConfig,
    /// How object stores are reached.
    pub stores: Stores,
    /// Who we are to git servers.
    pub git: GitAccess,
    /// Who we are to registries.
    pub keychain: Arc<dyn Keychain>,
    /// Tells the keychain whether files and programs of this machine are at their paths.
    pub files: Files,
    /// How often the download of a base image is tried again as a whole.
    pub download_retries: u32,
    /// How often the download of a base image's layer is tried again as a whole.
    pub extract_retries: u32,
    /// How often a push is tried again as a whole.
    pub push_retries: u32,
    /// Whether destinations are asked before the build if they accept a push.
    pub checks_push: bool,
    /// Where layers and work directories are kept.
    pub state_dir: PathBuf,
    /// What RUN steps see as `/etc/hosts`, where it can be given.
    pub hosts: Option<String>,
    /// What RUN steps see as `/etc/resolv.conf`, where it can be given.
    pub resolv_conf: Option<String>,
    /// Secrets by their ids.
    pub secrets: BTreeMap<String, Content>,
    /// SSH agents by their ids.
    pub agents: BTreeMap<String, Agent>,
    /// The network of RUN steps that name none.
    pub network: RunNetwork,
    /// Whether a RUN may ask for all that the builder may.
    pub allows_insecure: bool,
    /// The time that the image carries, in seconds since 1970.
    pub created: i64,
    /// What is remembered between builds.
    pub cache: CacheOptions,
    /// The cache mounts that are saved and restored.
    pub mounts: MountOptions,
    /// Base images that are on this machine already.
    pub warm: Option<WarmBases>,
    /// How many threads compress and scan.
    pub threads: usize,
}

impl Request {
    /// The same, of another time.
    pub(super) fn dated(&self, created: i64) -> Self {
        let mut dated = self.clone();
        dated.created = created;
        dated.layers.newest_secs = Some(created);
        dated
    }
}

/// What stands for a name in FROM, `COPY --from` and `RUN --mount=from=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildContext {
    /// The name, as that of an image.
    pub name: Reference,
    /// The name as the user wrote it.
    pub label: String,
    /// What it is.
    pub place: ContextPlace,
}

/// Where a named context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextPlace {
    /// Files.
    Files(Source),
    /// An image of a registry.
    Image(Reference),
    /// An image in an OCI layout: the directory, and a tag or digest if there are several.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The image's tag in the layout.
        tag: Option<String>,
        /// The digest of the image or index.
        digest: Option<Digest>,
    },
    /// Nothing: the image `scratch`.
    Scratch,
}

/// What becomes of the image.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// Where it is pushed to.
    pub destinations: Vec<Reference>,
    /// Whether it is pushed at all; the names are used for files even if it is not.
    pub pushes: bool,
    /// Whether a tag that must not change may stay as it is.
    pub ignores_immutable_tags: bool,
    /// The family of media types.
    pub format: Format,
    /// Whether the commit of a git context is a label of the image.
    pub labels_revision: bool,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// A tar for `docker load`.
    pub tar_path: Option<PathBuf>,
    /// An OCI image layout.
    pub oci_layout_path: Option<PathBuf>,
    /// A file with the digest.
    pub digest_file: Option<PathBuf>,
    /// A file with `name@digest` for every destination.
    pub image_name_with_digest_file: Option<PathBuf>,
    /// A file with `name:tag@digest` for every destination.
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// A file with digests, names and descriptor as JSON.
    pub metadata_file: Option<PathBuf>,
}

impl Outputs {
    /// The names that are pushed.
    pub(super) fn pushed_to(&self) -> &[Reference] {
        if self.pushes { &self.destinations } else { &[] }
    }
}

/// How new layers are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerOptions {
    /// The compression.
    pub compression: Compression,
    /// Its level, where it is not the default.
    pub level: Option<i32>,
    /// Whether a stage makes one layer at its end.
    pub single: bool,
    /// No file of a new layer is newer, in seconds since 1970.
    pub newest_secs: Option<i64>,
    /// Whether the commit of a git context says that time, and that of the image.
    pub is_dated_by_commit: bool,
}

/// How changes are told apart.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    /// After a RUN, by modification time only.
    pub by_time_only: bool,
    /// Paths that never get into a layer, absolute in the image.
    pub ignored: Vec<String>,
}

/// What is remembered between builds.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, as on the command line"
)]
pub struct CacheOptions {
    /// Where layers are looked up, in this order.
    pub from: Vec<CachePlace>,
    /// Where layers are kept.
    pub to: Vec<CachePlace>,
    /// Those of them without which a build has failed.
    pub required: Vec<CachePlace>,
    /// Whether entries are put into the image itself.
    pub is_inline: bool,
    /// For how long a layer is used, in seconds; forever if absent.
    pub ttl_secs: Option<i64>,
    /// The time of this build, in seconds since 1970.
    pub now: i64,
    /// Whether the image's time was asked for. If not, what comes out of a cache keeps the time when it was made.
    pub is_created_explicit: bool,
    /// Whether layers of RUN and WORKDIR are looked up and kept.
    pub runs: bool,
    /// Whether layers of COPY and ADD are looked up and kept.
    pub copies: bool,
    /// What the user should know of the caches that were asked for.
    pub notices: Vec<String>,
    /// Whether it is told of each step if it is in a cache, and why not.
    pub explains: bool,
}

/// Where cache mounts are saved and restored.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// Where they are restored from, in this order.
    pub from: Vec<CachePlace>,
    /// Where they are saved.
    pub to: Vec<CachePlace>,
    /// What tells them apart from others of the same id: they are saved under the first scope, and restored from the first that has
    /// them. None, and one without a name, are those that all builds share.
    pub scopes: Vec<String>,
    /// The bytes that the files of one may have.
    pub max_size: u64,
}

impl MountOptions {
    /// Whether they are saved where they are restored from, and nowhere else.
    pub(super) fn is_one_place(&self) -> bool {
        self.from.len() == 1 && self.from == self.to
    }
}

/// A place that keeps layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// A repository of a registry; a tag stands before those of the entries.
    Registry(Reference),
    /// The same to look layers up in, and the image that the reference names, which may have entries within.
    Image(Reference),
    /// A directory of this machine.
    Directory(PathBuf),
    /// A bucket of S3, Google or Azure.
    Bucket(Box<BucketOptions>),
    /// The cache service of GitHub Actions.
    Gha(GhaOptions),
}

impl CacheOptions {
    /// Whether what is found in one place is kept in another.
    pub(super) fn keeps_hits(&self) -> bool {
        let place = |place: &CachePlace| match place {
            CachePlace::Image(reference) => CachePlace::Registry(reference.clone()),
            other => other.clone(),
        };
        self.from.iter().map(place).ne(self.to.iter().map(place))
    }

    /// Whether anything is remembered.
    pub(super) fn is_on(&self) -> bool {
        !self.from.is_empty() || !self.to.is_empty() || self.is_inline
    }
}
