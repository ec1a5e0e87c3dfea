//! The connections to the handler: kept alive, without cookies, redirects or decompression.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Body;

/// A pool of connections to one port of 127.0.0.1.
pub(super) struct Client {
    port: u16,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
}

/// No response came.
#[derive(Debug)]
pub(super) struct Failure {
    /// The connection had carried another request before.
    pub(super) reused: bool,
    cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cause)
    }
}

impl Client {
    pub(super) fn new(port: u16) -> Self {
        Self { port, idle: Arc::default() }
    }

    /// Sends a request once. Only a connection that closed before it took the request is silently replaced.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        while let Some(mut connection) = self.take_idle() {
            match connection.try_send_request(request).await {
                Ok(response) => {
                    self.keep(connection);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        return Err(Failure { reused: true, cause: describe(error.error()) });
                    }
                },
            }
        }
        self.send_anew(request).await
    }

    /// Sends a request once, on a connection of its own.
    pub(super) async fn send_anew(&self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let failure = |cause| Failure { reused: false, cause };
        let mut connection = connect(self.port).await.map_err(|error| failure(error.to_string()))?;
        let response = connection.send_request(request).await.map_err(|error| failure(describe(&error)))?;
        self.keep(connection);
        Ok(response)
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.is_closed());
        idle.pop()
    }

    /// Takes a connection back as soon as its response has been read to the end.
    fn keep(&self, mut connection: SendRequest<Body>) {
        let idle = Arc::clone(&self.idle);
        tokio::spawn(async move {
            if connection.ready().await.is_ok() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
        });
    }
}

/// Opens a connection to a port of 127.0.0.1.
async fn connect(port: u16) -> Result<SendRequest<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// An error with its causes: hyper keeps the telling part in its source.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
