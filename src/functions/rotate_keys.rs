//! The timer function `rotate_keys`: the host posts a payload and gets the same kind of response for every outcome.
//!
//! A status other than 2xx, or a body that is not a JSON object, would fail or hang the invocation, and the host ends
//! the process of an invocation that hangs. So a failed rotation is only logged, and the timer tries again after an
//! hour.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock::UnixSeconds;
use crate::keyring::KeySource;
use crate::keyring::rotate::rotate_and_log;
use crate::keyring::states::Parameters;
use crate::reply::{Reply, json as json_reply};

/// Shortest time between two rotations, since each lists the key source.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct RotateKeys {
    source: Arc<dyn KeySource>,
    parameters: Parameters,
    last_start: Mutex<Option<Instant>>,
}

impl RotateKeys {
    #[must_use]
    pub fn new(source: Arc<dyn KeySource>, parameters: Parameters) -> Self {
        Self { source, parameters, last_start: Mutex::default() }
    }

    /// Rotates the keys, unless a rotation started less than a minute ago.
    ///
    /// The response is always 200 with `{"Outputs": {}, "Logs": […], "ReturnValue": null}`.
    pub async fn step(&self, now: UnixSeconds) -> Reply {
        if !self.try_start() {
            return response("nothing done: the last rotation started less than a minute ago");
        }
        response(&rotate_and_log(self.source.as_ref(), now, &self.parameters, "").await)
    }

    /// Whether a rotation may start now; if so, it counts as started.
    fn try_start(&self) -> bool {
        let mut last_start = self.last_start.lock().unwrap_or_else(PoisonError::into_inner);
        let may_start = last_start.is_none_or(|start| start.elapsed() >= INTERVAL);
        if may_start {
            *last_start = Some(Instant::now());
        }
        may_start
    }
}

/// Whether a body is what the host posts for a timer: an object with `Data` and `Metadata` (contract 3.38).
#[must_use]
pub fn is_payload(body: &[u8]) -> bool {
    let value = serde_json::from_slice::<Value>(body).unwrap_or_default();
    value.get("Data").is_some() && value.get("Metadata").is_some()
}

fn response(log: &str) -> Reply {
    json_reply(StatusCode::OK, &json!({"Outputs": {}, "Logs": [log], "ReturnValue": null}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_data_and_metadata() {
        assert!(is_payload(br#"{"Data": {"timer": {"IsPastDue": true}}, "Metadata": {"sys": {}}}"#));
        assert!(is_payload(br#"{"Data": {}, "Metadata": {}}"#));
        for other in ["", "null", "[]", "{}", r#"{"Data": {}}"#, r#"{"Metadata": {}}"#, r#"{"data": 1, "metadata": 1}"#]
        {
            assert!(!is_payload(other.as_bytes()), "{other}");
        }
    }
}
