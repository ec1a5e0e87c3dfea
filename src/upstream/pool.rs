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
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;

use super::Failure;
use super::connection::{Connection, Receiving};
use super::request::{Request, SendError};
use super::response::Head;
use crate::reply::BodyError;
use crate::telemetry::in_current_request;

/// How long a connection is used. The host name is resolved again for each connection.
const LIFE: Duration = Duration::from_secs(300);
/// How recently a connection must have been used for a request that has effects.
const RECENT: Duration = Duration::from_secs(1);
/// How often the connections are looked through that the upstream may have closed.
const SWEEP: Duration = Duration::from_secs(1);

/// The pool. Its connections are served by the runtime of the thread that opens them.
#[derive(Debug)]
pub(super) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    /// Where every request goes: scheme and authority.
    origin: Uri,
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

/// The body of a response. Its connection returns to the pool once the body has arrived as a whole.
pub struct PooledBody {
    /// What has arrived and is the next part.
    next: Bytes,
    /// Whether the response has the `Content-Length` of this body. That of a 304 is of another one (RFC 9110 section
    /// 8.6), and hyper would remove it if this one were known to be empty.
    has_length: bool,
    rest: Option<Rest>,
}

/// What is still to arrive of a body.
struct Rest {
    receiving: Arc<Mutex<Receiving>>,
    /// Sends the rest of the request, even while the response is not read.
    sending: Option<AbortOnDropHandle<()>>,
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
        Arc::new(Self { connector, origin, connect, idle, state: Mutex::default() })
    }

    /// Sends a request and returns the head of the response; its body streams. `now` is the current time.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: &mut Request,
        mut now: Instant,
    ) -> Result<Response<PooledBody>, Failure> {
        let longest_idle = if request.method().is_safe() { self.idle } else { self.idle.min(RECENT) };
        loop {
            let (mut connection, is_reused) = match self.take(longest_idle, now) {
                Some(connection) => (connection, true),
                None => self.open_or_wait().await?,
            };
            if is_reused && !connection.is_open() {
                continue;
            }
            request.start();
            match connection.exchange(request).await {
                Ok(head) => return Ok(self.response(connection, head, request.take_rest())),
                Err(SendError::Io(_)) if is_reused && request.is_unsent() => now = Instant::now(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn response(
        self: &Arc<Self>,
        connection: Connection,
        head: Head,
        request: Option<Request>,
    ) -> Response<PooledBody> {
        let Head { status, headers, reason, framing, is_persistent } = head;
        let has_length = framing.left().is_some() && status != StatusCode::NOT_MODIFIED;
        let receiving = Receiving::new(connection, framing, is_persistent, request);
        let mut response = Response::new(PooledBody::new(self, receiving, has_length));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        response
    }

    /// The most recently used connection, if there is one that was used within `longest_idle`. Otherwise one that is
    /// idle for longer closes, since the new connection takes its place: there are never more than requests at a time.
    fn take(&self, longest_idle: Duration, now: Instant) -> Option<Connection> {
        let mut state = self.state();
        while let Some(connection) = state.idle.pop_if(|connection| now - connection.used_at < longest_idle) {
            if now - connection.opened_at < LIFE {
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
        Ok(Connection::new(stream, Instant::now()))
    }

    /// Keeps the connection of a response that has ended, if it can be used again.
    fn put_back(self: &Arc<Self>, receiving: Receiving) {
        if let Some(connection) = receiving.into_connection() {
            self.put(connection);
        }
    }

    /// Gives a connection to the first request that waits for one, or keeps it.
    fn put(self: &Arc<Self>, mut connection: Connection) {
        connection.used_at = Instant::now();
        if connection.used_at - connection.opened_at >= LIFE {
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

    /// Closes the connections that have been idle for too long, or that the upstream has closed. Returns when it is to
    /// be called again.
    fn close_expired(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        state.idle.retain_mut(|connection| {
            now - connection.used_at < self.idle && now - connection.opened_at < LIFE && connection.is_open()
        });
        let next = state.idle.first().map(|connection| (connection.used_at + self.idle).min(now + SWEEP));
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

impl PooledBody {
    fn new(pool: &Arc<Pool>, mut receiving: Receiving, has_length: bool) -> Self {
        let next = receiving.arrived();
        let rest = if receiving.has_ended() {
            pool.put_back(receiving);
            None
        } else {
            Some(Rest::new(pool, receiving))
        };
        Self { next, has_length, rest }
    }

    /// Whether all of it has arrived.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.rest.is_none()
    }
}

impl Rest {
    fn new(pool: &Arc<Pool>, receiving: Receiving) -> Self {
        let is_sending = receiving.is_sending();
        let receiving = Arc::new(Mutex::new(receiving));
        let send = || AbortOnDropHandle::new(tokio::spawn(in_current_request(send_rest(Arc::downgrade(&receiving)))));
        Self { sending: is_sending.then(send), receiving, pool: Arc::clone(pool) }
    }

    fn lock(&self) -> MutexGuard<'_, Receiving> {
        lock(&self.receiving)
    }

    /// Returns the connection to the pool.
    fn end(self) {
        drop(self.sending);
        if let Some(receiving) = Arc::into_inner(self.receiving) {
            self.pool.put_back(receiving.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

async fn send_rest(receiving: Weak<Mutex<Receiving>>) {
    let poll = |context: &mut Context<'_>| {
        receiving.upgrade().map_or(Poll::Ready(()), |receiving| lock(&receiving).poll_send(context))
    };
    poll_fn(poll).await;
}

fn lock(receiving: &Mutex<Receiving>) -> MutexGuard<'_, Receiving> {
    receiving.lock().unwrap_or_else(PoisonError::into_inner)
}

impl http_body::Body for PooledBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.next.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.next)))));
        }
        let Some(rest) = &self.rest else { return Poll::Ready(None) };
        let mut receiving = rest.lock();
        let received = ready!(receiving.poll_data(context));
        let has_ended = receiving.has_ended();
        drop(receiving);
        match received {
            Ok(Some(data)) if !has_ended => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(data) => {
                self.rest.take().into_iter().for_each(Rest::end);
                Poll::Ready(data.map(|data| Ok(Frame::data(data))))
            }
            Err(error) => {
                self.rest = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_length && self.rest.is_none() && self.next.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.as_ref().map_or(Some(0), |rest| rest.lock().left()).filter(|_| self.has_length);
        left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + self.next.len() as u64))
    }
}

#[cfg(test)]
mod tests;
