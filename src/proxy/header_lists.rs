//! The lists of headers: what goes on to an API, what may be added to that, and what of an answer never goes back.

use http::HeaderName;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_RANGE, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};

/// Request headers that every API gets.
pub(super) const REQUEST: [HeaderName; 15] = [
    ACCEPT,
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_RANGE,
    CONTENT_TYPE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
];

/// Names that the API map may not add, whatever it says.
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

/// Beginnings of such names.
const NEVER_BEGINNING: [&str; 10] = [
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

/// Response headers that would act on the gateway's origin or tell of the way between, in their order.
const STRIPPED: [&str; 50] = [
    "accept-ch",
    "activate-storage-access",
    "age",
    "alt-svc",
    "authorization",
    "clear-site-data",
    "connection",
    "content-security-policy",
    "content-security-policy-report-only",
    "critical-ch",
    "cross-origin-embedder-policy",
    "cross-origin-embedder-policy-report-only",
    "cross-origin-opener-policy",
    "cross-origin-opener-policy-report-only",
    "cross-origin-resource-policy",
    "document-policy",
    "expect-ct",
    "expires",
    "feature-policy",
    "keep-alive",
    "nel",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "p3p",
    "permissions-policy",
    "pragma",
    "public-key-pins",
    "public-key-pins-report-only",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "sec-session-registration",
    "secure-session-registration",
    "server",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "shared-storage-write",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "te",
    "timing-allow-origin",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "www-authenticate",
    "x-sourcemap",
];

/// Beginnings of such names.
const STRIPPED_BEGINNING: [&str; 6] =
    ["access-control-", "attribution-reporting-", "cloakroom-", "proxy-", "x-frame-", "x-powered-"];

/// Whether a request header goes to every API.
#[must_use]
pub fn always_passed(name: &HeaderName) -> bool {
    REQUEST.contains(name)
}

/// Whether the API map may add a request header.
#[must_use]
pub fn may_be_passed(name: &HeaderName) -> bool {
    // Some servers take an underscore for a hyphen, so that a twin counts as the name itself.
    let twin = name.as_str().replace('_', "-");
    !name.as_str().contains('_')
        && !NEVER.contains(&twin.as_str())
        && !NEVER_BEGINNING.iter().any(|beginning| twin.starts_with(beginning))
}

/// Whether a header of an API's answer may act on our origin or tell of the way between, so that it goes no further.
#[must_use]
pub fn is_stripped(name: &HeaderName) -> bool {
    STRIPPED.binary_search(&name.as_str()).is_ok()
        || STRIPPED_BEGINNING.iter().any(|beginning| name.as_str().starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_what_is_stripped_is_in_order() {
        assert!(STRIPPED.is_sorted());
        assert!(STRIPPED.iter().all(|name| is_stripped(&HeaderName::from_static(name))));
    }

    #[test]
    fn the_map_cannot_add_what_must_never_go_on() {
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
        assert!(may_be_passed(&HeaderName::from_static("consistencylevel")));
    }
}
