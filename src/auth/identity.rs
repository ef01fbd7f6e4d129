//! The identity token of the CI system: a JWT by which the platform vouches for the job that runs us (OpenID Connect).
//!
//! How a platform hands it over is known to `ci` and `cli`, which fill in [`IdentityTokens`]; `cloud` exchanges it for
//! the credential of a registry.

use std::path::PathBuf;

use url::Url;

use crate::http::Secret;

/// One way to get the identity token of the job.
#[derive(Clone, Debug)]
pub enum IdentityToken {
    /// It is asked for, for an audience: GitHub's `ACTIONS_ID_TOKEN_REQUEST_URL` and `_TOKEN`.
    Request {
        /// What to call it in messages.
        name: String,
        /// Where to ask.
        url: Url,
        /// What to present there.
        bearer: Secret,
    },
    /// It was given, for the audience that the pipeline's author chose: GitLab's `id_tokens`.
    Value {
        /// What to call it in messages.
        name: String,
        /// The token.
        token: Secret,
    },
    /// It is in a file, which may be written anew while we run.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// The ways that there are, the first to be used.
#[derive(Clone, Debug, Default)]
pub struct IdentityTokens(pub Vec<IdentityToken>);
