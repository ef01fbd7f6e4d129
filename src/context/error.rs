//! Why there is no context.

use std::io;
use std::path::{Path, PathBuf};

use crate::http;
use crate::layer;
use crate::rootfs;
use crate::store;

use super::git::GitError;
use super::ignore::IgnoreError;
use super::web::DownloadError;

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

fn looked_at(path: &Path) -> String {
    if path == Path::new("Dockerfile") {
        return "in the context".to_owned();
    }
    let path = path.display();
    format!("at {path}, neither in the working directory nor in the context")
}
