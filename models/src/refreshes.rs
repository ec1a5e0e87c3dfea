//! Refreshes: one at a time for a session and an API, probes of an open circuit, and tokens that are stored later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use shuttle::future::{block_on, spawn, yield_now};

use super::endpoint::TokenEndpoint;
use super::in_flight::{InFlight, Key, Registration};
use super::limits::RefreshLimits;
use super::writer::TokenWriter;
use crate::clock::Clock;
use crate::oidc::grants::TokenResponse;
use crate::oidc::id_token::Subject;
use crate::oidc::refresh::{Availability, Refreshed, Scopes};
use crate::secret::SecretString;
use crate::session::payload::{Session, User};
use crate::session::store::{NewTokens, RefreshLock};
use crate::session::{OpenSession, Sessions};

const KEY: Key = ([7; 16], None);

/// Whoever waits for a refresh gets its outcome, even if it joins while the refresh is abandoned; two refreshes for one
/// key never send requests at the same time; none leaves an entry.
pub fn callers_share_a_refresh() {
    block_on(async {
        let table: Arc<InFlight<u32>> = Arc::default();
        let is_sending = Arc::new(AtomicBool::new(false));
        let callers = (0..3).map(|caller| {
            let (table, is_sending) = (Arc::clone(&table), Arc::clone(&is_sending));
            spawn(async move {
                let (waiting, registration) = table.join_or_register(KEY);
                let refresh = registration.map(|registration| spawn(refresh(registration, is_sending)));
                // The browser of one caller has gone.
                if caller > 0 {
                    assert_eq!(waiting.outcome().await, Some(1));
                } else {
                    drop(waiting);
                }
                if let Some(refresh) = refresh {
                    assert!(refresh.await.is_ok());
                }
            })
        });
        assert!(join_all(callers.collect::<Vec<_>>()).await.into_iter().all(|end| end.is_ok()));
        assert!(table.join_or_register(KEY).1.is_some(), "an entry is left");
    });
}

/// A refresh that is abandoned while it waits for its turn, or else sends its request.
async fn refresh(registration: Registration<u32>, is_sending: Arc<AtomicBool>) {
    tokio::select! {
        () = registration.abandoned() => {}
        () = yield_now() => {
            assert!(!is_sending.swap(true, Ordering::SeqCst), "two requests at a time");
            yield_now().await;
            is_sending.store(false, Ordering::SeqCst);
            registration.finish(1);
        }
    }
}

/// While the circuit is open, one request probes at a time, and its end gives the turn to the next.
pub fn one_request_probes_at_a_time() {
    block_on(async {
        let limits = Arc::new(RefreshLimits::of(90));
        let opening = limits.attempt();
        assert!(opening.is_ok_and(|attempt| {
            attempt.end(Availability::RateLimited(std::time::Duration::ZERO));
            true
        }));
        let is_probing = Arc::new(AtomicBool::new(false));
        let probes = (0..3).map(|_| {
            let (limits, is_probing) = (Arc::clone(&limits), Arc::clone(&is_probing));
            spawn(async move {
                let Ok(attempt) = limits.attempt() else { return };
                assert!(!is_probing.swap(true, Ordering::SeqCst), "two probes at a time");
                yield_now().await;
                is_probing.store(false, Ordering::SeqCst);
                attempt.end(Availability::Unknown);
            })
        });
        assert!(join_all(probes.collect::<Vec<_>>()).await.into_iter().all(|end| end.is_ok()));
        assert!(limits.attempt().is_ok(), "a probe that ended keeps the turn");
    });
}

/// The newest tokens of a session are stored, while those of an earlier refresh still wait to be.
pub fn the_newest_tokens_are_stored_later() {
    block_on(async {
        let sessions = Sessions::failing(2);
        let writer = TokenWriter::new(Arc::clone(&sessions), Arc::new(NoEndpoint));
        save(&writer, "first").await;
        // The lock of the first has expired by now.
        save(&writer, "second").await;
        while Arc::strong_count(&writer) > 1 {
            yield_now().await;
        }
        let saved = sessions.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(saved.iter().any(|token| token == "second"), "{saved:?}");
    });
}

async fn save(writer: &Arc<TokenWriter>, token: &str) {
    let open = OpenSession::new(Session::new([1; 16], User::default(), 0), 10_000);
    let new = NewTokens { refresh_token: Some(token.into()), access_token: None, id_token: None };
    assert!(writer.save(RefreshLock::new((), None), &open, new, 0).await.is_ok());
}

#[derive(Debug)]
struct NoEndpoint;

impl TokenEndpoint for NoEndpoint {
    fn refresh<'a>(
        &'a self,
        _refresh_token: &'a SecretString,
        _scopes: Scopes<'a>,
        _resource: Option<&'a str>,
        _subject: Subject<'a>,
        _clock: Clock<'a>,
    ) -> BoxFuture<'a, Refreshed<TokenResponse>> {
        unreachable!("the writer sends no refresh")
    }

    fn revoke<'a>(&'a self, _refresh_token: &'a SecretString) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }
}
