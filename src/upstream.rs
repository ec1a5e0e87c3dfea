//! The client for what streams through the gateway: a pool of connections to an API or to a website.
//!
//! Not reqwest, which parses its addresses anew and so might change the bytes that were judged.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

use crate::net::OutboundClients;
use crate::reply::body::Incomplete;
use crate::reply::{Body, BodyError};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How long connections are used, so that a change of addresses is noticed.
const LIFE: Duration = Duration::from_secs(300);

/// Most bytes of an answer that are held for a reader who is slower than the API, and of the head of an answer.
const BUFFER: usize = 64 * 1_024;

type Pool = legacy::Client<Connector, Body>;

/// The client. Nothing is loaded before its first use, so that nothing delays the start.
#[derive(Debug)]
pub struct Upstream {
    net: Arc<OutboundClients>,
    connect: Duration,
    is_https: bool,
    pool: Mutex<Option<(Instant, Pool)>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The body of the request is not whole.
    Incomplete(Incomplete),
    /// The head of the answer did not come in time.
    Timeout,
    /// The body of the request is longer than it may be.
    TooLong,
    /// No connection, or it broke; the text is for the log.
    Unreachable(String),
}

impl Upstream {
    /// A client with a deadline for connections, TLS included. Where addresses are http on loopback, no roots are read.
    #[must_use]
    pub const fn new(net: Arc<OutboundClients>, connect: Duration, is_https: bool) -> Self {
        Self { net, connect, is_https, pool: Mutex::new(None) }
    }

    /// Sends a request and gives the head of the answer by a deadline; the body streams.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&self, request: Request<Body>, deadline: Instant) -> Result<Response<Incoming>, Failure> {
        let pool = self
            .pool()
            .ok_or_else(|| Failure::Unreachable("TLS configuration unavailable (no trusted roots?)".to_owned()))?;
        match timeout_at(deadline, pool.request(request)).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&error)),
        }
    }

    /// The pool, made anew now and then: connections of the old one end with what still uses them.
    fn pool(&self) -> Option<Pool> {
        let mut made = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        match made.as_ref() {
            Some((since, pool)) if since.elapsed() < LIFE => Some(pool.clone()),
            _ => {
                let pool = self.connect()?;
                *made = Some((Instant::now(), pool.clone()));
                Some(pool)
            }
        }
    }

    fn connect(&self) -> Option<Pool> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        // Shared out among the addresses of a name, so that a dead one leaves time for the next.
        http.set_connect_timeout(Some(self.connect));
        let tls = if self.is_https { self.net.tls()?.as_ref().clone() } else { self.net.tls_without_roots()? };
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let connector = Connector { connector: Arc::new(connector), deadline: self.connect };
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).http1_max_buf_size(BUFFER);
        Some(builder.build(connector))
    }
}

/// Connects, TLS included, in time. The pool copies it for every request, which must cost nothing.
#[derive(Clone)]
struct Connector {
    connector: Arc<HttpsConnector<HttpConnector>>,
    deadline: Duration,
}

type Connection = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BodyError;
    type Future = BoxFuture<'static, Result<Connection, BodyError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        // Those of the connector beneath are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = HttpsConnector::clone(&self.connector).call(address);
        timeout(self.deadline, connecting).map(|connected| connected?).boxed()
    }
}

impl Failure {
    /// Where the body of the request is at fault, its own error is beneath the client's.
    fn of(error: &legacy::Error) -> Self {
        let causes =
            || std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| cause.source());
        if causes().any(|cause| cause.is::<LengthLimitError>()) {
            return Self::TooLong;
        }
        match causes().find_map(|cause| cause.downcast_ref()) {
            Some(incomplete) => Self::Incomplete(*incomplete),
            None => Self::Unreachable(error.to_string()),
        }
    }
}
