//! What all stand-ins are built on: an HTTP/1.1 server on loopback, with or without TLS, that records what it receives
//! and fails on request.

pub(crate) mod client;
mod clock;
mod fault;
mod form;
mod head;
pub(crate) mod jwt;
mod request;
pub(crate) mod response;
mod server;
#[cfg(test)]
mod tests;
pub mod tls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use clock::Clock;
pub use fault::{Fault, HangUp, OAuthError};
pub(crate) use form::Form;
pub use request::Recorded;
pub(crate) use response::Body;
pub(crate) use server::INTERNAL_HEADER;
pub use server::{AcceptMode, Core, Handler, StandIn};
pub(crate) use tls::CertificateAuthority;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Where a stand-in listens by default: a free port of 127.0.0.1.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// A port that was free a moment ago. It is below those of outgoing connections, which could take it meanwhile.
///
/// # Errors
/// No port is free.
pub fn free_port() -> io::Result<u16> {
    let tried = (0..100).map(|_| rand::random_range(10_000..32_000));
    let free = tried.into_iter().find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}

/// Locks even after a panic elsewhere, so that the test that failed can still print a stand-in's state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `bytes` random bytes as base64url.
pub(crate) fn random_text(bytes: usize) -> String {
    let raw: Vec<u8> = (0..bytes).map(|_| rand::random::<u8>()).collect();
    base64url(&raw)
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

pub(crate) fn guid(bytes: [u8; 16]) -> String {
    let hex = hex(&bytes);
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Escapes text for HTML, also for attributes in quotes.
pub(crate) fn escape(text: &str) -> String {
    let pairs = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];
    pairs.iter().fold(text.to_owned(), |text, (character, entity)| text.replace(*character, entity))
}
