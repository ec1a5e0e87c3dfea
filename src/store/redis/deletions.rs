//! Sessions that could not be deleted: the deletion is repeated until it succeeds or they have expired (contract
//! 15.11).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::session::companion::SessionHash;
use crate::session::store::StoreUnavailable;

/// Most deletions that are repeated.
const LIMIT: usize = 10_000;
/// The pauses between two attempts grow from the first to the second.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(4);

/// The deletions that are to be repeated, in the order of their first attempts.
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

    /// Repeats all deletions until none is left.
    pub(super) async fn repeat<F: Future<Output = Result<(), StoreUnavailable>>>(
        self: Arc<Self>,
        delete: impl Fn(Deletion) -> F,
    ) {
        let mut pause = *PAUSES.start();
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(*PAUSES.end());
            loop {
                let Some(deletion) = self.next() else { return };
                if delete(deletion).await.is_err() {
                    break;
                }
                pause = *PAUSES.start();
                self.remove(&deletion);
            }
        }
    }

    /// The first deletion that has not expired. If there is none, the repeating has ended.
    fn next(&self) -> Option<Deletion> {
        let mut queue = self.queue();
        let now = Instant::now();
        while queue.front().is_some_and(|first| first.until <= now) {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.is_repeating.store(false, Ordering::Relaxed);
        }
        queue.front().copied()
    }

    fn remove(&self, deletion: &Deletion) {
        let mut queue = self.queue();
        // A full queue may have dropped it meanwhile.
        if queue.front().is_some_and(|first| first.hash == deletion.hash) {
            queue.pop_front();
        }
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
        Deletion { hash: [number; 32], until: Instant::now() + Duration::from_secs(seconds) }
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
        let attempts = attempts.into_inner().unwrap();
        assert_eq!(attempts[..3], [1, 1, 2], "the first expires after 5 s");
        assert_eq!(attempts[attempts.len() - 2..], [2, 3]);
        assert!(started.elapsed() < Duration::from_secs(65), "a second after the end of the outage at the latest");
        assert!(deletions.queue().is_empty());
        assert!(deletions.push(deletion(4, 5)), "it starts again");
    }

    #[test]
    fn the_queue_is_bounded_and_logs_what_it_forgets() {
        let capture = crate::session::captured_log::Capture::start();
        let deletions = Deletions::default();
        let until = Instant::now() + Duration::from_secs(5);
        for number in 0..=LIMIT {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            deletions.push(Deletion { hash, until });
        }
        assert_eq!(deletions.queue().len(), LIMIT);
        assert_eq!(deletions.queue().front().map(|first| first.hash[7]), Some(1), "the oldest one is forgotten");
        assert!(capture.text().contains("too many sessions wait to be deleted"));
    }
}
