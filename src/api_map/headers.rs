//! Request headers: which every API gets, and which the API map may add (contract 10.7, 10.8).

use http::HeaderName;

/// Makes the list of names, and the function that looks a name up: a match is several times faster than the list.
macro_rules! always_passed {
    ($($name:literal,)*) => {
        /// Request headers that every API gets.
        pub const REQUEST: &[&str] = &[$($name),*];

        /// Whether every API gets a request header.
        #[must_use]
        pub fn always_passed(name: &HeaderName) -> bool {
            matches!(name.as_str(), $($name)|*)
        }
    };
}

always_passed! {
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "client-request-id",
    "consistencylevel",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-event-id",
    "odata-maxversion",
    "odata-version",
    "prefer",
    "range",
    "tracestate",
}

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
