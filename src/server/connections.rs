//! The connections that are open. When no more may be, the one that has been idle for the longest time is closed, so
//! that clients that connect and send nothing keep no other client out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::connection::ConnState;

/// Shortest time between two warnings.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    permits: Arc<Semaphore>,
    open: Mutex<Open>,
    warned_at: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Open {
    by_number: HashMap<u64, Entry>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    state: ConnState,
    close: oneshot::Sender<()>,
}

/// An open connection, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    connections: Arc<Connections>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let (open, warned_at) = Default::default();
        Arc::new(Self { most, permits: Arc::new(Semaphore::new(most)), open, warned_at })
    }

    /// Permission to accept a connection, for which an idle one is closed if need be. `None` if there are no permits
    /// any more.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        self.warn(|| {
            tracing::warn!(most = self.most, "no more connections may be open: those that are idle are closed")
        });
        self.close_longest_idle();
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// Adds a connection. The receiver ends when it is to be closed.
    pub(super) fn add(
        self: &Arc<Self>,
        state: &ConnState,
        permit: OwnedSemaphorePermit,
    ) -> (OpenConnection, oneshot::Receiver<()>) {
        let (close, closed) = oneshot::channel();
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, Entry { state: state.clone(), close });
        drop(open);
        (OpenConnection { connections: Arc::clone(self), number, _permit: permit }, closed)
    }

    /// Logs once a minute what anybody can cause.
    pub(super) fn warn(&self, log: impl FnOnce()) {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        if warned_at.is_none_or(|at| at.elapsed() >= WARNING_PAUSE) {
            *warned_at = Some(Instant::now());
            log();
        }
    }

    fn close_longest_idle(&self) {
        let mut open = self.open();
        let idle = open.by_number.iter().filter_map(|(number, entry)| Some((entry.state.idle_since()?, *number)));
        if let Some((_, number)) = idle.min()
            && let Some(entry) = open.by_number.remove(&number)
        {
            // It may have ended just now.
            let _ = entry.close.send(());
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_for_the_longest_time_makes_room() {
        let connections = Connections::new(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            let state = ConnState::new();
            let permit = connections.permit().now_or_never().flatten().unwrap();
            let (connection, closed) = connections.add(&state, permit);
            open.push((state, connection, closed));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let active = open[0].0.begin_request(false);
        let mut waiting = Box::pin(connections.permit());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(open[1].2.try_recv(), Ok(()), "the oldest idle one; the first one has a request");
        assert!(open[0].2.try_recv().is_err() && open[2].2.try_recv().is_err());
        drop(open.remove(1));
        assert!(waiting.now_or_never().flatten().is_some());
        drop(active);
    }

    #[tokio::test]
    async fn connections_with_requests_are_not_closed() {
        let connections = Connections::new(1);
        let (state, permit) = (ConnState::new(), connections.permit().await.unwrap());
        let (connection, mut closed) = connections.add(&state, permit);
        let active = state.begin_request(true);
        assert!(connections.permit().now_or_never().is_none());
        assert!(closed.try_recv().is_err());
        drop((active, connection));
        assert!(connections.permit().now_or_never().flatten().is_some());
    }
}
