//! A registry inside the test: distribution-spec over HTTP/1.1 on a loopback port, with authentication, scripted
//! faults, and a record of every request that arrived.
//!
//! It runs on a thread of its own, so that tests of the library and black-box tests of the program can use it alike.
//! It is strict where a real registry is: digests are checked, a manifest's blobs must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use longshore::oci::Digest;
use tokio::sync::oneshot;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Answer = Response<Body>;

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub(crate) enum Auth {
    /// Everybody.
    #[default]
    Open,
    /// `user` with `password`.
    Basic,
    /// Who has a token of the token server, which knows `user`, `password`, and the identity token `identity`.
    /// Without any of them it gives tokens to pull.
    Bearer {
        /// How often a token is accepted.
        uses: usize,
        /// Where the token server is said to be; the registry itself if nothing is said.
        realm: Option<String>,
    },
}

/// The password that the registry and its token server accept, and that must not go anywhere else.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// The identity token that the token server accepts.
pub(crate) const IDENTITY: &str = "identity-token-of-user";

/// What happens to requests that match.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The method, or `*`.
    pub(crate) method: &'static str,
    /// A part of the path and query.
    pub(crate) path: String,
    /// So many matching requests are answered as usual first.
    pub(crate) after: usize,
    /// So many are answered with the fault then.
    pub(crate) times: usize,
    /// What is answered.
    pub(crate) action: Action,
}

/// What a fault does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Answers a status with headers and a body, without doing anything.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Does what was asked, and ends the connection instead of answering.
    DropAnswer,
    /// Answers with a body that breaks off after so many bytes.
    CutBody(usize),
    /// Answers with one bit of the body changed.
    FlipBit,
    /// Answers with so many bytes more than there are.
    Longer(usize),
    /// Answers as if no range were asked for.
    IgnoreRange,
    /// Answers a range with another start than it says it does not have.
    WrongRange,
    /// Stops in the middle of the body.
    Stall(Duration),
}

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
pub(crate) struct State {
    /// Blobs by repository and digest.
    pub(crate) blobs: BTreeMap<(String, String), Bytes>,
    /// Manifests by repository and tag or digest, with their media types.
    pub(crate) manifests: BTreeMap<(String, String), (String, Bytes)>,
    /// All requests.
    pub(crate) requests: Vec<Recorded>,
    /// Faults to come.
    pub(crate) faults: Vec<Fault>,
    /// Answers mounts by opening an upload.
    pub(crate) refuses_mounts: bool,
    /// The largest body of an upload that is accepted.
    pub(crate) largest_upload: Option<usize>,
    /// Says in answers to manifests which digest they have.
    pub(crate) hides_digest: bool,
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
                    () = serve(listener, shared, address) => {}
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

async fn serve(listener: std::net::TcpListener, state: Arc<Mutex<State>>, address: SocketAddr) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state), address));
            // A client that goes away is no failure of the registry.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    address: SocketAddr,
) -> Result<Answer, std::io::Error> {
    let (head, body) = request.into_parts();
    let path = head
        .uri
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
    };
    let (answer, fault) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.record_and_respond(&head.method, &path, head.headers, &body, address)
    };
    match fault {
        None => Ok(answer),
        Some(Action::DropAnswer) => Err(std::io::ErrorKind::ConnectionReset.into()),
        Some(action) => Ok(damaged(answer, action).await),
    }
}

