//! A registry inside the test: distribution-spec over HTTP/1.1 on a loopback port, with authentication, scripted
//! faults, and a record of every request that arrived.
//!
//! It runs on a thread of its own, so that tests of the library and black-box tests of the program can use it alike.
//! It is strict where a real registry is: digests are checked, a manifest's blobs must be there.

mod access;
mod answer;
mod fault;
mod respond;
mod serve;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::header::HeaderMap;
use longshore::oci::Digest;
use tokio::sync::oneshot;

// Whole, because no test program uses all of them.
pub(crate) use access::*;
pub(crate) use fault::*;

use serve::serve;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// When it had arrived.
    pub(crate) at: std::time::Instant,
}

impl Recorded {
    /// Gives everything that arrived as one text, to look for secrets in.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} {} {:?} {}",
            self.method,
            self.path,
            self.headers,
            String::from_utf8_lossy(&self.body)
        )
    }

    /// Gives a header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What the registry holds and how it behaves.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct State {
    /// Blobs by repository and digest.
    pub(crate) blobs: BTreeMap<(String, String), Bytes>,
    /// Manifests by repository and tag or digest, with their media types.
    pub(crate) manifests: BTreeMap<(String, String), (String, Bytes)>,
    /// All requests.
    pub(crate) requests: Vec<Recorded>,
    /// How many connections were accepted.
    pub(crate) connections: usize,
    /// Faults by chance, beside those.
    pub(crate) chaos: Option<Chaos>,
    /// Faults to come.
    pub(crate) faults: Vec<Fault>,
    /// Deletes nothing.
    pub(crate) refuses_deletion: bool,
    /// Answers mounts by opening an upload.
    pub(crate) refuses_mounts: bool,
    /// The largest body of an upload that is accepted.
    pub(crate) largest_upload: Option<usize>,
    /// Says in answers to manifests which digest they have.
    pub(crate) hides_digest: bool,
    /// Keeps the lists of referrers itself, and says so.
    pub(crate) has_referrers: bool,
    /// The password of `user`, if it is not [`PASSWORD`].
    pub(crate) password: Option<String>,
    /// What the token server says of the life of its tokens, as JSON; nothing if it is empty.
    pub(crate) token_lifetime: Option<String>,
    /// The version of HTTP of each request.
    pub(crate) versions: Vec<hyper::Version>,
    /// How long it thinks before it reads what is sent.
    pub(crate) delay: std::time::Duration,
    in_flight: usize,
    /// The most requests for blobs and uploads that there were at the same time.
    pub(crate) most_in_flight: usize,
    /// Who may come in; tokens that were given keep their uses.
    pub(crate) auth: Auth,
    uploads: BTreeMap<u64, (String, Vec<u8>)>,
    tokens: BTreeMap<String, (BTreeSet<String>, usize)>,
    counter: u64,
}

/// A running registry; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Registry {
    /// Starts a registry on a free port of 127.0.0.1.
    pub(crate) fn start(auth: Auth) -> Self {
        Self::start_with(auth, None)
    }

    /// Starts a registry behind TLS.
    pub(crate) fn start_tls(auth: Auth, tls: Arc<rustls::ServerConfig>) -> Self {
        Self::start_with(auth, Some(tls.into()))
    }

    fn start_with(auth: Auth, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let state = Arc::new(Mutex::new(State {
            auth,
            ..State::default()
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener, shared, address, tls) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Looks at or changes what the registry holds.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a blob into a repository.
    pub(crate) fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.state()
            .blobs
            .insert((repository.to_owned(), digest.to_string()), bytes);
        digest
    }

    /// Puts a manifest into a repository, under a tag and its digest.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        for name in [tag, digest.as_str()] {
            let key = (repository.to_owned(), name.to_owned());
            self.state()
                .manifests
                .insert(key, (media_type.to_owned(), bytes.clone()));
        }
        digest
    }

    /// Gives a manifest.
    pub(crate) fn manifest(&self, repository: &str, name: &str) -> Option<Bytes> {
        let key = (repository.to_owned(), name.to_owned());
        self.state()
            .manifests
            .get(&key)
            .map(|(_, bytes)| bytes.clone())
    }

    /// Gives a blob.
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.state()
            .blobs
            .get(&(repository.to_owned(), digest.to_string()))
            .cloned()
    }

    /// Adds a fault for the next `times` requests that match.
    pub(crate) fn fault(&self, method: &'static str, path: &str, times: usize, action: Action) {
        self.state().faults.push(Fault {
            method,
            path: path.to_owned(),
            after: 0,
            times,
            action,
        });
    }

    /// Counts the requests with a method and a part of their path.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let state = self.state();
        state
            .requests
            .iter()
            .filter(|request| request.method == method && request.path.contains(path))
            .count()
    }
}

/// Hashes as a digest says; SHA-256 if it is none.
fn digest_like(name: &str, bytes: &[u8]) -> Digest {
    let Ok(digest) = name.parse::<Digest>() else {
        return Digest::of(bytes);
    };
    let mut digester = digest.digester();
    digester.update(bytes);
    digester.finish()
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
