//! `git-upload-pack` on the other side of SSH: one connection, one command, one stream.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russh::client::{AuthResult, Config, Handle, Msg};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Channel, ChannelMsg, Preferred};
use url::Url;

use super::GitServices;
use super::error::{GitError, SshTrouble};
use super::known_hosts::KnownHost;
use super::packet::Chunks;
use super::remote::SSH_PORT;
use super::wire::wait;
use crate::http::{Secret, printable};

/// The program that sends objects.
const SERVICE: &str = "git-upload-pack";
/// How many characters of what the server says beside its answer are shown.
const SAID_MAX: usize = 1000;
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_mins(1);
/// After so long without a word, the server is asked if it is still there; three times.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long the server may think about a pack.
const SILENCE: Duration = Duration::from_mins(10);

/// A place to connect to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) user: &'a str,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) path: &'a str,
    /// The address as it is shown.
    pub(super) url: &'a str,
}

/// A command that runs on the server.
pub(super) struct SshWire<'a> {
    channel: Channel<Msg>,
    /// The connection ends with it.
    _session: Handle<Guard>,
    services: &'a GitServices<'a>,
    received: Arc<AtomicU64>,
    url: String,
    said: Vec<u8>,
}

impl<'a> SshWire<'a> {
    /// Connects, proves who both sides are, and starts the command.
    pub(super) fn connect(
        place: Place<'_>,
        led_by: Option<&Url>,
        services: &'a GitServices<'a>,
        received: Arc<AtomicU64>,
    ) -> Result<Self, GitError> {
        let url = place.url.to_owned();
        let started = wait(services, async {
            let starting = start(place, led_by, services);
            let late = |_| SshTrouble::Interrupted {
                reason: "no answer in time".to_owned(),
            };
            let started = tokio::time::timeout(HANDSHAKE, starting).await;
            started.map_err(late).flatten()
        })?;
        let (session, channel) = started.map_err(|trouble| GitError::Ssh {
            url: url.clone(),
            trouble: Box::new(trouble),
        })?;
        Ok(Self {
            channel,
            _session: session,
            services,
            received,
            url,
            said: Vec::new(),
        })
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: Vec<u8>) -> Result<(), GitError> {
        wait(self.services, self.channel.data_bytes(request))?
            .map_err(|error| self.interrupted(&error.to_string()))
    }

    fn interrupted(&self, reason: &str) -> GitError {
        GitError::Ssh {
            url: self.url.clone(),
            trouble: Box::new(SshTrouble::Interrupted {
                reason: printable(reason, SAID_MAX),
            }),
        }
    }
}

impl Chunks for &mut SshWire<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, GitError> {
        loop {
            let channel = &mut self.channel;
            let message = wait(self.services, async {
                tokio::time::timeout(SILENCE, channel.wait()).await
            })?
            .map_err(|_| self.interrupted("the server says nothing any more"))?;
            match message {
                Some(ChannelMsg::Data { data }) => {
                    self.services.count(&self.received, data.len());
                    return Ok(Some(data));
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = SAID_MAX.saturating_sub(self.said.len());
                    self.said.extend_from_slice(&data[..data.len().min(room)]);
                }
                // What it says of its end may still come after the end of its answer.
                Some(ChannelMsg::Close) | None if self.said.is_empty() => {
                    return Err(self.interrupted("the server closed the connection"));
                }
                Some(ChannelMsg::Close) | None => {
                    return Err(GitError::Server {
                        url: self.url.clone(),
                        message: printable(&String::from_utf8_lossy(&self.said), SAID_MAX),
                    });
                }
                Some(_) => {}
            }
        }
    }
}

/// Knows the host that we mean to talk to.
struct Guard {
    known: KnownHost,
    verdict: Arc<Mutex<Option<SshTrouble>>>,
}

impl russh::client::Handler for Guard {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        match self.known.check(key) {
            Ok(()) => Ok(true),
            Err(trouble) => {
                *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
                Ok(false)
            }
        }
    }
}

