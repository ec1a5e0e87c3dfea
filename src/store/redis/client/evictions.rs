//! Whether servers evict keys. To the gateway an evicted session looks like one that has ended, so the log says so.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use redis::Value;

use super::address::Address;

/// What each server has evicted since it started, as of the last look.
#[derive(Debug, Default)]
pub(super) struct Evictions(Mutex<BTreeMap<Address, u64>>);

impl Evictions {
    /// Looks at the reply of `INFO stats`, and logs what the server has evicted since the last look.
    pub(super) fn look(&self, server: &Address, stats: &Value) {
        let Some(total) = evicted_keys(stats) else { return };
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone(), total);
        // A server that was started again counts from 0.
        let count = before.map_or(0, |before| if total < before { total } else { total - before });
        if count > 0 {
            tracing::warn!(
                %server, count,
                "the server of the session store evicts keys: sessions among them have ended; set its maxmemory-policy \
                 to noeviction"
            );
        }
    }
}

fn evicted_keys(stats: &Value) -> Option<u64> {
    let Value::BulkString(text) = stats else { return None };
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("evicted_keys:"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::captured_log::Capture;

    #[test]
    fn what_is_evicted_is_logged_once() {
        let (log, evictions) = (Capture::start(), Evictions::default());
        let server = |port| Address { host: "redis.example".to_owned(), port };
        let stats = |count: &str| Value::BulkString(format!("# Stats\r\nevicted_keys:{count}\r\nx:1\r\n").into());
        for (port, count, logged) in [
            (1, "70", None),
            (1, "70", None),
            (2, "9", None),
            (1, "73", Some("count=3")),
            (1, "73", None),
            (1, "2", Some("count=2")),
            (1, "x", None),
        ] {
            let before = log.text().len();
            evictions.look(&server(port), &stats(count));
            match logged {
                Some(logged) => assert!(log.text()[before..].contains(logged), "{count}: {}", log.text()),
                None => assert_eq!(log.text().len(), before, "{count}: {}", log.text()),
            }
        }
        evictions.look(&server(1), &Value::Okay);
        evictions.look(&server(1), &Value::BulkString(vec![0xFF]));
        assert!(log.text().contains("server=redis.example:1"), "{}", log.text());
    }
}
