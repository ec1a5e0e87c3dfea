//! How the host calls the gateway: it proxies, it forwards, or, misconfigured, it sends payloads.

use std::sync::atomic::{AtomicU8, Ordering};

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::json;

use super::is_to_us;
use crate::reply::{Reply, json as json_reply};

const INVOCATION: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What to do about payloads.
const REMEDY: &str = "host.json must set customHandler.enableProxyingHttpRequest (or enableForwardingHttpRequest)";

/// How the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nobody has called through a host yet.
    Unknown,
    /// Requests come nearly as they were sent (`enableProxyingHttpRequest`).
    Proxying,
    /// Requests come rebuilt (`enableForwardingHttpRequest`).
    Forwarding,
    /// Requests come as JSON, which no HTTP function of ours can answer.
    Payload,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Unknown, Self::Proxying, Self::Forwarding, Self::Payload];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Proxying => "proxying",
            Self::Forwarding => "forwarding",
            Self::Payload => "payload",
        }
    }

    /// What a request tells of it: only the host names an invocation.
    fn of(headers: &HeaderMap, port: u16) -> Self {
        match (headers.contains_key(INVOCATION), headers.contains_key(FORWARDED_HOST)) {
            (true, true) if is_to_us(headers, port) => Self::Proxying,
            (true, _) if !is_to_us(headers, port) => Self::Forwarding,
            _ => Self::Unknown,
        }
    }
}

/// The host as it was heard last.
#[derive(Debug, Default)]
pub struct HostModeObserver(AtomicU8);

impl HostModeObserver {
    /// How it calls.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let heard = usize::from(self.0.load(Ordering::Relaxed));
        Mode::ALL.get(heard).copied().unwrap_or(Mode::Unknown)
    }

    /// Takes note of a request; a mode that is new is logged.
    pub fn observe(&self, headers: &HeaderMap, port: u16) {
        self.note(Mode::of(headers, port));
    }

    /// Answers a payload for an HTTP function as the host wants it: with what is wrong, to whoever called.
    pub fn reject_payload(&self) -> Reply {
        self.note(Mode::Payload);
        let body = json!({"title": "The gateway is misconfigured.", "detail": REMEDY}).to_string();
        let headers = json!({"Content-Type": "application/problem+json", "Cache-Control": "no-store"});
        let res = json!({"statusCode": 500, "headers": headers, "body": body});
        json_reply(StatusCode::OK, &json!({"Outputs": {"res": res}, "Logs": [REMEDY], "ReturnValue": null}))
    }

    fn note(&self, mode: Mode) {
        if mode == Mode::Unknown || mode == self.mode() {
            return;
        }
        let index = Mode::ALL.iter().position(|of| *of == mode).and_then(|index| u8::try_from(index).ok());
        self.0.store(index.unwrap_or_default(), Ordering::Relaxed);
        if mode == Mode::Payload {
            tracing::error!(mode = mode.name(), "the host sends payloads, which cannot work: {REMEDY}");
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
    fn the_mode_is_told_by_what_the_host_adds() {
        let mode = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            Mode::of(&pairs.iter().map(pair).collect(), 3000)
        };
        let invocation = ("x-azure-functions-invocationid", "1");
        let (ours, public) = (("host", "127.0.0.1:3000"), ("host", "app.example.org"));
        let forwarded = ("x-forwarded-host", "app.example.org");
        assert_eq!(mode(&[invocation, ours, forwarded]), Mode::Proxying);
        assert_eq!(mode(&[invocation, public]), Mode::Forwarding);
        assert_eq!(mode(&[invocation, public, forwarded]), Mode::Forwarding, "a front end's own header came through");
        assert_eq!(mode(&[invocation, ours]), Mode::Unknown, "a payload, or the host's own");
        assert_eq!(mode(&[public]), Mode::Unknown);
        assert_eq!(mode(&[]), Mode::Unknown);
    }

    #[test]
    fn the_last_word_counts() {
        let host = HostModeObserver::default();
        assert_eq!(host.mode(), Mode::Unknown);
        host.note(Mode::Forwarding);
        host.note(Mode::Unknown);
        assert_eq!(host.mode(), Mode::Forwarding);
        let _ = host.reject_payload();
        assert_eq!(host.mode(), Mode::Payload);
    }
}