/// Damages the body of an answer; its headers still speak of the whole one.
async fn damaged(answer: Answer, action: Action) -> Answer {
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await.expect("a body in memory").to_bytes();
    let body = match action {
        Action::FlipBit => {
            let mut bytes = bytes.to_vec();
            if let Some(byte) = bytes.first_mut() {
                *byte ^= 1;
            }
            full(bytes.into())
        }
        Action::Longer(count) => {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len() + count, 0);
            head.headers
                .insert(header::CONTENT_LENGTH, bytes.len().into());
            full(bytes.into())
        }
        Action::WrongRange => {
            head.headers.insert(
                header::CONTENT_RANGE,
                HeaderValue::from_static("bytes 0-1/2"),
            );
            full(bytes)
        }
        Action::CutBody(count) => {
            head.headers
                .insert(header::CONTENT_LENGTH, bytes.len().into());
            let sent = bytes.slice(..count.min(bytes.len()));
            // Time for the bytes to leave before the connection is cut.
            let tail = stream::once(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            });
            let frames =
                futures_util::StreamExt::chain(stream::iter([Ok(Frame::data(sent))]), tail);
            StreamBody::new(frames).boxed_unsync()
        }
        Action::Stall(time) => {
            head.headers
                .insert(header::CONTENT_LENGTH, bytes.len().into());
            let (first, rest) = (
                bytes.slice(..bytes.len() / 2),
                bytes.slice(bytes.len() / 2..),
            );
            let tail = stream::once(async move {
                tokio::time::sleep(time).await;
                Ok(Frame::data(rest))
            });
            let frames =
                futures_util::StreamExt::chain(stream::iter([Ok(Frame::data(first))]), tail);
            StreamBody::new(frames).boxed_unsync()
        }
        Action::Status(..) | Action::DropAnswer | Action::IgnoreRange => full(bytes),
    };
    Response::from_parts(head, body)
}

impl State {
    /// Answers a request; gives the fault that is to damage the answer.
    fn record_and_respond(
        &mut self,
        method: &Method,
        path: &str,
        mut headers: HeaderMap,
        body: &Bytes,
        address: SocketAddr,
    ) -> (Answer, Option<Action>) {
        self.requests.push(Recorded {
            method: method.to_string(),
            path: path.to_owned(),
            headers: headers.clone(),
            body: body.clone(),
        });
        let mut fault = self.take_fault(method, path);
        if let Some(Action::Status(status, headers, body)) = &fault {
            let mut answer = plain(*status, body.clone());
            for (name, value) in headers {
                let name = HeaderName::from_static(name);
                answer
                    .headers_mut()
                    .insert(name, HeaderValue::from_str(value).expect("a header"));
            }
            return (answer, None);
        }
        if matches!(fault, Some(Action::IgnoreRange)) {
            headers.remove(header::RANGE);
            fault = None;
        }
        (self.respond(method, path, &headers, body, address), fault)
    }

    fn take_fault(&mut self, method: &Method, path: &str) -> Option<Action> {
        let matching = self.faults.iter_mut().find(|fault| {
            (fault.method == "*" || fault.method == method.as_str())
                && path.contains(&fault.path)
                && fault.times > 0
        })?;
        if matching.after > 0 {
            matching.after -= 1;
            return None;
        }
        matching.times -= 1;
        Some(matching.action.clone())
    }

