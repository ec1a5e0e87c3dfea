//! How many calls each session has in flight: one page that runs wild leaves room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::session::token::SessionId;

/// Most calls in flight of one session.
const LIMIT: usize = 48;

/// Calls in flight by session.
#[derive(Debug, Default)]
pub struct Calls(Mutex<HashMap<SessionId, usize>>);

/// A call's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    calls: Arc<Calls>,
    session: SessionId,
}

impl Calls {
    /// A place for one more call, unless the session has too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, session: SessionId) -> Option<Place> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(session).or_default();
        if *count >= LIMIT {
            return None;
        }
        *count += 1;
        Some(Place { calls: Arc::clone(self), session })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                calls.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_places_and_others_have_their_own() {
        let calls = Arc::new(Calls::default());
        let places: Vec<_> = (0..LIMIT).map(|_| calls.enter([1; 16]).unwrap()).collect();
        assert!(calls.enter([1; 16]).is_none());
        assert!(calls.enter([2; 16]).is_some());
        drop(places);
        assert!(calls.0.lock().unwrap().is_empty(), "nothing is left of sessions without calls");
    }
}
