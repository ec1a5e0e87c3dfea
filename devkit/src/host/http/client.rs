//! The connections to the handler: kept alive, without cookies, redirects or decompression.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::web::{Body, lock};

/// A pool of connections to one port of 127.0.0.1.
pub(crate) struct Client {
    port: u16,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
}

/// No response came.
#[derive(Debug)]
pub(super) struct Failure {
    /// The connection had carried another request before.
    pub(super) reused: bool,
    pub(super) cause: String,
}

impl Client {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, idle: Arc::default() }
    }

    /// Sends a request once. Only a connection that closed before it took the request is replaced by another one.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        while let Some(mut connection) = self.take_idle() {
            match connection.try_send_request(request).await {
                Ok(response) => {
                    self.reuse(connection);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Failure { reused: true, cause: with_causes(error.error()) }),
                },
            }
        }
        self.send_on_new_connection(request).await
    }

    pub(super) async fn send_on_new_connection(&self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let exchange = async {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| with_causes(&error))?;
            tokio::spawn(connection);
            let response = sender.send_request(request).await.map_err(|error| with_causes(&error))?;
            self.reuse(sender);
            Ok(response)
        };
        exchange.await.map_err(|cause| Failure { reused: false, cause })
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = lock(&self.idle);
        idle.retain(|connection| !connection.is_closed());
        idle.pop()
    }

    /// Puts a connection into the pool as soon as its response has been read to the end.
    fn reuse(&self, mut connection: SendRequest<Body>) {
        let idle = Arc::clone(&self.idle);
        tokio::spawn(async move {
            if connection.ready().await.is_ok() {
                lock(&idle).push(connection);
            }
        });
    }
}

/// hyper keeps the useful part of an error in its causes.
fn with_causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
