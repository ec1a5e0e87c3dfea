//! What depends on the Functions host: its own requests, its mode, the timer's payload (contract 3.36, section 11).

pub mod mode;
pub mod platform_cors;
pub mod rotate_keys;

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};

/// The host adds it to every request but its probe.
const INVOCATION: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");

/// Whether the host itself sent a request: its readiness probe, or a timer's payload (contract 3.36).
///
/// In proxying mode the request of a client has `X-Forwarded-Host`, which the host adds, and browsers add `Sec-*`.
#[must_use]
pub fn is_from_host(headers: &HeaderMap, port: u16) -> bool {
    let only_of_clients =
        |name: &str| matches!(name, "x-forwarded-host" | "cookie" | "origin") || name.starts_with("sec-");
    let of_client = is_forwarded(headers) || headers.keys().any(|name| only_of_clients(name.as_str()));
    names_socket(headers, port) && !of_client
}

/// Whether the host passes a request on. In forwarding mode a client may name any `Host`, but the host adds the id of
/// the invocation, and passes no chunked body on; its probe has no id, and its payloads are chunked.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(INVOCATION) && !headers.contains_key(TRANSFER_ENCODING)
}

/// Whether the `Host` header names the socket of the gateway, as the host's own requests do.
fn names_socket(headers: &HeaderMap, port: u16) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next().and_then(|host| host.to_str().ok()?.strip_prefix("127.0.0.1:")?.parse().ok());
    first == Some(port) && hosts.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_hosts_own_requests_have_no_header_of_a_client() {
        assert!(is_from_host(&headers(&[("host", "127.0.0.1:3000")]), 3000));
        assert!(!is_from_host(&headers(&[("host", "127.0.0.1:3001")]), 3000));
        assert!(!is_from_host(&headers(&[]), 3000));
        for client in ["x-forwarded-host", "cookie", "origin", "sec-fetch-site"] {
            assert!(!is_from_host(&headers(&[("host", "127.0.0.1:3000"), (client, "x")]), 3000), "{client}");
        }
    }

    /// Contract 3.36: in forwarding mode a client chooses `Host`, but not these.
    #[test]
    fn a_request_with_an_invocation_is_the_hosts_own_only_if_it_is_chunked() {
        let own = ("host", "127.0.0.1:3000");
        let (invocation, chunked) = (("x-azure-functions-invocationid", "1"), ("transfer-encoding", "chunked"));
        assert!(is_from_host(&headers(&[own, invocation, chunked]), 3000));
        assert!(!is_from_host(&headers(&[own, invocation]), 3000));
        assert!(!is_from_host(&headers(&[own, invocation, ("content-length", "2")]), 3000));
        assert!(!is_from_host(&headers(&[own, invocation, chunked, ("x-forwarded-host", "app")]), 3000), "proxied");
    }
}
