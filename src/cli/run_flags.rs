//! What is given to RUN steps on the command line: `--secret`, `--ssh`, `--allow`, `--network`, in buildx's grammar.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::plan::RunNetwork;
use crate::sandbox::{Agent, Content};

use super::UsageError;
use super::env::Env;
use super::flags::NetworkFlag;

/// The largest secret, in bytes: BuildKit's limit.
const SECRET_MAX: u64 = 500 * 1024;
/// Where ssh programs look for their agent.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// Reads every `--secret`: `id=X,src=FILE`, `id=X,env=VARIABLE`, or `id=X` for the variable or file of that name.
pub(super) fn secrets(
    texts: &[String],
    env: &Env,
) -> Result<BTreeMap<String, Content>, UsageError> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let (id, content) = secret(text, env)?;
        if secrets.insert(id.clone(), content).is_some() {
            return Err(wrong(format_args!(
                "the id \"{}\" is given twice",
                id.escape_debug()
            )));
        }
    }
    Ok(secrets)
}

fn secret(text: &str, env: &Env) -> Result<(String, Content), UsageError> {
    let (mut id, mut kind, mut source, mut variable) = (None, None, None, None);
    for field in text.split(',') {
        let Some((key, value)) = field.split_once('=') else {
            // The field is not shown: it may be the secret itself.
            return Err(wrong(
                "each field must be key=value, as in id=token,src=FILE",
            ));
        };
        let place = match key.trim().to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "type" => &mut kind,
            "source" | "src" => &mut source,
            "env" => &mut variable,
            _ => {
                return Err(wrong(format_args!(
                    "there is no key \"{}\": the keys are id, src, env and type",
                    key.escape_debug()
                )));
            }
        };
        *place = Some(value);
    }
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| wrong("it needs an id, as in id=token,src=FILE"))?;
    let content = match (kind, source, variable) {
        (Some("env"), source, variable) => from_variable(variable.or(source).unwrap_or(id), env)?,
        (None, None, Some(name)) => from_variable(name, env)?,
        (Some("file") | None, Some(path), None) => from_file(id, Path::new(path))?,
        (Some("file"), None, None) => from_file(id, Path::new(id))?,
        (None, None, None) => match env.raw(id) {
            Some(_) => from_variable(id, env)?,
            None => from_file(id, Path::new(id))?,
        },
        (Some("file") | None, _, Some(_)) => {
            return Err(wrong(format_args!(
                "the secret \"{}\" is a file or a variable, not both",
                id.escape_debug()
            )));
        }
        (Some(_), _, _) => return Err(wrong("type is file or env")),
    };
    Ok((id.to_owned(), content))
}

fn from_variable(name: &str, env: &Env) -> Result<Content, UsageError> {
    let value = env.raw(name).ok_or_else(|| {
        wrong(format_args!(
            "the variable {} is not set",
            name.escape_debug()
        ))
    })?;
    Ok(Content::new(value.as_bytes().to_vec()))
}

