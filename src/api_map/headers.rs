//! Request headers: which every API gets, and which the API map may add (contract 10.7, 10.8).

use http::HeaderName;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_RANGE, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};

/// Request headers that every API gets.
pub const REQUEST: [HeaderName; 23] = [
    ACCEPT,
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    HeaderName::from_static("client-request-id"),
    HeaderName::from_static("consistencylevel"),
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("odata-maxversion"),
    HeaderName::from_static("odata-version"),
    HeaderName::from_static("prefer"),
    RANGE,
    TRACESTATE,
];

/// Belongs to `traceparent`, and is passed only with it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Headers that the API map cannot add.
const NEVER: [&str; 24] = [
    "authorization",
    "client-ip",
    "connection",
    "content-length",
    "cookie",
    "disguised-host",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "was-default-hostname",
    "x-csrf",
    "x-functions-key",
];

/// Prefixes of such headers.
const NEVER_PREFIXES: [&str; 10] = [
    "access-control-",
    "cloakroom-",
    "sec-",
    "x-arr-",
    "x-azure-",
    "x-forwarded",
    "x-http-method",
    "x-ms-",
    "x-original-",
    "x-rewrite-",
];

#[must_use]
pub fn always_passed(name: &HeaderName) -> bool {
    REQUEST.contains(name)
}

/// Whether the API map may add a request header.
#[must_use]
pub fn may_be_passed(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Some servers read `_` as `-`, so that `x_forwarded_for` would be a header of the list.
    !name.contains('_') && !NEVER.contains(&name) && !NEVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_cannot_add_credentials_forwarding_or_framing_headers() {
        for bad in [
            "Authorization",
            "COOKIE",
            "x-forwarded-host",
            "X-MS-TOKEN",
            "x_forwarded_for",
            "sec-fetch-site",
            "host",
            "x-csrf",
            "te",
        ] {
            assert!(!may_be_passed(&HeaderName::from_bytes(bad.as_bytes()).unwrap()), "{bad}");
        }
        assert!(may_be_passed(&HeaderName::from_static("x-mine")));
    }
}
