//! Names to addresses, without the C library: its resolver loads modules, which may be an image's by then.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::reach::Reach;

/// The resolver of all clients; its configuration is read once, when it is made.
#[derive(Clone, Debug)]
pub(super) struct Resolver(Arc<Result<TokioResolver, String>>);

impl Resolver {
    /// Reads `/etc/resolv.conf`, unless name servers are given, and `/etc/hosts`. A machine without them can still reach
    /// addresses.
    pub(super) fn new(name_servers: &[SocketAddr]) -> Self {
        let builder = if name_servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = name_servers.iter().map(|address| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                server
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            let provider = TokioRuntimeProvider::default();
            Ok(TokioResolver::builder_with_config(config, provider))
        };
        let made = builder.and_then(|mut builder| {
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
            builder.build()
        });
        Self(Arc::new(made.map_err(|error| {
            format!("no name resolution from /etc/resolv.conf: {error}")
        })))
    }

    /// Gives the addresses of a name.
    pub(super) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let resolver = self
            .0
            .as_ref()
            .as_ref()
            .map_err(|reason| LookupError(reason.clone()))?;
        let found = resolver
            .lookup_ip(name)
            .await
            .map_err(|error| LookupError(error.to_string()))?;
        Ok(found.iter().collect())
    }
}

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct LookupError(String);

/// All addresses of a name are nearer than the server that sent us there may send us.
#[derive(Debug, thiserror::Error)]
#[error("the name has private addresses only")]
pub(super) struct Refused;

/// A resolver for hops that a server of the given reach sent us to; with none it gives every address.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) resolver: Resolver,
    pub(super) sent_by: Option<Reach>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.resolver.clone();
        let sent_by = self.sent_by;
        Box::pin(async move {
            let mut found = resolver.lookup(name.as_str()).await?;
            if let Some(from) = sent_by {
                found.retain(|address| from.may_send_to(Reach::of(*address)));
                if found.is_empty() {
                    return Err(Refused.into());
                }
            }
            let addresses: Addrs =
                Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
