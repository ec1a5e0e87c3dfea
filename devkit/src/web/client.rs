use std::io;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::serve::BACKSTAGE;

/// Asks another stand-in for JSON, backstage: what a test wants to see there is the gateway's requests only.
pub(crate) async fn backstage_json(url: &str) -> io::Result<Value> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.parse().map_err(io::Error::other)?;
    request.headers_mut().insert(BACKSTAGE, HeaderValue::from_static("1"));
    let reply = send(request).await?;
    serde_json::from_slice(reply.body()).map_err(io::Error::other)
}

/// Sends one request to an absolute `http` URL over a connection of its own and reads the whole answer.
pub(crate) async fn send(mut request: Request<Full<Bytes>>) -> io::Result<Response<Bytes>> {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse::<Uri>().map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&authority).map_err(io::Error::other)?);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let reply = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, body) = reply.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(parts, body))
}
