//! The body of a proxied request, which may be sent again only as long as nobody has touched it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Bytes;
use tokio::time::{Instant, sleep_until};

use super::{Body, BoxError, invocation::Upload, whole};

/// YARP gives up when nothing moves for so long, in either direction.
const IDLE_LIMIT: Duration = Duration::from_secs(240);

/// When a byte was moved last.
pub(super) struct Activity(Mutex<Instant>);

impl Activity {
    pub(super) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends when nothing was moved for the idle limit.
    pub(super) async fn ceased(&self) {
        loop {
            let limit = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + IDLE_LIMIT;
            if limit <= Instant::now() {
                return;
            }
            sleep_until(limit).await;
        }
    }
}

/// Owns a body and lends it to one attempt after the other.
pub(super) struct Lender(Arc<Slot>);

struct Slot {
    body: Mutex<Body>,
    activity: Arc<Activity>,
    started: AtomicBool,
    exceeded: AtomicBool,
}

impl Lender {
    pub(super) fn new(upload: Upload, limit: usize) -> Self {
        let body = match upload {
            Upload::Whole(bytes) => whole(bytes),
            Upload::Stream(body) => Limited::new(body, limit).boxed_unsync(),
        };
        Self(Arc::new(Slot {
            body: Mutex::new(body),
            activity: Arc::new(Activity(Mutex::new(Instant::now()))),
            started: AtomicBool::new(false),
            exceeded: AtomicBool::new(false),
        }))
    }

    pub(super) fn lend(&self) -> Body {
        Lent(Arc::clone(&self.0)).boxed_unsync()
    }

    /// Whether an attempt has begun to read.
    pub(super) fn started(&self) -> bool {
        self.0.started.load(Ordering::Acquire)
    }

    /// Whether the body was longer than the limit.
    pub(super) fn exceeded(&self) -> bool {
        self.0.exceeded.load(Ordering::Acquire)
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.0.activity)
    }
}

struct Lent(Arc<Slot>);

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let slot = &self.0;
        slot.started.store(true, Ordering::Release);
        let frame = Pin::new(&mut *slot.body.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx);
        if frame.is_ready() {
            slot.activity.touch();
        }
        if let Poll::Ready(Some(Err(error))) = &frame {
            slot.exceeded.fetch_or(error.is::<LengthLimitError>(), Ordering::AcqRel);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
