//! The client for streamed requests: a pool of connections to an API or a website.
//!
//! Not reqwest, which parses URLs again and so could change the bytes that were checked.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thread_local::ThreadLocal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tower_service::Service;

use crate::net::OutboundClients;
use crate::reply::body::Incomplete;
use crate::reply::{Body, BodyError};

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
    idle: Duration,
    is_https: bool,
    /// One for each thread, since a connection is served on the runtime of the thread that opened it.
    pools: ThreadLocal<RefCell<Option<(Instant, Pool)>>>,
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
    /// `connect` is the deadline for a connection, TLS included; `idle`, how long an unused one is kept. Without
    /// `is_https` no trusted roots are loaded.
    #[must_use]
    pub fn new(net: Arc<OutboundClients>, connect: Duration, idle: Duration, is_https: bool) -> Self {
        Self { net, connect, idle, is_https, pools: ThreadLocal::new() }
    }

    /// Sends a request and returns the head of the response; its body streams.
    ///
    /// `first_byte` is how long the upstream may take for it after the request body has ended, and how long it may
    /// pause while it reads that body (contract 10.15). The time that the client takes for the body does not count.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(
        &self,
        request: Request<Body>,
        first_byte: Duration,
        whole: Option<Instant>,
    ) -> Result<Response<Incoming>, Failure> {
        let pool = self
            .pool()
            .ok_or_else(|| Failure::Unreachable("TLS configuration unavailable (no trusted roots?)".to_owned()))?;
        let response = if request.body().is_end_stream() {
            let head = Instant::now() + first_byte;
            timeout_at(whole.map_or(head, |whole| whole.min(head)), pool.request(request)).await.ok()
        } else {
            let (turn, of_upstream) = watch::channel(None);
            let request = request.map(|body| Sending { body, turn }.boxed());
            let expired = async {
                match whole {
                    Some(whole) => _ = timeout_at(whole, expiry(of_upstream, first_byte)).await,
                    None => expiry(of_upstream, first_byte).await,
                }
            };
            tokio::select! {
                response = pool.request(request) => Some(response),
                () = expired => None,
            }
        };
        response.ok_or(Failure::Timeout)?.map_err(|error| Failure::of(&error))
    }

    /// The current pool of this thread. Connections of a previous one close when their requests have ended.
    fn pool(&self) -> Option<Pool> {
        let mut made = self.pools.get_or_default().borrow_mut();
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
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(self.idle).http1_max_buf_size(BUFFER);
        Some(builder.build(connector))
    }
}

/// A request body that reports since when the gateway waits for the upstream and not for the client.
struct Sending {
    body: Body,
    /// Since when the upstream has had all that the client sent; `None` while the client is to send more.
    turn: watch::Sender<Option<Instant>>,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.turn.send_replace(frame.is_ready().then(Instant::now));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits until the upstream has not acted for so long. A body is dropped at its end.
async fn expiry(mut of_upstream: watch::Receiver<Option<Instant>>, longest: Duration) {
    loop {
        let since = *of_upstream.borrow_and_update();
        let change = of_upstream.changed();
        let change = match since {
            None => change.await,
            Some(since) => match timeout_at(since + longest, change).await {
                Ok(change) => change,
                Err(_) => return,
            },
        };
        if change.is_err() {
            return sleep_until(since.unwrap_or_else(Instant::now) + longest).await;
        }
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
