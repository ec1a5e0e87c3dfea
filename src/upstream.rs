//! The client for streamed requests to one API or website: deadlines, over a pool of connections for each thread.
//!
//! Not reqwest, which parses URLs again and so could change the bytes that were checked.

mod connection;
mod pool;
mod request;
mod response;

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError};
use thread_local::ThreadLocal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::net::OutboundClients;
use crate::reply::body::Incomplete;
use crate::reply::{Body, BodyError};
use pool::Pool;
pub use pool::PooledBody;
pub use request::Request;
use request::SendError;

/// The client. It loads nothing before its first use, so that the start is not delayed.
#[derive(Debug)]
pub struct Upstream {
    net: Arc<OutboundClients>,
    origin: Uri,
    host: HeaderValue,
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
    /// There is no connection, or it broke before the response began. The text is for the log.
    Unreachable(String),
    /// The response is malformed, or the connection broke within its head. The text is for the log.
    Response(String),
}

impl Upstream {
    /// A client for requests to `origin`, a URL with scheme and authority. `connect` is the deadline for a connection,
    /// TLS included; `idle`, how long an unused one is kept.
    #[must_use]
    pub fn new(net: Arc<OutboundClients>, origin: Uri, connect: Duration, idle: Duration) -> Self {
        let host = host(&origin);
        Self { net, origin, host, connect, idle, pools: ThreadLocal::new() }
    }

    /// A request for a path of the origin, without a body. `capacity` is about how many bytes its headers have.
    #[must_use]
    pub fn request(&self, method: &Method, target: &PathAndQuery, capacity: usize) -> Request {
        Request::new(method, target, &self.host, capacity)
    }

    /// Sends a request and returns the head of the response; its body streams. A request without a body may be sent
    /// again.
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
        request: &mut Request,
        first_byte: Duration,
        whole: Option<Instant>,
        now: Instant,
    ) -> Result<Response<PooledBody>, Failure> {
        let pool = self
            .pool()
            .ok_or_else(|| Failure::Unreachable("TLS configuration unavailable (no trusted roots?)".to_owned()))?;
        if request.has_body() {
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
    request: &mut Request,
    first_byte: Duration,
    whole: Option<Instant>,
) -> Result<Response<PooledBody>, Failure> {
    let (turn, of_upstream) = watch::channel(None);
    request.map_body(|body| Sending { body, turn }.boxed());
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

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let error = match error {
            SendError::Io(error) => return Self::Unreachable(error.to_string()),
            SendError::Response(problem) => return Self::Response(problem),
            SendError::Body(error) => error,
        };
        let first: &(dyn Error + 'static) = &*error;
        let causes = || std::iter::successors(Some(first), |cause| (**cause).source());
        if causes().any(|cause| cause.is::<LengthLimitError>()) {
            return Self::TooLong;
        }
        match causes().find_map(|cause| cause.downcast_ref()) {
            Some(incomplete) => Self::Incomplete(*incomplete),
            None => Self::Unreachable(error.to_string()),
        }
    }
}

/// The `Host` of requests to an origin (RFC 9110 section 7.2): without the port if it is the scheme's own.
#[expect(clippy::expect_used, reason = "host and port of a URI are characters that a value may have")]
fn host(origin: &Uri) -> HeaderValue {
    let host = origin.host().unwrap_or_default();
    let default = if origin.scheme_str() == Some("https") { 443 } else { 80 };
    let host = match origin.port_u16().filter(|port| *port != default) {
        None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    };
    HeaderValue::try_from(host).expect("a host is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_port_unless_it_is_the_schemes_own() {
        for (origin, expected) in [
            ("https://api.example/", "api.example"),
            ("https://api.example:443/", "api.example"),
            ("https://api.example:8443/", "api.example:8443"),
            ("http://127.0.0.1:443/", "127.0.0.1:443"),
            ("http://[::1]:80/", "[::1]"),
        ] {
            assert_eq!(host(&origin.parse().unwrap()), expected, "{origin}");
        }
    }
}
