//! What goes wrong between us and a registry.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::auth;
use crate::http::{self, Authorization, Response, StatusCode, printable};
use crate::oci::{Digest, DocumentError};

/// The largest error body that is read, in bytes.
const ERROR_BODY_LIMIT: usize = 64 * 1024;

/// The most characters of a server's message that are shown.
const MESSAGE_LIMIT: usize = 512;

/// A failure of an operation on a registry. Texts of servers in it are escaped and cut, URLs redacted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable answer.
    #[error("{what}: {source}")]
    Http {
        /// The operation and its object.
        what: String,
        /// The cause.
        source: http::Error,
    },
    /// An answer of failure.
    #[error("{what}: {reply}")]
    Status {
        /// The operation and its object.
        what: String,
        /// The answer.
        reply: Box<Reply>,
    },
    /// The registry does not accept who we are.
    #[error("{what}: {registry} refused {}: {reply}", credential_text(credential.as_deref()))]
    Unauthorized {
        /// The operation and its object.
        what: String,
        /// The registry.
        registry: String,
        /// The source of the credential that was used, if any was.
        credential: Option<String>,
        /// Why the sources that are meant for this registry gave none.
        misses: Vec<String>,
        /// The answer.
        reply: Box<Reply>,
    },
    /// A blob that is in no registry cannot be had from where it is.
    #[error("cannot get {what}: {source}")]
    Elsewhere {
        /// The blob.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A source of credentials cannot be used.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The registry asks for an authentication that we cannot or must not do.
    #[error("{registry} asks for an authentication that is refused: {reason}")]
    Challenge {
        /// The registry.
        registry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The content is not what its digest says.
    #[error("{what}: digest mismatch: expected {expected}, got {actual}")]
    Digest {
        /// The object.
        what: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what arrived.
        actual: Digest,
    },
    /// The content has not the size that its descriptor says.
    #[error("{what}: size mismatch: expected {expected} bytes, got {actual}")]
    Size {
        /// The object.
        what: String,
        /// The size of the descriptor.
        expected: u64,
        /// The size of what arrived; one more than expected when it did not end.
        actual: u64,
    },
    /// A document that is larger than any that we read.
    #[error("{what}: {size} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// The object.
        what: String,
        /// The size that its descriptor says.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The manifest or index cannot be used.
    #[error("{what}: {source}")]
    Document {
        /// The object.
        what: String,
        /// The cause.
        source: DocumentError,
    },
    /// The configuration of the image cannot be used.
    #[error("{what}: {reason}")]
    Config {
        /// The object.
        what: String,
        /// The cause.
        reason: String,
    },
    /// The index has no image for the platform.
    #[error("{what} has no image for {wanted}; it has {offered}")]
    NoPlatform {
        /// The index.
        what: String,
        /// The platform that was asked for.
        wanted: String,
        /// The platforms that there are.
        offered: String,
    },
    /// Indexes in indexes without end.
    #[error("{what}: indexes are nested deeper than {limit}")]
    NestedIndex {
        /// The outermost index.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// The registry does not keep to the protocol.
    #[error("{what}: {reason}")]
    Protocol {
        /// The operation and its object.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// No mirror has it, nor has the registry itself.
    #[error("{source}; before that: {}", earlier.join("; "))]
    Places {
        /// What the earlier places said.
        earlier: Vec<String>,
        /// What the last place said.
        source: Box<Error>,
    },
    /// A local file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn credential_text(source: Option<&str>) -> String {
    source.map_or_else(
        || "anonymous access".to_owned(),
        |source| format!("the credentials from {source}"),
    )
}

impl Error {
    /// Makes one error of what each place said, the last of which counts.
    pub(super) fn of_places(mut failures: Vec<Self>) -> Self {
        let last = failures.pop().expect("there is a place to ask");
        if failures.is_empty() {
            return last;
        }
        Self::Places {
            earlier: failures.iter().map(ToString::to_string).collect(),
            source: Box::new(last),
        }
    }

    /// Gives the status of the registry's answer, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { reply, .. } | Self::Unauthorized { reply, .. } => Some(reply.status),
            Self::Places { source, .. } => source.status(),
            _ => None,
        }
    }

    /// Gives how long the registry asks to wait before another try.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { reply, .. } => reply.retry_after,
            _ => None,
        }
    }

    /// Says whether the registry says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Says whether the registry does not delete at all, whoever asks.
    pub fn is_undeletable(&self) -> bool {
        self.status() == Some(StatusCode::METHOD_NOT_ALLOWED) || self.has_code("UNSUPPORTED")
    }

    /// Says whether the registry refused for lack of rights.
    pub fn is_denied(&self) -> bool {
        matches!(
            self.status(),
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        )
    }

    /// Says whether another try may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http { source, .. } => source.is_transient(),
            Self::Status { reply, .. } => http::is_transient(reply.status),
            Self::Places { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Says whether this may be the refusal to move a tag that must not change.
    ///
    /// Registries agree on neither status nor words: `TAG_INVALID` with 400 (ECR), 409 (Artifact Registry), 412 (Harbor),
    /// 405 (ACR), 403 (GitLab, Artifactory, where words must tell it from a lack of rights).
    pub fn may_be_immutable_tag(&self) -> bool {
        let (Self::Status { reply, .. } | Self::Unauthorized { reply, .. }) = self else {
            return false;
        };
        let words = ["immutab", "overwrit", "already exists", "disallowed"];
        match reply.status.as_u16() {
            400 | 405 | 409 | 412 | 422 => true,
            403 => reply.errors.iter().any(|error| {
                let text = format!("{} {}", error.code, error.message).to_ascii_lowercase();
                words.iter().any(|word| text.contains(word))
            }),
            _ => false,
        }
    }

    /// Says whether the registry's answer carries an error code, such as `MANIFEST_BLOB_UNKNOWN`.
    pub fn has_code(&self, code: &str) -> bool {
        match self {
            Self::Status { reply, .. } | Self::Unauthorized { reply, .. } => {
                reply.errors.iter().any(|error| error.code == code)
            }
            _ => false,
        }
    }
}

