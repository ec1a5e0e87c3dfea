//! Forwarding mode: the request is rebuilt, the response is buffered whole.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Bytes;

use super::body::whole;
use super::invocation::{Call, Invocation};
use super::{headers, path};
use crate::web::Body;
use crate::web::response::empty;

/// Forwards a request. It runs to its end even if the client disconnects.
pub(super) async fn forward(invocation: Invocation, call: Call, body: Bytes) -> Response<Body> {
    let exchange = tokio::spawn(async move {
        tokio::select! {
            outcome = exchange(&invocation, &call, body) => outcome.unwrap_or_else(|reason| invocation.failed(&reason)),
            timed_out = invocation.timed_out() => timed_out,
        }
    });
    exchange.await.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn exchange(invocation: &Invocation, call: &Call, body: Bytes) -> Result<Response<Body>, String> {
    let method = &call.client.method;
    let request = request(call, body, &invocation.id)?;
    let send = || request.clone().map(whole);
    let client = &invocation.worker.client;
    let response = match client.send(send()).await {
        Err(failure) if failure.reused && matches!(*method, Method::GET | Method::HEAD) => {
            client.send_on_new_connection(send()).await
        }
        outcome => outcome,
    };
    let (parts, body) = response.map_err(|failure| failure.cause)?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    response_to_client(method, Response::from_parts(parts, body)).map(|response| response.map(whole))
}

/// What the handler gets.
fn request(call: &Call, body: Bytes, invocation: &str) -> Result<Request<Bytes>, String> {
    let headers = headers::forwarded(&call.client.headers, body.len(), invocation);
    call.request(&path::forwarded(&call.path, call.client.uri.query()), headers, body)
}

/// What the client gets, from the handler's response.
fn response_to_client(method: &Method, mut response: Response<Bytes>) -> Result<Response<Bytes>, String> {
    let status = response.status();
    if status.is_informational() {
        return Err(format!("the handler's response is {status}"));
    }
    let length = response.body().len();
    let headers = response.headers_mut();
    if headers.get(TRANSFER_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        headers.remove(TRANSFER_ENCODING);
    }
    if method != Method::HEAD && !matches!(status.as_u16(), 204 | 304) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.version_mut() = http::Version::HTTP_11;
    Ok(response)
}
