//! The sessions ended here: a slow answer must not bring one back, and its cookie is refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::payload::SessionId;
use crate::clock::UnixSeconds;

/// Bound of the table. Beyond it the session that would end first anyway is forgotten.
const LIMIT: usize = 10_000;

/// Session ids with the time at which they would be over anyway.
#[derive(Debug, Default)]
pub struct EndedSessions(Mutex<HashMap<SessionId, UnixSeconds>>);

impl EndedSessions {
    /// Marks a session as ended.
    pub fn insert(&self, id: SessionId, expires_at: UnixSeconds, now: UnixSeconds) {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= LIMIT {
            ended.retain(|_, expires_at| *expires_at > now);
        }
        if ended.len() >= LIMIT {
            let first = ended.iter().min_by_key(|(_, expires_at)| **expires_at).map(|(id, _)| *id);
            first.and_then(|id| ended.remove(&id));
        }
        ended.insert(id, expires_at);
    }

    /// Whether a session was ended here.
    #[must_use]
    pub fn contains(&self, id: &SessionId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_forgets_what_ends_first() {
        let ended = EndedSessions::default();
        let id = |number: usize| -> SessionId { (number as u128).to_be_bytes() };
        for number in 0..LIMIT + 5 {
            ended.insert(id(number), 1_000 + number as u64, 0);
        }
        assert_eq!(ended.0.lock().unwrap().len(), LIMIT);
        assert!(!ended.contains(&id(0)));
        assert!(ended.contains(&id(LIMIT + 4)));
    }
}
