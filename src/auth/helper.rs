//! Helper programs: `docker-credential-NAME get`, found on a given search path and run with a given environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::docker_config::password_or_token;
use super::{Credential, Error, Files, names};
use crate::http::printable;

/// Time that a helper has to answer, unless the caller says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer of a helper that is read, in bytes.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// Under which conditions helper programs run.
#[derive(Clone)]
pub struct HelperOptions {
    /// Directories to find the program in, as in `PATH`. Without any, no helper is found.
    pub path: OsString,
    /// The whole environment of the program.
    pub env: Vec<(OsString, OsString)>,
    /// Time to answer.
    pub timeout: Duration,
    /// Tells whether programs are at their paths.
    pub files: Files,
}

impl Default for HelperOptions {
    fn default() -> Self {
        Self {
            path: OsString::new(),
            env: Vec::new(),
            timeout: TIMEOUT,
            files: Files::default(),
        }
    }
}

impl std::fmt::Debug for HelperOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("HelperOptions")
            .field("path", &self.path)
            .field("env", &names)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper about a registry; `None` when it knows nothing.
pub(super) async fn get(
    name: &str,
    registry: &str,
    options: &HelperOptions,
    configured_in: &str,
) -> Result<Option<Credential>, Error> {
    let program = format!("docker-credential-{name}");
    let fail = |reason: String| Error::Helper {
        program: printable(&program, 100),
        registry: registry.to_owned(),
        reason: format!("{reason} (configured in {configured_in})"),
    };
    options
        .files
        .require_programs()
        .map_err(|error| fail(error.to_string()))?;
    let path =
        find(&program, options).ok_or_else(|| fail("not found on the search path".to_owned()))?;
    let running = run(&path, names::helper_server(registry), options);
    let (success, stdout, stderr) = match tokio::time::timeout(options.timeout, running).await {
        Ok(result) => result.map_err(|error| fail(error.to_string()))?,
        Err(_) => {
            return Err(fail(format!(
                "no answer within {} seconds",
                options.timeout.as_secs()
            )));
        }
    };
    if !success {
        // The answer of a failing helper is its message; it goes to the standard output.
        let said =
            String::from_utf8_lossy(if stdout.is_empty() { &stderr } else { &stdout }).into_owned();
        if is_not_found(&said) {
            return Ok(None);
        }
        return Err(fail(printable(&said, 200)));
    }
    let answer: Answer = serde_json::from_slice(&stdout)
        .map_err(|_| fail("its answer is not the expected JSON".to_owned()))?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    let kind = password_or_token(&answer.username, &answer.secret);
    Ok(Some(Credential {
        kind,
        source: program,
    }))
}

fn is_not_found(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("credentials not found")
        || said.contains("no credentials server url")
        || said.contains("no credentials for")
}

/// Finds the program in the absolute directories of the search path only.
fn find(program: &str, options: &HelperOptions) -> Option<PathBuf> {
    if program.contains(['/', '\0']) {
        return None;
    }
    std::env::split_paths(&options.path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

async fn run(
    path: &Path,
    server: &str,
    options: &HelperOptions,
) -> std::io::Result<(bool, Vec<u8>, Vec<u8>)> {
    let mut child = spawn(path, options)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper may answer without reading its input: a closed pipe is no failure.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read_out = read_limited(stdout);
    let read_err = read_limited(stderr);
    let (out, err) = tokio::try_join!(read_out, read_err)?;
    let status = child.wait().await?;
    Ok((status.success(), out, err))
}

fn spawn(path: &Path, options: &HelperOptions) -> std::io::Result<Child> {
    Command::new(path)
        .arg("get")
        .env_clear()
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .env("PATH", &options.path)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

async fn read_limited(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(ANSWER_LIMIT).read_to_end(&mut read).await?;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{ConfigSource, CredentialKind, DockerConfig, Found, Source as _};
    use super::*;
    use crate::http::Secret;

    fn keychain(directory: &Path, script: &str, config: &str, timeout: Duration) -> DockerConfig {
        let program = directory.join("docker-credential-test");
        let text = directory.join("text");
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755))
            .expect("permissions");
        // Copied by another process: one that a test beside this one starts would have a file open that is written here, and nobody
        // can run a program that is open for writing.
        let copied = std::process::Command::new("cp")
            .arg(&text)
            .arg(&program)
            .status();
        assert!(copied.expect("cp").success());
        let path = std::env::join_paths([directory, Path::new("/usr/bin"), Path::new("/bin")])
            .expect("a path");
        let options = HelperOptions {
            path,
            env: vec![("GIVEN".into(), "yes".into())],
            timeout,
            files: Files::default(),
        };
        DockerConfig::load(&ConfigSource::inline("TEST", Secret::new(config)), options)
            .expect("a configuration")
    }

    #[tokio::test]
    async fn helpers_answer_with_a_clean_environment() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = r#"read -r server; printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$server" "$server-$1" "$(env | grep -v '^_=' | cut -d= -f1 | sort | tr '\n' ,)""#;
        let config = r#"{"credHelpers":{"docker.io":"test"}}"#;
        let keychain = keychain(directory.path(), script, config, TIMEOUT);
        let found = keychain
            .find("docker.io", "library/x")
            .await
            .expect("an answer");
        let Found::Credential(Credential {
            kind: CredentialKind::Password { username, password },
            ..
        }) = found
        else {
            panic!("a password")
        };
        assert_eq!(username, "https://index.docker.io/v1/-get");
        assert_eq!(password.expose(), "GIVEN,PATH,PWD,");
        let other = keychain.find("ghcr.io", "x").await.expect("an answer");
        assert!(matches!(other, Found::NotApplicable(_)), "{other:?}");
    }

    #[tokio::test]
    async fn a_helper_that_knows_nothing_is_no_error_and_others_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = r#"{"credsStore":"test"}"#;
        let unknown = keychain(
            directory.path(),
            "echo 'credentials not found in native keychain'; exit 1",
            config,
            TIMEOUT,
        );
        let nothing = unknown.find("h", "r").await.expect("an answer");
        assert!(matches!(nothing, Found::Nothing(_)), "{nothing:?}");
        let cases = [
            ("echo broken; exit 1", TIMEOUT, "broken"),
            ("echo nonsense", TIMEOUT, "not the expected JSON"),
            ("exec sleep 60", Duration::from_millis(200), "no answer"),
        ];
        for (script, timeout, expect) in cases {
            let error = keychain(directory.path(), script, config, timeout)
                .find("h", "r")
                .await
                .expect_err(script);
            assert!(error.to_string().contains(expect), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_or_misnamed_helper_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["absent", "../test", "a/b"] {
            let config = format!(r#"{{"credsStore":"{name}"}}"#);
            let error = keychain(directory.path(), "true", &config, TIMEOUT)
                .find("h", "r")
                .await
                .expect_err(name);
            assert!(
                error.to_string().contains("not found on the search path"),
                "{error}"
            );
        }
    }
}
