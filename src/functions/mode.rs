//! The mode in which the host calls the gateway: proxying, forwarding, or, misconfigured, payloads (contract 11.2).

use std::sync::atomic::{AtomicU8, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::{INVOCATION, names_socket};
use crate::reply::{Reply, json as json_reply};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

const REMEDY: &str = "host.json must set customHandler.enableProxyingHttpRequest (or enableForwardingHttpRequest)";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No request has arrived through a host yet.
    Unknown,
    /// The host passes requests on nearly unchanged (`enableProxyingHttpRequest`).
    Proxying,
    /// The host rebuilds requests (`enableForwardingHttpRequest`).
    Forwarding,
    /// The host sends requests as JSON payloads, in which the gateway cannot work.
    Payload,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Unknown, Self::Proxying, Self::Forwarding, Self::Payload];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Proxying => "proxying",
            Self::Forwarding => "forwarding",
            Self::Payload => "payload",
        }
    }

    /// The mode that a request shows: only the host adds an invocation ID.
    fn of(headers: &HeaderMap, port: u16) -> Self {
        if !headers.contains_key(INVOCATION) {
            return Self::Unknown;
        }
        match names_socket(headers, port) {
            false => Self::Forwarding,
            true if headers.contains_key(FORWARDED_HOST) => Self::Proxying,
            true => Self::Unknown,
        }
    }
}

/// The mode of the last request that showed one.
#[derive(Debug)]
pub struct HostModeObserver {
    /// The port on which the host connects; `None` outside Functions.
    port: Option<u16>,
    last: AtomicU8,
}

impl HostModeObserver {
    #[must_use]
    pub const fn new(port: Option<u16>) -> Self {
        Self { port, last: AtomicU8::new(0) }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        let index = usize::from(self.last.load(Ordering::Relaxed));
        Mode::ALL.get(index).copied().unwrap_or(Mode::Unknown)
    }

    /// As `/health/ready` reports it (contract 3.22, 17.2).
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.port.is_some() { self.mode().name() } else { "none" }
    }

    /// Records the mode that a request shows, and logs it if it is new. Outside Functions no request shows one.
    pub fn observe(&self, headers: &HeaderMap) {
        if let Some(port) = self.port {
            self.record(Mode::of(headers, port));
        }
    }

    /// The header in which the host gives a request its id. Outside Functions it is the client's.
    #[must_use]
    pub fn invocation(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.port.and_then(|_| headers.get_all(INVOCATION).iter().next_back().cloned())
    }

    /// Responds to a payload for an HTTP function, in the form that the host requires: the client gets a 500 that says
    /// what to change in `host.json`.
    pub fn reject_payload(&self) -> Reply {
        self.record(Mode::Payload);
        let body = json!({"title": "The gateway is misconfigured.", "detail": REMEDY}).to_string();
        let headers = json!({"Content-Type": "application/problem+json", "Cache-Control": "no-store"});
        let res = json!({"statusCode": 500, "headers": headers, "body": body});
        json_reply(StatusCode::OK, &json!({"Outputs": {"res": res}, "Logs": [REMEDY], "ReturnValue": null}))
    }

    fn record(&self, mode: Mode) {
        if mode == Mode::Unknown || mode == self.mode() {
            return;
        }
        let index = Mode::ALL.iter().position(|known| *known == mode).and_then(|index| u8::try_from(index).ok());
        self.last.store(index.unwrap_or_default(), Ordering::Relaxed);
        if mode == Mode::Payload {
            tracing::error!(mode = mode.name(), "the host sends payloads, in which the gateway cannot work: {REMEDY}");
        } else {
            tracing::info!(mode = mode.name(), "host mode detected");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_mode_follows_from_what_the_host_adds() {
        let mode = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            Mode::of(&pairs.iter().map(pair).collect(), 3000)
        };
        let invocation = ("x-azure-functions-invocationid", "1");
        let (socket, public) = (("host", "127.0.0.1:3000"), ("host", "app.example.org"));
        let forwarded = ("x-forwarded-host", "app.example.org");
        assert_eq!(mode(&[invocation, socket, forwarded]), Mode::Proxying);
        assert_eq!(mode(&[invocation, public]), Mode::Forwarding);
        assert_eq!(mode(&[invocation, public, forwarded]), Mode::Forwarding, "a front end added the header");
        assert_eq!(mode(&[invocation, socket]), Mode::Unknown, "a payload, or a request of the host itself");
        assert_eq!(mode(&[public]), Mode::Unknown);
        assert_eq!(mode(&[]), Mode::Unknown);
    }

    #[test]
    fn the_last_mode_counts() {
        let host = HostModeObserver::new(Some(3_000));
        assert_eq!(host.mode(), Mode::Unknown);
        host.record(Mode::Forwarding);
        host.record(Mode::Unknown);
        assert_eq!(host.mode(), Mode::Forwarding);
        let _ = host.reject_payload();
        assert_eq!(host.mode(), Mode::Payload);
    }
}
