//! The refresh lock of a session across instances (contract 15.10).

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::record::SessionNames;
use super::records::Records;
use super::scripts;
use crate::session::store::{LoadError, LockError, RefreshLock, StoreUnavailable};

/// Longer than a token request takes.
const LIFE: Duration = Duration::from_secs(15);
/// The deadline of a token request: how long another instance's is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// The pauses between two looks grow from the first to the second.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_millis(250);

/// What an attempt to take the lock results in.
pub(super) enum Attempt {
    Taken(RefreshLock),
    Held,
    /// There are newer tokens.
    OtherGeneration,
    Gone,
}

/// Gives the lock back when it is dropped.
struct Held {
    records: Arc<Records>,
    background: TaskTracker,
    key: String,
    holder: [u8; 16],
}

/// Takes the lock, or waits until the one that holds it has stored the next generation, has given it back, or has held
/// it for too long. `attempt` is [`try_lock`].
pub(super) async fn lock<F: Future<Output = Result<Attempt, StoreUnavailable>>>(
    attempt: impl Fn() -> F,
) -> Result<Option<RefreshLock>, LockError> {
    let (started, mut pause) = (Instant::now(), *PAUSES.start());
    loop {
        match attempt().await? {
            Attempt::Taken(lock) => return Ok(Some(lock)),
            Attempt::OtherGeneration => return Ok(None),
            Attempt::Gone => return Err(LockError::Load(LoadError::Expired)),
            Attempt::Held if started.elapsed() >= WAIT => return Err(LockError::TimedOut),
            Attempt::Held => {}
        }
        // With jitter, so that those who wait do not all ask at once.
        let jittered = pause.mul_f64(rand::rng().random_range(0.75..=1.0));
        sleep(jittered).await;
        pause = (pause * 2).min(*PAUSES.end());
    }
}

/// Takes the lock if no other one holds it.
pub(super) async fn try_lock(
    records: &Arc<Records>,
    background: &TaskTracker,
    names: &SessionNames<'_>,
    generation: u64,
) -> Result<Attempt, StoreUnavailable> {
    let holder: [u8; 16] = rand::random();
    let until = Instant::now() + LIFE;
    let (life, generation) = (LIFE.as_millis().to_string(), generation.to_string());
    let arguments = [holder.as_slice(), life.as_bytes(), generation.as_bytes()];
    Ok(match records.run(&scripts::LOCK, &[&names.lock(), &names.record], &arguments).await? {
        1 => {
            let (records, background, key) = (Arc::clone(records), background.clone(), names.lock());
            let held = Held { records, background, key, holder };
            Attempt::Taken(RefreshLock::new(held, Some(until)).with_holder(holder))
        }
        0 => Attempt::Held,
        -1 => Attempt::Gone,
        _ => Attempt::OtherGeneration,
    })
}

impl Drop for Held {
    fn drop(&mut self) {
        let (records, key, holder) = (Arc::clone(&self.records), std::mem::take(&mut self.key), self.holder);
        let unlock = async move {
            // If that fails, the lock runs out.
            let _: Result<i64, StoreUnavailable> = records.run(&scripts::UNLOCK, &[&key], &[&holder]).await;
        };
        // None at the end of the process.
        if let Ok(runtime) = Handle::try_current() {
            self.background.spawn_on(unlock, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::ready;

    use super::*;

    /// Attempts that fail until one succeeds; returns when they were made, in ms, and the outcome.
    async fn attempts(
        outcome: impl Fn(Duration) -> Result<Attempt, StoreUnavailable>,
    ) -> (Vec<u128>, Result<Option<RefreshLock>, LockError>) {
        let (started, times) = (Instant::now(), Mutex::new(Vec::new()));
        let attempt = || {
            times.lock().unwrap().push(started.elapsed().as_millis());
            ready(outcome(started.elapsed()))
        };
        let outcome = lock(attempt).await;
        (times.into_inner().unwrap(), outcome)
    }

    /// Contract 15.10: 50 ms growing to 250 ms, with jitter.
    #[tokio::test(start_paused = true)]
    async fn a_lock_is_polled_until_it_is_free() {
        let free_after_5_s = |at: Duration| {
            let lock = || Attempt::Taken(RefreshLock::new((), None));
            Ok(if at < Duration::from_secs(5) { Attempt::Held } else { lock() })
        };
        let (times, outcome) = attempts(free_after_5_s).await;
        assert!(matches!(outcome, Ok(Some(_))));
        let pauses: Vec<u128> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, longest) in pauses.iter().zip([50, 100, 200].into_iter().chain(std::iter::repeat(250))) {
            assert!((longest * 3 / 4..=longest + 1).contains(pause), "{pauses:?}");
        }
        assert!(pauses[4..].iter().any(|pause| *pause != pauses[4]), "{pauses:?}");
    }

    /// Contract 15.10: up to the deadline of a token request.
    #[tokio::test(start_paused = true)]
    async fn a_lock_is_waited_for_ten_seconds() {
        let (times, outcome) = attempts(|_| Ok(Attempt::Held)).await;
        assert!(matches!(outcome, Err(LockError::TimedOut)));
        assert!((10_000..10_300).contains(times.last().unwrap()), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_new_tokens_with_the_session_and_with_the_store() {
        let (_, outcome) = attempts(|_| Ok(Attempt::OtherGeneration)).await;
        assert!(matches!(outcome, Ok(None)));
        let (_, outcome) = attempts(|_| Ok(Attempt::Gone)).await;
        assert!(matches!(outcome, Err(LockError::Load(LoadError::Expired))));
        let (_, outcome) = attempts(|_| Err(StoreUnavailable)).await;
        assert!(matches!(outcome, Err(LockError::Load(LoadError::StoreUnavailable))));
    }
}
