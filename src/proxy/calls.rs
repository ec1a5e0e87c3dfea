//! A limit of calls in flight per session, so that one runaway page cannot occupy every place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::session::payload::SessionId;

/// Most calls in flight of one session.
const LIMIT: usize = 48;
/// Most further calls that wait for one of them to end. Calls that wait occupy places too, so they are few.
const WAITING: usize = 8;
/// How long a further call waits, so that a short burst is not rejected.
const WAIT: Duration = Duration::from_secs(2);

/// Calls in flight by session.
#[derive(Debug, Default)]
pub struct Calls(Mutex<HashMap<SessionId, Slots>>);

#[derive(Debug)]
struct Slots {
    permits: Arc<Semaphore>,
    /// Calls that have a permit or wait for one.
    registered: usize,
}

/// Counts a call as in flight until it is dropped.
#[derive(Debug)]
pub struct CallPermit {
    _permit: OwnedSemaphorePermit,
    _registration: Registration,
}

/// Keeps a session in the table while any of its calls needs it.
#[derive(Debug)]
struct Registration {
    calls: Arc<Calls>,
    session: SessionId,
}

impl Calls {
    /// Waits for a permit; `None` if too many calls of the session are in flight.
    pub async fn acquire(self: &Arc<Self>, session: SessionId) -> Option<CallPermit> {
        let permits = self.register(session)?;
        let registration = Registration { calls: Arc::clone(self), session };
        let permit = timeout(WAIT, permits.acquire_owned()).await.ok()?.ok()?;
        Some(CallPermit { _permit: permit, _registration: registration })
    }

    fn register(&self, session: SessionId) -> Option<Arc<Semaphore>> {
        let mut table = self.table();
        let new = || Slots { permits: Arc::new(Semaphore::new(LIMIT)), registered: 0 };
        let slots = table.entry(session).or_insert_with(new);
        if slots.registered >= LIMIT + WAITING {
            return None;
        }
        slots.registered += 1;
        Some(Arc::clone(&slots.permits))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<SessionId, Slots>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.calls.table();
        if let Some(slots) = table.get_mut(&self.session) {
            slots.registered -= 1;
            if slots.registered == 0 {
                table.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_session_has_48_permits_of_its_own() {
        let calls = Arc::new(Calls::default());
        let mut permits = Vec::new();
        for _ in 0..LIMIT {
            permits.push(calls.acquire([1; 16]).await.unwrap());
        }
        assert!(calls.acquire([1; 16]).await.is_none(), "no call ends");
        assert!(calls.acquire([2; 16]).await.is_some());
        let waiting = tokio::spawn({
            let calls = Arc::clone(&calls);
            async move { calls.acquire([1; 16]).await.is_some() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let others: Vec<_> = (1..WAITING).map(|_| calls.register([1; 16]).unwrap()).collect();
        assert!(calls.register([1; 16]).is_none(), "only 8 wait");
        for _ in others {
            drop(Registration { calls: Arc::clone(&calls), session: [1; 16] });
        }
        permits.pop();
        assert!(waiting.await.unwrap(), "a short burst is served");
        drop(permits);
        assert!(calls.table().is_empty(), "sessions without calls are removed");
    }
}