/// An answer of failure: its status and what it says (distribution-spec "Error Codes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The errors in the body.
    pub errors: Vec<ReplyError>,
    /// How often the request was tried.
    pub tries: u32,
    /// How long the registry asks to wait before another try.
    pub retry_after: Option<Duration>,
}

/// One error of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError {
    /// The code, upper case by convention; empty when the body is not the specified JSON.
    pub code: String,
    /// The message, escaped and cut.
    pub message: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if let Some(reason) = self.status.canonical_reason() {
            write!(f, " {reason}")?;
        }
        for error in &self.errors {
            match (error.code.is_empty(), error.message.is_empty()) {
                (false, false) => write!(f, ": {}: {}", error.code, error.message)?,
                (false, true) => write!(f, ": {}", error.code)?,
                (true, false) => write!(f, ": {}", error.message)?,
                (true, true) => {}
            }
        }
        if self.tries > 1 {
            write!(f, " (tried {} times)", self.tries)?;
        }
        Ok(())
    }
}

impl Reply {
    /// Reads the body of an answer of failure.
    pub(super) async fn read(response: Response, tries: u32) -> Self {
        let status = response.status();
        let retry_after = http::retry_after(response.headers());
        let body = response.head(ERROR_BODY_LIMIT).await;
        Self {
            status,
            errors: parse(&body),
            tries,
            retry_after,
        }
    }
}

impl Reply {
    /// Masks the credential, which a server may repeat in what it says.
    pub(super) fn masked(mut self, authorization: Option<&Authorization>) -> Self {
        for error in &mut self.errors {
            for text in [&mut error.code, &mut error.message] {
                if let Some(authorization) = authorization {
                    *text = authorization.mask(text);
                }
            }
        }
        self
    }
}

fn parse(body: &[u8]) -> Vec<ReplyError> {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let entry = |code: Option<String>, message: &str| ReplyError {
        code: printable(&code.unwrap_or_default(), 64),
        message: printable(message, MESSAGE_LIMIT),
    };
    match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => {
            let errors = envelope.errors.into_iter().take(5);
            errors
                .map(|error| entry(error.code, &error.message.unwrap_or_default()))
                .collect()
        }
        Err(_) if body.is_empty() => Vec::new(),
        Err(_) => vec![entry(None, &String::from_utf8_lossy(body))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_parsed_escaped_and_cut() {
        let reply = |body: &str| {
            Reply {
                status: StatusCode::FORBIDDEN,
                errors: parse(body.as_bytes()),
                tries: 1,
                retry_after: None,
            }
            .to_string()
        };
        assert_eq!(
            reply(
                r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m ::add-mask::x","detail":{}}]}"#
            ),
            r"403 Forbidden: DENIED: no\u{1b}[31m : :add-mask: :x"
        );
        assert_eq!(reply(""), "403 Forbidden");
        assert_eq!(
            reply("<html>\nno</html>"),
            r"403 Forbidden: <html>\nno</html>"
        );
        assert!(reply(&"x".repeat(100_000)).len() < 600);
        assert_eq!(
            reply(r#"{"errors":[{"code":"UNKNOWN"}]}"#),
            "403 Forbidden: UNKNOWN"
        );
    }
}
