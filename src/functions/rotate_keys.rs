//! The timer function `rotate-keys`: the host posts a payload, and every outcome is answered as it wants.
//!
//! A status other than 2xx, or a body that is no JSON object, would fail or even hang the invocation, and a hanging one
//! ends the whole process. So a rotation that failed is told in the logs, and the next hour tries again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock::UnixSeconds;
use crate::keyring::rotate::{Outcome, rotate};
use crate::keyring::states::Parameters;
use crate::keyring::{KeySource, SourceUnavailable};
use crate::reply::{Reply, json as json_reply};
use crate::secret::Key32;

/// Least time between two rotations, whoever calls how often: each begins with a list.
const PAUSE: Duration = Duration::from_secs(60);

/// What the timer drives.
#[derive(Debug)]
pub struct RotateKeys {
    source: Arc<dyn KeySource>,
    parameters: Parameters,
    last: Mutex<Option<Instant>>,
}

impl RotateKeys {
    /// The rotation of this ring.
    #[must_use]
    pub fn new(source: Arc<dyn KeySource>, parameters: Parameters) -> Self {
        Self { source, parameters, last: Mutex::default() }
    }

    /// Does one step, unless one was begun less than a minute ago.
    ///
    /// The answer is 200 with `{"Outputs": {}, "Logs": […], "ReturnValue": null}`, whatever came out.
    pub async fn step(&self, now: UnixSeconds) -> Reply {
        if !self.begin() {
            return answer("nothing done: the last rotation began less than a minute ago");
        }
        match rotate(self.source.as_ref(), &Key32::random(), now, &self.parameters).await {
            Ok(outcome) => {
                let told = tell(&outcome);
                tracing::info!(event = "keys_rotated", "{told}");
                answer(&told)
            }
            Err(SourceUnavailable(problem)) => {
                tracing::error!(
                    event = "key_rotation_failed",
                    %problem,
                    "the keys could not be rotated; the next run of the timer tries again"
                );
                answer(&format!("not rotated: {problem}"))
            }
        }
    }

    /// Takes the turn of this minute, if it is still to be had.
    fn begin(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let free = last.is_none_or(|begun| begun.elapsed() >= PAUSE);
        if free {
            *last = Some(Instant::now());
        }
        free
    }
}

/// Whether a body is what the host posts for a timer: an object with `Data` and `Metadata`.
#[must_use]
pub fn is_payload(body: &[u8]) -> bool {
    let value = serde_json::from_slice::<Value>(body).unwrap_or_default();
    value.get("Data").is_some() && value.get("Metadata").is_some()
}

fn tell(outcome: &Outcome) -> String {
    let published = outcome.published.iter().map(|kid| format!("published {kid}"));
    let disabled = outcome.disabled.iter().map(|kid| format!("disabled {kid}"));
    let told: Vec<String> = published.chain(disabled).collect();
    if told.is_empty() { "nothing to do".to_owned() } else { told.join(", ") }
}

fn answer(log: &str) -> Reply {
    json_reply(StatusCode::OK, &json!({"Outputs": {}, "Logs": [log], "ReturnValue": null}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_data_and_metadata() {
        assert!(is_payload(br#"{"Data": {"timer": {"IsPastDue": true}}, "Metadata": {"sys": {}}}"#));
        assert!(is_payload(br#"{"Data": {}, "Metadata": {}}"#));
        for odd in ["", "null", "[]", "{}", r#"{"Data": {}}"#, r#"{"Metadata": {}}"#, r#"{"data": 1, "metadata": 1}"#] {
            assert!(!is_payload(odd.as_bytes()), "{odd}");
        }
    }
}
