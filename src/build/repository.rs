//! ADD of git repositories: the commit that an address stands for, and its files in a directory of their own.
//!
//! As in BuildKit, files have the modes 0644 and 0755 and no ignore rules apply.
//!
//! # Deviation
//! Files have the commit's time; BuildKit's have that of the checkout, so that no two builds make the same layer.

use std::path::Path;

use crate::context::Progress;
use crate::context::git::{self, GitAccess, GitError, GitServices, GitSource, GitSourceError};
use crate::http::Http;
use crate::plan::{CopySource, Pinned, Plan, RepositorySource, StepKind};
use crate::rootfs::Rootfs;

use super::{BuildError, CopyError, CopyFailure, Request, Services};

/// What is asked with.
#[derive(Clone, Copy)]
pub(super) struct Git<'a> {
    pub(super) http: &'a Http,
    pub(super) access: &'a GitAccess,
    pub(super) services: &'a Services,
}

impl Git<'_> {
    fn with<T>(
        &self,
        work: impl FnOnce(&GitServices<'_>) -> Result<T, GitError>,
    ) -> Result<T, CopyError> {
        let services = GitServices {
            http: self.http,
            runtime: &self.services.runtime,
            cancel: &self.services.token,
            access: self.access,
            progress: Progress::untold(),
        };
        work(&services).map_err(|error| CopyError::Repository(Box::new(error)))
    }

    /// Writes the files of a repository below `directory`, which is made.
    pub(super) fn fetch(
        &self,
        repository: &RepositorySource,
        directory: &Path,
    ) -> Result<Rootfs, CopyError> {
        let mut source = source(repository)?;
        if let (Some(pinned), None) = (&repository.pinned, &source.commit) {
            // What the keys were made of must not have moved since.
            source
                .expect_commit(&pinned.commit)
                .map_err(|error| CopyError::Repository(Box::new(error.into())))?;
        }
        let files = directory.join("files");
        std::fs::create_dir_all(&files).map_err(|source| CopyError::Write {
            path: files.display().to_string(),
            source,
        })?;
        self.with(|services| git::fetch(&source, &files, directory, services))?;
        Ok(Rootfs::open(&files)?)
    }
}

/// Checks the addresses of all repositories of a plan, and asks for their commits where something is remembered.
pub(super) fn pin(plan: &mut Plan, request: &Request, git: Git<'_>) -> Result<(), BuildError> {
    let steps = plan.stages.iter_mut().flat_map(|stage| &mut stage.steps);
    for step in steps {
        let StepKind::Copy(copy) = &mut step.kind else {
            continue;
        };
        for written in &mut copy.sources {
            let CopySource::Repository(repository) = written else {
                continue;
            };
            let pinned = source(repository).and_then(|source| {
                if !request.cache.is_on() {
                    return Ok(None);
                }
                let commit = git.with(|services| git::resolve(&source, services))?;
                Ok(Some(Pinned {
                    commit,
                    taken: source.taken(),
                }))
            });
            repository.pinned = pinned.map_err(|error| {
                if git.services.token.is_cancelled() {
                    return BuildError::Cancelled;
                }
                BuildError::Copy(CopyFailure {
                    display: step.display.clone(),
                    span: repository.url.span,
                    source: Box::new(error),
                })
            })?;
        }
    }
    Ok(())
}

/// What an address means.
fn source(repository: &RepositorySource) -> Result<GitSource, CopyError> {
    let parse = || -> Result<GitSource, GitSourceError> {
        let mut source = GitSource::parse_add(&repository.url.value)?;
        if let Some(checksum) = &repository.checksum {
            source.expect_commit(&checksum.value)?;
        }
        source.keeps_git_dir = repository.keeps_git_dir.unwrap_or(source.keeps_git_dir);
        Ok(source)
    };
    parse().map_err(|error| CopyError::Repository(Box::new(error.into())))
}
