//! Credentials that a cloud gives to whoever it knows: no stored secret, no helper program, no cloud's command line.
//!
//! A cloud is asked only about hosts that are its own (anchored names), and a metadata server only then. What was minted
//! is kept until shortly before it expires; that there is no identity is kept for a short while too. Every endpoint can be
//! overridden by the variables that the clouds' own tools know. Entry points: [`Cloud`] as a source of a chain,
//! [`CloudOptions`] for all it needs, and the identities ([`aws`], [`google`], [`azure`]) for `store`.

#[cfg(feature = "s3")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
mod error;
#[cfg(feature = "gcs")]
pub mod google;
mod http;
mod identity;
#[cfg(any(feature = "gcs", feature = "azure"))]
mod token;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::chain::{Found, Source};
use super::identity::IdentityTokens;
use super::{Credential, Error, Variables};

pub use error::CloudError;
pub use http::CloudHttp;
#[cfg(any(feature = "gcs", feature = "azure"))]
pub use token::Token;

/// So long it is kept that a cloud gave nothing: a build asks for several repositories.
const NOTHING_LIFETIME: Duration = Duration::from_mins(1);

/// The longest margin by which a credential is renewed before it expires.
const LONGEST_MARGIN: Duration = Duration::from_mins(10);

/// What the clouds need to know, as values.
#[derive(Clone)]
pub struct CloudOptions {
    /// The clients.
    pub http: CloudHttp,
    /// Environment variables.
    pub variables: Variables,
    /// The identity tokens of the CI system.
    pub identity: IdentityTokens,
    /// Who to become with an identity token.
    pub roles: Roles,
    /// Registries that are spoken to without TLS.
    pub plain_http: BTreeSet<String>,
    /// Reads the clock: signatures carry the time.
    pub now: fn() -> SystemTime,
    /// Runs a `credential_process` of an AWS profile under these conditions.
    pub helpers: super::HelperOptions,
}

impl fmt::Debug for CloudOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudOptions")
            .field("variables", &self.variables)
            .field("identity", &self.identity)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// Who to become with the identity token of the CI system.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// The ARN of an AWS role.
    pub aws_role: Option<String>,
    /// The resource name of a Google workload identity provider, `projects/N/locations/global/...`.
    pub google_provider: Option<String>,
    /// The Google service account to impersonate.
    pub google_service_account: Option<String>,
    /// The client id of an Azure application or managed identity.
    pub azure_client_id: Option<String>,
    /// The Azure tenant.
    pub azure_tenant_id: Option<String>,
}

/// The clouds whose identities are understood.
enum Kind {
    #[cfg(feature = "s3")]
    Aws(aws::Ecr),
    #[cfg(feature = "gcs")]
    Google(google::Registry),
    #[cfg(feature = "azure")]
    Azure(azure::Acr),
}

/// A cloud as a source of registry credentials.
pub struct Cloud {
    name: &'static str,
    kind: Kind,
    kept: tokio::sync::Mutex<HashMap<String, Kept>>,
}

struct Kept {
    found: Found,
    expires: Instant,
}

/// A credential and how long it is valid.
#[derive(Debug)]
pub(crate) struct Minted {
    credential: Credential,
    lifetime: Duration,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Cloud {
    fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            kept: tokio::sync::Mutex::default(),
        }
    }

    /// Amazon's ECR and ECR Public.
    #[cfg(feature = "s3")]
    pub fn ecr(options: &CloudOptions) -> Self {
        Self::new("Amazon ECR", Kind::Aws(aws::Ecr::new(options)))
    }

    /// Google's Artifact Registry and Container Registry.
    #[cfg(feature = "gcs")]
    pub fn google(options: &CloudOptions) -> Self {
        Self::new(
            "Google Artifact Registry",
            Kind::Google(google::Registry::new(options)),
        )
    }

    /// Azure's container registry.
    #[cfg(feature = "azure")]
    pub fn acr(options: &CloudOptions) -> Self {
        Self::new("Azure ACR", Kind::Azure(azure::Acr::new(options)))
    }

    /// Says whether the host is one of this cloud's registries.
    fn covers(&self, host: &str) -> bool {
        match &self.kind {
            #[cfg(feature = "s3")]
            Kind::Aws(_) => aws::Host::parse(host).is_some(),
            #[cfg(feature = "gcs")]
            Kind::Google(_) => google::is_registry(host),
            #[cfg(feature = "azure")]
            Kind::Azure(_) => azure::is_registry(host),
        }
    }

    #[cfg_attr(
        not(any(feature = "s3", feature = "azure")),
        expect(
            unused_variables,
            reason = "Google's tokens are for all its registries"
        )
    )]
    async fn mint(&self, host: &str) -> Result<Minted, CloudError> {
        match &self.kind {
            #[cfg(feature = "s3")]
            Kind::Aws(ecr) => ecr.mint(host).await,
            #[cfg(feature = "gcs")]
            Kind::Google(registry) => registry.mint().await,
            #[cfg(feature = "azure")]
            Kind::Azure(acr) => acr.mint(host).await,
        }
    }

    async fn look_up(&self, registry: &str) -> Found {
        let host = registry.to_ascii_lowercase();
        if !self.covers(&host) {
            return Found::NotApplicable("is not its registry".to_owned());
        }
        // Held while minting: all who need it wait for the one exchange.
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.get(&host)
            && Instant::now() < kept.expires
        {
            return kept.found.clone();
        }
        let (found, lifetime) = match self.mint(&host).await {
            Ok(minted) => {
                let margin = (minted.lifetime / 4).min(LONGEST_MARGIN);
                let lifetime = minted.lifetime.saturating_sub(margin);
                (Found::Credential(minted.credential), lifetime)
            }
            // Without an identity the registry may still let us read: it decides, and then this is told.
            Err(error) => (Found::Nothing(error.to_string()), NOTHING_LIFETIME),
        };
        let expires = Instant::now() + lifetime;
        let answer = found.clone();
        kept.insert(host, Kept { found, expires });
        answer
    }
}

impl Source for Cloud {
    fn name(&self) -> &str {
        self.name
    }

    fn find<'a>(
        &'a self,
        registry: &'a str,
        _repository: &'a str,
    ) -> BoxFuture<'a, Result<Found, Error>> {
        Box::pin(async move { Ok(self.look_up(registry).await) })
    }

    fn forget(&self, registry: &str) {
        // If it is held, it is being minted anew.
        if let Ok(mut kept) = self.kept.try_lock() {
            kept.remove(&registry.to_ascii_lowercase());
        }
    }
}
