//! Lets responses that still stream know that their session has ended on this instance or was revoked (contract 10.21).
//!
//! The ends of sessions are counted, and so are the changes of the revocation list. A response compares the count,
//! without a lock, and looks its session up only when the count has changed. In the table are the responses that wait
//! for more of their body, to be woken.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::payload::{Session, SessionId};
use super::store::SessionStore;
use crate::keyring::revocations::RevocationCache;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// How many sessions have ended or were replaced on this instance, and how often the revocation list has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndCount(u64);

/// Counts the ends and wakes the responses of a session that ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    count: AtomicU64,
    /// The number of the newest entry.
    newest: AtomicU64,
    waiting: Mutex<HashMap<u64, (SessionId, Waker)>>,
}

/// Watches one session for a response to it.
#[derive(Debug)]
pub struct SessionWatch {
    ends: Arc<Ends>,
    store: Arc<dyn SessionStore>,
    revocations: Arc<RevocationCache>,
    /// Without its tokens: what identifies it, and what the revocation list ends sessions by.
    session: Box<Session>,
    /// The count when the session was looked up last.
    seen: EndCount,
    /// The entry in the table, and the waker in it.
    entry: Option<(u64, Waker)>,
}

impl Ends {
    pub(super) fn count(&self) -> EndCount {
        EndCount(self.count.load(Ordering::Acquire))
    }

    /// Announces the end of a session, which [`SessionStore::ended_here`] must know already.
    /// Of a session that is known by its hash only, all that wait look theirs up: hashing each costs more.
    pub(super) fn announce(&self, session: Option<&SessionId>) {
        self.count.fetch_add(1, Ordering::AcqRel);
        let may_be = |id: &SessionId| session.is_none_or(|of| of == id);
        let wakers: Vec<Waker> =
            self.waiting().values().filter(|(id, _)| may_be(id)).map(|(_, waker)| waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Announces that any session may have ended: the revocation list has changed.
    pub(super) fn announce_all(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        let wakers: Vec<Waker> = self.waiting().values().map(|(_, waker)| waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, (SessionId, Waker)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionWatch {
    /// `seen` is the count before the session was opened, so that no end since then is missed.
    pub(super) fn new(
        ends: &Arc<Ends>,
        store: &Arc<dyn SessionStore>,
        revocations: &Arc<RevocationCache>,
        mut session: Box<Session>,
        seen: EndCount,
    ) -> Self {
        let (ends, store, revocations) = (Arc::clone(ends), Arc::clone(store), Arc::clone(revocations));
        session.remove_tokens();
        Self { ends, store, revocations, session, seen, entry: None }
    }

    /// Whether the session has ended, was replaced or was revoked.
    pub fn has_ended(&mut self) -> bool {
        let count = self.ends.count();
        if count == self.seen {
            return false;
        }
        // Before the lookup, so that an end during it is not missed.
        self.seen = count;
        let (session, user) = (&self.session, &self.session.user);
        self.store.ended_here(session).is_some()
            || self.revocations.look_up(session.signed_in_at, user.oid.as_deref(), &user.sub) == Some(true)
    }

    /// The same, for a response that waits: its task is woken when the session ends.
    pub fn poll_ended(&mut self, context: &Context<'_>) -> bool {
        let waker = context.waker();
        let ends = &self.ends;
        match &mut self.entry {
            Some((_, known)) if known.will_wake(waker) => {}
            Some((number, known)) => {
                known.clone_from(waker);
                ends.waiting().insert(*number, (self.session.id, waker.clone()));
            }
            None => {
                let number = ends.newest.fetch_add(1, Ordering::Relaxed);
                ends.waiting().insert(number, (self.session.id, waker.clone()));
                self.entry = Some((number, waker.clone()));
            }
        }
        // Only now: an end before the entry was made wakes no task.
        self.has_ended()
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.entry {
            self.ends.waiting().remove(number);
        }
    }
}
