//! The connections that are open. When no more may be, the one that has been idle for the longest time is closed, so
//! that clients that connect and send nothing keep no other client out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::connection::{ConnState, Ending};

/// How long a connection that is to make room has for it, before another one is chosen.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
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
    by_number: HashMap<u64, ConnState>,
    last: u64,
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
        loop {
            self.close_longest_idle();
            // That one may get a request instead, or one may become idle.
            if let Ok(permit) = timeout(ROOM_PAUSE, Arc::clone(&self.permits).acquire_owned()).await {
                return permit.ok();
            }
        }
    }

    pub(super) fn add(self: &Arc<Self>, state: &ConnState, permit: OwnedSemaphorePermit) -> OpenConnection {
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, state.clone());
        drop(open);
        OpenConnection { connections: Arc::clone(self), number, _permit: permit }
    }

    /// Ends all connections and waits for them, of which those with requests finish these first.
    pub(super) async fn shutdown(&self) {
        for state in self.open().by_number.values() {
            state.end(Ending::Shutdown);
        }
        let _ = self.permits.acquire_many(u32::try_from(self.most).unwrap_or(u32::MAX)).await;
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
        let open = self.open();
        let idle = open.by_number.values().filter_map(|state| Some((state.idle_since()?, state)));
        if let Some((_, state)) = idle.min_by_key(|(since, _)| *since) {
            state.end(Ending::MakeRoom);
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
    use std::task::Waker;

    use futures_util::FutureExt;

    use super::*;
    use crate::server::connection::Next;

    fn next(state: &ConnState) -> Next {
        state.next(Waker::noop(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_for_the_longest_time_makes_room() {
        let connections = Connections::new(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            let state = ConnState::new();
            let permit = connections.permit().now_or_never().flatten().unwrap();
            let connection = connections.add(&state, permit);
            open.push((state, connection));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let active = open[0].0.begin_request(false);
        let mut waiting = [Box::pin(connections.permit()), Box::pin(connections.permit())];
        assert!(waiting[0].as_mut().now_or_never().is_none());
        assert!(matches!(next(&open[2].0), Next::CloseAt(_)));
        assert_eq!(next(&open[1].0), Next::Close, "the oldest idle one; the first one has a request");
        assert!(waiting[1].as_mut().now_or_never().is_none());
        assert_eq!(next(&open[2].0), Next::Close, "the next one, since the other is ending already");
        assert_eq!(next(&open[0].0), Next::Wait);
        drop(open.remove(1));
        let [first, _] = waiting;
        assert!(first.now_or_never().flatten().is_some());
        drop(active);
    }

    #[tokio::test(start_paused = true)]
    async fn another_connection_makes_room_if_the_first_one_gets_a_request() {
        let connections = Connections::new(2);
        let mut open = Vec::new();
        for _ in 0..2 {
            let state = ConnState::new();
            let permit = connections.permit().now_or_never().flatten().unwrap();
            open.push((state.clone(), connections.add(&state, permit)));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let mut waiting = Box::pin(connections.permit());
        assert!(waiting.as_mut().now_or_never().is_none());
        let _active = open[0].0.begin_request(false);
        tokio::time::advance(ROOM_PAUSE).await;
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(next(&open[1].0), Next::Close);
    }

    #[tokio::test]
    async fn connections_with_requests_are_not_closed() {
        let connections = Connections::new(1);
        let (state, permit) = (ConnState::new(), connections.permit().await.unwrap());
        let connection = connections.add(&state, permit);
        let active = state.begin_request(true);
        assert!(connections.permit().now_or_never().is_none());
        assert_eq!(next(&state), Next::Wait);
        drop((active, connection));
        assert!(connections.permit().now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_every_connection() {
        let connections = Connections::new(3);
        let (state, permit) = (ConnState::new(), connections.permit().await.unwrap());
        let connection = connections.add(&state, permit);
        let mut shutdown = Box::pin(connections.shutdown());
        assert!(shutdown.as_mut().now_or_never().is_none());
        assert_eq!(next(&state), Next::Drain);
        assert!(shutdown.as_mut().now_or_never().is_none());
        drop(connection);
        assert_eq!(shutdown.now_or_never(), Some(()));
    }
}
