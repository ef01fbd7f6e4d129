//! The files that credentials are read from, while something else may be at their paths.
//!
//! A build in place puts the image that is built at `/`. A path then leads into that image: its `/root/.aws/credentials` and its
//! `/bin/sh`, not the machine's. So the directories of credentials are opened before, and only what is in one of those is read
//! while the machine's own files are away; a token that is renewed in its directory is read anew all the same. Programs do not run at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;

/// What is said of a file or program that cannot be had now.
const AWAY: &str =
    "the files of the image that is built are in its place until the last command has run";

/// `openat2` answers EAGAIN when a rename or a mount raced with a `..`; so often it is asked again.
const RACES_MAX: usize = 16;

/// The files of this machine. Clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    directories: BTreeMap<PathBuf, OwnedFd>,
    is_away: bool,
}

impl Files {
    /// Opens the directory of a file that is to be read later; one that is not there is not missed.
    pub fn hold(&self, file: &Path) {
        let mut held = self.held();
        if !held.is_away {
            drop(held.open(file));
        }
    }

    /// Says that paths lead elsewhere from now on.
    pub fn leave(&self) {
        self.held().is_away = true;
    }

    /// Says that all files are back at their paths.
    pub fn come_back(&self) {
        self.held().is_away = false;
    }

    /// Refuses to run a program while another may be at its path.
    ///
    /// # Errors
    /// While the files of this machine are away.
    pub fn require_programs(&self) -> io::Result<()> {
        if self.held().is_away {
            Err(io::Error::other(AWAY))
        } else {
            Ok(())
        }
    }

    /// Reads a file as text, up to a length.
    ///
    /// # Errors
    /// When it is not there, is not text, or may be another one now.
    pub fn read(&self, file: &Path, limit: u64) -> io::Result<String> {
        let opened = {
            let mut held = self.held();
            held.open(file)?
        };
        let mut text = String::new();
        opened.take(limit).read_to_string(&mut text)?;
        Ok(text)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn open(&mut self, file: &Path) -> io::Result<File> {
        let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        if !self.is_away {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let path = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                directory
            };
            let opened = openat(CWD, path, flags, Mode::empty())?;
            self.directories.insert(directory.to_owned(), opened);
        }
        let directory = self
            .directories
            .get(directory)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, AWAY))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        if !self.is_away {
            return Ok(openat(directory, name, flags, Mode::empty())?.into());
        }
        // A secret of Kubernetes is a link to another file below its directory; a link to a path would lead into the image.
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut answer = openat2(directory, name, flags, Mode::empty(), below);
        for _ in 0..RACES_MAX {
            if !matches!(answer, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
            answer = openat2(directory, name, flags, Mode::empty(), below);
        }
        match answer {
            // An old kernel, or a filter of system calls that does not know it: the file itself is no such link at least.
            Err(Errno::NOSYS | Errno::PERM) => {
                let link = readlinkat(directory, name, Vec::new());
                if link.is_ok_and(|target| target.as_bytes().starts_with(b"/")) {
                    return Err(io::Error::new(io::ErrorKind::NotFound, AWAY));
                }
                Ok(openat(directory, name, flags, Mode::empty())?.into())
            }
            opened => Ok(opened?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_in_a_directory_opened_before_is_read_and_nothing_else() {
        let machine = tempfile::tempdir().unwrap();
        let path = |name: &str| machine.path().join(name);
        for name in ["token", "keys", "unknown"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), "machine").unwrap();
        }
        let files = Files::default();
        files.hold(&path("token/file"));
        files.hold(&path("nowhere/file"));
        assert_eq!(files.read(&path("keys/file"), 100).unwrap(), "machine");
        assert_eq!(files.read(&path("keys/file"), 3).unwrap(), "mac");
        files.require_programs().unwrap();

        // Another tree comes to the same paths, as in place.
        files.leave();
        for name in ["token", "keys", "unknown", "nowhere"] {
            if path(name).exists() {
                fs::rename(path(name), path(&format!("{name}-aside"))).unwrap();
            }
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), "image").unwrap();
        }
        assert_eq!(files.read(&path("token/file"), 100).unwrap(), "machine");
        assert_eq!(files.read(&path("keys/file"), 100).unwrap(), "machine");
        // A token is renewed.
        fs::write(path("token-aside/new"), "renewed").unwrap();
        fs::rename(path("token-aside/new"), path("token-aside/file")).unwrap();
        assert_eq!(files.read(&path("token/file"), 100).unwrap(), "renewed");
        for name in ["unknown", "nowhere"] {
            files.hold(&path(name).join("file"));
            let error = files.read(&path(name).join("file"), 100).unwrap_err();
            assert_eq!(error.to_string(), AWAY);
        }
        assert_eq!(files.require_programs().unwrap_err().to_string(), AWAY);

        files.come_back();
        files.require_programs().unwrap();
        assert_eq!(files.read(&path("unknown/file"), 100).unwrap(), "image");
    }
}
