//! How a request reaches the handler in each mode, and its response the client. What becomes of targets, headers and
//! payloads is pure functions in `path`, `headers`, `forward`, `proxy` and `payload`.

mod body;
mod client;
mod forward;
mod headers;
mod invocation;
mod path;
mod payload;
mod proxy;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};

use self::body::Upload;
pub(super) use self::body::{filtered, whole};
pub(super) use self::client::Client;
use self::forward::forward;
pub(super) use self::headers::add_front_end;
use self::invocation::Call;
pub(super) use self::invocation::{Invocation, Worker};
pub(super) use self::path::decode;
pub use self::path::handler_target;
pub(super) use self::payload::call;
use self::proxy::proxy;
use super::config::HttpFunction;
use super::options::Mode;
use crate::web::Body;
use crate::web::response::{empty, with};

/// The host's reason for every request of a client.
pub(super) const CALLED: &str = "This function was programmatically called via the host APIs.";

/// What .NET says of a chunked request that is forwarded.
const CHUNKED: &str = "'Transfer-Encoding: chunked' header can not be used when content object is not specified.";

/// How HTTP functions are invoked.
pub(super) struct HttpInvoker {
    pub(super) worker: Arc<Worker>,
    pub(super) body_limit: usize,
    /// Of the URL that the client used.
    pub(super) scheme: &'static str,
}

impl HttpInvoker {
    /// Invokes a function for a request. `path` is what [`decode`] returned.
    pub(super) async fn invoke(
        &self,
        function: &HttpFunction,
        path: String,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (client, body) = request.into_parts();
        let mut invocation = Invocation::new(&self.worker, &function.name);
        invocation.executing(CALLED);
        let mode = if function.forwardable { self.worker.config.mode } else { Mode::Payload };
        if mode == Mode::Forward && client.headers.contains_key(TRANSFER_ENCODING) {
            return invocation.failed(CHUNKED);
        }
        let upload = match receive(&client.headers, body, self.body_limit).await {
            Ok(upload) => upload,
            // The rest of the body is not read.
            Err(status) => return with(empty(status), "connection", "close"),
        };
        if !invocation.initialized().await {
            return empty(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let call = Call { path, client, peer, scheme: self.scheme };
        match (mode, upload) {
            (Mode::Forward, Upload::Whole(body)) => forward(invocation, call, body).await,
            (Mode::Payload, Upload::Whole(body)) => payload::serve(&invocation, function, &call, &body).await,
            // The HTTP extension does not read a body without a length.
            (Mode::Payload, Upload::Stream(_)) => payload::serve(&invocation, function, &call, &Bytes::new()).await,
            (_, upload) => proxy(invocation, call, upload, self.body_limit).await,
        }
    }
}

async fn receive(headers: &HeaderMap, body: Incoming, limit: usize) -> Result<Upload, StatusCode> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Ok(Upload::Stream(body));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let body = body.collect().await.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(Upload::Whole(body.to_bytes()))
}
