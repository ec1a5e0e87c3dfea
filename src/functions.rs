//! What the Functions host wants of a custom handler: its own requests, told apart from a client's.

pub mod mode;
pub mod rotate_keys;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use crate::proxy::forward::TRACEPARENT;
use crate::secret::random_hex;

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

/// The trace id of a request: continued from `traceparent` (W3C Trace Context), else begun.
#[must_use]
pub fn trace_id(headers: &HeaderMap) -> String {
    let continued = headers.get(TRACEPARENT).map(HeaderValue::as_bytes).and_then(|value| {
        let mut parts = value.split(|byte| *byte == b'-');
        let (version, id) = (parts.next()?, parts.next()?);
        let hex = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
        let valid = version.len() == 2 && id.len() == 32 && hex(id) && id.iter().any(|byte| *byte != b'0');
        if valid { String::from_utf8(id.to_vec()).ok() } else { None }
    });
    continued.unwrap_or_else(random_hex::<16>)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

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

    #[test]
    fn a_trace_is_continued_or_begun() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(
            trace_id(&headers(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")])),
            id
        );
        for bad in
            ["", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", "00-00000000000000000000000000000000-b-01"]
        {
            assert_eq!(trace_id(&headers(&[("traceparent", bad)])).len(), 32);
            assert_ne!(trace_id(&headers(&[("traceparent", bad)])), id);
        }
    }
}
