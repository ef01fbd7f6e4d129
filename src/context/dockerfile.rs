//! Dockerfiles that are no files of a context: on standard input, or behind a URL.

use std::fmt;
use std::io::{self, IsTerminal as _, Read};
use std::path::PathBuf;

use url::Url;

use crate::http::{self, Method, Request, redact_url};

use super::find::DOCKERFILE_MAX;
use super::{ContextError, DockerfileText, Network};

/// What a Dockerfile is called that was read from standard input.
const STDIN_NAME: &str = "standard input";

/// Where a Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file: looked up in the working directory, then in the context.
    Path(PathBuf),
    /// On standard input.
    Stdin,
    /// Behind a URL, `http` or `https`.
    Url(Url),
}

impl DockerfileSource {
    /// Reads what `--dockerfile` says: a path, `-`, or a URL.
    ///
    /// # Errors
    /// When a text that begins as a URL is none.
    pub fn parse(path: PathBuf) -> Result<Self, String> {
        let text = path.to_str().unwrap_or_default();
        let is_url = ["http://", "https://"].iter().any(|scheme| {
            let start = text.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if text == "-" {
            Ok(Self::Stdin)
        } else if is_url {
            // The text may hold a password: the error says what is wrong without it.
            let url = Url::parse(text).map_err(|error| format!("the URL is not valid: {error}"))?;
            Ok(Self::Url(url))
        } else {
            Ok(Self::Path(path))
        }
    }
}

impl fmt::Display for DockerfileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Stdin => f.write_str(STDIN_NAME),
            Self::Url(url) => f.write_str(&redact_url(url)),
        }
    }
}

/// Takes the bytes of standard input for a Dockerfile.
pub(super) fn of_stdin(head: &[u8]) -> Result<DockerfileText, ContextError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(ContextError::DockerfileTerminal);
    }
    let path = || PathBuf::from(STDIN_NAME);
    let mut bytes = Vec::new();
    head.chain(stdin.lock())
        .take(DOCKERFILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ContextError::Read {
            path: path(),
            source,
        })?;
    if bytes.len() as u64 > DOCKERFILE_MAX {
        return Err(ContextError::TooLarge {
            path: path(),
            limit: DOCKERFILE_MAX,
        });
    }
    Ok(DockerfileText {
        name: STDIN_NAME.to_owned(),
        bytes,
    })
}

/// Downloads a Dockerfile.
pub(super) fn of_url(url: &Url, network: Network<'_>) -> Result<DockerfileText, ContextError> {
    let name = redact_url(url);
    let failed = |source: http::Error| ContextError::DockerfileUrl {
        url: name.clone(),
        source: Box::new(source),
    };
    let download = async {
        let request = Request::new(Method::GET, url.clone());
        let response = network.http.send_retrying(&request).await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(ContextError::DockerfileStatus {
                url: name.clone(),
                status,
            });
        }
        response.bytes(DOCKERFILE_MAX).await.map_err(failed)
    };
    let bytes = network.runtime.block_on(async {
        tokio::select! {
            biased;
            () = network.token.cancelled() => Err(ContextError::CalledOff),
            bytes = download => bytes,
        }
    })?;
    Ok(DockerfileText {
        name,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let parse = |text: &str| DockerfileSource::parse(text.into());
        assert_eq!(parse("-"), Ok(DockerfileSource::Stdin));
        for path in ["Dockerfile", "./-", "a/b", "http:/x", "ftp://x/y"] {
            assert_eq!(parse(path), Ok(DockerfileSource::Path(path.into())));
        }
        for url in ["https://x/Dockerfile", "HTTP://x"] {
            assert!(matches!(parse(url), Ok(DockerfileSource::Url(_))), "{url}");
        }
        let wrong = parse("https://user:secret@").expect_err("no URL");
        assert!(!wrong.contains("secret"), "{wrong}");
        let shown = parse("https://user:secret@x/y").expect("a URL").to_string();
        assert!(!shown.contains("secret"), "{shown}");
    }
}
