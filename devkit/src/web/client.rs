use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::INTERNAL_HEADER;

/// Requests JSON from another stand-in, which does not record it: tests want to see the gateway's requests only.
pub(crate) async fn internal_json(url: &str) -> io::Result<Value> {
    let request = Request::get(url).header(INTERNAL_HEADER, "1").body(Full::default()).map_err(io::Error::other)?;
    serde_json::from_slice(send(request).await?.body()).map_err(io::Error::other)
}

/// Sends one request to an absolute `http` URL over its own connection, and reads the whole response.
pub(crate) async fn send(request: Request<Full<Bytes>>) -> io::Result<Response<Bytes>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = client.request(request).await.map_err(io::Error::other)?.into_parts();
    Ok(Response::from_parts(parts, body.collect().await.map_err(io::Error::other)?.to_bytes()))
}
