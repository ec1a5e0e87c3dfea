//! Limits of code exchanges (contract 3.9b): anybody can send callbacks, so they must not take the places of other
//! requests, nor cause any number of token requests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::places::Share;

/// Longest wait of an exchange before it runs.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct ExchangeLimits {
    callbacks: Arc<Semaphore>,
    running: Arc<Semaphore>,
    held_until: Mutex<Instant>,
}

/// One of the callbacks that have an exchange or wait for one.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl ExchangeLimits {
    pub(super) fn new(Share { held, waiting }: Share) -> Self {
        Self {
            callbacks: Arc::new(Semaphore::new(held + waiting)),
            running: Arc::new(Semaphore::new(held)),
            held_until: Mutex::new(Instant::now()),
        }
    }

    /// A slot for a callback, unless too many wait already.
    pub(super) fn slot(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.callbacks).try_acquire_owned();
        permit.ok().map(|permit| Slot { _permit: permit })
    }

    /// Waits until the exchange may run; it runs until the permit is dropped. `None` if that takes too long.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = async {
            let permit = Arc::clone(&self.running).acquire_owned().await.ok();
            loop {
                let held_until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
                if Instant::now() >= held_until {
                    return permit;
                }
                sleep_until(held_until).await;
            }
        };
        timeout(WAIT, turn).await.ok().flatten()
    }

    /// Holds all further exchanges back, since the provider said that there are too many.
    pub(super) fn hold_back(&self, pause: Duration) {
        let mut held_until = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held_until = (*held_until).max(Instant::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Limits;

    #[tokio::test(start_paused = true)]
    async fn sixteen_exchanges_run_and_others_wait_for_ten_seconds() {
        let limits = ExchangeLimits::new(Limits::default().exchanges);
        let mut running = Vec::new();
        for _ in 0..16 {
            running.push(limits.turn().await.unwrap());
        }
        let begun = Instant::now();
        assert!(limits.turn().await.is_none());
        assert_eq!(begun.elapsed(), WAIT);
        let (next, ()) = tokio::join!(limits.turn(), async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            running.pop();
        });
        assert!(next.is_some());
    }

    #[tokio::test]
    async fn sixty_four_callbacks_wait_besides_those_that_run() {
        let limits = ExchangeLimits::new(Limits::default().exchanges);
        let mut slots: Vec<_> = (0..80).map(|_| limits.slot().unwrap()).collect();
        assert!(limits.slot().is_none());
        slots.pop();
        assert!(limits.slot().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn exchanges_wait_while_the_provider_holds_them_back() {
        let limits = ExchangeLimits::new(Limits::default().exchanges);
        limits.hold_back(Duration::from_secs(3));
        limits.hold_back(Duration::from_secs(1));
        let begun = Instant::now();
        assert!(limits.turn().await.is_some());
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        limits.hold_back(Duration::from_secs(30));
        assert!(limits.turn().await.is_none(), "no callback waits that long");
    }
}
