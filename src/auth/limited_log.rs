//! The log of what anybody can cause: it must not fill the log (contract 3.9b).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Most lines in a minute.
const SINGLE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// Logs at most 20 occurrences of one kind in a minute one by one, and the number of the others at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct LimitedLog(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// When the minute ends.
    ends: Option<Instant>,
    /// Occurrences of the minute that were logged.
    logged: u32,
    /// Occurrences that were not.
    others: u64,
}

impl LimitedLog {
    /// Logs an occurrence by `one`, or counts it. `others` logs the number of those that were counted.
    pub(super) fn record(&self, one: impl FnOnce(), others: impl FnOnce(u64) + Send + 'static) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if counts.ends.is_none_or(|ends| now >= ends) {
            counts.ends = Some(now + MINUTE);
            counts.logged = 0;
        }
        if counts.logged < SINGLE {
            counts.logged += 1;
            return one();
        }
        counts.others += 1;
        if counts.others == 1 {
            let (log, ends) = (self.clone(), counts.ends.unwrap_or(now));
            tokio::spawn(async move {
                sleep_until(ends).await;
                others(log.take_others());
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
    use crate::telemetry::captured_log::Capture;

    #[tokio::test(start_paused = true)]
    async fn after_twenty_lines_in_a_minute_others_are_only_counted() {
        let captured = Capture::start();
        let log = LimitedLog::default();
        let record = |times| {
            (0..times).for_each(|_| {
                log.record(|| tracing::info!("it failed"), |count| tracing::info!(count, "it failed more often"));
            });
        };
        let counts = || {
            let counts = log.0.lock().unwrap();
            (counts.logged, counts.others)
        };
        record(120);
        assert_eq!(counts(), (20, 100));
        tokio::time::sleep(MINUTE).await;
        tokio::task::yield_now().await;
        assert_eq!(counts(), (20, 0), "one line has their number");
        record(1);
        assert_eq!(counts(), (1, 0));
        let text = captured.text();
        assert_eq!(text.matches("it failed").count(), 22);
        assert_eq!(text.matches("it failed more often").count(), 1);
        assert!(text.contains("count=100"), "{text}");
    }
}
