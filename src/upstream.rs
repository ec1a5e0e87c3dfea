//! The client for streamed requests to one API or website: deadlines, over a pool of connections for each thread.
//!
//! Not reqwest, which parses URLs again and so could change the bytes that were checked.

mod pool;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError};
use thread_local::ThreadLocal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::net::OutboundClients;
use crate::reply::body::Incomplete;
use crate::reply::{Body, BodyError};
use pool::Pool;
pub use pool::PooledBody;

/// The client. It loads nothing before its first use, so that the start is not delayed.
#[derive(Debug)]
pub struct Upstream {
    net: Arc<OutboundClients>,
    origin: Uri,
    connect: Duration,
    idle: Duration,
    /// One for each thread, since a connection is served on the runtime of the thread that opened it.
    pools: ThreadLocal<Arc<Pool>>,
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
    /// A client for requests to `origin`, a URL with scheme and authority. `connect` is the deadline for a connection,
    /// TLS included; `idle`, how long an unused one is kept.
    #[must_use]
    pub fn new(net: Arc<OutboundClients>, origin: Uri, connect: Duration, idle: Duration) -> Self {
        Self { net, origin, connect, idle, pools: ThreadLocal::new() }
    }

    /// Sends a request and returns the head of the response; its body streams.
    ///
    /// `first_byte` is how long the upstream may take for it after the request body has ended, and how long it may
    /// pause while it reads that body (contract 10.15). The time that the client takes for the body does not count.
    ///
    /// `now` is the current time.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(
        &self,
        request: Request<Body>,
        first_byte: Duration,
        whole: Option<Instant>,
        now: Instant,
    ) -> Result<Response<PooledBody>, Failure> {
        let pool = self
            .pool()
            .ok_or_else(|| Failure::Unreachable("TLS configuration unavailable (no trusted roots?)".to_owned()))?;
        if !request.body().is_end_stream() {
            // Boxed, since most requests have no body.
            return Box::pin(send_with_body(pool, request, first_byte, whole)).await;
        }
        let head = now + first_byte;
        let response = timeout_at(whole.map_or(head, |whole| whole.min(head)), pool.send(request, now)).await;
        response.unwrap_or(Err(Failure::Timeout))
    }

    /// The pool of this thread. `None` without trusted roots; a later call tries again.
    fn pool(&self) -> Option<&Arc<Pool>> {
        let create = || {
            let tls = if self.is_https() { self.net.tls()?.as_ref().clone() } else { self.net.tls_without_roots()? };
            Some(Pool::new(tls, self.origin.clone(), self.connect, self.idle))
        };
        self.pools.get_or_try(|| create().ok_or(())).ok()
    }

    /// Without it no trusted roots are loaded.
    fn is_https(&self) -> bool {
        self.origin.scheme() == Some(&Scheme::HTTPS)
    }
}

async fn send_with_body(
    pool: &Arc<Pool>,
    request: Request<Body>,
    first_byte: Duration,
    whole: Option<Instant>,
) -> Result<Response<PooledBody>, Failure> {
    let (turn, of_upstream) = watch::channel(None);
    let request = request.map(|body| Sending { body, turn }.boxed());
    let expired = async {
        match whole {
            Some(whole) => _ = timeout_at(whole, expiry(of_upstream, first_byte)).await,
            None => expiry(of_upstream, first_byte).await,
        }
    };
    tokio::select! {
        response = pool.send(request, Instant::now()) => response,
        () = expired => Err(Failure::Timeout),
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

impl Failure {
    /// An error of the request body is the source of the client's error.
    fn of(error: &hyper::Error) -> Self {
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
