//! Rotation inside the process, where no timer of a host runs it (contract 17.3).

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::rotate_and_log;
use crate::clock::Clock;
use crate::keyring::ring::{Ring, hedged};

/// Time from one rotation to the next. The first one comes within it, so that instances that start together do not
/// rotate together.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Where the process may only read the keys.
const REMEDY: &str = "; if this identity may only read the keys, set CLOAKROOM_KEY_ROTATE=off and rotate elsewhere";
/// Pause after a look at a ring without keys, for example while the identity may not write yet.
const EMPTY_PAUSE: Duration = Duration::from_secs(60);

/// Rotates without end: once an hour, and when the ring is empty, as before the first start.
pub async fn rotate_hourly(ring: &Ring, clock: Clock<'_>) {
    let mut due = Instant::now() + INTERVAL.mul_f64(rand::random_range(0.0..1.0));
    loop {
        let is_due = tokio::select! {
            biased;
            () = sleep_until(due) => true,
            () = ring.listed_none() => false,
        };
        if is_due || is_empty(ring).await {
            rotate_and_log(ring.source(), clock(), ring.parameters(), REMEDY).await;
        }
        if is_due {
            due += INTERVAL;
        } else {
            sleep(EMPTY_PAUSE).await;
        }
    }
}

/// A ring that cannot be listed may have keys.
async fn is_empty(ring: &Ring) -> bool {
    hedged(|| ring.source().list_or_empty()).await.is_ok_and(|versions| versions.is_empty())
}

#[cfg(test)]
mod tests;
