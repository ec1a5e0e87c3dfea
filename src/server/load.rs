//! How much is under way: beyond the bounds requests are refused at once, so that the host's own limit of 100 is never
//! reached and a sign-in gets through when calls pile up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::path::strip_prefix_segments;

/// Most requests in flight.
const ALL: usize = 90;
/// Most of them that are not under `/auth`.
const OTHERS: usize = 80;

/// The requests in flight.
#[derive(Debug, Default)]
pub(super) struct Load {
    all: AtomicUsize,
    others: AtomicUsize,
}

/// Leave to be in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    load: Arc<Load>,
    is_other: bool,
}

impl Load {
    /// Leave for a request, by its path; nothing when too many are in flight.
    pub(super) fn admit(self: &Arc<Self>, path: &str) -> Option<Permit> {
        let is_other = strip_prefix_segments(path, "/auth").is_none();
        if !take(&self.all, ALL) {
            return None;
        }
        if is_other && !take(&self.others, OTHERS) {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit { load: Arc::clone(self), is_other })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.load.all.fetch_sub(1, Ordering::Relaxed);
        if self.is_other {
            self.load.others.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether a path never counts: health must be told when all is full.
pub(super) fn is_exempt(path: &str) -> bool {
    strip_prefix_segments(path, "/health").is_some()
}

fn take(count: &AtomicUsize, bound: usize) -> bool {
    let raise = |count| if count < bound { Some(count + 1) } else { None };
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_leave_room_for_sign_ins_and_health_never_counts() {
        let load = Arc::new(Load::default());
        let calls: Vec<_> = (0..OTHERS).map(|_| load.admit("/graph/me").unwrap()).collect();
        assert!(load.admit("/graph/me").is_none());
        assert!(load.admit("/authors").is_none(), "by whole segments");
        let sign_ins: Vec<_> = (OTHERS..ALL).map(|_| load.admit("/auth/login").unwrap()).collect();
        assert!(load.admit("/auth/login").is_none());
        drop(calls);
        assert!(load.admit("/graph/me").is_some());
        drop(sign_ins);
        assert_eq!((load.all.load(Ordering::Relaxed), load.others.load(Ordering::Relaxed)), (0, 0));
        assert!(is_exempt("/health/ready") && is_exempt("/health") && !is_exempt("/healthy"));
    }
}