fn from_file(id: &str, path: &Path) -> Result<Content, UsageError> {
    let refused = |reason: &dyn std::fmt::Display| {
        wrong(format_args!(
            "the secret \"{}\" cannot be read from {}: {reason}",
            id.escape_debug(),
            path.display()
        ))
    };
    let metadata = std::fs::metadata(path).map_err(|error| refused(&error))?;
    if metadata.is_dir() {
        return Err(refused(&"it is a directory"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(&error))?;
    if bytes.len() as u64 > SECRET_MAX {
        return Err(refused(&format_args!(
            "it is larger than {SECRET_MAX} bytes"
        )));
    }
    Ok(Content::new(bytes))
}

fn wrong(reason: impl std::fmt::Display) -> UsageError {
    UsageError::flag("--secret", reason)
}

/// Takes hold of the agents of every `--ssh`: `default`, `ID` or `ID=SOCKET`.
pub(super) fn agents(texts: &[String], env: &Env) -> Result<BTreeMap<String, Agent>, UsageError> {
    let wrong = |reason: &dyn std::fmt::Display| UsageError::flag("--ssh", reason);
    let mut agents = BTreeMap::new();
    for text in texts {
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id, Some(PathBuf::from(path))),
            None => (text.as_str(), env.os(AGENT_VARIABLE).map(PathBuf::from)),
        };
        if id.is_empty() {
            return Err(wrong(&"it needs an id, as in default or default=SOCKET"));
        }
        let path = path.ok_or_else(|| {
            wrong(&format_args!(
                "there is no agent to forward: {AGENT_VARIABLE} is not set"
            ))
        })?;
        let is_socket = std::fs::metadata(&path)
            .map(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
        match is_socket {
            Ok(true) => {}
            Ok(false) => {
                return Err(wrong(&format_args!(
                    "{} is not the socket of an agent; key files are not supported: start ssh-agent, add the key with ssh-add, and pass --ssh {id}",
                    path.display()
                )));
            }
            Err(error) => return Err(wrong(&format_args!("{}: {error}", path.display()))),
        }
        let agent = Agent::open(&path).map_err(|error| wrong(&error))?;
        agents.insert(id.to_owned(), agent);
    }
    Ok(agents)
}

/// Reads every `--allow`; true if RUN steps may ask for all that the builder may.
pub(super) fn allows_insecure(texts: &[String]) -> Result<bool, UsageError> {
    let mut is_allowed = false;
    for name in texts.iter().flat_map(|text| text.split(',')) {
        match name {
            "security.insecure" => is_allowed = true,
            // The builder's network is the default here.
            "network.host" => {}
            _ => {
                return Err(UsageError::flag(
                    "--allow",
                    format_args!(
                        "there is nothing to allow that is called \"{}\": it is security.insecure or network.host",
                        name.escape_debug()
                    ),
                ));
            }
        }
    }
    Ok(is_allowed)
}

pub(super) fn network(flag: Option<NetworkFlag>) -> RunNetwork {
    match flag {
        None | Some(NetworkFlag::Default) => RunNetwork::Default,
        Some(NetworkFlag::None) => RunNetwork::None,
        Some(NetworkFlag::Host) => RunNetwork::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Vec<u8>), String> {
        let env = Env::new([
            ("TOKEN".into(), "value".into()),
            ("EMPTY".into(), "".into()),
        ]);
        let (id, content) = secret(text, &env).map_err(|error| error.to_string())?;
        Ok((id, content.expose().to_vec()))
    }

    #[test]
    fn secrets_are_read_as_buildx_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "content\n").unwrap();
        let path = file.path().display();
        for (text, id, value) in [
            ("id=a,env=TOKEN".to_owned(), "a", "value"),
            ("type=env,id=TOKEN".to_owned(), "TOKEN", "value"),
            ("type=env,id=a,src=TOKEN".to_owned(), "a", "value"),
            ("id=TOKEN".to_owned(), "TOKEN", "value"),
            ("id=a,env=EMPTY".to_owned(), "a", ""),
            (format!("id=a,src={path}"), "a", "content\n"),
            (format!("type=file,id=a,source={path}"), "a", "content\n"),
        ] {
            assert_eq!(read(&text), Ok((id.to_owned(), value.into())), "{text}");
        }
        for (text, expect) in [
            ("s3cret", "key=value"),
            ("src=x", "needs an id"),
            ("id=a,env=NONE", "not set"),
            ("id=a,src=/nonexistent/x", "cannot be read"),
            ("id=a,src=/", "a directory"),
            ("id=a,type=vault", "file or env"),
            ("id=a,sorce=x", "no key"),
            ("id=a,src=x,env=TOKEN", "not both"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn only_what_exists_is_allowed() {
        let allows = |text: &str| allows_insecure(&[text.to_owned()]).ok();
        assert_eq!(allows("security.insecure"), Some(true));
        assert_eq!(allows("network.host,security.insecure"), Some(true));
        assert_eq!(allows("network.host"), Some(false));
        assert_eq!(allows("everything"), None);
    }
}
