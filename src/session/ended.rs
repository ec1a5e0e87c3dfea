//! The sessions that ended on this instance: a slow response must not restore one (contract 4.22 to 4.24).

use std::hash::Hash;
use std::num::NonZeroUsize;

use lru::LruCache;

use super::companion::SessionHash;
use super::payload::{Session, SessionId};
use super::store::{EndReason, LoadError, SessionKey};
use crate::clock::UnixSeconds;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Most entries of each kind. When a table is full, its oldest entry is removed.
const LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19_999);

/// The tables. An entry is kept until the session's absolute expiry.
#[derive(Debug, Default)]
pub struct EndedSessions(Mutex<Tables>);

/// A session is in one of them: the callback that replaces it knows its ID from the login transaction, or its hash from
/// the companion cookie (contract 4.24a).
#[derive(Debug, Default)]
struct Tables {
    ids: Table<SessionId>,
    hashes: Table<SessionHash>,
}

#[derive(Debug)]
struct Table<K: Hash + Eq>(LruCache<K, (EndReason, UnixSeconds)>);

impl<K: Hash + Eq> Default for Table<K> {
    fn default() -> Self {
        Self(LruCache::new(LIMIT))
    }
}

impl EndedSessions {
    /// Adds a session. One that was replaced may be signed out later, but not the reverse; one that ended from
    /// elsewhere may be either later, but not the reverse.
    pub fn insert(&self, session: &SessionKey, reason: EndReason, now: UnixSeconds) {
        let mut tables = self.tables();
        match (session.id, session.hash) {
            (Some(id), _) => tables.ids.insert(id, reason, session.expires_at, now),
            (None, Some(hash)) => tables.hashes.insert(hash, reason, session.expires_at, now),
            (None, None) => {}
        }
    }

    /// Why a session ended, if it did.
    #[must_use]
    pub fn get(&self, session: &Session) -> Option<EndReason> {
        let tables = self.tables();
        let by_hash = || if tables.hashes.0.is_empty() { None } else { tables.hashes.get(&session.hash()) };
        tables.ids.get(&session.id).or_else(by_hash)
    }

    /// Contract 4.24. A session that ended from elsewhere has expired, as it has on every other instance: its cookie
    /// was neither deleted nor overwritten.
    ///
    /// # Errors
    /// [`LoadError::Ended`] or [`LoadError::Expired`].
    pub fn check(&self, session: &Session) -> Result<(), LoadError> {
        match self.get(session) {
            None => Ok(()),
            Some(EndReason::FromElsewhere) => Err(LoadError::Expired),
            Some(EndReason::Replaced | EndReason::SignedOut) => Err(LoadError::Ended),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Table<K> {
    fn insert(&mut self, key: K, reason: EndReason, expires_at: UnixSeconds, now: UnixSeconds) {
        let Self(table) = self;
        while table.peek_lru().is_some_and(|(_, (_, expires_at))| *expires_at <= now) {
            table.pop_lru();
        }
        let counts = match (table.peek(&key), reason) {
            (None | Some((EndReason::FromElsewhere, _)), _) | (_, EndReason::SignedOut) => true,
            (Some(_), EndReason::FromElsewhere | EndReason::Replaced) => false,
        };
        if !counts {
            return;
        }
        let is_known = table.contains(&key);
        if let Some((_, (_, expires_at))) = table.push(key, (reason, expires_at))
            && !is_known
            && expires_at > now
        {
            tracing::warn!(
                limit = LIMIT,
                "the table of ended sessions is full: without a store a cookie of the oldest one is accepted again"
            );
        }
    }

    fn get(&self, key: &K) -> Option<EndReason> {
        self.0.peek(key).map(|(reason, _)| *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Key32;
    use crate::session::payload::User;
    use crate::telemetry::captured_log::Capture;

    fn session(number: usize) -> Session {
        Session::new((number as u128).to_be_bytes(), User::default(), 0)
    }

    fn key(number: usize, expires_at: UnixSeconds) -> SessionKey {
        SessionKey { id: Some(session(number).id), hash: None, expires_at }
    }

    fn fill(ended: &EndedSessions) {
        for number in 0..LIMIT.get() {
            ended.insert(&key(number, 1_000), EndReason::SignedOut, 0);
        }
    }

    #[test]
    fn the_table_is_bounded_and_logs_when_it_forgets_a_session() {
        let ended = EndedSessions::default();
        let capture = Capture::start();
        fill(&ended);
        ended.insert(&key(1, 1_000), EndReason::SignedOut, 0);
        assert_eq!(capture.text(), "", "it was there already");
        fill(&ended);
        ended.insert(&key(LIMIT.get(), 1_000), EndReason::SignedOut, 0);
        let log = capture.text();
        assert!(log.contains("WARN") && log.contains("table of ended sessions is full"), "{log}");
        assert_eq!(ended.tables().ids.0.len(), LIMIT.get());
        assert_eq!(ended.get(&session(0)), None);
        assert_eq!(ended.get(&session(1)), Some(EndReason::SignedOut));
    }

    #[test]
    fn an_expired_session_is_removed() {
        let ended = EndedSessions::default();
        fill(&ended);
        ended.insert(&key(LIMIT.get(), 2_000), EndReason::SignedOut, 1_000);
        assert_eq!(ended.tables().ids.0.len(), 1);
    }

    #[test]
    fn a_session_that_was_signed_out_is_not_marked_as_replaced() {
        let ended = EndedSessions::default();
        ended.insert(&key(1, 1_000), EndReason::Replaced, 0);
        assert_eq!(ended.get(&session(1)), Some(EndReason::Replaced));
        ended.insert(&key(1, 1_000), EndReason::SignedOut, 0);
        ended.insert(&key(1, 1_000), EndReason::Replaced, 0);
        assert_eq!(ended.get(&session(1)), Some(EndReason::SignedOut));
    }

    /// A sign-in in the same browser may have overwritten the cookie since.
    #[test]
    fn a_session_that_ended_from_elsewhere_may_be_replaced_or_signed_out_but_not_the_reverse() {
        let ended = EndedSessions::default();
        for (number, later) in [(1, EndReason::Replaced), (2, EndReason::SignedOut)] {
            let insert = |reason| ended.insert(&key(number, 1_000), reason, 0);
            insert(EndReason::FromElsewhere);
            assert_eq!(ended.check(&session(number)), Err(LoadError::Expired));
            insert(later);
            insert(EndReason::FromElsewhere);
            assert_eq!(ended.get(&session(number)), Some(later));
            assert_eq!(ended.check(&session(number)), Err(LoadError::Ended));
        }
        assert_eq!(ended.check(&session(3)), Ok(()));
    }

    /// Contract 4.24a: the companion cookie names the session by its hash.
    #[test]
    fn a_session_is_found_by_its_hash() {
        let ended = EndedSessions::default();
        let new = Session { handle: Some(Key32::new([1; 32])), ..session(1) };
        let (old, other) = (session(2), Session { handle: Some(Key32::new([2; 32])), ..session(3) });
        for replaced in [&new, &old] {
            let key = SessionKey { id: None, hash: Some(replaced.hash()), expires_at: 1_000 };
            ended.insert(&key, EndReason::Replaced, 0);
            assert_eq!(ended.get(replaced), Some(EndReason::Replaced));
        }
        assert_eq!(ended.get(&other), None);
    }
}
