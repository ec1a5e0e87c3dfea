//! Bodies whose request gives its place back when no client reads them (contract 10.20).

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::Place;
use crate::reply::{Body, BodyError};

/// Longest time in which the reader takes nothing.
const NO_PROGRESS: Duration = Duration::from_secs(5);

/// When the reader last took a part.
#[derive(Debug, Clone, Copy)]
struct Progress {
    at: Instant,
    /// Whether the reader waits for more, so that a pause is not its own.
    is_waiting: bool,
}

struct WhileRead {
    body: Body,
    progress: Arc<Mutex<Progress>>,
    watcher: AbortHandle,
    place: Place,
}

pub(super) fn while_read(body: Body, place: Place) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let progress = Arc::new(Mutex::new(Progress { at: Instant::now(), is_waiting: false }));
    // hyper does not poll a body that its client does not read, so a task of its own watches it.
    let watcher = tokio::spawn(release_unread(Arc::clone(&progress), place.clone())).abort_handle();
    WhileRead { body, progress, watcher, place }.boxed()
}

async fn release_unread(progress: Arc<Mutex<Progress>>, place: Place) {
    loop {
        let Progress { at, is_waiting } = *lock(&progress);
        let since = if is_waiting { Instant::now() } else { at };
        sleep_until(since + NO_PROGRESS).await;
        let now = *lock(&progress);
        if now.at == at && !now.is_waiting && !is_waiting {
            place.release();
            return;
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

impl http_body::Body for WhileRead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        *lock(&self.progress) = Progress { at: Instant::now(), is_waiting: frame.is_pending() };
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for WhileRead {
    fn drop(&mut self) {
        self.watcher.abort();
        self.place.release();
    }
}
