//! Git contexts: what `--git` says, and who we are to git servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::context::Source;
use crate::context::git::{GitAccess, GitOptions, HostToken, Login, SshAccess};
use crate::http::{Origin, Secret};
use crate::sandbox::Content;

use super::UsageError;
use super::env::Env;
use super::flags::parse_bool;

/// The server whose tokens `GITHUB_TOKEN` holds unless `GITHUB_SERVER_URL` names another.
const GITHUB: &str = "https://github.com";

/// A server ends a connection after so many keys that it does not know (sshd_config `MaxAuthTries`).
const KEYS_MAX: usize = 5;
/// The largest file of SSH, in bytes.
const SSH_FILE_MAX: u64 = 4 << 20;

/// Puts what the flags, the environment and the build arguments say over a source.
pub(super) fn settle(
    source: &mut Source,
    flags: &[String],
    build_args: &[(String, String)],
    env: &Env,
) -> Result<(), UsageError> {
    let mut options = GitOptions::default();
    for flag in flags {
        options
            .add(flag)
            .map_err(|error| UsageError::flag("--git", error))?;
    }
    let Source::Git(repository) = source else {
        return Ok(());
    };
    options.apply(repository);
    let keeps = build_args
        .iter()
        .rev()
        .find(|(name, _)| name == "BUILDKIT_CONTEXT_KEEP_GIT_DIR");
    if let Some((_, value)) = keeps {
        repository.keeps_git_dir |= parse_bool(value).unwrap_or(false);
    }
    if repository.is_kaniko {
        match env.text("GIT_PULL_METHOD") {
            None | Some("https") => {}
            Some("http") => repository.over_http(),
            Some(other) => {
                let expected = "https or http";
                return Err(UsageError::variable("GIT_PULL_METHOD", other, expected));
            }
        }
    }
    Ok(())
}

/// Who we are to git servers, out of the environment and the secrets that BuildKit has for that.
pub(super) fn access(
    context: &Source,
    secrets: &BTreeMap<String, Content>,
    env: &Env,
) -> Result<GitAccess, UsageError> {
    let secret = |name: &str| env.text(name).map(Secret::new);
    let login = match (secret("GIT_USERNAME"), secret("GIT_PASSWORD")) {
        (None, None) => None,
        (user, password) => Some(Login {
            user: user.unwrap_or_default(),
            password: password.unwrap_or_default(),
        }),
    };
    let mut access = GitAccess {
        token: secret("GIT_TOKEN"),
        login,
        origin: None,
        host_tokens: host_tokens(env),
        ssh: ssh(env)?,
        takes_lfs_pointers: match env.text("GIT_LFS_SKIP_SMUDGE") {
            None => false,
            Some(text) => parse_bool(text).ok_or_else(|| {
                UsageError::variable("GIT_LFS_SKIP_SMUDGE", text, "true or false")
            })?,
        },
    };
    if let Source::Git(repository) = context {
        access.bind(repository);
    }
    let secrets = secret_tokens(secrets, access.origin.as_ref());
    access.host_tokens.splice(0..0, secrets);
    Ok(access)
}

/// `GIT_AUTH_TOKEN.HOST`, and `GIT_AUTH_TOKEN` for the host of the context.
///
/// # Deviation
/// BuildKit gives `GIT_AUTH_TOKEN` to every host that a Dockerfile names.
fn secret_tokens(secrets: &BTreeMap<String, Content>, context: Option<&Origin>) -> Vec<HostToken> {
    let tokens = secrets.iter().filter_map(|(id, content)| {
        let (origin, variable) = match id.strip_prefix("GIT_AUTH_TOKEN")? {
            "" => (context?.clone(), "the secret GIT_AUTH_TOKEN"),
            host => {
                let url = format!("https://{}", host.strip_prefix('.')?);
                let origin = Origin::of(&url::Url::parse(&url).ok()?)?;
                (origin, "the secret GIT_AUTH_TOKEN of the host")
            }
        };
        let token = std::str::from_utf8(content.expose()).ok()?.trim();
        Some(HostToken {
            origin,
            login: Login {
                user: Secret::new("x-access-token"),
                password: Secret::new(token),
            },
            variable,
        })
    });
    tokens.collect()
}

