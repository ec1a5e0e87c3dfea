//! Forwarding mode: the request is rebuilt, the response is buffered whole.

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::Bytes;

use super::{body::whole, headers, invocation::Invocation, path};
use crate::web::{Body, response::empty};

/// Forwards a request. It runs to its end even if the client disconnects.
pub(super) async fn forward(invocation: Invocation, path: String, client: Parts, body: Bytes) -> Response<Body> {
    let exchange = tokio::spawn(async move {
        tokio::select! {
            outcome = exchange(&invocation, &path, &client, body) => {
                outcome.unwrap_or_else(|reason| invocation.failed(&reason))
            }
            timed_out = invocation.timed_out() => timed_out,
        }
    });
    exchange.await.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn exchange(invocation: &Invocation, path: &str, client: &Parts, body: Bytes) -> Result<Response<Body>, String> {
    let request = request(path, client, body, &invocation.id)?;
    let send = || request.clone().map(whole);
    let worker = &invocation.worker.client;
    let response = match worker.send(send()).await {
        Err(failure) if failure.reused && matches!(client.method, Method::GET | Method::HEAD) => {
            worker.send_on_new_connection(send()).await
        }
        outcome => outcome,
    };
    let (parts, body) = response.map_err(|failure| failure.cause)?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    response_to_client(&client.method, Response::from_parts(parts, body)).map(|response| response.map(whole))
}

/// What the handler gets, from what the client sent and the path as Kestrel decoded it.
fn request(path: &str, client: &Parts, body: Bytes, invocation: &str) -> Result<Request<Bytes>, String> {
    let target = path::forwarded(path, client.uri.query());
    let headers = headers::forwarded(&client.headers, body.len(), invocation);
    let mut request = Request::new(body);
    *request.method_mut() = client.method.clone();
    *request.uri_mut() = target.parse().map_err(|error| format!("the target {target} is not valid: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
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
