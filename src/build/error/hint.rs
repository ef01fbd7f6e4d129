//! What to do about what ended a build.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use crate::context::ContextError;
use crate::context::git::GitError;
use crate::{context, http, layer, output, registry, sandbox, store};

use super::{BuildError, CopyError, DownloadError, UserError};

const PATTERN: &str =
    "a pattern has *, ? and [a-z]; a backslash in front of a character takes its meaning away";
const WHOLE: &str = "check that the archive is whole: tar -tf lists it to its end";
const UNREACHABLE: &str = "check the name and the port, and that it can be reached from here; a proxy is taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY";
/// A shell's exit code for a program that it does not find (POSIX "Shell Command Language", 2.8.2).
const NOT_FOUND: u8 = 127;

impl BuildError {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Plan(error) => error.hint(),
            Self::CheckConfig(_) => {
                Some("for example: # check=skip=JSONArgsRecommended;error=true".to_owned())
            }
            Self::Checks { hint, .. } => {
                Some(format!("{hint}; # check=skip=NAME leaves a check out"))
            }
            Self::Image { source, .. } => image_hint(source),
            Self::Push { source, .. } => push_hint(source),
            Self::Output(error) => output_hint(error),
            Self::NamedImage { source, .. } => output_hint(source),
            Self::Copy(failure) => copy_hint(&failure.source, &failure.display),
            Self::Context(error) => context_hint(error),
            Self::NamedContext { source, .. } => context_hint(source),
            Self::Mount { source, .. } => source.hint(),
            Self::User { source, .. } => user_hint(source),
            Self::Start { source, .. } => start_hint(source).map(str::to_owned),
            Self::Run { code, .. } if *code == NOT_FOUND => Some(
                "a shell ends so where a program is not in the image, or not in PATH: install it in a step before".to_owned(),
            ),
            _ => None,
        };
        hint.or_else(|| {
            is_disk_full(self).then(|| {
                "make room there, or name another place for layers and work directories with --state-dir"
                    .to_owned()
            })
        })
    }
}

/// Whether a file could not be written for want of room.
fn is_disk_full(error: &BuildError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        ) {
            return true;
        }
        cause = error.source();
    }
    false
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
        CopyError::Pattern { .. } | CopyError::Filter(_) => PATTERN,
        CopyError::Extract { .. } => {
            "check that the archive is whole; --unpack=false adds it as the file that it is"
        }
        CopyError::Download { source, .. } => return download_hint(source).map(str::to_owned),
        CopyError::User(error) => return user_hint(error),
        CopyError::Repository(error) => return git_hint(error),
        CopyError::Write { .. } | CopyError::Rootfs(_) => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a download that failed.
fn download_hint(error: &DownloadError) -> Option<&'static str> {
    Some(match error {
        DownloadError::Url(_) => "write for example https://example.com/file.tar.gz",
        DownloadError::Status { .. } => {
            "check the URL; a token for it is given with --secret id=HTTP_AUTH_TOKEN_<host>,src=FILE"
        }
        DownloadError::Checksum { .. } => {
            "if the file was changed on purpose, write its new digest into --checksum; if not, do not trust it"
        }
        DownloadError::Http(error) => return http_hint(error),
        DownloadError::Length { .. } => {
            "try again: the server, or something on the way, broke the file off"
        }
        DownloadError::Secret { .. } => {
            "the secret is the token, or the header's whole text, and nothing else"
        }
        DownloadError::TooLarge { .. } | DownloadError::Write { .. } | DownloadError::Cancelled => {
            return None;
        }
    })
}

/// What to do about a server that gives no answer; registries have flags of their own.
fn http_hint(error: &http::Error) -> Option<&'static str> {
    match error {
        http::Error::Connect { .. } => Some(UNREACHABLE),
        http::Error::Tls { is_tls: true, .. } => {
            Some("SSL_CERT_FILE names a file with further certificates to trust")
        }
        http::Error::Tls { is_tls: false, .. } => {
            Some("it does not speak TLS: if it can be trusted all the same, write http://")
        }
        http::Error::Stalled { .. } | http::Error::Interrupted { .. } => {
            Some("try again: the server, or something on the way, broke off")
        }
        http::Error::Config { .. }
        | http::Error::Source { .. }
        | http::Error::TooLarge { .. }
        | http::Error::TooManyRedirects { .. }
        | http::Error::BadRedirect { .. }
        | http::Error::Downgrade { .. }
        | http::Error::PrivateTarget { .. } => None,
    }
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

