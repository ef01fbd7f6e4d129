//! One client for every room: proxies, certificate authorities, time limits, retries, redaction, and the one rule of
//! which request may carry which credential ([`Authorization`]).
//!
//! This is the only room that builds an HTTP client. Redirects are followed by our own loop: a credential goes to its
//! own origin only, https is never left for http, and a server may not send us to an address that is nearer to us than
//! its own. Nothing is read from the environment: settings arrive as an [`HttpConfig`]. Name resolution and roots are
//! read when [`Http::new`] is called, before any image is unpacked; the roots are parsed when a connection wants them.
//! Entry points: [`Http::send`] sends once, [`Http::send_retrying`] as often as [`RetryPolicy`] says.

mod config;
mod dial;
mod error;
mod origin;
mod reach;
mod request;
mod resolve;
mod retry;
mod secret;
mod send;
mod tls;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

pub use config::{
    COMMIT_TIMEOUT, CONNECT_TIMEOUT, HostTls, HttpConfig, Proxies, STALL_TIMEOUT, SYSTEM_CA_FILES,
};
pub use error::Error;
pub use origin::{Authorization, Origin};
pub use request::{Body, OnBytes, Request, Response, StreamBody};
pub use reqwest::header;
pub use reqwest::{Method, StatusCode};
pub use retry::{Backoff, RetryPolicy, is_transient, retry_after};
pub use secret::{MASK, Secret, printable, redact_url};

use reach::Reach;
use resolve::{Guarded, Resolver};
use tls::Roots;

/// The HTTP clients of the program; clones share connections.
#[derive(Clone)]
pub struct Http {
    shared: Arc<Shared>,
}

struct Shared {
    config: HttpConfig,
    roots: Roots,
    resolver: Resolver,
    clients: Mutex<HashMap<ClientKey, reqwest::Client>>,
    operations: AtomicU64,
}

/// What makes a separate client necessary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClientKey {
    host: Option<String>,
    skip_verify: bool,
    sent_by: Option<Reach>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// Reads the roots and the resolver's configuration, and checks the settings of every host.
    ///
    /// # Errors
    /// [`Error::Config`] when a certificate or key that a host needs cannot be used.
    pub fn new(config: HttpConfig) -> Result<Self, Error> {
        let roots = Roots::read(&config);
        let shared = Shared {
            roots,
            resolver: Resolver::new(&config.name_servers),
            clients: Mutex::new(HashMap::new()),
            operations: AtomicU64::new(config.jitter_seed),
            config,
        };
        let http = Self {
            shared: Arc::new(shared),
        };
        for host in http.shared.config.hosts.keys() {
            http.client(ClientKey {
                host: Some(host.clone()),
                skip_verify: false,
                sent_by: None,
            })?;
        }
        Ok(http)
    }

    /// The settings.
    pub fn config(&self) -> &HttpConfig {
        &self.shared.config
    }

    /// Starts the tries of one operation.
    pub fn backoff(&self) -> Backoff {
        let seed = self
            .shared
            .operations
            .fetch_add(0x1000_0001, Ordering::Relaxed);
        Backoff::new(self.shared.config.retry, seed)
    }

    /// Sends a request until the answer is not a transient failure, or the policy says enough.
    ///
    /// # Errors
    /// The last failure. An answer with a status of failure is not an error here.
    pub async fn send_retrying(&self, request: &Request) -> Result<Response, Error> {
        let mut backoff = self.backoff();
        loop {
            let result = self.send(request.clone()).await;
            let asked = match &result {
                Ok(response) if is_transient(response.status()) => retry_after(response.headers()),
                Err(error) if error.is_transient() => None,
                Ok(_) | Err(_) => return result,
            };
            match backoff.next_wait(asked) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return result,
            }
        }
    }

    /// Finds the settings of the host of a URL: by `host:port` first, then by `host`.
    fn host_key(&self, url: &Url) -> Option<String> {
        let host = url.host_str()?;
        let with_port = format!("{host}:{}", url.port_or_known_default()?);
        [with_port, host.to_owned()]
            .into_iter()
            .find(|key| self.shared.config.hosts.contains_key(key))
    }

    fn client(&self, key: ClientKey) -> Result<reqwest::Client, Error> {
        let mut clients = self
            .shared
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build_client(&key)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn build_client(&self, key: &ClientKey) -> Result<reqwest::Client, Error> {
        let config = &self.shared.config;
        let host = key.host.as_ref().and_then(|host| config.hosts.get(host));
        let tls = tls::client_config(&self.shared.roots, host, key.skip_verify)?;
        let resolver = Guarded {
            resolver: self.shared.resolver.clone(),
            sent_by: key.sent_by,
        };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(&config.user_agent)
            .connect_timeout(config.connect_timeout)
            .http2_adaptive_window(true)
            .dns_resolver(Arc::new(resolver))
            .tls_backend_preconfigured(tls);
        if !config.proxies.is_empty() {
            let proxies = config.proxies.clone();
            builder = builder.proxy(reqwest::Proxy::custom(move |url| {
                proxies.for_url(url).cloned()
            }));
        }
        builder.build().map_err(|error| Error::Config {
            what: "HTTP client".to_owned(),
            reason: error.to_string(),
        })
    }
}
