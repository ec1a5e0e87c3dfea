//! Callbacks under way and just done: a repeated one joins the first, since a code is good for once.
//!
//! Hosts repeat requests whose connection broke, and browsers reload. What remains across instances is the provider's
//! refusal of a spent code.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;
use tokio::time::Instant;

use super::AuthError;
use crate::session::OpenSession;
use crate::session::cookie::LOGIN_SECONDS;

/// Callbacks that are remembered.
const LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// How long a repeated callback gets the first one's session.
const JOINED: Duration = Duration::from_secs(60);

/// How a sign-in ended.
pub(super) type Outcome = Result<OpenSession, AuthError>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// The table, by state, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct CallbackDedup(Mutex<Option<LruCache<String, Entry>>>);

/// A callback that came.
#[derive(Debug)]
struct Entry {
    at: Instant,
    /// Its result, while that counts: what it holds is secret.
    flight: Option<Flight>,
}

/// What a callback has to do with earlier ones of its state.
pub(super) enum Attempt {
    /// It is the first, or comes while the first one's result counts.
    Wait {
        /// Ends as the first one ends.
        flight: Flight,
        /// Whether it began this very sign-in.
        is_first: bool,
    },
    /// It comes too late.
    Over,
}

impl CallbackDedup {
    /// The turn of a callback. `begin` makes what the first one does; it goes on even if the browser leaves.
    pub(super) fn turn(&self, state: &str, begin: impl FnOnce() -> BoxFuture<'static, Outcome>) -> Attempt {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = guard.get_or_insert_with(|| LruCache::new(LIMIT));
        forget_what_is_over(table);
        match table.peek(state) {
            Some(Entry { flight: Some(flight), .. }) => Attempt::Wait { flight: flight.clone(), is_first: false },
            Some(Entry { flight: None, .. }) => Attempt::Over,
            None => {
                let flight = begin().shared();
                table.put(state.to_owned(), Entry { at: Instant::now(), flight: Some(flight.clone()) });
                tokio::spawn(flight.clone());
                Attempt::Wait { flight, is_first: true }
            }
        }
    }
}

/// Forgets results that count no more, and callbacks whose transaction is over, so that none can repeat them.
fn forget_what_is_over(table: &mut LruCache<String, Entry>) {
    while table.peek_lru().is_some_and(|(_, begun)| begun.at.elapsed() >= Duration::from_secs(LOGIN_SECONDS)) {
        table.pop_lru();
    }
    let oldest_first = table.iter_mut().rev();
    for (_, begun) in oldest_first.take_while(|(_, begun)| begun.at.elapsed() >= JOINED) {
        begun.flight = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(table: &CallbackDedup, state: &str) -> Attempt {
        table.turn(state, || futures_util::future::ready(Err("login_failed")).boxed())
    }

    fn counts(table: &CallbackDedup) -> (usize, usize) {
        let table = table.0.lock().unwrap();
        let table = table.as_ref().unwrap();
        (table.len(), table.iter().filter(|(_, begun)| begun.flight.is_some()).count())
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_counts_for_a_minute_and_is_remembered_for_as_long_as_its_transaction() {
        let table = CallbackDedup::default();
        assert!(matches!(fails(&table, "a"), Attempt::Wait { is_first: true, .. }));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(matches!(fails(&table, "a"), Attempt::Wait { is_first: false, .. }));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(matches!(fails(&table, "a"), Attempt::Over));
        assert_eq!(counts(&table), (1, 0), "what the result held is gone");
        tokio::time::advance(Duration::from_secs(539)).await;
        assert!(matches!(fails(&table, "a"), Attempt::Over));
        tokio::time::advance(Duration::from_secs(1)).await;
        fails(&table, "b");
        assert_eq!(counts(&table), (1, 1), "no cookie opens any more that could repeat it");
    }

    #[tokio::test]
    async fn the_table_is_bounded() {
        let table = CallbackDedup::default();
        for number in 0..LIMIT.get() + 5 {
            fails(&table, &number.to_string());
        }
        assert_eq!(counts(&table).0, LIMIT.get());
    }
}
