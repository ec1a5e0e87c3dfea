//! Request bodies that are discarded once they have no reader any more (contract 11.12).
//!
//! hyper closes a connection whose request body is dropped unread. The host, which reads a response only after it has
//! sent the whole body, would make that a 500. hyper reads on as long as the body is polled.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::ActiveRequest;
use crate::reply::BodyError;

/// Most bytes to discard: the host accepts no longer body.
const MAX_BYTES: u64 = 100 * 1_024 * 1_024;
/// Longest time to discard.
const LONGEST: Duration = Duration::from_secs(30);
/// Longest time without a byte of the body, and without a reader that takes one after the response has begun.
const NO_PROGRESS: Duration = Duration::from_secs(15);
/// Most connections that discard at a time; a further one closes the oldest.
const MAX_DISCARDING: usize = 128;

/// The connections that discard, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Discarding(Arc<Mutex<VecDeque<AbortHandle>>>);

/// The body of a request, read by a handler or by an API.
pub(super) struct RequestBody(Option<Arc<Shared>>);

/// What remains of the body when its response is being sent.
pub(super) struct Rest(Option<Arc<Shared>>);

struct Shared {
    state: Mutex<State>,
}

struct State {
    incoming: Option<Incoming>,
    /// Whether a reader has begun to read.
    is_polled: bool,
    /// Whether the reader is gone.
    is_dropped: bool,
    discarding: Discarding,
    /// Keeps the connection marked as active; set when the head of the response has been written.
    responding: Option<Arc<ActiveRequest>>,
    progress: Instant,
}

/// The body for the reader, and the same body for the response.
pub(super) fn shared(incoming: Incoming, discarding: &Discarding) -> (RequestBody, Rest) {
    if incoming.is_end_stream() {
        return (RequestBody(None), Rest(None));
    }
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            incoming: Some(incoming),
            is_polled: false,
            is_dropped: false,
            discarding: discarding.clone(),
            responding: None,
            progress: Instant::now(),
        }),
    });
    (RequestBody(Some(Arc::clone(&shared))), Rest(Some(shared)))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the body from its reader, if there is one, and discards the rest.
    fn discard(&mut self) {
        let Some(active) = self.responding.clone() else { return };
        // Without a runtime the process is ending.
        if let (Some(incoming), Ok(runtime)) =
            (self.incoming.take().filter(|body| !body.is_end_stream()), Handle::try_current())
        {
            self.discarding.add(runtime.spawn(discard(incoming, self.progress, active)).abort_handle());
        }
    }
}

impl Discarding {
    /// Adds a connection; a further one than may discard at a time closes the oldest.
    fn add(&self, task: AbortHandle) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|task| !task.is_finished());
        all.push_back(task);
        if all.len() > MAX_DISCARDING
            && let Some(oldest) = all.pop_front()
        {
            oldest.abort();
        }
    }
}

/// Reads a body to its end or a limit, after which hyper closes the connection.
async fn discard(mut incoming: Incoming, mut progress: Instant, active: Arc<ActiveRequest>) {
    let end = Instant::now() + LONGEST;
    let mut left = MAX_BYTES;
    // Once the response is out, hyper keeps a body of known length open after its last byte.
    while !incoming.is_end_stream()
        && let Ok(Some(Ok(frame))) = timeout_at(end.min(progress + NO_PROGRESS), incoming.frame()).await
    {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(rest) = left.checked_sub(length) else { break };
        left = rest;
        progress = Instant::now();
    }
    drop(active);
}

impl Rest {
    /// Whether the request has a body.
    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Whether no reader has begun to read a body, so that no `100 Continue` was sent.
    pub(super) fn is_unread(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| !shared.lock().is_polled)
    }

    /// Nothing more is read from the connection: where the request ends is in doubt.
    pub(super) fn abandon(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.lock().incoming = None;
        }
    }

    /// The head of the response has been written: from now on a body without reader is discarded.
    pub(super) fn response_began(&self, active: &Arc<ActiveRequest>) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.lock();
        state.responding = Some(Arc::clone(active));
        if state.is_dropped {
            state.discard();
        } else if state.incoming.is_some() {
            tokio::spawn(take_from_stalled_reader(Arc::clone(shared)));
        }
    }

    /// The response has ended: a reader that is left gets no more.
    pub(super) fn response_ended(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().discard();
        }
    }
}

/// An API that has sent its response head may stop reading without closing its connection.
async fn take_from_stalled_reader(shared: Arc<Shared>) {
    let mut last = Instant::now();
    loop {
        sleep_until(last + NO_PROGRESS).await;
        let mut state = shared.lock();
        if state.incoming.is_none() {
            return;
        }
        if state.progress <= last {
            state.discard();
            return;
        }
        last = state.progress;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(shared) = &self.0 else { return Poll::Ready(None) };
        let mut state = shared.lock();
        state.is_polled = true;
        let Some(incoming) = &mut state.incoming else {
            return Poll::Ready(Some(Err("the response ended before the request body was read".into())));
        };
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        state.progress = Instant::now();
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.lock().incoming.as_ref().is_some_and(Body::is_end_stream))
    }

    fn size_hint(&self) -> SizeHint {
        let hint = |shared: &Arc<Shared>| shared.lock().incoming.as_ref().map(Body::size_hint);
        self.0.as_ref().map_or(SizeHint::with_exact(0), |shared| hint(shared).unwrap_or_default())
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            let mut state = shared.lock();
            state.is_dropped = true;
            state.discard();
        }
    }
}

/// The body of a response. hyper polls or drops it only after it has written the head.
pub(super) struct ResponseBody<B> {
    body: B,
    rest: Rest,
    active: Arc<ActiveRequest>,
    has_begun: bool,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, rest: Rest, active: ActiveRequest) -> Self {
        Self { body, rest, active: Arc::new(active), has_begun: false }
    }

    fn begin(&mut self) {
        if !self.has_begun {
            self.has_begun = true;
            self.rest.response_began(&self.active);
        }
    }
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.begin();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        self.begin();
        self.rest.response_ended();
    }
}

#[cfg(test)]
mod tests;