/// What to do about a command that cannot be started.
fn start_hint(error: &sandbox::SandboxError) -> Option<&'static str> {
    match error {
        sandbox::SandboxError::Exec { source, .. } => match *source {
            Errno::NOENT => Some(
                "the image lacks it, or the interpreter that it names: install it in a step before, or begin with an image that has it; \
                     a RUN that is not in brackets needs /bin/sh, or what SHELL names",
            ),
            Errno::ACCESS => Some(
                "it may not be executed: give it a mode that lets it, with COPY --chmod=755 for example",
            ),
            Errno::NOEXEC => Some(
                "it has to be a program for this machine's kind of processor, or a script that begins with #!",
            ),
            _ => None,
        },
        sandbox::SandboxError::RunRefused { .. } => {
            Some("`longshore doctor` tells what this machine allows")
        }
        _ => None,
    }
}

/// Whether an instruction names a path as if it lay above the context; what is left of it is the path.
fn leads_above(instruction: &str, path: &str) -> bool {
    let mut words = instruction.split_whitespace().chain(instruction.split('"'));
    words.any(|word| word.starts_with("../") && word.trim_start_matches("../") == path)
}

/// Hints about contexts.
fn context_hint(error: &ContextError) -> Option<String> {
    let hint = match error {
        ContextError::Extract { source, .. } => match &**source {
            layer::Error::Limit { what, .. } if what.starts_with("bytes") => {
                "--context-limit=SIZE allows more"
            }
            layer::Error::UnknownFormat => {
                "it has to be a tar archive, as it is or compressed with gzip, bzip2, xz or zstd"
            }
            layer::Error::Truncated => WHOLE,
            layer::Error::Stream(error) => return stream_hint(error).map(str::to_owned),
            _ => return None,
        },
        ContextError::NoDockerfile { alike, .. } if alike.is_empty() => {
            "--dockerfile names another file, --context the directory that has it"
        }
        ContextError::NoDockerfile { alike, .. } => {
            return Some(format!(
                "the context has {}: --dockerfile names one of its files",
                alike.join(", ")
            ));
        }
        ContextError::Directory { .. } => {
            "--context names the directory with the files to build from, or a URL: git://, https://, s3://, gs://, tar://"
        }
        ContextError::Open { .. } => "check the path of the archive",
        ContextError::Git(error) => return git_hint(error),
        ContextError::Store(error) => return store_hint(error).map(str::to_owned),
        ContextError::DockerfileUrl { source, .. } => return http_hint(source).map(str::to_owned),
        ContextError::DockerfileStatus { .. } => {
            "check the URL: it has to be that of the file itself, and not of a page that shows it"
        }
        ContextError::Web(error) => return web_hint(error).map(str::to_owned),
        ContextError::SubPath { .. } => {
            "--context-sub-path names a directory below the root of the context"
        }
        ContextError::Ignore(_) => PATTERN,
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What to do about an archive that cannot be read: it may be that it does not arrive.
fn stream_hint(error: &io::Error) -> Option<&'static str> {
    let Some(cause) = error.get_ref() else {
        return Some(WHOLE);
    };
    if let Some(error) = cause.downcast_ref::<context::DownloadError>() {
        web_hint(error)
    } else if let Some(error) = cause.downcast_ref::<store::Error>() {
        store_hint(error)
    } else {
        Some(WHOLE)
    }
}

/// What to do about the archive of a context that does not arrive.
fn web_hint(error: &context::DownloadError) -> Option<&'static str> {
    match error {
        context::DownloadError::Status { .. } => Some(
            "check the URL: it has to be that of the archive itself, or of a git repository as `git clone` takes it; a user and a password may stand in it",
        ),
        context::DownloadError::Http(error) => http_hint(error),
        context::DownloadError::CannotGoOn { .. }
        | context::DownloadError::Changed { .. }
        | context::DownloadError::Length { .. } => {
            Some("try again: the server, or something on the way, broke the file off")
        }
        context::DownloadError::Checksum { .. } => Some(
            "if the file was changed on purpose, write its new digest into the URL; if not, do not trust it",
        ),
        context::DownloadError::Cancelled => None,
    }
}

/// What to do about an object that is not to be had.
fn store_hint(error: &store::Error) -> Option<&'static str> {
    match error {
        store::Error::NoBucket { .. } => {
            Some("check the name of the bucket and, where it has one, its region")
        }
        store::Error::NoObject { .. } => {
            Some("check the name: it is the whole of what stands behind the bucket's")
        }
        store::Error::Denied { .. } => {
            Some("give this identity the right to read it, or let another be found first")
        }
        _ => None,
    }
}

