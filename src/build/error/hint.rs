//! What to do about what ended a build.

use crate::{context, layer, output, registry};

use super::{BuildError, CopyError, DownloadError, UserError};

impl BuildError {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::CheckConfig(_) => {
                Some("for example: # check=skip=JSONArgsRecommended;error=true".to_owned())
            }
            Self::Checks { hint, .. } => {
                Some(format!("{hint}; # check=skip=NAME leaves a check out"))
            }
            Self::Image { source, .. }
            | Self::Push { source, .. }
            | Self::Output(
                output::Error::Push { source }
                | output::Error::PartlyPushed { source, .. }
                | output::Error::Fetch { source },
            ) => registry_hint(source),
            Self::Copy(failure) => copy_hint(&failure.source, &failure.display),
            Self::Context(error) => context_hint(error),
            Self::NamedContext { source, .. } => context_hint(source),
            Self::Mount { source, .. } => source.hint(),
            Self::User { source, .. } => user_hint(source),
            _ => None,
        }
    }
}

/// Hints about copies; the instruction is as it was written.
fn copy_hint(error: &CopyError, instruction: &str) -> Option<String> {
    let hint = match error {
        CopyError::Missing { path, absence, .. }
            if !absence.is_certain() && leads_above(instruction, path) =>
        {
            "nothing above the context can be copied, `..` stops at its root: make the outer directory the context, or name it \
             with --build-context NAME=DIRECTORY and copy --from=NAME"
        }
        CopyError::Missing { absence, .. } => return Some(absence.hint()),
        CopyError::LinkedName { .. } => "give numbers, or leave --link out",
        CopyError::Mounted { .. } => {
            "unmount it from the job's container, or build with --isolation=namespace"
        }
        CopyError::FileOverDirectory { path } => {
            return Some(format!(
                "choose another destination, or remove {path} in a RUN before"
            ));
        }
        CopyError::DirectoryOverFile { path } => {
            return Some(format!(
                "choose another destination, or remove the file {path} in a RUN before"
            ));
        }
        CopyError::Pattern { .. } | CopyError::Filter(_) => {
            "a pattern has *, ? and [a-z]; a backslash in front of a character takes its meaning away"
        }
        CopyError::Extract { .. } => {
            "check that the archive is whole; --unpack=false adds it as the file that it is"
        }
        CopyError::Download { source, .. } => return download_hint(source),
        CopyError::User(error) => return user_hint(error),
        CopyError::Repository(_) | CopyError::Write { .. } | CopyError::Rootfs(_) => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a download that failed.
fn download_hint(error: &DownloadError) -> Option<String> {
    let hint = match error {
        DownloadError::Url(_) => "write for example https://example.com/file.tar.gz",
        DownloadError::Status { .. } => {
            "check the URL; a token for it is given with --secret id=HTTP_AUTH_TOKEN_<host>,src=FILE"
        }
        DownloadError::Checksum { .. } => {
            "if the file was changed on purpose, write its new digest into --checksum; if not, do not trust it"
        }
        DownloadError::Http(_)
        | DownloadError::Length { .. }
        | DownloadError::Secret { .. }
        | DownloadError::TooLarge { .. }
        | DownloadError::Write { .. }
        | DownloadError::Cancelled => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a user or group that means nothing.
fn user_hint(error: &UserError) -> Option<String> {
    let hint = match error {
        UserError::NoUser { .. } => "create the user in a RUN before, or use its number",
        UserError::NoGroup { .. } => "create the group in a RUN before, or use its number",
        UserError::TooLarge { .. } => "use a smaller number",
        UserError::Read { .. } | UserError::Rootfs(_) => return None,
    };
    Some(hint.to_owned())
}

/// Whether an instruction names a path as if it lay above the context; what is left of it is the path.
fn leads_above(instruction: &str, path: &str) -> bool {
    let mut words = instruction.split_whitespace().chain(instruction.split('"'));
    words.any(|word| word.starts_with("../") && word.trim_start_matches("../") == path)
}

/// Hints about contexts.
fn context_hint(error: &context::ContextError) -> Option<String> {
    match error {
        context::ContextError::Extract { source, .. } => match **source {
            layer::Error::Limit { what, .. } if what.starts_with("bytes") => {
                Some("--context-limit=SIZE allows more".to_owned())
            }
            _ => None,
        },
        context::ContextError::NoDockerfile { alike, .. } if alike.is_empty() => {
            Some("--dockerfile names another file, --context the directory that has it".to_owned())
        }
        context::ContextError::NoDockerfile { alike, .. } => Some(format!(
            "the context has {}: --dockerfile names one of its files",
            alike.join(", ")
        )),
        _ => None,
    }
}

/// What to do about an answer of a registry.
fn registry_hint(error: &registry::Error) -> Option<String> {
    match error {
        registry::Error::Unauthorized { credential: None, registry, misses, .. } => {
            let mut hint = "no credential was found for this registry".to_owned();
            for miss in misses {
                hint.push_str(": ");
                hint.push_str(miss);
            }
            hint.push_str("; put one into config.json (DOCKER_CONFIG) or DOCKER_AUTH_CONFIG, or see what `longshore auth ");
            hint.push_str(registry);
            hint.push_str("` says");
            Some(hint)
        }
        registry::Error::Unauthorized { credential: Some(source), .. } => {
            Some(format!("the credential came from {source}: check that it is valid and may do this"))
        }
        registry::Error::Http { .. } => {
            Some("check the registry's name and that it can be reached from here; one that speaks plain HTTP needs --insecure-registry=HOST".to_owned())
        }
        _ => None,
    }
}
