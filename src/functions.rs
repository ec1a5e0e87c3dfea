//! What the Functions host wants of a custom handler: its own requests, told apart from a client's.

pub mod mode;
pub mod rotate_keys;

use http::HeaderMap;
use http::header::HOST;

/// Whether a request was made by the host itself: its readiness probe, or a timer's payload.
///
/// In both modes a client's request carries a public host name or `X-Forwarded-Host`, and browsers add `Sec-*`.
#[must_use]
pub fn is_from_host(headers: &HeaderMap, port: u16) -> bool {
    let a_clients = |name: &str| matches!(name, "x-forwarded-host" | "cookie" | "origin") || name.starts_with("sec-");
    is_to_us(headers, port) && !headers.keys().any(|name| a_clients(name.as_str()))
}

/// Whether a request names this very socket as its host, as the host itself does.
fn is_to_us(headers: &HeaderMap, port: u16) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next().and_then(|host| host.to_str().ok()?.strip_prefix("127.0.0.1:")?.parse().ok());
    first == Some(port) && hosts.next().is_none()
}

/// The port that the host chose; a start by hand may choose it too.
///
/// # Errors
/// It is no port.
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
    fn the_hosts_own_requests_are_bare() {
        assert!(is_from_host(&headers(&[("host", "127.0.0.1:3000")]), 3000));
        assert!(!is_from_host(&headers(&[("host", "127.0.0.1:3001")]), 3000));
        assert!(!is_from_host(&headers(&[]), 3000));
        for client in ["x-forwarded-host", "cookie", "origin", "sec-fetch-site"] {
            assert!(!is_from_host(&headers(&[("host", "127.0.0.1:3000"), (client, "x")]), 3000), "{client}");
        }
    }
}
