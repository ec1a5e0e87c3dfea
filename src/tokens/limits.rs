//! How many refreshes may run and wait, so that a provider that is down affects only calls that need it (contract
//! section 22).

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::circuit::{Admitted, Change, Circuit};
use crate::oidc::refresh::Availability;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Limits of the refreshes of this instance.
#[derive(Debug)]
pub(super) struct RefreshLimits {
    waiting: Semaphore,
    running: Semaphore,
    circuit: Mutex<Circuit>,
}

/// A refresh that is sent. Dropped before its end was recorded, it says nothing about the provider.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    limits: &'a RefreshLimits,
    admitted: Admitted,
    result: Availability,
}

impl RefreshLimits {
    /// Half of the requests in flight may wait for a token, and 16 of 90 token requests run at a time (contract 17.4).
    pub(super) fn of(max_in_flight: usize) -> Self {
        Self {
            waiting: Semaphore::new(max_in_flight / 2),
            running: Semaphore::new((max_in_flight * 16 / 90).max(1)),
            circuit: Mutex::default(),
        }
    }

    /// Permission to wait for a token; `None` if too many requests do.
    pub(super) fn may_wait(&self) -> Option<SemaphorePermit<'_>> {
        self.waiting.try_acquire().ok()
    }

    /// Waits until a token request may run; it runs until the permit is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.running.acquire().await.ok()
    }

    /// How long no refresh is sent; `None` if the circuit is closed.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.circuit().pause_left(Instant::now())
    }

    /// Permission to send a refresh now.
    ///
    /// # Errors
    /// How long no refresh is sent.
    pub(super) fn attempt(&self) -> Result<Attempt<'_>, Duration> {
        let admitted = self.circuit().admit(Instant::now())?;
        Ok(Attempt { limits: self, admitted, result: Availability::Unknown })
    }

    /// Sends refreshes again, since the token endpoint has responded to a sign-in.
    pub(super) fn close_circuit(&self) {
        let change = self.circuit().close();
        log(change);
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    pub(super) fn end(mut self, result: Availability) {
        self.result = result;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let change = self.limits.circuit().record(self.admitted, self.result, Instant::now());
        log(change);
    }
}

fn log(change: Option<Change>) {
    match change {
        Some(Change::Opened(wait)) => tracing::warn!(
            event = "token_endpoint_paused",
            pause_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "the token endpoint is unavailable or has too many requests: refreshes fail at once, apart from probes"
        ),
        Some(Change::Closed) => {
            tracing::info!(event = "token_endpoint_resumed", "the token endpoint responds: refreshes are sent again");
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 22.1, 17.4.
    #[test]
    fn the_limits_grow_with_the_requests_in_flight() {
        for (max_in_flight, running, waiting) in [(90, 16, 45), (1_000, 177, 500), (2, 1, 1)] {
            let limits = RefreshLimits::of(max_in_flight);
            let permits = (limits.running.available_permits(), limits.waiting.available_permits());
            assert_eq!(permits, (running, waiting), "{max_in_flight}");
        }
    }

    /// Contract 22.2.
    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_ends_in_a_panic_gives_the_probes_turn_back() {
        let limits = RefreshLimits::of(90);
        limits.attempt().unwrap().end(Availability::RateLimited(Duration::from_secs(1)));
        assert_eq!(limits.attempt().err(), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        let probe = limits.attempt().unwrap();
        assert_eq!(limits.pause(), Some(Duration::ZERO));
        drop(probe);
        assert_eq!(limits.pause(), None);
    }
}
