//! The small HTTP/1.1 that the stand-ins share: a server on loopback that records what it receives, TLS in front of it
//! where that is wanted, forms, replies, and a client that is just enough to ask another stand-in.

mod authority;
pub(crate) mod client;
mod form;
mod front;
pub(crate) mod jwt;
mod record;
pub(crate) mod reply;
mod serve;
mod tap;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use authority::Authority;
pub(crate) use form::Form;
pub use front::Door;
pub(crate) use front::Front;
pub(crate) use record::Log;
pub use record::Recorded;
pub(crate) use reply::Body;
pub(crate) use serve::{BACKSTAGE, Call, Handler, HangUp, Server, Wire};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A lock that goes on after a panic elsewhere: a stand-in's state is still worth reading in the test that failed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clock that tests set forward.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead: Mutex<Duration>,
}

impl Clock {
    /// Unix seconds, with what tests added.
    pub(crate) fn now(&self) -> u64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (real + *lock(&self.ahead)).as_secs()
    }

    pub(crate) fn advance(&self, by: Duration) {
        *lock(&self.ahead) += by;
    }
}

/// `bytes` random bytes as base64url.
pub(crate) fn random_text(bytes: usize) -> String {
    let raw: Vec<u8> = (0..bytes).map(|_| rand::random::<u8>()).collect();
    base64url(&raw)
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Sixteen bytes in the shape of a GUID.
pub(crate) fn guid(bytes: [u8; 16]) -> String {
    let hex = hex(&bytes);
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text for HTML, attributes in quotes included.
pub(crate) fn escape(text: &str) -> String {
    let entity = |character| match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(entity).collect()
}
