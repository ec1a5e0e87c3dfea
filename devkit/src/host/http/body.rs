//! Bodies on their way through the host.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::time::{Instant, sleep_until};

use crate::web::{Body, lock};

/// YARP gives up when nothing moves for this long, in either direction.
const IDLE_LIMIT: Duration = Duration::from_secs(240);

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(super) enum Upload {
    /// The HTTP extension reads every body of known length before the function is called, whatever the mode.
    Whole(Bytes),
    /// A chunked body.
    Stream(Incoming),
}

/// When a byte was moved last.
pub(super) struct Activity(Mutex<Instant>);

impl Activity {
    pub(super) fn touch(&self) {
        *lock(&self.0) = Instant::now();
    }

    /// Ends when nothing was moved for the idle limit.
    pub(super) async fn ceased(&self) {
        loop {
            let limit = *lock(&self.0) + IDLE_LIMIT;
            if limit <= Instant::now() {
                return;
            }
            sleep_until(limit).await;
        }
    }
}

/// A request body that can be sent again as long as no attempt has read from it. Clones share it.
#[derive(Clone)]
pub(super) struct ReplayableBody(Arc<Shared>);

struct Shared {
    body: Mutex<Body>,
    activity: Arc<Activity>,
    started: AtomicBool,
}

impl ReplayableBody {
    pub(super) fn new(upload: Upload, limit: usize) -> Self {
        let body = match upload {
            Upload::Whole(bytes) => whole(bytes),
            Upload::Stream(body) => Limited::new(body, limit).map_err(io::Error::other).boxed_unsync(),
        };
        Self(Arc::new(Shared {
            body: Mutex::new(body),
            activity: Arc::new(Activity(Mutex::new(Instant::now()))),
            started: AtomicBool::new(false),
        }))
    }

    /// Whether an attempt has begun to read.
    pub(super) fn started(&self) -> bool {
        self.0.started.load(Ordering::Acquire)
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.0.activity)
    }
}

impl http_body::Body for ReplayableBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let shared = &self.0;
        shared.started.store(true, Ordering::Release);
        let frame = Pin::new(&mut *lock(&shared.body)).poll_frame(context);
        if frame.is_ready() {
            shared.activity.touch();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0.body).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0.body).size_hint()
    }
}

type Polled = Poll<Option<io::Result<Frame<Bytes>>>>;

struct Filtered<F> {
    body: Body,
    filter: F,
}

/// A body each of whose polls passes through `filter`, which lives as long as the body does.
pub(crate) fn filtered(
    body: Body,
    filter: impl FnMut(&mut Context<'_>, Polled) -> Polled + Send + Unpin + 'static,
) -> Body {
    Filtered { body, filter }.boxed_unsync()
}

impl<F: FnMut(&mut Context<'_>, Polled) -> Polled + Unpin> http_body::Body for Filtered<F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        (self.filter)(context, polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
