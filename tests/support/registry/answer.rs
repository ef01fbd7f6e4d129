//! Answers and their parts.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header;
use hyper::{Method, Response, StatusCode};

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(super) type Answer = Response<Body>;

pub(super) fn unknown(code: &str) -> Answer {
    plain(
        404,
        format!(r#"{{"errors":[{{"code":"{code}","message":"not here"}}]}}"#),
    )
}

pub(super) fn plain(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

pub(super) fn with(status: u16, bytes: Bytes, method: &Method) -> Answer {
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

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
