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
    let response = send("GET", url, &[(INTERNAL_HEADER, "1")], "").await?;
    serde_json::from_slice(response.body()).map_err(io::Error::other)
}

/// Sends one request to an `http` URL over its own connection, and reads the whole response.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> io::Result<Response<Bytes>> {
    let request = Request::builder().method(method).uri(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Full::new(body.into())).map_err(io::Error::other)?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = client.request(request).await.map_err(io::Error::other)?.into_parts();
    Ok(Response::from_parts(parts, body.collect().await.map_err(io::Error::other)?.to_bytes()))
}