    fn respond(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
        address: SocketAddr,
    ) -> Answer {
        let (path, raw_query) = path.split_once('?').unwrap_or((path, ""));
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(raw_query.as_bytes())
            .into_owned()
            .collect();
        if path == "/token" {
            let pairs = if *method == Method::POST {
                &body[..]
            } else {
                raw_query.as_bytes()
            };
            let pairs: Vec<(String, String)> =
                url::form_urlencoded::parse(pairs).into_owned().collect();
            return self.token(method, headers, &pairs);
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return plain(404, "");
        };
        if let Some(refusal) = self.refusal(rest, method, headers, address) {
            return refusal;
        }
        if rest.is_empty() {
            return plain(200, "{}");
        }
        for (marker, handle) in [
            (
                "/blobs/uploads/",
                Self::upload as fn(&mut Self, &Given<'_>) -> Answer,
            ),
            ("/blobs/", Self::get_blob),
            ("/manifests/", Self::manifest),
        ] {
            if let Some((repository, name)) = rest.rsplit_once(marker) {
                return handle(
                    self,
                    &Given {
                        method,
                        repository,
                        name,
                        query: &query,
                        headers,
                        body,
                    },
                );
            }
        }
        plain(404, "")
    }

    fn token(
        &mut self,
        method: &Method,
        headers: &HeaderMap,
        pairs: &[(String, String)],
    ) -> Answer {
        let values = |name: &'static str| {
            pairs
                .iter()
                .filter(move |(key, _)| key == name)
                .map(|(_, value)| value)
        };
        let scopes: BTreeSet<String> = values("scope")
            .flat_map(|scope| scope.split(' '))
            .map(str::to_owned)
            .collect();
        let knows = match *method {
            Method::POST => values("refresh_token").any(|token| token == IDENTITY),
            _ => headers
                .get(header::AUTHORIZATION)
                .is_some_and(|value| value == basic().as_str()),
        };
        let has_tried = *method == Method::POST || headers.contains_key(header::AUTHORIZATION);
        if has_tried && !knows {
            return plain(
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong credentials"}]}"#,
            );
        }
        let Auth::Bearer { uses, .. } = self.auth else {
            return plain(404, "");
        };
        self.counter += 1;
        let token = format!("token-{}", self.counter);
        let granted = scopes
            .into_iter()
            .filter(|scope| knows || scope.ends_with(":pull"))
            .collect();
        self.tokens.insert(token.clone(), (granted, uses));
        plain(200, format!(r#"{{"token":"{token}","expires_in":300}}"#))
    }

    fn refusal(
        &mut self,
        rest: &str,
        method: &Method,
        headers: &HeaderMap,
        address: SocketAddr,
    ) -> Option<Answer> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let challenge = match &self.auth {
            Auth::Open => return None,
            Auth::Basic => {
                if given == Some(basic().as_str()) {
                    return None;
                }
                r#"Basic realm="test, registry""#.to_owned()
            }
            Auth::Bearer { realm, .. } => {
                let realm = realm
                    .clone()
                    .unwrap_or_else(|| format!("http://{address}/token"));
                let challenge =
                    format!(r#"Bearer realm="{realm}",service="test",scope="repository:a,b:pull""#);
                let token = given
                    .and_then(|given| given.strip_prefix("Bearer "))
                    .unwrap_or_default();
                if let Some((granted, uses)) = self.tokens.get_mut(token)
                    && *uses > 0
                {
                    let is_write = !matches!(*method, Method::GET | Method::HEAD);
                    let repository = rest
                        .split("/blobs/")
                        .next()
                        .and_then(|rest| rest.split("/manifests/").next());
                    let repository = repository.unwrap_or_default();
                    let needed = format!("repository:{repository}:");
                    let allows = |scope: &String| {
                        scope
                            .strip_prefix(&needed)
                            .is_some_and(|rights| !is_write || rights.contains("push"))
                    };
                    if granted.iter().any(allows) {
                        *uses -= 1;
                        return None;
                    }
                }
                challenge
            }
        };
        let mut answer = plain(
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        );
        answer.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_str(&challenge).expect("a header"),
        );
        Some(answer)
    }

    fn get_blob(&mut self, given: &Given<'_>) -> Answer {
        let key = (given.repository.to_owned(), given.name.to_owned());
        let Some(bytes) = self.blobs.get(&key) else {
            return unknown("BLOB_UNKNOWN");
        };
        let range = given
            .headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        let start = range.and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        let total = bytes.len();
        match start {
            Some(start) if start >= total => plain(416, ""),
            Some(start) => {
                let mut answer = with(206, bytes.slice(start..), given.method);
                let range = format!("bytes {start}-{}/{total}", total - 1);
                answer.headers_mut().insert(
                    header::CONTENT_RANGE,
                    HeaderValue::from_str(&range).expect("a header"),
                );
                answer
            }
            None => with(200, bytes.clone(), given.method),
        }
    }

    fn manifest(&mut self, given: &Given<'_>) -> Answer {
        let key = (given.repository.to_owned(), given.name.to_owned());
        if *given.method != Method::PUT {
            let Some((media_type, bytes)) = self.manifests.get(&key) else {
                return unknown("MANIFEST_UNKNOWN");
            };
            let mut answer = with(200, bytes.clone(), given.method);
            answer.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_str(media_type).expect("a header"),
            );
            if !self.hides_digest {
                let digest = HeaderValue::from_str(Digest::of(bytes).as_str()).expect("a header");
                answer.headers_mut().insert("docker-content-digest", digest);
            }
            return answer;
        }
        let digest = Digest::of(given.body);
        if given.name.contains(':') && given.name != digest.as_str() {
            return plain(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
        }
        let document: serde_json::Value = serde_json::from_slice(given.body).unwrap_or_default();
        let layers = document["layers"].as_array().cloned().unwrap_or_default();
        for descriptor in layers.iter().chain([&document["config"]]) {
            let wanted = descriptor["digest"].as_str().unwrap_or_default();
            let is_foreign = descriptor["urls"].is_array();
            if !is_foreign
                && !self
                    .blobs
                    .contains_key(&(given.repository.to_owned(), wanted.to_owned()))
            {
                return plain(
                    400,
                    r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#,
                );
            }
        }
        let media_type = given
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let entry = (
            media_type.unwrap_or_default().to_owned(),
            given.body.clone(),
        );
        for name in [given.name, digest.as_str()] {
            self.manifests.insert(
                (given.repository.to_owned(), name.to_owned()),
                entry.clone(),
            );
        }
        plain(201, "")
    }

    fn upload(&mut self, given: &Given<'_>) -> Answer {
        if self
            .largest_upload
            .is_some_and(|largest| given.body.len() > largest)
        {
            return plain(413, "<html>too large</html>");
        }
        if *given.method == Method::POST {
            return self.start_upload(given);
        }
        let Ok(id) = given.name.parse::<u64>() else {
            return unknown("BLOB_UPLOAD_UNKNOWN");
        };
        let Some((_, content)) = self.uploads.get_mut(&id) else {
            return unknown("BLOB_UPLOAD_UNKNOWN");
        };
        match *given.method {
            Method::PATCH => {
                let range = given
                    .headers
                    .get(header::CONTENT_RANGE)
                    .and_then(|value| value.to_str().ok());
                let start = range.and_then(|range| range.split('-').next()?.parse::<usize>().ok());
                if start.is_some_and(|start| start != content.len()) {
                    return plain(416, "");
                }
                content.extend_from_slice(given.body);
                progress(202, given.repository, id, content.len())
            }
            Method::GET => progress(204, given.repository, id, content.len()),
            Method::DELETE => {
                self.uploads.remove(&id);
                plain(204, "")
            }
            Method::PUT => {
                content.extend_from_slice(given.body);
                let content = Bytes::from(std::mem::take(content));
                let digest = Digest::of(&content);
                if given.query.get("_state").map(String::as_str) != Some("a+b/c=")
                    || given.query.get("digest").map(String::as_str) != Some(digest.as_str())
                {
                    return plain(
                        400,
                        r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#,
                    );
                }
                self.uploads.remove(&id);
                self.blobs
                    .insert((given.repository.to_owned(), digest.to_string()), content);
                plain(201, "")
            }
            _ => plain(405, ""),
        }
    }

    fn start_upload(&mut self, given: &Given<'_>) -> Answer {
        if let (Some(digest), Some(from), false) = (
            given.query.get("mount"),
            given.query.get("from"),
            self.refuses_mounts,
        ) && let Some(bytes) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
        {
            self.blobs
                .insert((given.repository.to_owned(), digest.clone()), bytes);
            return plain(201, "");
        }
        self.counter += 1;
        let id = self.counter;
        self.uploads
            .insert(id, (given.repository.to_owned(), Vec::new()));
        progress(202, given.repository, id, 0)
    }
}

/// A request to a repository, taken apart.
struct Given<'a> {
    method: &'a Method,
    repository: &'a str,
    name: &'a str,
    query: &'a BTreeMap<String, String>,
    headers: &'a HeaderMap,
    body: &'a Bytes,
}

/// The header by which `user` identifies itself.
fn basic() -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("user:{PASSWORD}"));
    format!("Basic {pair}")
}

fn progress(status: u16, repository: &str, id: u64, received: usize) -> Answer {
    let mut answer = plain(status, "");
    let location = format!("/v2/{repository}/blobs/uploads/{id}?_state=a%2Bb%2Fc%3D");
    answer.headers_mut().insert(
        header::LOCATION,
        HeaderValue::from_str(&location).expect("a header"),
    );
    let range = format!("0-{}", received.saturating_sub(1));
    answer.headers_mut().insert(
        header::RANGE,
        HeaderValue::from_str(&range).expect("a header"),
    );
    answer
}

fn unknown(code: &str) -> Answer {
    plain(
        404,
        format!(r#"{{"errors":[{{"code":"{code}","message":"not here"}}]}}"#),
    )
}

fn plain(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

fn with(status: u16, bytes: Bytes, method: &Method) -> Answer {
    let length = bytes.len();
    let mut answer = plain(
        status,
        if *method == Method::HEAD {
            Bytes::new()
        } else {
            bytes
        },
    );
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    answer
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
