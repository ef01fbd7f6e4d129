//! A file that appears under its name only when it is complete.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The hidden file beside the final one; removed unless it is kept.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    target: PathBuf,
    is_kept: bool,
}

impl Partial {
    /// Creates the hidden file with mode 0644 less the umask, under a name that no other has.
    pub(crate) fn create_sync(target: &Path) -> io::Result<(Self, std::fs::File)> {
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        for number in 0_u32..u32::MAX {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{number}.partial"));
            let path = target.with_file_name(hidden);
            match std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
            {
                Ok(file) => {
                    return Ok((
                        Self {
                            path,
                            target: target.to_path_buf(),
                            is_kept: false,
                        },
                        file,
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// As [`Partial::create_sync`], for writing from asynchronous code.
    pub(crate) async fn create(target: &Path) -> io::Result<(Self, tokio::fs::File)> {
        let target = target.to_path_buf();
        let made = tokio::task::spawn_blocking(move || Self::create_sync(&target))
            .await
            .map_err(io::Error::other)?;
        made.map(|(partial, file)| (partial, tokio::fs::File::from_std(file)))
    }

    /// Gives the file its name, in the place of what has it now.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        std::fs::rename(&self.path, &self.target)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing more can be done about a file that cannot be removed; its name says that it is not whole.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
