//! The connections to one API or website (HTTP/1.1, RFC 9112), each for one request at a time.
//!
//! What callers rely on (contract 10.15, 10.16):
//! - A connection is reused only if the response before was read to its end, has been idle for less than `idle` and is
//!   younger than [`LIFE`].
//! - A request that was not sent, because a reused connection closed at that moment, is sent on another one.
//! - A request with another method than a safe one (RFC 9110 section 9.2.1) takes no connection that may be closing:
//!   one that was used within [`RECENT`], or a new one in place of one that was idle.
//! - A request that waits for a new connection takes one that becomes free before; the new one is kept for later.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tower_service::Service;

use super::Failure;
use crate::reply::{Body, BodyError};

/// How long a connection is used. The host name is resolved again for each connection.
const LIFE: Duration = Duration::from_secs(300);
/// How recently a connection must have been used for a request that has effects.
const RECENT: Duration = Duration::from_secs(1);
/// Longest wait for the end of a request whose response has ended.
const UNFINISHED: Duration = Duration::from_secs(15);
/// Most bytes of a response that are buffered for a slow reader, and of the head of a response.
const BUFFER: usize = 64 * 1_024;

/// The pool. Its connections are served by the runtime of the thread that opens them.
#[derive(Debug)]
pub(super) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    /// Where every request goes: scheme and authority.
    origin: Uri,
    host: HeaderValue,
    connect: Duration,
    idle: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The most recently used one is last.
    idle: Vec<Connection>,
    /// Requests that wait for a connection, the first one first.
    waiting: VecDeque<oneshot::Sender<Connection>>,
    /// Whether a task closes connections that are idle for too long.
    is_swept: bool,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Body>,
    /// hyper's side of the connection.
    task: AbortHandle,
    opened_at: Instant,
    used_at: Instant,
}

/// The body of a response. Its connection returns to the pool once the body was read to its end.
#[derive(Debug)]
pub struct PooledBody {
    body: Incoming,
    /// Whether the `Content-Length` is not that of the body (RFC 9110 section 8.6). hyper would remove the header of an
    /// empty body.
    is_not_modified: bool,
    connection: Option<Connection>,
    pool: Arc<Pool>,
}

