//! What a CI system knows, in neutral words, each with where it came from.

use std::path::PathBuf;

use super::metadata::MetadataFacts;

/// A value and its source, as a user can recognize it: a variable, a key of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

impl Found {
    /// A value with its source.
    pub fn new(value: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            source: source.into(),
        }
    }
}

/// What is known of a commit, the event, and the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What happened: `push`, `pull_request`, `schedule` and so on.
    pub event: Option<Found>,
    /// The full git reference; a change request's is `refs/pull/N/merge`.
    pub reference: Option<Found>,
    /// The commit.
    pub sha: Option<Found>,
    /// The repository's default branch.
    pub default_branch: Option<Found>,
    /// Whether this is told to be another branch than the default one, which need not be named.
    pub is_other_branch: bool,
    /// The branch that a change request goes to, or that a tag was made on.
    pub base_ref: Option<Found>,
    /// When the commit was made: seconds since 1970, or RFC 3339.
    pub commit_time: Option<Found>,
    /// The project's page.
    pub url: Option<Found>,
    /// Its name.
    pub title: Option<Found>,
    /// What it says of itself.
    pub description: Option<Found>,
    /// Its licence, as SPDX names it.
    pub license: Option<Found>,
    /// The page of this run.
    pub build_url: Option<Found>,
    /// Where the commit comes from, if that is a fork's change request.
    pub fork: Option<Found>,
}

impl Facts {
    /// These, and where they say nothing, the others.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            event: self.event.or(other.event),
            reference: self.reference.or(other.reference),
            sha: self.sha.or(other.sha),
            default_branch: self.default_branch.or(other.default_branch),
            is_other_branch: self.is_other_branch || other.is_other_branch,
            base_ref: self.base_ref.or(other.base_ref),
            commit_time: self.commit_time.or(other.commit_time),
            url: self.url.or(other.url),
            title: self.title.or(other.title),
            description: self.description.or(other.description),
            license: self.license.or(other.license),
            build_url: self.build_url.or(other.build_url),
            fork: self.fork.or(other.fork),
        }
    }

    /// All that is known, by name, for people.
    pub fn table(&self) -> Vec<(&'static str, &Found)> {
        let all = [
            ("event", &self.event),
            ("ref", &self.reference),
            ("sha", &self.sha),
            ("default branch", &self.default_branch),
            ("base ref", &self.base_ref),
            ("commit time", &self.commit_time),
            ("project", &self.title),
            ("url", &self.url),
            ("description", &self.description),
            ("license", &self.license),
            ("run", &self.build_url),
            ("fork", &self.fork),
        ];
        all.into_iter()
            .filter_map(|(name, found)| found.as_ref().map(|found| (name, found)))
            .collect()
    }

    /// The names of the caches of this build: its own, then those that it only reads, which are the branch that a change goes to and the
    /// default branch. None if it is not known what is built.
    pub fn cache_scopes(&self) -> Vec<Found> {
        let mut scopes: Vec<Found> = self.reference.iter().cloned().collect();
        if scopes.is_empty() {
            return scopes;
        }
        for branch in [&self.base_ref, &self.default_branch].into_iter().flatten() {
            let name = branch.value.trim_start_matches("refs/heads/");
            let scope = Found::new(format!("refs/heads/{name}"), branch.source.clone());
            if scopes.iter().all(|other| other.value != scope.value) {
                scopes.push(scope);
            }
        }
        scopes
    }

    /// When the commit was made, in seconds since 1970.
    pub fn commit_seconds(&self) -> Option<i64> {
        let text = &self.commit_time.as_ref()?.value;
        text.parse().ok().or_else(|| {
            text.parse::<jiff::Timestamp>()
                .ok()
                .map(jiff::Timestamp::as_second)
        })
    }

    /// As the metadata engine takes them.
    pub fn for_metadata(&self, now: i64) -> MetadataFacts {
        let text = |found: &Option<Found>| {
            found
                .as_ref()
                .map_or_else(String::new, |found| found.value.clone())
        };
        MetadataFacts {
            event: text(&self.event),
            reference: text(&self.reference),
            sha: text(&self.sha),
            default_branch: text(&self.default_branch),
            is_other_branch: self.is_other_branch,
            base_ref: text(&self.base_ref),
            commit_time: self.commit_seconds(),
            now,
        }
    }
}

/// What holds where the user says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Where the files are.
    pub context: Option<Found>,
    /// The image's name without a tag.
    pub image: Option<Found>,
    /// Variables that hold secrets, which never stand in a log.
    pub secrets: Vec<&'static str>,
    /// Certificate authorities of single registries.
    pub certificates: Vec<(String, PathBuf)>,
    /// Variables by which an identity can be had. A fork's change request does not get them.
    pub identity_variables: Vec<&'static str>,
}
