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

use super::callback::AuthError;
use crate::session::OpenSession;

/// Callbacks that are remembered.
const LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// How long a repeated callback gets the first one's session.
const JOINED: Duration = Duration::from_secs(60);

/// How a sign-in ended.
pub(super) type Outcome = Result<OpenSession, AuthError>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// The table, by state.
#[derive(Debug, Default)]
pub(super) struct Joined(Mutex<Option<LruCache<String, (Instant, Flight)>>>);

/// What a callback has to do with earlier ones of its state.
pub(super) enum Turn {
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

impl Joined {
    /// The turn of a callback. `begin` makes what the first one does; it goes on even if the browser leaves.
    pub(super) fn turn(&self, state: &str, begin: impl FnOnce() -> BoxFuture<'static, Outcome>) -> Turn {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = guard.get_or_insert_with(|| LruCache::new(LIMIT));
        match table.get(state) {
            Some((begun, flight)) if begun.elapsed() < JOINED => Turn::Wait { flight: flight.clone(), is_first: false },
            Some(_) => Turn::Over,
            None => {
                let flight = begin().shared();
                table.put(state.to_owned(), (Instant::now(), flight.clone()));
                tokio::spawn(flight.clone());
                Turn::Wait { flight, is_first: true }
            }
        }
    }
}
