//! What depends on the Functions host: its own requests, its mode, the timer's payload (contract 3.36, section 11).

pub mod mode;
pub mod platform_cors;
pub mod rotate_keys;

use http::HeaderMap;
use http::header::HOST;

/// Whether the host itself sent a request: its readiness probe, or a timer's payload (contract 3.36).
///
/// In both modes the request of a client has a public host name or `X-Forwarded-Host`, and browsers add `Sec-*`.
#[must_use]
pub fn is_from_host(headers: &HeaderMap, port: u16) -> bool {
    let only_of_clients =
        |name: &str| matches!(name, "x-forwarded-host" | "cookie" | "origin") || name.starts_with("sec-");
    names_socket(headers, port) && !headers.keys().any(|name| only_of_clients(name.as_str()))
}

/// Whether the `Host` header names the socket of the gateway, as the host's own requests do.
fn names_socket(headers: &HeaderMap, port: u16) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next().and_then(|host| host.to_str().ok()?.strip_prefix("127.0.0.1:")?.parse().ok());
    first == Some(port) && hosts.next().is_none()
}

/// Reads the port that the host chose; without it, as in a start by hand, 3000.
///
/// # Errors
/// The text is not a port number.
pub fn port(value: Option<&str>) -> Result<u16, &'static str> {
    match value {
        None => Ok(3_000),
        Some(text) => text.parse().map_err(|_| "must be a port number"),
    }
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
}
