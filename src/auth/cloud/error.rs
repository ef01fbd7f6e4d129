//! Why a cloud gives no credential.

use std::path::PathBuf;

use crate::http;

/// A credential that could not be made. Texts of servers in it are escaped and cut; it holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// Nothing here says who we are.
    #[error("no identity: {}", tried.join("; "))]
    NoIdentity {
        /// The places that were looked at, and why each had nothing.
        tried: Vec<String>,
    },
    /// No usable answer.
    #[error("{what}: {source}")]
    Http {
        /// The request.
        what: String,
        /// The cause.
        source: http::Error,
    },
    /// An answer of failure.
    #[error("{what}: {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Refused {
        /// The request.
        what: String,
        /// The status.
        status: http::StatusCode,
        /// What the server said.
        message: String,
    },
    /// An answer that lacks what it should hold.
    #[error("{what}: the answer is not the expected document")]
    Answer {
        /// The request.
        what: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A setting or file holds something that cannot be used.
    #[error("{what}: {reason}")]
    Config {
        /// The setting, variable or file.
        what: String,
        /// What is wrong with it, without any value that may be secret.
        reason: String,
    },
}

impl CloudError {
    /// Names what is wrong with a setting.
    pub(crate) fn config(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Config {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}
