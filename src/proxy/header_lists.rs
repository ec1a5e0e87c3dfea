//! Response headers of an API that never reach the browser.

use http::HeaderName;

/// Response headers that would affect the gateway's origin or describe the connection, sorted.
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

/// Prefixes of such headers.
const STRIPPED_PREFIXES: [&str; 6] =
    ["access-control-", "attribution-reporting-", "cloakroom-", "proxy-", "x-frame-", "x-powered-"];

/// Whether a response header of an API is removed (contract 10.9).
#[must_use]
pub fn is_stripped(name: &HeaderName) -> bool {
    STRIPPED.binary_search(&name.as_str()).is_ok()
        || STRIPPED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripped_headers_are_sorted() {
        assert!(STRIPPED.is_sorted());
        assert!(STRIPPED.iter().all(|name| is_stripped(&HeaderName::from_static(name))));
    }
}
