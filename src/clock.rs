//! The wall clock. Only `main`, the handlers of requests and background loops read it; everything else takes the time
//! as a parameter.

use std::time::{SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = u64;

/// The time as a parameter of work that takes so long that it needs it more than once: [`now`], or a clock of a test.
pub type Clock<'a> = &'a (dyn Fn() -> UnixSeconds + Send + Sync);

/// The current time. A clock set before 1970 counts as 1970.
#[must_use]
pub fn now() -> UnixSeconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Microseconds since 1970, to order events within one second.
#[must_use]
pub fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(since.subsec_micros()))
}
