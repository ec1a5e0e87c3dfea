//! The circuit breaker of the token endpoint (contract 22.2), without a clock: the time is passed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::oidc::refresh::Availability;

/// How many refreshes in a row must fail before the circuit opens.
const FAILURES: u32 = 3;
/// How long it is open first. Each probe that fails doubles that.
const FIRST: Duration = Duration::from_secs(2);
/// The longest time between two probes.
const LONGEST: Duration = Duration::from_secs(15);

/// Decides which refreshes may be sent.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    state: State,
    /// How many refreshes were admitted.
    admitted: u64,
}

#[derive(Debug)]
enum State {
    Closed {
        /// Refreshes that failed in a row.
        failures: u32,
        /// The last refresh that was admitted before the circuit closed. What became of it says nothing about now.
        since: u64,
    },
    Open {
        until: Instant,
        /// The time between the last two probes; zero if the provider gave a time of its own.
        pause: Duration,
        /// The one refresh that may be sent.
        probe: Option<u64>,
    },
}

/// Permission to send one refresh. What became of it must be recorded, or else a probe has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted(u64);

/// What changed, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened(Duration),
    Closed,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0, since: 0 }
    }
}

impl Circuit {
    /// How long no refresh is admitted; `None` if one is.
    pub(super) fn pause_left(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until, probe, .. } if now < until || probe.is_some() => {
                Some(until.saturating_duration_since(now))
            }
            State::Open { .. } | State::Closed { .. } => None,
        }
    }

    /// Admits a refresh. While the circuit is open it is a probe, and no other is admitted until its end.
    ///
    /// # Errors
    /// How long no refresh is admitted: zero while a probe runs.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Admitted, Duration> {
        if let Some(left) = self.pause_left(now) {
            return Err(left);
        }
        self.admitted += 1;
        if let State::Open { probe, .. } = &mut self.state {
            *probe = Some(self.admitted);
        }
        Ok(Admitted(self.admitted))
    }

    /// Records what became of a refresh.
    pub(super) fn record(&mut self, refresh: Admitted, result: Availability, now: Instant) -> Option<Change> {
        let is_probe = matches!(self.state, State::Open { probe: Some(number), .. } if number == refresh.0);
        match (result, &mut self.state) {
            (Availability::Up, _) => return self.close(),
            (Availability::Down, State::Closed { failures, since }) if refresh.0 > *since => {
                *failures += 1;
                if *failures >= FAILURES {
                    return Some(self.open(now, FIRST, FIRST));
                }
            }
            (Availability::Down, State::Open { until, pause, .. }) if is_probe => {
                *pause = (*pause * 2).clamp(FIRST, LONGEST);
                *until = now + *pause;
            }
            (Availability::RateLimited(wait), State::Closed { .. }) => {
                return Some(self.open(now, wait, Duration::ZERO));
            }
            (Availability::RateLimited(wait), State::Open { until, .. }) => *until = (*until).max(now + wait),
            (Availability::Down | Availability::Unknown, _) => {}
        }
        if let State::Open { probe, .. } = &mut self.state
            && is_probe
        {
            *probe = None;
        }
        None
    }

    /// Closes the circuit, since the token endpoint responds.
    pub(super) fn close(&mut self) -> Option<Change> {
        let was_open = matches!(self.state, State::Open { .. });
        // Among those that were sent while it was closed, no response is too old to count.
        let since = match self.state {
            State::Open { .. } => self.admitted,
            State::Closed { since, .. } => since,
        };
        self.state = State::Closed { failures: 0, since };
        was_open.then_some(Change::Closed)
    }

    fn open(&mut self, now: Instant, wait: Duration, pause: Duration) -> Change {
        self.state = State::Open { until: now + wait, pause, probe: None };
        Change::Opened(wait)
    }
}

#[cfg(test)]
mod tests;