impl Pool {
    /// A pool for requests to `origin`, a URL with scheme and authority. `connect` is the deadline for a connection,
    /// TLS included; `idle`, how long an unused one is kept.
    pub(super) fn new(tls: ClientConfig, origin: Uri, connect: Duration, idle: Duration) -> Arc<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        // Divided among the addresses of a name, so that an unreachable one leaves time for the next.
        http.set_connect_timeout(Some(connect));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let host = host(&origin);
        Arc::new(Self { connector, origin, host, connect, idle, state: Mutex::default() })
    }

    /// Sends a request for a path, or for a URL of this origin, and returns the head of the response; its body streams.
    /// `now` is the current time.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        mut now: Instant,
    ) -> Result<Response<PooledBody>, Failure> {
        // The target is the path alone (RFC 9112 section 3.2.1).
        if request.uri().authority().is_some() {
            if !self.has_origin(request.uri()) {
                return Err(Failure::Unreachable("the URL is of another origin".to_owned()));
            }
            let target = std::mem::take(request.uri_mut()).into_parts().path_and_query;
            *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
        }
        request.headers_mut().insert(HOST, self.host.clone());
        let longest_idle = if request.method().is_safe() { self.idle } else { self.idle.min(RECENT) };
        loop {
            let (mut connection, is_reused) = match self.take(longest_idle, now) {
                Some(connection) => (connection, true),
                None => self.open_or_wait().await?,
            };
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let (connection, pool) = (Some(connection), Arc::clone(self));
                    let is_not_modified = response.status() == StatusCode::NOT_MODIFIED;
                    return Ok(response.map(|body| PooledBody { body, is_not_modified, connection, pool }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_reused => (request, now) = (unsent, Instant::now()),
                    _ => return Err(Failure::of(&error.into_error())),
                },
            }
        }
    }

    /// Whether a URL is of this origin (contract 10.6).
    fn has_origin(&self, url: &Uri) -> bool {
        (url.scheme(), url.authority()) == (self.origin.scheme(), self.origin.authority())
    }

    /// The most recently used connection, if there is one that was used within `longest_idle`. Otherwise one that is
    /// idle for longer closes, since the new connection takes its place: there are never more than requests at a time.
    fn take(&self, longest_idle: Duration, now: Instant) -> Option<Connection> {
        let mut state = self.state();
        while state.idle.last().is_some_and(|connection| now - connection.used_at < longest_idle) {
            let connection = state.idle.pop()?;
            if connection.is_usable(now) {
                return Some(connection);
            }
        }
        if !state.idle.is_empty() {
            state.idle.remove(0);
        }
        None
    }

    /// A new connection, or one that becomes free before, and whether it was used already.
    async fn open_or_wait(self: &Arc<Self>) -> Result<(Connection, bool), Failure> {
        match select(Box::pin(Arc::clone(self).open()), self.wait()).await {
            Either::Left((opened, mut freed)) => {
                freed.close();
                match (opened, freed.try_recv()) {
                    (Ok(opened), freed) => {
                        freed.into_iter().for_each(|connection| self.put(connection));
                        Ok((opened, false))
                    }
                    (Err(_), Ok(connection)) => Ok((connection, true)),
                    (Err(failure), Err(_)) => Err(failure),
                }
            }
            Either::Right((Ok(connection), opening)) => {
                let pool = Arc::clone(self);
                tokio::spawn(opening.map(move |opened| opened.map(|connection| pool.put(connection))));
                Ok((connection, true))
            }
            // The sender is dropped with the pool only.
            Either::Right((Err(_), opening)) => Ok((opening.await?, false)),
        }
    }

    /// The next connection that becomes free, if no earlier request waits for it.
    fn wait(&self) -> oneshot::Receiver<Connection> {
        let (waiting, freed) = oneshot::channel();
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.is_closed());
        state.waiting.push_back(waiting);
        freed
    }

    async fn open(self: Arc<Self>) -> Result<Connection, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| Failure::Unreachable(error.to_string());
        timeout(self.connect, self.handshake())
            .await
            .map_err(|late| unreachable(&late))?
            .map_err(|error| unreachable(&error))
    }

    async fn handshake(&self) -> Result<Connection, BodyError> {
        let stream = self.connector.clone().call(self.origin.clone()).await?;
        let (mut sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(stream).await?;
        // An error is reported to the request that uses the connection.
        let task = tokio::spawn(connection.map(drop)).abort_handle();
        sender.ready().await?;
        let now = Instant::now();
        Ok(Connection { sender, task, opened_at: now, used_at: now })
    }

    /// Gives a connection to the first request that waits for one, or keeps it.
    fn put(self: &Arc<Self>, mut connection: Connection) {
        connection.used_at = Instant::now();
        if !connection.is_usable(connection.used_at) {
            return;
        }
        let mut state = self.state();
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.send(connection) {
                Ok(()) => return,
                Err(unwanted) => connection = unwanted,
            }
        }
        state.idle.push(connection);
        // Without a runtime the process is ending.
        if !state.is_swept
            && let Ok(runtime) = Handle::try_current()
        {
            state.is_swept = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes the connections that have been idle for too long, and returns when the next one will have been.
    fn close_expired(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        state.idle.retain(|connection| connection.is_usable(now) && now - connection.used_at < self.idle);
        let next = state.idle.first().map(|connection| connection.used_at + self.idle);
        state.is_swept = next.is_some();
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that are idle for too long, until there are none.
async fn sweep(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_expired()) {
        sleep_until(next).await;
    }
}

impl Connection {
    /// Whether it is open, without a request, and not too old.
    fn is_usable(&self, now: Instant) -> bool {
        self.sender.is_ready() && now - self.opened_at < LIFE
    }
}

impl http_body::Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        !self.is_not_modified && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_not_modified { SizeHint::default() } else { self.body.size_hint() }
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if connection.sender.is_ready() {
            return self.pool.put(connection);
        }
        // The end of the response, or of the request, has still to arrive; hyper closes the connection if the body was
        // not read to its end. Without a runtime the process is ending.
        if !connection.sender.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            let pool = Arc::clone(&self.pool);
            runtime.spawn(async move {
                match timeout(UNFINISHED, connection.sender.ready()).await {
                    Ok(Ok(())) => pool.put(connection),
                    // It is closed.
                    Ok(Err(_)) => {}
                    // The upstream reads no more of the request body, and hyper would wait for it.
                    Err(_) => connection.task.abort(),
                }
            });
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
mod tests;
