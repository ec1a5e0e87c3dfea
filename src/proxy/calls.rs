//! How many calls each session has in flight: one page that runs wild leaves room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::session::payload::SessionId;

/// Most calls in flight of one session.
const LIMIT: usize = 48;
/// Most that wait for one of them, so that those who wait leave room for other sessions too.
const WAITING: usize = 8;
/// How long one more waits for a place: a burst is no overload if it passes.
const WAIT: Duration = Duration::from_secs(2);

/// Calls in flight by session.
#[derive(Debug, Default)]
pub struct Calls(Mutex<HashMap<SessionId, Slots>>);

#[derive(Debug)]
struct Slots {
    places: Arc<Semaphore>,
    /// Those that have a place or wait for one.
    here: usize,
}

/// A call's place, until it is dropped.
#[derive(Debug)]
pub struct CallPermit {
    _permit: OwnedSemaphorePermit,
    _here: Registration,
}

/// Keeps a session in the table while any of its calls needs it.
#[derive(Debug)]
struct Registration {
    calls: Arc<Calls>,
    session: SessionId,
}

impl Calls {
    /// A place for one more call, waiting a little where the session has too many.
    pub async fn acquire(self: &Arc<Self>, session: SessionId) -> Option<CallPermit> {
        let places = self.register(session)?;
        let here = Registration { calls: Arc::clone(self), session };
        let permit = timeout(WAIT, places.acquire_owned()).await.ok()?.ok()?;
        Some(CallPermit { _permit: permit, _here: here })
    }

    fn register(&self, session: SessionId) -> Option<Arc<Semaphore>> {
        let mut table = self.table();
        let new = || Slots { places: Arc::new(Semaphore::new(LIMIT)), here: 0 };
        let session = table.entry(session).or_insert_with(new);
        if session.here >= LIMIT + WAITING {
            return None;
        }
        session.here += 1;
        Some(Arc::clone(&session.places))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<SessionId, Slots>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.calls.table();
        if let Some(session) = table.get_mut(&self.session) {
            session.here -= 1;
            if session.here == 0 {
                table.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_has_so_many_places_and_others_have_their_own() {
        let calls = Arc::new(Calls::default());
        let mut places = Vec::new();
        for _ in 0..LIMIT {
            places.push(calls.acquire([1; 16]).await.unwrap());
        }
        assert!(calls.acquire([1; 16]).await.is_none(), "nobody leaves");
        assert!(calls.acquire([2; 16]).await.is_some());
        let waiting = tokio::spawn({
            let calls = Arc::clone(&calls);
            async move { calls.acquire([1; 16]).await.is_some() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let crowd: Vec<_> = (1..WAITING).map(|_| calls.register([1; 16]).unwrap()).collect();
        assert!(calls.register([1; 16]).is_none(), "no more than so many wait");
        for _ in crowd {
            drop(Registration { calls: Arc::clone(&calls), session: [1; 16] });
        }
        places.pop();
        assert!(waiting.await.unwrap(), "a burst that passes is served");
        drop(places);
        assert!(calls.table().is_empty(), "nothing is left of sessions without calls");
    }
}