/// Keys and known hosts, from variables and from where OpenSSH keeps them.
fn ssh(env: &Env) -> Result<SshAccess, UsageError> {
    let directory = env.os("HOME").map(|home| Path::new(home).join(".ssh"));
    let mut access = SshAccess {
        agent: env.os("SSH_AUTH_SOCK").map(PathBuf::from),
        passphrase: env.text("GIT_SSH_KEY_PASSPHRASE").map(Secret::new),
        ..SshAccess::default()
    };
    if let Some(text) = text_or_file(env, "GIT_SSH_KEY", "PRIVATE KEY")? {
        access
            .keys
            .push(("GIT_SSH_KEY".to_owned(), Secret::new(text)));
    }
    if let Some(text) = text_or_file(env, "GIT_SSH_KNOWN_HOSTS", " ")? {
        access
            .known_hosts
            .push(("GIT_SSH_KNOWN_HOSTS".to_owned(), text));
    }
    let system = Path::new("/etc/ssh/ssh_known_hosts").to_owned();
    let files = directory
        .iter()
        .map(|directory| directory.join("known_hosts"));
    for file in files.chain([system]) {
        if let Some(text) = read(&file) {
            access.known_hosts.push((file.display().to_string(), text));
        }
    }
    let names = directory
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok());
    let mut files: Vec<PathBuf> = names
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            name.starts_with(b"id_") && path.extension().is_none()
        })
        .collect();
    files.sort();
    files.truncate(KEYS_MAX);
    for file in files {
        if let Some(text) = read(&file) {
            access
                .keys
                .push((file.display().to_string(), Secret::new(text)));
        }
    }
    Ok(access)
}

/// What a variable holds, or the file that it names.
fn text_or_file(env: &Env, name: &'static str, mark: &str) -> Result<Option<String>, UsageError> {
    match env.text(name) {
        None => Ok(None),
        Some(text) if text.contains(mark) => Ok(Some(format!("{}\n", text.trim()))),
        Some(path) => match read(Path::new(path)) {
            Some(text) => Ok(Some(text)),
            // What stands there may be part of a key.
            None => Err(UsageError::variable(
                name,
                "",
                "the file of a key or of known hosts, or its content",
            )),
        },
    }
}

/// Reads a small file that may not be there.
fn read(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > SSH_FILE_MAX {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// The tokens that CI systems give a job for their own servers.
fn host_tokens(env: &Env) -> Vec<HostToken> {
    let github = env.text("GITHUB_SERVER_URL").unwrap_or(GITHUB);
    let gitlab = env.text("CI_SERVER_URL");
    let tokens = [
        ("GITHUB_TOKEN", Some(github), "x-access-token"),
        ("CI_JOB_TOKEN", gitlab, "gitlab-ci-token"),
    ];
    let tokens = tokens.into_iter().filter_map(|(variable, server, user)| {
        let url = url::Url::parse(server?).ok()?;
        Some(HostToken {
            origin: Origin::of(&url)?,
            login: Login {
                user: Secret::new(user),
                password: Secret::new(env.text(variable)?),
            },
            variable,
        })
    });
    tokens.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::new(
            pairs
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    #[test]
    fn the_pull_method_is_for_the_form_of_kaniko() {
        let settled = |text: &str, method: &str| {
            let mut source = Source::parse(text).expect("a source");
            let env = env(&[("GIT_PULL_METHOD", method)]);
            settle(&mut source, &[], &[], &env).map(|()| source.to_string())
        };
        let plain = "http://h.io/a.git".to_owned();
        assert_eq!(settled("git://h.io/a.git", "http").ok(), Some(plain));
        let encrypted = Some("https://h.io/a.git".to_owned());
        assert_eq!(settled("git://h.io/a.git", "https").ok(), encrypted);
        assert_eq!(settled("https://h.io/a.git", "http").ok(), encrypted);
        assert!(settled("git://h.io/a.git", "ssh").is_err());
    }

    #[test]
    fn tokens_are_for_their_servers() {
        let tokens = host_tokens(&env(&[
            ("GITHUB_TOKEN", "a"),
            ("CI_JOB_TOKEN", "b"),
            ("CI_SERVER_URL", "https://gitlab.test:8443"),
        ]));
        let shown: Vec<String> = tokens
            .iter()
            .map(|token| token.origin.to_string())
            .collect();
        assert_eq!(
            shown,
            ["https://github.com:443", "https://gitlab.test:8443"]
        );
        assert!(host_tokens(&env(&[("CI_JOB_TOKEN", "b")])).is_empty());
        let secrets = [
            "GIT_AUTH_TOKEN",
            "GIT_AUTH_TOKEN.h.io",
            "GIT_AUTH_TOKENx",
            "other",
        ];
        let secrets = secrets.map(|id| (id.to_owned(), Content::new(b"t\n".to_vec())));
        let origins = |context: Option<&Origin>| -> Vec<String> {
            let tokens = secret_tokens(&secrets.clone().into(), context);
            assert!(
                tokens
                    .iter()
                    .all(|token| token.login.password.expose() == "t")
            );
            tokens
                .iter()
                .map(|token| token.origin.to_string())
                .collect()
        };
        assert_eq!(origins(None), ["https://h.io:443"]);
        let context = Origin::of(&url::Url::parse("https://k.io").expect("a URL"));
        assert_eq!(
            origins(context.as_ref()),
            ["https://k.io:443", "https://h.io:443"]
        );
    }
}
