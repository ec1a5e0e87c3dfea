use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use serde_json::Value;

/// What stand-ins answer with. An error in it cuts the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut reply = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    bytes(status, "application/json; charset=utf-8", body.to_string())
}

pub(crate) fn html(status: StatusCode, page: String) -> Response<Body> {
    let reply = bytes(status, "text/html; charset=utf-8", page);
    let reply = with(reply, CACHE_CONTROL, "no-store");
    let reply = with(reply, HeaderName::from_static("x-frame-options"), "DENY");
    with(reply, HeaderName::from_static("referrer-policy"), "no-referrer")
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut reply = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = status;
    reply
}

pub(crate) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let reply = with(empty(status), LOCATION, location);
    with(reply, CACHE_CONTROL, "no-store")
}

/// Replaces a body by its start, after which the connection ends, though `announced` bytes were promised.
pub(crate) fn cut(answer: Response<Body>, start: Bytes, announced: usize) -> Response<Body> {
    let frames = futures_util::stream::unfold(Some(start), |start| async move {
        if let Some(start) = start {
            return Some((Ok(Frame::data(start)), None));
        }
        // What came before must have left, else hyper drops it with the connection.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Err(io::Error::other("cut on purpose")), None))
    });
    let answer = answer.map(|_| StreamBody::new(frames).boxed_unsync());
    with(answer, CONTENT_LENGTH, &announced.to_string())
}

/// Adds a header line. A value that cannot stand in a header is a fault of the caller's, told by a 500.
pub(crate) fn with(mut reply: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            reply.headers_mut().append(name, value);
        }
        Err(_) => *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    reply
}

/// A body that is not ready when first asked, so that hyper sends the head alone, as Graph does.
pub(super) struct Split {
    body: Body,
    asked: bool,
}

impl Split {
    pub(super) fn body(body: Body) -> Body {
        Self { body, asked: false }.boxed_unsync()
    }
}

impl http_body::Body for Split {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.asked {
            self.asked = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