/// What to do about a repository that cannot be fetched, where the message does not say it.
fn git_hint(error: &GitError) -> Option<String> {
    let hint = match error {
        GitError::NoRepository { .. } => {
            "check the URL: it is the one that `git clone` takes; for a private repository set GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD"
        }
        GitError::NotGit { .. } => {
            "check the URL: it is the one that `git clone` takes, and not that of a page"
        }
        GitError::NoReference { .. } => {
            "a branch, a tag or a whole commit stands behind a # at the end of the URL"
        }
        GitError::Subdir { .. } => {
            "the directory stands behind a # and a colon at the end of the URL: #REFERENCE:DIRECTORY"
        }
        GitError::Empty { .. } => "push a commit first",
        GitError::Checksum { .. } => {
            "if the reference was moved on purpose, write its new commit; if not, do not trust it"
        }
        GitError::Http { source, .. } | GitError::Interrupted { source, .. } => {
            return http_hint(source).map(str::to_owned);
        }
        GitError::Submodule { source, .. } => return git_hint(source),
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What to do about an output that was not written.
fn output_hint(error: &output::Error) -> Option<String> {
    match error {
        output::Error::Push { source } | output::Error::PartlyPushed { source, .. } => {
            push_hint(source)
        }
        output::Error::Fetch { source } => image_hint(source),
        _ => None,
    }
}

/// What to do about an image that is not to be had.
fn image_hint(error: &registry::Error) -> Option<String> {
    let hint = match error {
        registry::Error::Places { source, .. } => return image_hint(source),
        registry::Error::NoPlatform { .. } => {
            "choose one of them with --custom-platform, or with FROM --platform for this image alone"
        }
        error if error.is_not_found() => {
            "check the name and the tag; a name without a registry is looked for at docker.io, and some registries hide so what is private"
        }
        _ => return registry_hint(error),
    };
    Some(hint.to_owned())
}

/// What to do about a registry that does not take the image.
fn push_hint(error: &registry::Error) -> Option<String> {
    let hint = match error {
        error if error.is_not_found() => {
            "check the name; many registries want a repository or project to be made before its first image"
        }
        error if keeps_tag(error) => {
            "if this tag may not be moved, choose another; --push-ignore-immutable-tag-errors leaves it as it is"
        }
        _ => return registry_hint(error),
    };
    Some(hint.to_owned())
}

/// Whether a registry says that the tag may not be moved. With some statuses it says much else, and words must tell.
fn keeps_tag(error: &registry::Error) -> bool {
    let is_vague = error.status().is_some_and(|status| {
        status == http::StatusCode::BAD_REQUEST || status == http::StatusCode::UNPROCESSABLE_ENTITY
    });
    let words = ["immutab", "overwrit", "already exists"];
    let text = error.to_string().to_ascii_lowercase();
    error.may_be_immutable_tag() && (!is_vague || words.iter().any(|word| text.contains(word)))
}

/// What to do about an answer of a registry, or about none.
fn registry_hint(error: &registry::Error) -> Option<String> {
    let hint = match error {
        registry::Error::Places { source, .. } => return registry_hint(source),
        registry::Error::Unauthorized {
            credential: None,
            registry,
            misses,
            ..
        } => {
            let mut hint = "no credential was found for this registry".to_owned();
            for miss in misses {
                hint.push_str(": ");
                hint.push_str(miss);
            }
            hint.push_str("; put one into config.json (DOCKER_CONFIG) or DOCKER_AUTH_CONFIG, or see what `longshore auth ");
            hint.push_str(registry);
            hint.push_str("` says");
            return Some(hint);
        }
        registry::Error::Unauthorized {
            credential: Some(source),
            ..
        } => {
            return Some(format!(
                "the credential came from {source}: check that it is valid and may do this"
            ));
        }
        registry::Error::Http {
            source: http::Error::Tls { is_tls: true, .. },
            ..
        } => "--registry-certificate=HOST=FILE names the certificate that signs the registry's own",
        registry::Error::Http { .. } => {
            "check the registry's name and that it can be reached from here; one that speaks plain HTTP needs --insecure-registry=HOST"
        }
        error if error.status() == Some(http::StatusCode::TOO_MANY_REQUESTS) => {
            "it limits how much it answers: a credential often raises the limit, and --registry-mirror names a mirror to ask first"
        }
        error
            if error
                .status()
                .is_some_and(|status| status.is_server_error()) =>
        {
            "the registry, or a proxy in front of it, has a fault: try again later"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_seen_below_other_errors() {
        let state = |kind: io::ErrorKind| BuildError::State {
            action: "write",
            path: "/state".into(),
            source: kind.into(),
        };
        let hint = state(io::ErrorKind::StorageFull).hint();
        assert!(hint.is_some_and(|hint| hint.contains("--state-dir")));
        assert_eq!(state(io::ErrorKind::NotFound).hint(), None);
        let below = BuildError::Unpack {
            reference: "busybox".parse().unwrap(),
            digest: "0123".to_owned(),
            source: Box::new(layer::Error::Sink(io::ErrorKind::QuotaExceeded.into())),
        };
        assert!(below.hint().is_some_and(|hint| hint.contains("room")));
    }
}
