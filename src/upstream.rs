//! The client for streamed requests: a pool of connections to an API or a website.
//!
//! Not reqwest, which parses URLs again and so could change the bytes that were checked.

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

/// How long an idle connection stays open.
const IDLE: Duration = Duration::from_secs(60);
/// How long a pool is used. Afterwards the host name is resolved again.
const LIFE: Duration = Duration::from_secs(300);

/// Most bytes of a response that are buffered for a slow reader, and of the head of a response.
const BUFFER: usize = 64 * 1_024;

type Pool = legacy::Client<Connector, Body>;

/// The client. It loads nothing before its first use, so that the start is not delayed.
#[derive(Debug)]
pub struct Upstream {
    net: Arc<OutboundClients>,
    connect: Duration,
    is_https: bool,
    pool: Mutex<Option<(Instant, Pool)>>,
}

/// Why there is no response.
#[derive(Debug)]
pub enum Failure {
    /// The request body is incomplete.
    Incomplete(Incomplete),
    /// The head of the response did not arrive in time.
    Timeout,
    /// The request body is longer than the API's limit.
    TooLong,
    /// There is no connection, or it broke. The text is for the log.
    Unreachable(String),
}

impl Upstream {
    /// `connect` is the deadline for a connection, TLS included. Without `is_https` no trusted roots are loaded.
    #[must_use]
    pub const fn new(net: Arc<OutboundClients>, connect: Duration, is_https: bool) -> Self {
        Self { net, connect, is_https, pool: Mutex::new(None) }
    }

    /// Sends a request. The deadline is for the head of the response; its body streams.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&self, request: Request<Body>, deadline: Instant) -> Result<Response<Incoming>, Failure> {
        let pool = self
            .pool()
            .ok_or_else(|| Failure::Unreachable("TLS configuration unavailable (no trusted roots?)".to_owned()))?;
        match timeout_at(deadline, pool.request(request)).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::of(&error)),
        }
    }

    /// The current pool. Connections of a previous one close when their requests have ended.
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
        // Divided among the addresses of a name, so that an unreachable one leaves time for the next.
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

/// Connects within the deadline, TLS included. The pool clones it for every request, so cloning must be cheap.
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
        // The wrapped connector is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = HttpsConnector::clone(&self.connector).call(address);
        timeout(self.deadline, connecting).map(|connected| connected?).boxed()
    }
}

impl Failure {
    /// An error of the request body is the source of the client's error.
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
