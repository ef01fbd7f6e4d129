//! The mounts of a RUN: variables expanded, names resolved.

use crate::dockerfile::{Mount, MountError, MountType, Run, Span, Spanned};

use super::magic;
use super::sources::{Source, mount_source};
use super::stage::State;
use super::{CacheMount, CopyFrom, MountAccess, MountKind, PlanError, RunMount, path};

/// Where a secret is if its mount does not say.
const SECRETS: &str = "/run/secrets";

/// What ends the reading of one mount: the error needs the place, which the reader does not know.
enum Failed {
    Mount(MountError),
    Plan(PlanError),
}

impl From<MountError> for Failed {
    fn from(error: MountError) -> Self {
        Self::Mount(error)
    }
}

impl State<'_> {
    pub(super) fn run_mounts(&self, run: &Run) -> Result<Vec<RunMount>, PlanError> {
        run.mounts
            .iter()
            .map(|mount| self.run_mount(mount))
            .collect()
    }

    fn run_mount(&self, written: &Spanned<String>) -> Result<RunMount, PlanError> {
        let span = self.at(written.span);
        let failed = |error| match error {
            Failed::Mount(source) => PlanError::Mount { source, span },
            Failed::Plan(error) => error,
        };
        let mount = Mount::parse(&written.value, |value| {
            let word = Spanned::new(value.to_owned(), written.span);
            self.expand(&word).map_err(Failed::Plan)
        })
        .map_err(failed)?;
        let kind = self.mount_kind(mount, span).map_err(failed)?;
        Ok(RunMount { kind, span })
    }

    fn mount_kind(&self, mount: Mount, span: Span) -> Result<MountKind, Failed> {
        let access = MountAccess {
            mode: mount.mode,
            uid: mount.uid,
            gid: mount.gid,
        };
        Ok(match mount.kind {
            MountType::Bind => MountKind::Bind {
                from: match &mount.from {
                    None => Some(CopyFrom::Context),
                    Some(name) => self.mount_from(name, span)?,
                },
                source: path::source(&mount.source),
                target: self.mount_target(&mount.target)?,
                read_only: mount.read_only,
            },
            MountType::Cache => {
                let target = self.mount_target(&mount.target)?;
                MountKind::Cache(CacheMount {
                    id: magic::cache_id(
                        self.scope.options,
                        match mount.id.as_str() {
                            "" => target.clone(),
                            id => id.to_owned(),
                        },
                    ),
                    sharing: mount.sharing,
                    from: match &mount.from {
                        None => None,
                        Some(name) => self.mount_from(name, span)?,
                    },
                    source: path::source(&mount.source),
                    target,
                    read_only: mount.read_only,
                    access,
                })
            }
            MountType::Tmpfs => MountKind::Tmpfs {
                target: self.mount_target(&mount.target)?,
                size: mount.size,
                read_only: mount.read_only,
            },
            MountType::Secret => self.secret(mount, access)?,
            MountType::Ssh => MountKind::Ssh {
                id: match mount.id.as_str() {
                    "" => "default".to_owned(),
                    id => id.to_owned(),
                },
                target: self.file_target(&mount.target)?,
                required: mount.required,
                access,
            },
        })
    }

    fn secret(&self, mount: Mount, access: MountAccess) -> Result<MountKind, Failed> {
        let name = |path: &str| {
            let path = path.trim_end_matches('/');
            path.rsplit('/').next().unwrap_or_default().to_owned()
        };
        let id = [&mount.source, &mount.id]
            .into_iter()
            .find(|id| !id.is_empty())
            .map_or_else(|| name(&mount.target), Clone::clone);
        let target = if mount.target.is_empty() && mount.env.is_none() {
            Some(format!("{SECRETS}/{}", name(&id)))
        } else {
            self.file_target(&mount.target)?
        };
        // `env` without a name is the secret's own.
        let env = mount
            .env
            .map(|env| if env.is_empty() { id.clone() } else { env });
        Ok(MountKind::Secret {
            id,
            target,
            env,
            required: mount.required,
            access,
        })
    }

    fn file_target(&self, target: &str) -> Result<Option<String>, Failed> {
        if target.is_empty() {
            return Ok(None);
        }
        self.mount_target(target).map(Some)
    }

    /// An empty target is the working directory, as in BuildKit.
    fn mount_target(&self, target: &str) -> Result<String, Failed> {
        let target = if target.starts_with('/') {
            path::clean(target)
        } else {
            path::clean(&format!("{}/{target}", self.current_dir()))
        };
        if target == "/" {
            return Err(MountError::TargetRoot.into());
        }
        Ok(target)
    }

    fn mount_from(&self, name: &str, span: Span) -> Result<Option<CopyFrom>, Failed> {
        let from = Spanned::new(name.to_owned(), span);
        let unknown = || {
            Failed::Plan(PlanError::MissingConfig {
                image: name.to_owned(),
                span,
            })
        };
        match mount_source(&self.scope.names, &from) {
            Source::Scratch => Ok(None),
            Source::Stage(other) => {
                let place = self.scope.places[other].filter(|_| other < self.number);
                let place = place.ok_or_else(unknown)?;
                Ok(Some(CopyFrom::Stage(place)))
            }
            Source::Files(context) => Ok(Some(CopyFrom::Named(context))),
            Source::Image(name) => {
                let found = self.image(&name).map_err(Failed::Plan)?;
                let found = found.ok_or_else(unknown)?;
                Ok(Some(CopyFrom::Image(found)))
            }
        }
    }
}
