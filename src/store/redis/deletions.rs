//! Sessions that could not be deleted: the deletion is repeated until it succeeds or they have expired (contract
//! 15.11).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::session::companion::SessionHash;
use crate::session::store::{EndReason, StoreUnavailable};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Most deletions that are repeated.
const LIMIT: usize = 10_000;
/// After so many failures in a row the next attempts wait for the pause.
const FAILURES: usize = 16;
/// The pauses between two rounds of attempts grow from the first to the second.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(4);

/// The deletions that are to be repeated, in the order of their last attempts.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    queue: Mutex<VecDeque<Deletion>>,
    /// Changed only while the queue is locked.
    is_repeating: AtomicBool,
}

/// A session, and when there is nothing left to delete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deletion {
    pub(super) hash: SessionHash,
    pub(super) reason: EndReason,
    pub(super) until: Instant,
}

impl Deletions {
    /// Adds a deletion. Returns whether [`Self::repeat`] must be started.
    pub(super) fn push(&self, deletion: Deletion) -> bool {
        let mut queue = self.queue();
        if queue.len() == LIMIT {
            queue.pop_front();
            tracing::error!(limit = LIMIT, "too many sessions wait to be deleted: the oldest one is left to expire");
        }
        queue.push_back(deletion);
        !self.is_repeating.swap(true, Ordering::Relaxed)
    }

    /// Repeats all deletions until none is left. One that fails does not delay the others: it is the last one then,
    /// since others may be on servers that respond.
    pub(super) async fn repeat<F: Future<Output = Result<(), StoreUnavailable>>>(
        self: Arc<Self>,
        delete: impl Fn(Deletion) -> F,
    ) {
        let mut pause = *PAUSES.start();
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(*PAUSES.end());
            let mut failures = 0;
            let waiting = self.queue().len();
            for _ in 0..waiting {
                let Some(deletion) = self.next() else { break };
                if delete(deletion).await.is_ok() {
                    (pause, failures) = (*PAUSES.start(), 0);
                    continue;
                }
                self.push(deletion);
                failures += 1;
                if failures == FAILURES {
                    break;
                }
            }
            if self.end_if_empty() {
                return;
            }
        }
    }

    /// Takes the first deletion that has not expired.
    fn next(&self) -> Option<Deletion> {
        let mut queue = self.queue();
        let now = Instant::now();
        while let Some(first) = queue.pop_front() {
            if now < first.until {
                return Some(first);
            }
        }
        None
    }

    /// Ends the repeating if nothing is left, and returns whether that is so.
    fn end_if_empty(&self) -> bool {
        let queue = self.queue();
        if queue.is_empty() {
            self.is_repeating.store(false, Ordering::Relaxed);
        }
        queue.is_empty()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Deletion>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::ready;

    use super::*;

    fn deletion(number: u8, seconds: u64) -> Deletion {
        let until = Instant::now() + Duration::from_secs(seconds);
        Deletion { hash: [number; 32], reason: EndReason::SignedOut, until }
    }

    /// Contract 15.11: until the session's expiry.
    #[tokio::test(start_paused = true)]
    async fn a_deletion_is_repeated_until_it_succeeds_or_the_session_has_expired() {
        let deletions = Arc::new(Deletions::default());
        assert!(deletions.push(deletion(1, 5)));
        assert!(!deletions.push(deletion(2, 1_000)), "it repeats already");
        assert!(!deletions.push(deletion(3, 1_000)));
        let started = Instant::now();
        let attempts = Mutex::new(Vec::new());
        let delete = |of: Deletion| {
            attempts.lock().unwrap().push(of.hash[0]);
            let is_down = started.elapsed() < Duration::from_secs(60);
            ready(if is_down { Err(StoreUnavailable) } else { Ok(()) })
        };
        Arc::clone(&deletions).repeat(delete).await;
        let mut attempts = attempts.into_inner().unwrap();
        assert_eq!(attempts[..8], [1, 2, 3, 1, 2, 3, 2, 3], "the first expires after 5 s");
        let mut last = attempts.split_off(attempts.len() - 2);
        last.sort_unstable();
        assert_eq!(last, [2, 3]);
        assert!(started.elapsed() < Duration::from_secs(65), "a second after the end of the outage at the latest");
        assert!(deletions.queue().is_empty());
        assert!(deletions.push(deletion(4, 5)), "it starts again");
    }

    /// In a cluster one server may be down for long.
    #[tokio::test(start_paused = true)]
    async fn deletions_that_fail_delay_no_others() {
        let deletions = Arc::new(Deletions::default());
        for number in 0..100 {
            deletions.push(deletion(number, 1_000));
        }
        let started = Instant::now();
        let (succeeded, attempts) = (Mutex::new(Vec::new()), Mutex::new(0));
        let delete = |of: Deletion| {
            *attempts.lock().unwrap() += 1;
            let is_down = of.hash[0] < 90;
            if !is_down {
                succeeded.lock().unwrap().push((of.hash[0], started.elapsed()));
            }
            ready(if is_down { Err(StoreUnavailable) } else { Ok(()) })
        };
        Arc::clone(&deletions).repeat(delete).await;
        let succeeded = succeeded.into_inner().unwrap();
        assert_eq!(succeeded.iter().map(|(number, _)| *number).collect::<Vec<_>>(), Vec::from_iter(90..100));
        assert!(succeeded.iter().all(|(_, after)| *after < Duration::from_secs(30)), "{succeeded:?}");
        let attempts = attempts.into_inner().unwrap();
        assert!(attempts < 1_000 / 4 * 17 + 100, "{attempts} attempts, of which 16 in a row can fail before a pause");
    }

    #[test]
    fn the_queue_is_bounded_and_logs_what_it_forgets() {
        let capture = crate::telemetry::captured_log::Capture::start();
        let deletions = Deletions::default();
        let until = Instant::now() + Duration::from_secs(5);
        for number in 0..=LIMIT {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            deletions.push(Deletion { hash, reason: EndReason::SignedOut, until });
        }
        assert_eq!(deletions.queue().len(), LIMIT);
        assert_eq!(deletions.queue().front().map(|first| first.hash[7]), Some(1), "the oldest one is forgotten");
        assert!(capture.text().contains("too many sessions wait to be deleted"));
    }
}
