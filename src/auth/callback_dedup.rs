//! Repeated callbacks join the first one, since a code can be exchanged only once (contract 10.18).
//!
//! Hosts repeat requests whose connection broke, and browsers reload. A callback that is repeated at another instance
//! fails, because the provider rejects the used code.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;
use tokio::time::Instant;

use super::failure_log::Failure;
use super::transaction::State;
use crate::session::OpenSession;
use crate::session::companion::SessionHash;
use crate::session::cookie::LOGIN_SECONDS;
use crate::telemetry::in_current_request;

/// How long a repeated callback gets the session of the first one.
const RESULT_LIFE: Duration = Duration::from_secs(60);

pub(super) type Outcome = Result<OpenSession, Failure>;
/// The exchange of one code, shared by all callbacks that wait for it.
pub(super) type Exchange = Shared<BoxFuture<'static, Outcome>>;

/// Callbacks by state, in the order in which they began.
#[derive(Debug)]
pub(super) struct CallbackDedup(Arc<Mutex<LruCache<String, Entry>>>);

/// What the callbacks with one state have in common.
#[derive(Debug)]
pub(super) struct SignIn {
    /// The session that the first of them replaces, by its companion cookie. Others that a repeated one names are
    /// passed over: one code must not replace any number of sessions.
    pub(super) replaces: Option<SessionHash>,
    is_logged: AtomicBool,
}

impl SignIn {
    /// Whether the sign-in is to be logged: once, by whichever callback is finished first.
    pub(super) fn must_be_logged(&self) -> bool {
        !self.is_logged.swap(true, Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Entry {
    begun: Instant,
    /// Dropped once [`RESULT_LIFE`] is over, since its result holds tokens.
    first: Option<(Exchange, Arc<SignIn>)>,
}

/// What becomes of a callback.
pub(super) enum Attempt {
    /// It is the first one with its state and started the exchange.
    First(Exchange, Arc<SignIn>),
    /// It shares the result of the first one.
    Repeated(Exchange, Arc<SignIn>),
    /// The result of the first one is no longer available.
    Expired,
}

impl CallbackDedup {
    /// `most`: how many callbacks are remembered (contract 17.4).
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN)))))
    }

    /// Joins the exchange of an earlier callback with this state, or starts one. It runs to its end even if the browser
    /// disconnects. `replaces`: the session that the browser had before.
    pub(super) fn join_or_start(
        &self,
        state: &State,
        replaces: Option<SessionHash>,
        start: impl FnOnce() -> BoxFuture<'static, Outcome>,
    ) -> Attempt {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remove_expired(&mut table);
        match table.peek(state.as_str()) {
            Some(Entry { first: Some((exchange, sign_in)), .. }) => {
                Attempt::Repeated(exchange.clone(), Arc::clone(sign_in))
            }
            Some(Entry { first: None, .. }) => Attempt::Expired,
            None => {
                // Whoever polls it, its log lines belong to the request that started it.
                let exchange = in_current_request(start()).boxed().shared();
                let begun = Instant::now();
                let sign_in = Arc::new(SignIn { replaces, is_logged: AtomicBool::new(false) });
                let entry = Entry { begun, first: Some((exchange.clone(), Arc::clone(&sign_in))) };
                table.put(state.as_str().to_owned(), entry);
                tokio::spawn(exchange.clone());
                tokio::spawn(expire_results(Arc::clone(&self.0), begun + RESULT_LIFE));
                Attempt::First(exchange, sign_in)
            }
        }
    }
}

/// Removes the results whose life is over then, even if no other callback follows.
async fn expire_results(table: Arc<Mutex<LruCache<String, Entry>>>, then: Instant) {
    tokio::time::sleep_until(then).await;
    remove_expired(&mut table.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Removes results after their life, and entries whose transaction cookie has expired, so that none can repeat them.
fn remove_expired(table: &mut LruCache<String, Entry>) {
    while table.peek_lru().is_some_and(|(_, entry)| entry.begun.elapsed() >= Duration::from_secs(LOGIN_SECONDS)) {
        table.pop_lru();
    }
    let oldest_first = table.iter_mut().rev();
    for (_, entry) in oldest_first.take_while(|(_, entry)| entry.begun.elapsed() >= RESULT_LIFE) {
        entry.first = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthError;

    fn callback(table: &CallbackDedup, number: usize) -> Attempt {
        let state = State::parse(&format!("{number:0>32}A")).unwrap();
        table.join_or_start(&state, None, || futures_util::future::ready(Err(AuthError::LoginFailed.into())).boxed())
    }

    /// Entries, and those of them that have a result.
    fn counts(table: &CallbackDedup) -> (usize, usize) {
        let table = table.0.lock().unwrap();
        (table.len(), table.iter().filter(|(_, entry)| entry.first.is_some()).count())
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_is_shared_for_a_minute_and_remembered_as_long_as_its_transaction() {
        let table = CallbackDedup::new(10);
        assert!(matches!(callback(&table, 1), Attempt::First(..)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(matches!(callback(&table, 1), Attempt::Repeated(..)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        assert_eq!(counts(&table), (1, 0), "the tokens of the result are dropped");
        assert!(matches!(callback(&table, 1), Attempt::Expired));
        tokio::time::advance(Duration::from_secs(539)).await;
        assert!(matches!(callback(&table, 1), Attempt::Expired));
        tokio::time::advance(Duration::from_secs(1)).await;
        callback(&table, 2);
        assert_eq!(counts(&table), (1, 1), "no transaction cookie opens any more that could repeat it");
    }

    #[tokio::test]
    async fn the_table_is_bounded() {
        let table = CallbackDedup::new(100);
        for number in 0..105 {
            callback(&table, number);
        }
        assert_eq!(counts(&table).0, 100);
    }
}
