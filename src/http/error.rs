//! What goes wrong between us and a server, below the meaning of its answers.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use url::Url;

use super::secret::redact_url;

/// A request that got no usable answer. URLs in it are redacted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The clients cannot be built from these settings.
    #[error("{what}: {reason}")]
    Config {
        /// The setting.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// The redacted URL.
        url: String,
        /// The cause.
        reason: String,
    },
    /// The TLS handshake failed; another try would not change that.
    #[error("no trusted TLS connection to {url}: {reason}")]
    Tls {
        /// The redacted URL.
        url: String,
        /// Whether the other side speaks TLS at all.
        is_tls: bool,
        /// The cause.
        reason: String,
    },
    /// Nothing moved for too long.
    #[error("{url} stalled: nothing was received for {} seconds", after.as_secs())]
    Stalled {
        /// The redacted URL.
        url: String,
        /// How long we waited.
        after: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {url} was interrupted: {reason}")]
    Interrupted {
        /// The redacted URL.
        url: String,
        /// The cause.
        reason: String,
    },
    /// The bytes to send could not be read.
    #[error("cannot read what is to be sent to {url}: {source}")]
    Source {
        /// The redacted URL.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// An answer exceeds what we accept.
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge {
        /// The redacted URL.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Redirects without end.
    #[error("{url} redirects more than {limit} times")]
    TooManyRedirects {
        /// The redacted URL of the first request.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// A redirect that cannot be understood.
    #[error("{url} redirects to an unusable location: {reason}")]
    BadRedirect {
        /// The redacted URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A server sent us from https to http.
    #[error("refused to follow {from} to {to}: it leaves https for http")]
    Downgrade {
        /// The redacted URL that led there.
        from: String,
        /// The redacted target.
        to: String,
    },
    /// A server sent us to an address nearer than its own.
    #[error(
        "refused to follow {from} to {to}: a private address that the first server may not send us to"
    )]
    PrivateTarget {
        /// The redacted URL that led there.
        from: String,
        /// The redacted target.
        to: String,
    },
}

impl Error {
    /// Says whether another try may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Stalled { .. } | Self::Interrupted { .. } => true,
            Self::Source { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::BrokenPipe
            ),
            Self::Config { .. }
            | Self::Tls { .. }
            | Self::TooLarge { .. }
            | Self::TooManyRedirects { .. }
            | Self::BadRedirect { .. }
            | Self::Downgrade { .. }
            | Self::PrivateTarget { .. } => false,
        }
    }

    /// Names the failure that reqwest reports for a request to `url` which `from` led to.
    pub(super) fn from_reqwest(error: &reqwest::Error, from: &Url, url: &Url) -> Self {
        let shown = redact_url(url);
        let mut reason = String::new();
        let mut cause: Option<&(dyn StdError + 'static)> = error.source();
        while let Some(current) = cause {
            if current.downcast_ref::<super::resolve::Refused>().is_some() {
                return Self::PrivateTarget {
                    from: redact_url(from),
                    to: shown,
                };
            }
            if let Some(tls) = current.downcast_ref::<rustls::Error>() {
                let is_tls = !matches!(tls, rustls::Error::InvalidMessage(_));
                return Self::Tls {
                    url: shown,
                    is_tls,
                    reason: tls.to_string(),
                };
            }
            reason = current.to_string();
            cause = next_cause(current);
        }
        if reason.is_empty() {
            reason = if error.is_timeout() {
                "timed out".to_owned()
            } else {
                "no reason was given".to_owned()
            };
        }
        if error.is_connect() || error.is_builder() {
            Self::Connect { url: shown, reason }
        } else {
            Self::Interrupted { url: shown, reason }
        }
    }
}

/// Gives what is below an error. What an `io::Error` carries is not its source but the error itself: several layers
/// wrap theirs so, and none may be passed over.
fn next_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
