//! Connections: each request is recorded, answered, and its answer damaged if a fault asks for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;

use super::answer::{Answer, plain};
use super::fault::damaged;
use super::{Action, Recorded, State};

pub(super) async fn serve(
    listener: std::net::TcpListener,
    state: Arc<Mutex<State>>,
    address: SocketAddr,
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
}
