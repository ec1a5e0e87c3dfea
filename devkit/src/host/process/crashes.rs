//! How often the host restarts a failing handler.

use std::time::{Duration, Instant};

/// Crashes further apart than this are not counted together.
const INTERVAL: Duration = Duration::from_secs(30 * 60);
const MAX_CRASHES: usize = 3;

/// What follows from the end of a handler process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It is started again, at once.
    Restart,
    /// Nothing: every further request fails.
    Ignore,
    /// The host gives up.
    ShutDown,
    /// The host stops it.
    Stop,
}

#[derive(Debug, Default)]
pub(super) struct Crashes {
    count: usize,
    last: Option<Instant>,
}

impl Crashes {
    /// `code` is `None` after a signal.
    pub(super) fn exited(&mut self, code: Option<i32>, now: Instant) -> Outcome {
        match code {
            Some(0) => Outcome::Ignore,
            Some(200) => Outcome::Restart,
            _ => self.add(now),
        }
    }

    /// Counts an exit, a handler that cannot be started, or one that does not get ready.
    pub(super) fn add(&mut self, now: Instant) -> Outcome {
        if self.last.is_some_and(|last| now.duration_since(last) > INTERVAL) {
            self.count = 0;
        }
        self.count += 1;
        self.last = Some(now);
        if self.count < MAX_CRASHES { Outcome::Restart } else { Outcome::ShutDown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_crash_within_the_interval_shuts_the_host_down() {
        let now = Instant::now();
        let mut crashes = Crashes::default();
        assert_eq!(crashes.exited(Some(1), now), Outcome::Restart);
        assert_eq!(crashes.exited(None, now + INTERVAL), Outcome::Restart);
        let later = now + INTERVAL * 2 + Duration::from_secs(1);
        assert_eq!(crashes.add(later), Outcome::Restart, "a longer pause resets the count");
        assert_eq!(crashes.add(later), Outcome::Restart);
        assert_eq!(crashes.add(later), Outcome::ShutDown);
    }

    #[test]
    fn exits_on_purpose_are_not_counted() {
        let now = Instant::now();
        let mut crashes = Crashes::default();
        for _ in 0..5 {
            assert_eq!(crashes.exited(Some(200), now), Outcome::Restart);
            assert_eq!(crashes.exited(Some(0), now), Outcome::Ignore);
        }
        assert_eq!(crashes.exited(Some(143), now), Outcome::Restart);
    }
}
