//! Writes a credential into `config.json`, as `docker login` does: other content stays, and only the owner may read it.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value};

use super::names;
use crate::http::Secret;

/// A credential that could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The file or its directory.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file that is there is not a configuration.
    #[error("{} is not a JSON configuration: it stays as it is", path.display())]
    Malformed {
        /// The path.
        path: PathBuf,
    },
    /// Docker's format cannot hold it.
    #[error("a user name cannot contain a colon, nor be empty")]
    Username,
}

/// Saves a user and a password for a registry in the `config.json` of a directory. Returns the file's path.
///
/// The file appears whole, with mode 0600, in the place of the old one.
///
/// # Errors
/// When the directory or file cannot be written, or holds something else. The text holds no secret.
pub fn save_login(
    directory: &Path,
    registry: &str,
    username: &str,
    password: &Secret,
) -> Result<PathBuf, LoginError> {
    if username.is_empty() || username.contains(':') {
        return Err(LoginError::Username);
    }
    let path = directory.join("config.json");
    let fail = |action, path: &Path| {
        let path = path.to_owned();
        move |source| LoginError::File {
            action,
            path,
            source,
        }
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(fail("make", directory))?;
    let mut config = match std::fs::read(&path) {
        Ok(text) if text.trim_ascii().is_empty() => Map::new(),
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(Value::Object(config)) => config,
            Ok(_) | Err(_) => return Err(LoginError::Malformed { path }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(fail("read", &path)(error)),
    };
    let auths = config
        .entry("auths")
        .or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(auths) = auths else {
        return Err(LoginError::Malformed { path });
    };
    let key = names::helper_server(&names::normalize(registry)).to_owned();
    let pair = format!("{username}:{}", password.expose());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    auths.insert(key, serde_json::json!({ "auth": encoded }));
    let text = serde_json::to_vec_pretty(&Value::Object(config))
        .map_err(|error| fail("write", &path)(error.into()))?;

    let draft = directory.join(format!(".config.json.{}", std::process::id()));
    let written = write_private(&draft, &text).and_then(|()| std::fs::rename(&draft, &path));
    if let Err(error) = written {
        // The draft holds the secret; if it cannot be removed either, the error that counts is the first.
        let _ = std::fs::remove_file(&draft);
        return Err(fail("write", &path)(error));
    }
    Ok(path)
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn other_content_stays_and_only_the_owner_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/config.json");
        let save = |registry: &str, user: &str| {
            save_login(
                &directory.path().join("sub"),
                registry,
                user,
                &Secret::new("p:w"),
            )
        };
        assert_eq!(save("docker.io", "u").unwrap(), path);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::write(&path, r#"{"x":1,"auths":{"a.io":{"auth":"QTpC"}}}"#).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        save("https://GHCR.io/", "u").unwrap();
        let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"x":1,"auths":{"a.io":{"auth":"QTpC"},"ghcr.io":{"auth":"dTpwOnc="}}})
        );
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
        std::fs::write(&path, "[hunter2]").unwrap();
        let error = save("a", "u").unwrap_err();
        assert!(matches!(error, LoginError::Malformed { .. }), "{error}");
        assert!(matches!(save("a", "u:v"), Err(LoginError::Username)));
    }
}
