//! The sessions that ended on this instance: a slow response must not restore one (contract 4.22 to 4.24).

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::payload::SessionId;
use super::store::{EndReason, SessionKey};
use crate::clock::UnixSeconds;

/// Most entries. When the table is full, the oldest entry is removed.
const LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19_999);

/// The table. An entry is kept until the session's absolute expiry.
#[derive(Debug)]
pub struct EndedSessions(Mutex<LruCache<SessionId, (EndReason, UnixSeconds)>>);

impl Default for EndedSessions {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(LIMIT)))
    }
}

impl EndedSessions {
    /// Adds a session. One that was replaced may be signed out later, but not the reverse.
    pub fn insert(&self, session: &SessionKey, reason: EndReason, now: UnixSeconds) {
        let mut table = self.table();
        while table.peek_lru().is_some_and(|(_, (_, expires_at))| *expires_at <= now) {
            table.pop_lru();
        }
        if reason == EndReason::Replaced && table.contains(&session.id) {
            return;
        }
        if let Some((id, (_, expires_at))) = table.push(session.id, (reason, session.expires_at))
            && id != session.id
            && expires_at > now
        {
            tracing::warn!(
                limit = LIMIT,
                "the table of ended sessions is full: a cookie of the oldest one is accepted again"
            );
        }
    }

    /// Why a session ended, if it did.
    #[must_use]
    pub fn get(&self, id: &SessionId) -> Option<EndReason> {
        self.table().peek(id).map(|(reason, _)| *reason)
    }

    fn table(&self) -> MutexGuard<'_, LruCache<SessionId, (EndReason, UnixSeconds)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::captured_log::Capture;

    fn key(number: usize, expires_at: UnixSeconds) -> SessionKey {
        SessionKey { id: (number as u128).to_be_bytes(), handle: None, expires_at }
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
        assert_eq!(ended.table().len(), LIMIT.get());
        assert_eq!(ended.get(&key(0, 0).id), None);
        assert_eq!(ended.get(&key(1, 0).id), Some(EndReason::SignedOut));
    }

    #[test]
    fn an_expired_session_is_removed() {
        let ended = EndedSessions::default();
        fill(&ended);
        ended.insert(&key(LIMIT.get(), 2_000), EndReason::SignedOut, 1_000);
        assert_eq!(ended.table().len(), 1);
    }

    #[test]
    fn a_session_that_was_signed_out_is_not_marked_as_replaced() {
        let ended = EndedSessions::default();
        ended.insert(&key(1, 1_000), EndReason::Replaced, 0);
        assert_eq!(ended.get(&key(1, 0).id), Some(EndReason::Replaced));
        ended.insert(&key(1, 1_000), EndReason::SignedOut, 0);
        ended.insert(&key(1, 1_000), EndReason::Replaced, 0);
        assert_eq!(ended.get(&key(1, 0).id), Some(EndReason::SignedOut));
    }
}