async fn start(
    place: Place<'_>,
    led_by: Option<&Url>,
    services: &GitServices<'_>,
) -> Result<(Handle<Guard>, Channel<Msg>), SshTrouble> {
    let stream = services
        .http
        .dial(place.host, place.port, led_by)
        .await
        .map_err(|error| SshTrouble::Connect {
            reason: error.to_string(),
        })?;
    let ssh = &services.access.ssh;
    let known = KnownHost::find(place.host, place.port, &ssh.known_hosts);
    let config = Config {
        preferred: Preferred {
            key: known.algorithms(&Preferred::DEFAULT.key),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(KEEPALIVE),
        nodelay: true,
        ..Config::default()
    };
    let verdict = Arc::default();
    let guard = Guard {
        known,
        verdict: Arc::clone(&verdict),
    };
    let connected = russh::client::connect_stream(Arc::new(config), stream, guard).await;
    let mut session = connected.map_err(|error| {
        let verdict = verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let is_of_no_kind = matches!(
            error,
            russh::Error::NoCommonAlgo {
                kind: AlgorithmKind::Key,
                ..
            }
        );
        verdict.unwrap_or_else(|| {
            if is_of_no_kind {
                let host = host_and_port(place);
                SshTrouble::HostKind { host }
            } else {
                interrupted(&error)
            }
        })
    })?;
    prove(&mut session, place, services).await?;
    let channel = session
        .channel_open_session()
        .await
        .map_err(|error| interrupted(&error))?;
    // A server that does not take the variable speaks version 0.
    channel
        .set_env(false, "GIT_PROTOCOL", "version=2")
        .await
        .map_err(|error| interrupted(&error))?;
    channel
        .exec(false, command(place.path))
        .await
        .map_err(|error| interrupted(&error))?;
    Ok((session, channel))
}

fn interrupted(error: &russh::Error) -> SshTrouble {
    SshTrouble::Interrupted {
        reason: printable(&error.to_string(), SAID_MAX),
    }
}

/// Tries the keys that were given, then those of the agent.
async fn prove(
    session: &mut Handle<Guard>,
    place: Place<'_>,
    services: &GitServices<'_>,
) -> Result<(), SshTrouble> {
    let ssh = &services.access.ssh;
    let mut tried = Vec::new();
    for (name, text) in &ssh.keys {
        let key = match open_key(text, ssh.passphrase.as_ref()) {
            Ok(key) => key,
            Err(reason) => {
                tried.push(format!("{name} cannot be used ({reason})"));
                continue;
            }
        };
        let hash = rsa_hash(session, &key.algorithm()).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        let result = session
            .authenticate_publickey(place.user, key)
            .await
            .map_err(|error| interrupted(&error))?;
        if matches!(result, AuthResult::Success) {
            return Ok(());
        }
        tried.push(format!("{name} was refused"));
    }
    match &ssh.agent {
        Some(socket) => {
            if agent(session, place.user, socket, &mut tried).await? {
                return Ok(());
            }
        }
        None => tried.push("SSH_AUTH_SOCK is not set".to_owned()),
    }
    if ssh.keys.is_empty() {
        tried.insert(0, "no key file was found".to_owned());
    }
    Err(SshTrouble::Denied {
        user: place.user.to_owned(),
        host: host_and_port(place),
        tried: tried.join(", "),
    })
}

/// Tries the keys of an agent.
async fn agent(
    session: &mut Handle<Guard>,
    user: &str,
    socket: &Path,
    tried: &mut Vec<String>,
) -> Result<bool, SshTrouble> {
    let mut agent = match AgentClient::connect_uds(socket).await {
        Ok(agent) => agent,
        Err(error) => {
            tried.push(format!(
                "the agent of SSH_AUTH_SOCK does not answer ({error})"
            ));
            return Ok(false);
        }
    };
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(error) => {
            tried.push(format!(
                "the agent of SSH_AUTH_SOCK does not list its keys ({error})"
            ));
            return Ok(false);
        }
    };
    if identities.is_empty() {
        tried.push("the agent of SSH_AUTH_SOCK has no key".to_owned());
    }
    for identity in identities {
        let AgentIdentity::PublicKey { key, comment } = identity else {
            continue;
        };
        let name = format!("{} of the agent", printable(&comment, 60));
        let hash = rsa_hash(session, &key.algorithm()).await?;
        match session
            .authenticate_publickey_with(user, key, hash, &mut agent)
            .await
        {
            Ok(AuthResult::Success) => return Ok(true),
            Ok(AuthResult::Failure { .. }) => tried.push(format!("{name} was refused")),
            Err(error) => tried.push(format!("{name} does not sign ({error})")),
        }
    }
    Ok(false)
}

/// The hash to sign with, which only RSA leaves open.
async fn rsa_hash(
    session: &Handle<Guard>,
    algorithm: &Algorithm,
) -> Result<Option<HashAlg>, SshTrouble> {
    if !matches!(algorithm, Algorithm::Rsa { .. }) {
        return Ok(None);
    }
    let best = session
        .best_supported_rsa_hash()
        .await
        .map_err(|error| interrupted(&error))?;
    Ok(best.unwrap_or(Some(HashAlg::Sha512)))
}

/// Opens a key, with the passphrase if it has one; else says why it is of no use.
fn open_key(text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, String> {
    let open = |passphrase| russh::keys::decode_secret_key(text.expose(), passphrase);
    match open(None) {
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => match passphrase {
            None => Err(
                "it has a passphrase: set GIT_SSH_KEY_PASSPHRASE, or add the key to an agent"
                    .to_owned(),
            ),
            Some(passphrase) => open(Some(passphrase.expose())).map_err(|_| {
                "GIT_SSH_KEY_PASSPHRASE does not open it; ed25519 and ECDSA keys are understood, others through an agent"
                    .to_owned()
            }),
        },
        Err(error) => Err(format!(
            "{error}; ed25519 and ECDSA keys are understood, others through an agent"
        )),
    }
}

fn host_and_port(place: Place<'_>) -> String {
    match place.port {
        SSH_PORT => place.host.to_owned(),
        port => format!("{}:{port}", place.host),
    }
}

/// The command that the server runs, quoted for the shell of the other side.
fn command(path: &str) -> String {
    format!("{SERVICE} '{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_quotes() {
        assert_eq!(
            command("/a'; touch x; '"),
            r"git-upload-pack '/a'\''; touch x; '\'''"
        );
    }
}
