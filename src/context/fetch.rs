//! A source to a local directory, the rules that hide files in it, and the Dockerfile.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::http::{self, Http};
use crate::layer;
use crate::rootfs::{self, Leaf, RelPath, Rootfs};
use crate::store::{self, Stores};

use super::Source;
use super::dockerfile::{self, DockerfileSource};
use super::git::{self, Fetched, GitAccess, GitError, GitServices};
use super::ignore::{Ignore, IgnoreError};
use super::progress::{Counted, Progress};
use super::prune::prune;
use super::unpack::{Unpack, buffered, new_directory};
use super::web::DownloadError;

/// So many directories are looked through for a file that may be meant, and so many files are named.
const ALIKE_DIRECTORIES: usize = 100;
const ALIKE_MAX: usize = 5;

/// The largest Dockerfile, in bytes.
pub(super) const DOCKERFILE_MAX: u64 = 8 * 1024 * 1024;
/// The largest ignore file, in bytes.
pub(super) const IGNORE_MAX: u64 = 1024 * 1024;
/// So many bytes tell an archive.
const HEAD_BYTES: u64 = 512;
/// The ignore file of a context.
pub(super) const IGNORE_FILE: &str = ".dockerignore";

/// Files to build from.
#[derive(Debug)]
pub struct Context {
    directory: PathBuf,
    rootfs: Rootfs,
    ignore: Option<Ignore>,
    /// Whether the files came from elsewhere: then nothing outside of them is read in their name.
    is_confined: bool,
    /// Whether the files are our own, out of an archive: what nobody may see need not stay.
    is_unpacked: bool,
    fetched: Option<Fetched>,
    /// The Dockerfile, if it came in place of the files.
    given: Option<DockerfileText>,
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

/// A Dockerfile's place and text.
#[derive(Clone, Debug)]
pub struct DockerfileText {
    /// Where it is, as the user knows it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why there is no context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The directory is not there, or is no directory.
    #[error("the context {path} cannot be used: {source}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive cannot be read.
    #[error("the context archive {name} cannot be read")]
    Open {
        /// The archive.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be extracted.
    #[error("the context archive {name} cannot be extracted")]
    Extract {
        /// The archive.
        name: String,
        /// Why.
        #[source]
        source: Box<layer::Error>,
    },
    /// The layout cannot be read.
    #[error("the context {layout} cannot be used: {reason}")]
    Layout {
        /// The layout.
        layout: String,
        /// Why.
        reason: String,
    },
    /// The object cannot be read.
    #[error("the context cannot be fetched: {0}")]
    Store(#[from] store::Error),
    /// The repository cannot be fetched.
    #[error("the context cannot be fetched: {0}")]
    Git(#[source] Box<GitError>),
    /// A Dockerfile is to come from a terminal.
    #[error(
        "the Dockerfile is to be read from standard input, which is a terminal: pipe it into the program (with docker run, add -i)"
    )]
    DockerfileTerminal,
    /// A Dockerfile cannot be downloaded.
    #[error("cannot download the Dockerfile {url}")]
    DockerfileUrl {
        /// Where it is.
        url: String,
        /// Why.
        source: Box<http::Error>,
    },
    /// The server has no Dockerfile for us.
    #[error("cannot download the Dockerfile {url}: the server answered {status}")]
    DockerfileStatus {
        /// Where it is.
        url: String,
        /// The answer.
        status: http::StatusCode,
    },
    /// The build was called off.
    #[error("the build was called off")]
    CalledOff,
    /// Standard input is a Dockerfile, and another one was asked for.
    #[error("standard input holds a Dockerfile, and --dockerfile names {path}: leave one of them out", path = path.display())]
    TwoDockerfiles {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The archive cannot be downloaded.
    #[error("the context cannot be fetched: {0}")]
    Web(#[from] DownloadError),
    /// Standard input is a terminal.
    #[error(
        "the context tar://stdin is to be read from standard input, which is a terminal: pipe an archive into it (with docker run, add -i)"
    )]
    Terminal,
    /// There is nothing on standard input.
    #[error(
        "the context tar://stdin is to be read from standard input, which is empty: pipe an archive into it (with docker run, add -i)"
    )]
    EmptyStdin,
    /// The directory for `--context-sub-path` is not in the context.
    #[error("the context has no directory {path}", path = path.display())]
    SubPath {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: rootfs::Error,
    },
    /// There is no Dockerfile.
    #[error("there is no Dockerfile {}", looked_at(path))]
    NoDockerfile {
        /// The path that was looked for.
        path: PathBuf,
        /// Files of the context that may be meant.
        alike: Vec<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is too large.
    #[error("{path} is larger than {limit} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The ignore file has a mistake.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// The context's tree cannot be read.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
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

    /// Reads the Dockerfile, wherever it is, and the ignore file that goes with it: for one that is in no directory, that of the
    /// context.
    ///
    /// # Errors
    /// When there is none, or it or its ignore file cannot be read.
    pub fn dockerfile(
        &mut self,
        source: &DockerfileSource,
        network: Network<'_>,
    ) -> Result<DockerfileText, ContextError> {
        let text = match source {
            DockerfileSource::Path(path) => return self.read_dockerfile(path),
            DockerfileSource::Stdin => return self.stdin_dockerfile(),
            DockerfileSource::Url(url) => dockerfile::of_url(url, network)?,
        };
        if self.given.is_some() {
            return Err(ContextError::TwoDockerfiles {
                path: source.to_string().into(),
            });
        }
        self.read_own_ignore()?;
        Ok(text)
    }

    /// Reads the Dockerfile from standard input.
    ///
    /// # Errors
    /// When it cannot be read, or the context's ignore file cannot.
    pub fn stdin_dockerfile(&mut self) -> Result<DockerfileText, ContextError> {
        let text = dockerfile::of_stdin(&[])?;
        self.read_own_ignore()?;
        Ok(text)
    }

    /// Reads the Dockerfile and the ignore file that goes with it.
    ///
    /// The path is looked up in the working directory first, then in the context, as kaniko does; a bare `Dockerfile`
    /// is looked up in the context only, and may be called `dockerfile` there. `NAME.dockerignore` next to the
    /// Dockerfile wins over the context's `.dockerignore`.
    ///
    /// # Errors
    /// When there is none, or it or its ignore file cannot be read.
    pub fn read_dockerfile(&mut self, path: &Path) -> Result<DockerfileText, ContextError> {
        let is_default = path == Path::new("Dockerfile");
        if let Some(given) = &self.given {
            if is_default {
                return Ok(given.clone());
            }
            return Err(ContextError::TwoDockerfiles {
                path: path.to_owned(),
            });
        }
        let Some((candidate, bytes)) = self.locate(path)? else {
            return Err(ContextError::NoDockerfile {
                path: path.to_owned(),
                alike: self.alike(),
            });
        };
        let text = self.ignore_text_of(&candidate)?;
        self.set_ignore(text)?;
        let name = self.shown(&candidate);
        Ok(DockerfileText { name, bytes })
    }

    /// Finds a Dockerfile, and reads it.
    fn locate(&self, path: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, ContextError> {
        let mut candidates = vec![self.directory.join(path)];
        if path == Path::new("Dockerfile") {
            candidates.push(self.directory.join("dockerfile"));
        } else {
            candidates.insert(0, path.to_owned());
        }
        for candidate in candidates {
            if let Some(bytes) = self.read(&candidate, DOCKERFILE_MAX)? {
                return Ok(Some((candidate, bytes)));
            }
        }
        Ok(None)
    }

    /// The files at the top of the context, or one directory below, that are called like a Dockerfile.
    fn alike(&self) -> Vec<String> {
        let (mut found, mut directories) = (Vec::new(), Vec::new());
        for (name, is_dir) in names(&self.directory) {
            if is_dir {
                directories.push(name);
            } else if is_alike(&name) {
                found.push(name);
            }
        }
        for directory in directories.iter().take(ALIKE_DIRECTORIES) {
            let below = names(&self.directory.join(directory)).into_iter();
            let files = below.filter(|(name, is_dir)| !is_dir && is_alike(name));
            found.extend(files.map(|(name, _)| format!("{directory}/{name}")));
        }
        found.truncate(ALIKE_MAX);
        found
    }

    /// Reads the ignore file at the root of the files, if there is one.
    ///
    /// # Errors
    /// When it cannot be read or has a mistake.
    pub fn read_own_ignore(&mut self) -> Result<(), ContextError> {
        let text = self.first_of([self.directory.join(IGNORE_FILE)])?;
        self.set_ignore(text)
    }

    /// The ignore file that goes with a Dockerfile, or that at the root of the files: its name and bytes.
    pub(super) fn ignore_text(
        &self,
        dockerfile: Option<&DockerfileSource>,
    ) -> Result<Option<(String, Vec<u8>)>, ContextError> {
        match dockerfile {
            Some(DockerfileSource::Path(path)) => match self.locate(path)? {
                Some((dockerfile, _)) => self.ignore_text_of(&dockerfile),
                None => Ok(None),
            },
            Some(DockerfileSource::Stdin | DockerfileSource::Url(_)) | None => {
                self.first_of([self.directory.join(IGNORE_FILE)])
            }
        }
    }

    fn ignore_text_of(&self, dockerfile: &Path) -> Result<Option<(String, Vec<u8>)>, ContextError> {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(IGNORE_FILE);
        self.first_of([PathBuf::from(own), self.directory.join(IGNORE_FILE)])
    }

    fn first_of(
        &self,
        paths: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Option<(String, Vec<u8>)>, ContextError> {
        for path in paths {
            if let Some(bytes) = self.read(&path, IGNORE_MAX)? {
                return Ok(Some((self.shown(&path), bytes)));
            }
        }
        Ok(None)
    }

    fn set_ignore(&mut self, text: Option<(String, Vec<u8>)>) -> Result<(), ContextError> {
        if let Some((name, bytes)) = text {
            let rules = Ignore::parse(&bytes, &name)?;
            if self.is_unpacked {
                prune(&self.rootfs, &rules);
            }
            self.ignore = Some(rules);
        }
        Ok(())
    }

    /// A path as the user knows it.
    fn shown(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.directory).unwrap_or(path);
        inside.display().to_string()
    }

    /// Reads a regular file; `None` if there is nothing of that name. Links in files that came from elsewhere are resolved among
    /// them: they cannot show a file of this machine.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
        let failed = |source| ContextError::Read {
            path: path.to_owned(),
            source,
        };
        let inside = path.strip_prefix(&self.directory).ok();
        let opened = match inside.filter(|_| self.is_confined) {
            Some(inside) => RelPath::parse(inside.as_os_str().as_bytes())
                .map_err(rootfs::Error::from)
                .and_then(|inside| match self.rootfs.stat(&inside)? {
                    Some(metadata) if !metadata.is_file() => Ok(Opened::NoFile),
                    Some(_) => Ok(Opened::File(self.rootfs.open_file(&inside, Leaf::Follow)?)),
                    None => Ok(Opened::Nothing),
                })?,
            // What is not a file is refused before it is opened: nobody waits for a pipe.
            None => match std::fs::metadata(path) {
                Ok(metadata) if metadata.is_file() => {
                    Opened::File(File::open(path).map_err(failed)?)
                }
                Ok(_) => Opened::NoFile,
                Err(error) if is_absence(&error) => Opened::Nothing,
                Err(error) => return Err(failed(error)),
            },
        };
        let file = match opened {
            Opened::File(file) => file,
            Opened::NoFile => return Err(failed(io::Error::other("it is not a regular file"))),
            Opened::Nothing => return Ok(None),
        };
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > limit {
            return Err(ContextError::TooLarge {
                path: path.to_owned(),
                limit,
            });
        }
        Ok(Some(bytes))
    }
}

/// What stands at a path.
enum Opened {
    File(File),
    NoFile,
    Nothing,
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn looked_at(path: &Path) -> String {
    if path == Path::new("Dockerfile") {
        return "in the context".to_owned();
    }
    let path = path.display();
    format!("at {path}, neither in the working directory nor in the context")
}

fn is_alike(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    (name.contains("dockerfile") || name.contains("containerfile")) && !name.ends_with("ignore")
}

/// The names in a directory, in order, and whether each is a directory; none if it cannot be read: they are for a hint.
fn names(directory: &Path) -> Vec<(String, bool)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<(String, bool)> = entries
        .filter_map(|entry| {
            let is_dir = entry.file_type().ok()?.is_dir();
            Some((entry.file_name().into_string().ok()?, is_dir))
        })
        .collect();
    names.sort();
    names
}
