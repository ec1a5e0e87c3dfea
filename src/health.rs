//! Liveness and readiness (contract 3.21 to 3.23). The responses have neither secrets nor versions.

use http::StatusCode;
use serde_json::json;

use crate::keyring::Ring;
use crate::keyring::revocations::RevocationCache;
use crate::oidc::Provider;
use crate::reply::{Reply, json as json_reply};
use crate::store::redis::client::Health;

#[must_use]
pub fn live() -> Reply {
    json_reply(StatusCode::OK, &json!({"status": "live"}))
}

/// The process is to end, and is to get no more requests (contract 17.6).
#[must_use]
pub fn stopping() -> Reply {
    json_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "stopping"}))
}

/// 200 once a sealing key, the provider's metadata and the revocation list have been loaded and the session store, if
/// there is one, has responded. A later outage, an active key that was not replaced in time, the host's mode and what
/// is misconfigured are in the body and do not change the status.
#[must_use]
pub fn ready(
    ring: &Ring,
    provider: &Provider,
    revocations: &RevocationCache,
    store: Option<Health>,
    host: &str,
    misconfigured: &[&str],
) -> Reply {
    let mut parts = vec![
        ("keys", ring.was_ready(), ring.source_is_down()),
        ("provider", provider.was_ready(), provider.is_down()),
        ("revocations", revocations.was_read(), revocations.is_down()),
    ];
    parts.extend(store.map(|health| ("store", health != Health::NotContacted, health == Health::Down)));
    let missing: Vec<&str> = parts.iter().filter(|(_, ready, _)| !ready).map(|(name, ..)| *name).collect();
    let down: Vec<&str> = parts.iter().filter(|(_, ready, down)| *ready && *down).map(|(name, ..)| *name).collect();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let state = if missing.is_empty() { "ready" } else { "starting" };
    let overdue: &[&str] = if ring.is_overdue() { &["keys"] } else { &[] };
    let mut body = json!({"status": state, "missing": missing, "down": down, "overdue": overdue, "host": host});
    if !misconfigured.is_empty()
        && let Some(members) = body.as_object_mut()
    {
        members.insert("misconfigured".to_owned(), json!(misconfigured));
    }
    json_reply(status, &body)
}
