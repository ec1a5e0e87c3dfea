//! Forwarding mode: the request is rebuilt, the response is buffered whole.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;

use super::body::{ReplayableBody, Upload, whole};
use super::client::Reply;
use super::invocation::{Call, Invocation};
use super::wire::Head;
use super::{headers, path};
use crate::web::Body;
use crate::web::response::{empty, with};

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
    let length = body.len();
    let headers = headers::forwarded(&call.client.headers, &call.client.method, length, &invocation.id);
    let headers = headers.ok_or("the Content-Type cannot be parsed")?;
    let request: Request<()> = call.request(&path::forwarded(&call.path, call.client.uri.query()), headers, ())?;
    let body = ReplayableBody::new(Upload::Whole(body), length);
    let reply = invocation.worker.client.send(&request, &body, length == 0).await;
    let Reply { head, body } = reply.map_err(|failure| failure.cause)?;
    if head.status.is_informational() {
        return Err(format!("the handler's response is {}", head.status));
    }
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    if head.has_chunks() && head.lines.iter().any(|(name, _)| name == CONTENT_LENGTH) {
        let failed = invocation.failed("the response has both a length and chunks");
        return Ok(with(failed, "connection", "close"));
    }
    invocation.succeeded();
    Ok(response_to_client(&call.client.method, &head, body))
}

/// What the client gets, from the handler's response.
fn response_to_client(method: &Method, head: &Head, body: Bytes) -> Response<Body> {
    let reason = ReasonPhrase::try_from(head.reason.as_slice()).ok().filter(|reason| !reason.as_bytes().is_empty());
    let (mut response, headers) = match head.headers() {
        Ok(headers) => {
            let length = HeaderValue::from(body.len());
            let mut response = Response::new(whole(body));
            *response.status_mut() = head.status;
            let mut headers = headers;
            headers.remove(TRANSFER_ENCODING);
            if *method != Method::HEAD
                && head.status != StatusCode::NO_CONTENT
                && head.status != StatusCode::NOT_MODIFIED
            {
                headers.insert(CONTENT_LENGTH, length.clone());
            }
            if head.status == StatusCode::NOT_MODIFIED {
                headers.entry(CONTENT_LENGTH).or_insert(length);
            }
            (response, headers)
        }
        // The host has begun to copy, and fails then.
        Err(mut headers) => {
            headers.remove(CONTENT_LENGTH);
            headers.remove("content-disposition");
            (empty(StatusCode::INTERNAL_SERVER_ERROR), headers)
        }
    };
    response.headers_mut().extend(rewritten(&headers));
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    response
}

/// .NET parses some response headers and writes them again.
fn rewritten(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in headers.keys() {
        let values = || headers.get_all(name).iter().filter(|value| !value.is_empty());
        let texts = || values().filter_map(|value| value.to_str().ok());
        let items = || texts().flat_map(|text| text.split(',')).map(str::trim).filter(|item| !item.is_empty());
        let lines: Vec<String> = match name.as_str() {
            "vary" | "allow" | "content-language" => items().map(str::to_owned).collect(),
            "cache-control" => vec![items().map(headers::cache_directive).collect::<Vec<_>>().join(", ")],
            "location" => texts().map(path::location).collect(),
            _ => {
                for value in values() {
                    out.append(name, value.clone());
                }
                continue;
            }
        };
        for value in lines.iter().filter_map(|line| HeaderValue::from_str(line).ok()) {
            out.append(name, value);
        }
    }
    out
}
