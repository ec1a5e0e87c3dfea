//! The refreshes in flight: callers that need the same tokens share one, and an entry ends with its refresh, even by a
//! panic.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::session::payload::SessionId;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The session and the API of a refresh. Without an API it only gets the session a new refresh token.
pub(super) type Key = (SessionId, Option<String>);

/// The refreshes in flight by session and API. Nothing but the table is touched while it is locked.
#[derive(Debug)]
pub(super) struct InFlight<T>(Mutex<HashMap<Key, Arc<Outcome<T>>>>);

type Outcome<T> = watch::Sender<Option<T>>;

/// Waits for the outcome of a refresh.
#[derive(Debug)]
pub(super) struct Waiting<T>(watch::Receiver<Option<T>>);

/// The refresh of an entry; dropping it removes the entry.
pub(super) struct Registration<T> {
    table: Arc<InFlight<T>>,
    pub(super) key: Key,
    outcome: Arc<Outcome<T>>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> InFlight<T> {
    /// Joins the refresh in flight. If there is none, the caller has to run the one that is registered now.
    pub(super) fn join_or_register(self: &Arc<Self>, key: Key) -> (Waiting<T>, Option<Registration<T>>) {
        let (waiting, outcome) = match self.lock().entry(key.clone()) {
            Entry::Occupied(entry) => (entry.get().subscribe(), None),
            Entry::Vacant(entry) => {
                let (outcome, waiting) = watch::channel(None);
                (waiting, Some(Arc::clone(entry.insert(Arc::new(outcome)))))
            }
        };
        let registration = outcome.map(|outcome| Registration { table: Arc::clone(self), key, outcome });
        (Waiting(waiting), registration)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Outcome<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Waiting<T> {
    /// `None` if the refresh ended without an outcome: it panicked.
    pub(super) async fn outcome(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }
}

impl<T> Registration<T> {
    /// Ends the refresh. Its entry goes first, so that no caller joins a refresh that has ended.
    pub(super) fn finish(self, result: T) {
        let outcome = Arc::clone(&self.outcome);
        drop(self);
        outcome.send_replace(Some(result));
    }

    /// Waits until no caller waits for the refresh any more. Then its entry is removed, so that none can join it.
    pub(super) async fn abandoned(&self) {
        loop {
            self.outcome.closed().await;
            let mut table = self.table.lock();
            if self.outcome.receiver_count() == 0 {
                self.remove_from(&mut table);
                return;
            }
        }
    }

    /// An entry of another refresh for the same key stays.
    fn remove_from(&self, table: &mut HashMap<Key, Arc<Outcome<T>>>) {
        if table.get(&self.key).is_some_and(|outcome| Arc::ptr_eq(outcome, &self.outcome)) {
            table.remove(&self.key);
        }
    }
}

impl<T> fmt::Debug for Registration<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        self.remove_from(&mut self.table.lock());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const KEY: Key = ([7; 16], None);

    #[tokio::test]
    async fn a_refresh_that_ended_is_not_joined() {
        let table = Arc::new(InFlight::default());
        let (waiting, first) = table.join_or_register(KEY);
        let (joined, none) = table.join_or_register(KEY);
        assert!(none.is_none());
        first.unwrap().finish(1);
        let (next, second) = table.join_or_register(KEY);
        second.unwrap().finish(2);
        assert_eq!(
            (waiting.outcome().await, joined.outcome().await, next.outcome().await),
            (Some(1), Some(1), Some(2))
        );
        assert!(table.is_empty());
    }

    /// A runtime that shuts down drops what is spawned at once: whatever drops a refresh, its entry is removed, and its
    /// callers get a result.
    #[test]
    fn a_refresh_that_is_dropped_at_once_locks_nothing_up() {
        let table: Arc<InFlight<()>> = Arc::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_timeout(std::time::Duration::from_secs(60));
        let (waiting, registration) = table.join_or_register(KEY);
        handle.spawn(async move { registration.unwrap().abandoned().await });
        assert!(table.is_empty());
        let alone = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(alone.block_on(waiting.outcome()), None);
    }

    #[tokio::test]
    async fn an_abandoned_refresh_removes_no_other() {
        let table: Arc<InFlight<()>> = Arc::default();
        let (waiting, first) = table.join_or_register(KEY);
        let first = first.unwrap();
        drop(waiting);
        first.abandoned().await;
        let (joined, second) = table.join_or_register(KEY);
        drop(first);
        assert!(!table.is_empty());
        second.unwrap().finish(());
        assert_eq!(joined.outcome().await, Some(()));
    }

    #[test]
    fn a_caller_that_joins_just_before_an_abandoned_refresh_is_removed_keeps_it() {
        let table: Arc<InFlight<()>> = Arc::default();
        let (waiting, first) = table.join_or_register(KEY);
        drop(waiting);
        let locked = table.lock();
        let refresh = std::thread::spawn(move || first.unwrap().abandoned().now_or_never().is_some());
        // Until the refresh has seen that no caller waits, and needs the table.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let _joined = locked[&KEY].subscribe();
        drop(locked);
        assert!(!refresh.join().unwrap());
    }

    /// Contract 17.5: whoever joins on another thread gets an outcome.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn whoever_joins_an_abandoned_refresh_gets_an_outcome() {
        let table: Arc<InFlight<u32>> = Arc::default();
        let run = |registration: Registration<u32>| async move {
            tokio::select! {
                () = registration.abandoned() => {}
                () = tokio::task::yield_now() => registration.finish(1),
            }
        };
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let table = Arc::clone(&table);
                tokio::spawn(async move {
                    for round in 0..5_000 {
                        let (waiting, registration) = table.join_or_register(KEY);
                        registration.map(|registration| tokio::spawn(run(registration)));
                        if (round + caller) % 3 > 0 {
                            assert_eq!(waiting.outcome().await, Some(1));
                        }
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    }
}
