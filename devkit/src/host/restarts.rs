//! How often the host starts a failing handler again.

use std::time::{Duration, Instant};

/// Errors further apart than this are not counted together.
const ERROR_INTERVAL: Duration = Duration::from_secs(30 * 60);
const MOST_ERRORS: usize = 3;

/// What follows from the end of a handler process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Starts it again, at once.
    Restart,
    /// Does nothing: every further request fails.
    Ignore,
    /// Gives up, and the host with it.
    ShutDown,
}

/// The errors so far.
#[derive(Debug, Default)]
pub(super) struct Errors {
    count: usize,
    last: Option<Instant>,
}

impl Errors {
    /// Judges an exit. `code` is `None` after a signal.
    pub(super) fn exited(&mut self, code: Option<i32>, now: Instant) -> Verdict {
        match code {
            Some(0) => Verdict::Ignore,
            Some(200) => Verdict::Restart,
            _ => self.failed(now),
        }
    }

    /// Counts an error: an exit, a handler that cannot be started, or one that does not get ready.
    pub(super) fn failed(&mut self, now: Instant) -> Verdict {
        if self.last.is_some_and(|last| now.duration_since(last) > ERROR_INTERVAL) {
            self.count = 0;
        }
        self.count += 1;
        self.last = Some(now);
        if self.count < MOST_ERRORS { Verdict::Restart } else { Verdict::ShutDown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_error_ends_the_host() {
        let now = Instant::now();
        let mut errors = Errors::default();
        assert_eq!(errors.exited(Some(1), now), Verdict::Restart);
        assert_eq!(errors.exited(None, now + ERROR_INTERVAL), Verdict::Restart);
        assert_eq!(errors.failed(now + ERROR_INTERVAL * 2), Verdict::ShutDown);
    }

    #[test]
    fn half_an_hour_forgives_all() {
        let now = Instant::now();
        let mut errors = Errors::default();
        assert_eq!(errors.failed(now), Verdict::Restart);
        assert_eq!(errors.failed(now), Verdict::Restart);
        let later = now + ERROR_INTERVAL + Duration::from_secs(1);
        assert_eq!(errors.failed(later), Verdict::Restart);
        assert_eq!(errors.failed(later), Verdict::Restart);
        assert_eq!(errors.failed(later), Verdict::ShutDown);
    }

    #[test]
    fn exits_on_purpose_are_not_counted() {
        let now = Instant::now();
        let mut errors = Errors::default();
        for _ in 0..5 {
            assert_eq!(errors.exited(Some(200), now), Verdict::Restart);
            assert_eq!(errors.exited(Some(0), now), Verdict::Ignore);
        }
        assert_eq!(errors.exited(Some(143), now), Verdict::Restart);
    }
}
