//! The Dockerfile of a context and the ignore file that goes with it: where they are looked for, and how they are read.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::rootfs::{self, Leaf, RelPath};

use super::dockerfile::{self, DockerfileSource};
use super::ignore::Ignore;
use super::prune::prune;
use super::{Context, ContextError, Network};

/// So many directories are looked through for a file that may be meant, and so many files are named.
const ALIKE_DIRECTORIES: usize = 100;
const ALIKE_MAX: usize = 5;

/// The largest Dockerfile, in bytes.
pub(super) const DOCKERFILE_MAX: u64 = 8 * 1024 * 1024;
/// The largest ignore file, in bytes.
pub(super) const IGNORE_MAX: u64 = 1024 * 1024;
/// The ignore file of a context.
pub(super) const IGNORE_FILE: &str = ".dockerignore";

/// A Dockerfile's place and text.
#[derive(Clone, Debug)]
pub struct DockerfileText {
    /// Where it is, as the user knows it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Context {
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
