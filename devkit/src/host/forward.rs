//! Forwarding mode: the request is taken apart and made anew, the response is buffered whole.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_LENGTH, header::TRANSFER_ENCODING,
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};

use super::{
    Body, empty, headers,
    invocation::{Call, Deadline},
    path,
    server::App,
    whole,
};

/// Forwards a call. It runs to its end even if the client goes away.
pub(super) async fn forward(app: &Arc<App>, call: Call, body: Bytes) -> Response<Body> {
    let app = Arc::clone(app);
    let exchange = tokio::spawn(async move {
        let deadline = Deadline::new(&app, &call.invocation);
        tokio::select! {
            outcome = exchange(&app, &call, body) => outcome.unwrap_or_else(|reason| {
                call.invocation.failed(&app, &reason);
                empty(StatusCode::INTERNAL_SERVER_ERROR)
            }),
            () = deadline.passed() => empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    });
    exchange.await.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn exchange(app: &App, call: &Call, body: Bytes) -> Result<Response<Body>, String> {
    let target = path::forwarded(&call.path, call.parts.uri.query());
    let headers = headers::forwarded(&call.parts.headers, body.len(), &call.invocation.id);
    let request = || request(&call.parts.method, &target, &headers, body.clone());
    let repeatable = matches!(call.parts.method, Method::GET | Method::HEAD);
    let response = match app.client.send(request()?).await {
        Err(failure) if failure.reused && repeatable => app.client.send_anew(request()?).await,
        other => other,
    };
    let response = response.map_err(|failure| failure.to_string())?;
    buffered(&call.parts.method, response).await
}

fn request(method: &Method, target: &str, headers: &HeaderMap, body: Bytes) -> Result<Request<Body>, String> {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = target.parse().map_err(|error| format!("the target {target} is not valid: {error}"))?;
    *request.headers_mut() = headers.clone();
    Ok(request)
}

async fn buffered(method: &Method, response: Response<Incoming>) -> Result<Response<Body>, String> {
    let (mut parts, body) = response.into_parts();
    if parts.status.is_informational() {
        return Err(format!("the handler answered {}", parts.status));
    }
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    if parts.headers.get(TRANSFER_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        parts.headers.remove(TRANSFER_ENCODING);
    }
    let bodiless = method == Method::HEAD || matches!(parts.status.as_u16(), 204 | 304);
    if !bodiless {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    parts.version = http::Version::HTTP_11;
    Ok(Response::from_parts(parts, whole(body)))
}
