//! Connections that carry something else than HTTP, under the same rule of who may send us where.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use url::Url;

use super::Http;
use super::error::Error;
use super::reach::Reach;

impl Http {
    /// Connects to a host; `led_by` is the server that named it, if it was not the user. Proxies are not asked.
    ///
    /// # Errors
    /// When the name has no address, nobody answers, or that server may not send us there.
    pub async fn dial(
        &self,
        host: &str,
        port: u16,
        led_by: Option<&Url>,
    ) -> Result<TcpStream, Error> {
        let place = format!("{host}:{port}");
        let failed = |reason: String| Error::Connect {
            url: place.clone(),
            reason,
        };
        let mut addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self
                .shared
                .resolver
                .lookup(host)
                .await
                .map_err(|error| failed(error.to_string()))?,
        };
        if let Some(from) = led_by.filter(|from| from.host_str() != Some(host)) {
            let reach = self.reach_of(from).await;
            addresses.retain(|address| reach.may_send_to(Reach::of(*address)));
            if addresses.is_empty() {
                return Err(Error::PrivateTarget {
                    from: super::redact_url(from),
                    to: place,
                });
            }
        }
        let mut reason = None;
        for address in addresses {
            let connecting = TcpStream::connect(SocketAddr::new(address, port));
            match tokio::time::timeout(self.shared.config.connect_timeout, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => reason = Some(error.to_string()),
                Err(_) => reason = Some("no answer in time".to_owned()),
            }
        }
        Err(failed(
            reason.unwrap_or_else(|| "the name has no address".to_owned()),
        ))
    }
}
