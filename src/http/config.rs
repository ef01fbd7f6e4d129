//! Everything the clients are built from, as values: nothing here is read from the environment.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::Error;

/// Files in which the common systems keep their bundle of certificate authorities.
pub const SYSTEM_CA_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Time to connect, name resolution and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A transfer in which no byte moves for so long is ended and tried again.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for an answer after the last byte of an upload: a registry may copy and hash gigabytes before it replies.
pub const COMMIT_TIMEOUT: Duration = Duration::from_mins(5);

/// What the HTTP clients are made of.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// Bundles of certificate authorities in PEM; those that do not exist are skipped.
    pub ca_files: Vec<PathBuf>,
    /// What differs for one host, by `host` or `host:port`.
    pub hosts: BTreeMap<String, HostTls>,
    /// Proxies to use.
    pub proxies: Proxies,
    /// Name servers to ask instead of those of `/etc/resolv.conf`; with none, those are asked.
    pub name_servers: Vec<SocketAddr>,
    /// Limit of the connection's set-up.
    pub connect_timeout: Duration,
    /// Limit without any progress.
    pub stall_timeout: Duration,
    /// Limit for the answer to a finished upload.
    pub commit_timeout: Duration,
    /// When and how often a transient failure is tried again.
    pub retry: super::RetryPolicy,
    /// Where the jitter of the retries begins: different for different processes.
    pub jitter_seed: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("longshore/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_files: SYSTEM_CA_FILES.iter().map(PathBuf::from).collect(),
            hosts: BTreeMap::new(),
            proxies: Proxies::default(),
            name_servers: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            stall_timeout: STALL_TIMEOUT,
            commit_timeout: COMMIT_TIMEOUT,
            retry: super::RetryPolicy::default(),
            jitter_seed: 0,
        }
    }
}

/// What differs in TLS for one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTls {
    /// Additional certificate authorities, PEM files. Each must exist.
    pub ca_files: Vec<PathBuf>,
    /// Accept any certificate.
    pub skip_verify: bool,
    /// A certificate chain and a private key, both PEM files, to identify ourselves with.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

/// Proxies and the hosts that are reached without one, with the meaning of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    direct: Vec<Direct>,
}

/// One entry of a `NO_PROXY` list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    Address(IpAddr),
    Network(IpAddr, u8),
    Domain { suffix: String, port: Option<u16> },
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.as_ref().map(super::redact_url))
            .field("https", &self.https.as_ref().map(super::redact_url))
            .field("direct", &self.direct)
            .finish()
    }
}

impl Proxies {
    /// Makes the rule from the three values as they are written in the environment; an empty value is none.
    ///
    /// # Errors
    /// When a proxy is not a URL of scheme http or https.
    pub fn new(
        http: Option<&str>,
        https: Option<&str>,
        no_proxy: Option<&str>,
    ) -> Result<Self, Error> {
        Ok(Self {
            http: http.map(proxy_url).transpose()?.flatten(),
            https: https.map(proxy_url).transpose()?.flatten(),
            direct: no_proxy
                .unwrap_or_default()
                .split([',', ' '])
                .filter_map(direct)
                .collect(),
        })
    }

    /// Gives the proxy for a URL, if it is to be reached through one.
    pub fn for_url(&self, url: &Url) -> Option<&Url> {
        let proxy = if url.scheme() == "https" {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }?;
        let host = url
            .host_str()?
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let port = url.port_or_known_default();
        (!self
            .direct
            .iter()
            .any(|entry| entry.covers(&host, address, port)))
        .then_some(proxy)
    }

    /// Says whether no proxy is set at all.
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }
}

impl Direct {
    fn covers(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        match self {
            Self::All => true,
            Self::Address(entry) => address == Some(*entry),
            Self::Network(network, bits) => {
                address.is_some_and(|address| in_network(address, *network, *bits))
            }
            Self::Domain {
                suffix,
                port: wanted,
            } => {
                let host_matches = host == suffix
                    || host
                        .strip_suffix(suffix.as_str())
                        .is_some_and(|head| head.ends_with('.'));
                host_matches && wanted.is_none_or(|wanted| port == Some(wanted))
            }
        }
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let shift = 32 - u32::from(bits);
            shift == 32 || u32::from(address) >> shift == u32::from(network) >> shift
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let shift = 128 - u32::from(bits);
            shift == 128 || u128::from(address) >> shift == u128::from(network) >> shift
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Reads one proxy: a URL, or `host:port`, which means http.
fn proxy_url(text: &str) -> Result<Option<Url>, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    match url {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() => {
            Ok(Some(url))
        }
        Ok(url) => Err(Error::Config {
            what: "proxy".to_owned(),
            reason: format!(
                "scheme `{}` is not supported, only http and https are",
                url.scheme()
            ),
        }),
        Err(error) => Err(Error::Config {
            what: "proxy".to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn direct(entry: &str) -> Option<Direct> {
    let entry = entry.trim().to_ascii_lowercase();
    if entry.is_empty() {
        return None;
    }
    if entry == "*" {
        return Some(Direct::All);
    }
    if let Ok(address) = entry.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(Direct::Address(address));
    }
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u8>())
        && bits <= if network.is_ipv4() { 32 } else { 128 }
    {
        return Some(Direct::Network(network, bits));
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => match port.parse() {
            Ok(port) => (name.to_owned(), Some(port)),
            Err(_) => (entry.clone(), None),
        },
        None => (entry.clone(), None),
    };
    let suffix = name
        .trim_start_matches('*')
        .trim_start_matches('.')
        .to_owned();
    (!suffix.is_empty()).then_some(Direct::Domain { suffix, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_honoured() {
        let proxies = Proxies::new(
            Some("http://u:secret@proxy:3128"),
            Some("proxy:3129"),
            Some("corp.example, .lan,10.0.0.0/8,192.168.1.7,exact.io:5000,fd00::/8"),
        )
        .expect("proxies");
        let check = |url: &str, expect: Option<&str>| {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(
                proxies.for_url(&url).and_then(Url::host_str),
                expect,
                "{url}"
            );
        };
        check("https://ghcr.io/v2/", Some("proxy"));
        check("http://ghcr.io/v2/", Some("proxy"));
        check("https://corp.example/", None);
        check("https://a.corp.example/", None);
        check("https://notcorp.example/", Some("proxy"));
        check("https://x.lan/", None);
        check("http://10.9.8.7:5000/", None);
        check("http://11.9.8.7:5000/", Some("proxy"));
        check("http://192.168.1.7/", None);
        check("http://exact.io:5000/", None);
        check("http://exact.io:5001/", Some("proxy"));
        check("http://[fd00::1]/", None);
        check("http://localhost:5000/", None);
        check("http://127.0.0.1:5000/", None);
        assert!(!format!("{proxies:?}").contains("secret"));
    }

    #[test]
    fn proxies_of_other_schemes_are_refused() {
        assert!(Proxies::new(None, Some("socks5://x:1"), None).is_err());
        assert!(Proxies::new(Some(""), None, None).expect("none").is_empty());
    }
}
