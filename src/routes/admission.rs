//! Admission: how many requests may be in flight, by class (contract 10.19).
//!
//! Requests beyond the limits are rejected at once, so that the host's own limit of 100 is never reached and sign-ins
//! still succeed while API calls pile up.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for all requests.
const ALL: usize = 90;
/// Places for everything that is not under `/auth`.
const GENERAL: usize = 80;

/// The admission class of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Never rejected and not counted: health, and requests of the host itself.
    Exempt,
    /// May use every place, so that signing in and out works while calls pile up.
    SignIn,
    /// May use all but the places reserved for [`Self::SignIn`].
    General,
    /// As [`Self::General`], but the handler rejects: a malformed path is reported before overload (contract 8.7).
    Proxied,
}

/// The places of this instance.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    general: Arc<Semaphore>,
}

/// A request's place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    _permits: Vec<OwnedSemaphorePermit>,
}

/// Where a request's place is kept until its response was sent, or its handler gives it back.
#[derive(Debug, Clone, Default)]
pub(super) struct PlaceSlot(Arc<Mutex<Option<Place>>>);

impl PlaceSlot {
    pub(super) fn new(place: Option<Place>) -> Self {
        Self(Arc::new(Mutex::new(place)))
    }

    /// Gives the place back.
    pub(super) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Default for Places {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { all: places(ALL), general: places(GENERAL) }
    }
}

impl Places {
    /// Takes a place for a request of a class; `None` when the instance is overloaded.
    pub(super) fn take(&self, class: Admission) -> Option<Place> {
        let limits: &[&Arc<Semaphore>] = match class {
            Admission::Exempt => &[],
            Admission::SignIn => &[&self.all],
            Admission::General | Admission::Proxied => &[&self.general, &self.all],
        };
        let permits = limits.iter().map(|limit| Arc::clone(limit).try_acquire_owned().ok()).collect::<Option<_>>();
        permits.map(|permits| Place { _permits: permits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_leave_places_for_sign_ins_and_health_is_never_counted() {
        let places = Places::default();
        let calls: Vec<_> = (0..GENERAL).map(|_| places.take(Admission::Proxied).unwrap()).collect();
        assert!(places.take(Admission::Proxied).is_none());
        assert!(places.take(Admission::General).is_none());
        let sign_ins: Vec<_> = (GENERAL..ALL).map(|_| places.take(Admission::SignIn).unwrap()).collect();
        assert!(places.take(Admission::SignIn).is_none());
        assert!(places.take(Admission::Exempt).is_some());
        drop(calls);
        assert!(places.take(Admission::General).is_some());
        drop(sign_ins);
        let free = (places.all.available_permits(), places.general.available_permits());
        assert_eq!(free, (ALL, GENERAL), "every place is free again");
    }

    #[test]
    fn a_place_that_its_handler_gave_back_is_free() {
        let places = Places::default();
        let slot = PlaceSlot::new(places.take(Admission::SignIn));
        assert_eq!(places.all.available_permits(), ALL - 1);
        let response = slot.clone();
        slot.release();
        assert_eq!(places.all.available_permits(), ALL, "while the response is sent");
        drop(response);
    }

    #[test]
    fn a_rejected_request_takes_no_place() {
        let places = Places::default();
        let sign_ins: Vec<_> = (0..ALL).map(|_| places.take(Admission::SignIn).unwrap()).collect();
        assert!(places.take(Admission::General).is_none());
        drop(sign_ins);
        assert_eq!(places.general.available_permits(), GENERAL);
    }
}
