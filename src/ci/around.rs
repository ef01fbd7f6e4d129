//! What is around a build besides its command line: the environment, and files that the CI system laid out.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Env;
use super::git::{self, Head};

/// An event is JSON of a few hundred kilobytes at most; GitHub's largest payload is 25 MB.
const EVENT_MAX: u64 = 32 * 1024 * 1024;

/// What is around a build.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The environment.
    pub env: Env,
    /// The event that started the run, where the system tells it in a file.
    pub event: Value,
    /// What the checkout says of itself.
    pub git: Option<Head>,
    /// Whether Tekton's directory is there.
    pub has_tekton: bool,
    /// The time, in seconds since 1970.
    pub now: i64,
    /// Random digits that nobody can foresee: delimiters and tokens are made of them.
    pub random: String,
}

impl Around {
    /// Reads the files that the environment names. What cannot be read is not known.
    pub fn load(env: Env, directory: &Path, now: i64, random: String) -> Self {
        let event = env
            .get("GITHUB_EVENT_PATH")
            .map(PathBuf::from)
            .filter(|path| {
                std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= EVENT_MAX)
            })
            .and_then(|path| std::fs::read(path).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            event,
            git: git::head(directory),
            has_tekton: Path::new(super::tekton::RESULTS).is_dir(),
            env,
            now,
            random,
        }
    }

    /// A text of the event, by its path as RFC 6901 writes it.
    pub(super) fn event_text(&self, pointer: &str) -> Option<&str> {
        self.event
            .pointer(pointer)?
            .as_str()
            .filter(|text| !text.is_empty())
    }
}
