//! Connections: each request is recorded, answered, and its answer damaged if a fault asks for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::answer::{Answer, plain};
use super::fault::damaged;
use super::{Action, Recorded, State};

pub(super) async fn serve(
    listener: std::net::TcpListener,
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let state = Arc::clone(&state);
        state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .connections += 1;
        let tls = tls.clone();
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return speak(stream, false, state, address).await;
            };
            // A client that does not trust us goes away.
            if let Ok(stream) = tls.accept(stream).await {
                let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                speak(stream, is_two, state, address).await;
            }
        });
    }
}

/// Serves one connection. A client that goes away is no failure of the registry.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_two: bool,
    state: Arc<Mutex<State>>,
    address: SocketAddr,
) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state), address));
    let stream = TokioIo::new(stream);
    if is_two {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(stream, service)
            .await;
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
    let no_read = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.versions.push(head.version);
        state.take_no_read(&head.method, &path)
    };
    if let Some(time) = no_read {
        tokio::time::sleep(time).await;
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    let is_transfer = path.contains("/blobs/sha") || head.method == Method::PUT;
    let delay = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if is_transfer {
            state.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
        }
        state.delay
    };
    tokio::time::sleep(delay).await;
    let body = body.collect().await;
    if is_transfer {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.in_flight -= 1;
    }
    let body = match body {
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
            at: std::time::Instant::now(),
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
}
