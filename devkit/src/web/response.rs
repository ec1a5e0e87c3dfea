use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;

/// The body of a stand-in's response. An error in it closes the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    with(empty(status).map(|_| body), CONTENT_TYPE.as_str(), content_type)
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    bytes(status, "application/json; charset=utf-8", body.to_string())
}

pub(crate) fn html(status: StatusCode, page: String) -> Response<Body> {
    let headers = [("cache-control", "no-store"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")];
    let response = bytes(status, "text/html; charset=utf-8", page);
    headers.into_iter().fold(response, |response, (name, value)| with(response, name, value))
}

pub(crate) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    with(with(empty(status), "location", location), "cache-control", "no-store")
}

/// Replaces a body by its start, after which the connection ends, though `length` bytes were declared.
pub(crate) fn truncated(response: Response<Body>, start: Bytes, length: usize) -> Response<Body> {
    let frames = futures_util::stream::unfold(Some(start), |start| async move {
        if let Some(start) = start {
            return Some((Ok(Frame::data(start)), None));
        }
        // hyper drops with the connection what it has not sent yet.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Err(io::Error::other("truncated on purpose")), None))
    });
    let response = response.map(|_| StreamBody::new(frames).boxed_unsync());
    with(response, "content-length", &length.to_string())
}

/// Adds a header. An invalid one makes the response a 500.
pub(crate) fn with(mut response: Response<Body>, name: &str, value: &str) -> Response<Body> {
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        (Ok(name), Ok(value)) => {
            response.headers_mut().append(name, value);
        }
        _ => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}
