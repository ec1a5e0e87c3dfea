//! The log of sign-ins that fail. Anybody can cause them, so that they must not fill it (contract 3.9b).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::AuthError;

/// Why a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the page gets.
    pub(super) error: AuthError,
    /// The claim that does not fit what was required (contract 21.2).
    pub(super) reason: Option<&'static str>,
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self { error, reason: None }
    }
}

/// Most failures in a minute that are logged one by one.
const SINGLE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
pub(super) struct FailureLog(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// When the minute ends.
    ends: Option<Instant>,
    /// Failures of the minute that were logged.
    logged: u32,
    /// Failures that were not.
    others: u64,
}

impl FailureLog {
    /// Logs a failure, or counts it for the event at the end of the minute.
    pub(super) fn record(&self, Failure { error, reason }: Failure) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if counts.ends.is_none_or(|ends| now >= ends) {
            counts.ends = Some(now + MINUTE);
            counts.logged = 0;
        }
        if counts.logged < SINGLE {
            counts.logged += 1;
            tracing::info!(event = "sign_in_failed", code = error.code(), reason, "sign-in failed");
            return;
        }
        counts.others += 1;
        if counts.others == 1 {
            let (log, ends) = (self.clone(), counts.ends.unwrap_or(now));
            tokio::spawn(async move {
                sleep_until(ends).await;
                let count = log.take_others();
                tracing::info!(event = "sign_in_failed", count, "further sign-ins failed within a minute");
            });
        }
    }

    fn take_others(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::captured_log::Capture;

    #[tokio::test(start_paused = true)]
    async fn after_twenty_failures_in_a_minute_others_are_only_counted() {
        let captured = Capture::start();
        let log = FailureLog::default();
        let record = |count| (0..count).for_each(|_| log.record(AuthError::LoginFailed.into()));
        let counts = || {
            let counts = log.0.lock().unwrap();
            (counts.logged, counts.others)
        };
        record(120);
        assert_eq!(counts(), (20, 100));
        tokio::time::sleep(MINUTE).await;
        tokio::task::yield_now().await;
        assert_eq!(counts(), (20, 0), "one event has their number");
        record(1);
        assert_eq!(counts(), (1, 0));
        let text = captured.text();
        assert_eq!(text.matches("sign-in failed").count(), 21);
        assert_eq!(text.matches("further sign-ins failed within a minute").count(), 1);
        assert!(text.contains("count=100"), "{text}");
    }
}
