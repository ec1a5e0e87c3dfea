//! Liveness and readiness: names of what is missing, no secrets, no versions.

use http::StatusCode;
use serde_json::json;

use crate::keyring::Ring;
use crate::oidc::Provider;
use crate::reply::{Reply, json as json_reply};

/// `GET /health/live`: the process answers.
#[must_use]
pub fn live() -> Reply {
    json_reply(StatusCode::OK, &json!({"status": "live"}))
}

/// `GET /health/ready`: a sealing key and the provider's metadata were loaded once. A later outage is told in the body,
/// and a sealing key that nothing has replaced in time; and how the host calls.
#[must_use]
pub fn ready(ring: &Ring, provider: &Provider, host: &str) -> Reply {
    let parts =
        [("keys", ring.was_ready(), ring.source_is_down()), ("provider", provider.was_ready(), provider.is_down())];
    let missing: Vec<&str> = parts.iter().filter(|(_, ready, _)| !ready).map(|(name, ..)| *name).collect();
    let down: Vec<&str> = parts.iter().filter(|(_, ready, down)| *ready && *down).map(|(name, ..)| *name).collect();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if missing.is_empty() { "ready" } else { "starting" };
    let overdue: &[&str] = if ring.is_overdue() { &["keys"] } else { &[] };
    let told = json!({"status": word, "missing": missing, "down": down, "overdue": overdue, "host": host});
    json_reply(status, &told)
}
