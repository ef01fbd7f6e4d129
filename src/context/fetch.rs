//! A source to a local directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::http::Http;
use crate::layer;
use crate::rootfs::{Leaf, RelPath, Rootfs};
use crate::store::Stores;

use super::dockerfile::{self, DockerfileSource};
use super::git::{self, Fetched, GitAccess, GitServices};
use super::ignore::Ignore;
use super::progress::{Counted, Progress};
use super::unpack::{Unpack, buffered, new_directory};
use super::{ContextError, DockerfileText, Source};

/// So many bytes tell an archive.
const HEAD_BYTES: u64 = 512;
/// Files to build from.
#[derive(Debug)]
pub struct Context {
    pub(super) directory: PathBuf,
    pub(super) rootfs: Rootfs,
    pub(super) ignore: Option<Ignore>,
    /// Whether the files came from elsewhere: then nothing outside of them is read in their name.
    pub(super) is_confined: bool,
    /// Whether the files are our own, out of an archive: what nobody may see need not stay.
    pub(super) is_unpacked: bool,
    fetched: Option<Fetched>,
    /// The Dockerfile, if it came in place of the files.
    pub(super) given: Option<DockerfileText>,
}

/// What a context that is elsewhere is fetched with.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// Drives the transfers.
    pub runtime: &'a tokio::runtime::Handle,
    /// Calls them off.
    pub token: &'a CancellationToken,
    /// The object stores.
    pub stores: &'a Stores,
    /// The client for everything else.
    pub http: &'a Http,
    /// Who we are to git servers.
    pub git: &'a GitAccess,
    /// The most that an archive may unpack to, in bytes.
    pub limit: u64,
    /// Is told how far a download has come.
    pub progress: Progress<'a>,
}

impl Context {
    /// Gets the files of `source`; an archive is extracted below `scratch` while it is read, and kept nowhere else. What
    /// the ignore rules that go with the Dockerfile hide is not written, if the archive can be read again should they come late;
    /// else it goes as soon as the rules are known.
    ///
    /// # Errors
    /// [`ContextError`] says what is not there or cannot be read.
    pub fn fetch(
        source: &Source,
        sub_path: Option<&Path>,
        dockerfile: Option<&DockerfileSource>,
        scratch: &Path,
        network: Network<'_>,
    ) -> Result<Self, ContextError> {
        let mut fetched = None;
        let mut given = None;
        let unpack = Unpack {
            name: source.to_string(),
            scratch,
            limit: network.limit,
            sub_path,
            dockerfile,
        };
        let directory = match source {
            Source::Directory(path) => return Self::open(path.clone(), sub_path),
            Source::Archive(path) => unpack.sieved(&mut || {
                let file = File::open(path).map_err(|source| unpack.unreadable(source))?;
                Ok(Box::new(buffered(file)))
            })?,
            Source::Stdin | Source::Dash => {
                let stdin = io::stdin();
                if io::IsTerminal::is_terminal(&stdin) {
                    return Err(ContextError::Terminal);
                }
                let mut head = Vec::new();
                let read = (&stdin).take(HEAD_BYTES).read_to_end(&mut head);
                read.map_err(|source| unpack.unreadable(source))?;
                if *source == Source::Stdin && head.is_empty() {
                    return Err(ContextError::EmptyStdin);
                }
                let is_archive = layer::Format::recognize(&head).is_some();
                if *source == Source::Dash && !is_archive {
                    given = Some(dockerfile::of_stdin(&head)?);
                    new_directory(scratch)?
                } else {
                    unpack.whole(&mut buffered(head.chain(stdin)))?
                }
            }
            Source::Object(location) => {
                let object = network.runtime.block_on(network.stores.open(location))?;
                unpack.sieved(&mut || {
                    let size = Some(object.head().size);
                    let reader = object.clone().read(network.runtime, network.token.clone());
                    Ok(Box::new(Counted::new(reader, size, network.progress)))
                })?
            }
            Source::Web(archive) => unpack.sieved(&mut || {
                let download = archive.open(network.http, network.runtime, network.token)?;
                let length = download.length;
                Ok(Box::new(Counted::new(download, length, network.progress)))
            })?,
            Source::Layout(layout) => {
                let directory = new_directory(scratch)?;
                layout.unpack(&directory, network.limit)?;
                directory
            }
            Source::Git(repository) => {
                let directory = new_directory(scratch)?;
                let services = GitServices {
                    http: network.http,
                    runtime: network.runtime,
                    cancel: network.token,
                    access: network.git,
                    progress: network.progress,
                };
                let done = git::fetch(repository, &directory, scratch, &services)
                    .map_err(|error| ContextError::Git(Box::new(error)))?;
                fetched = Some(done);
                directory
            }
        };
        let mut context = Self::open_fetched(directory, sub_path)?;
        context.is_unpacked = match source {
            Source::Archive(_)
            | Source::Stdin
            | Source::Dash
            | Source::Object(_)
            | Source::Web(_) => true,
            Source::Directory(_) | Source::Layout(_) | Source::Git(_) => false,
        };
        context.fetched = fetched;
        context.given = given;
        Ok(context)
    }

    /// Opens a directory of this machine.
    ///
    /// # Errors
    /// When it is not there, or the directory for `--context-sub-path` is not in it.
    pub fn open(directory: PathBuf, sub_path: Option<&Path>) -> Result<Self, ContextError> {
        let metadata = std::fs::metadata(&directory).map_err(|source| ContextError::Directory {
            path: directory.clone(),
            source,
        })?;
        if !metadata.is_dir() {
            let source = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(ContextError::Directory {
                path: directory,
                source,
            });
        }
        let mut rootfs = Rootfs::open(&directory)?;
        let mut directory = directory;
        if let Some(path) = sub_path {
            let bytes = path.as_os_str().as_bytes();
            let failed = |source| ContextError::SubPath {
                path: path.to_owned(),
                source,
            };
            let relative = RelPath::parse(bytes).map_err(|error| failed(error.into()))?;
            let resolved = rootfs.resolve(&relative, Leaf::Follow).map_err(failed)?;
            rootfs = rootfs.subtree(&resolved).map_err(failed)?;
            directory = directory.join(std::ffi::OsStr::from_bytes(resolved.as_bytes()));
        }
        Ok(Self {
            directory,
            rootfs,
            ignore: None,
            is_confined: false,
            is_unpacked: false,
            fetched: None,
            given: None,
        })
    }

    /// Opens a directory whose files came from elsewhere.
    pub(super) fn open_fetched(
        directory: PathBuf,
        sub_path: Option<&Path>,
    ) -> Result<Self, ContextError> {
        let mut context = Self::open(directory, sub_path)?;
        context.is_confined = true;
        Ok(context)
    }

    /// The commit that was fetched, if it is a context of git.
    pub fn fetched(&self) -> Option<&Fetched> {
        self.fetched.as_ref()
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files.
    pub fn rootfs(&self) -> &Rootfs {
        &self.rootfs
    }

    /// The rules that hide files, if there are any.
    pub fn ignore(&self) -> Option<&Ignore> {
        self.ignore.as_ref()
    }
}
