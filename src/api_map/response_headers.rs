//! Response headers: which the browser always gets, which the API map may add, and which it cannot add (contract 10.9).

use http::HeaderName;

/// Whether a response header of every API is passed on.
#[must_use]
pub fn always_passed(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 9] = [
        "content-",
        "odata-",
        "ratelimit-",
        "tus-",
        "upload-",
        "x-github-",
        "x-ms-continuation",
        "x-ms-ratelimit-",
        "x-ratelimit-",
    ];
    let name = name.as_str();
    let listed = matches!(
        name,
        "accept-patch"
            | "accept-post"
            | "accept-ranges"
            | "allow"
            | "api-deprecated-versions"
            | "api-supported-versions"
            | "azure-asyncoperation"
            | "client-request-id"
            | "dataserviceversion"
            | "date"
            | "deprecation"
            | "digest"
            | "etag"
            | "grpc-message"
            | "grpc-status"
            | "last-modified"
            | "link"
            | "location"
            | "operation-location"
            | "preference-applied"
            | "repr-digest"
            | "req_id"
            | "request-id"
            | "retry-after"
            | "server-timing"
            | "sprequestguid"
            | "sunset"
            | "traceresponse"
            | "vary"
            | "warning"
            | "x-correlation-id"
            | "x-ms-error-code"
            | "x-ms-request-id"
            | "x-next-page"
            | "x-page"
            | "x-pagination"
            | "x-per-page"
            | "x-poll-interval"
            | "x-prev-page"
            | "x-request-id"
            | "x-total"
            | "x-total-count"
            | "x-total-pages"
    );
    listed || (starts_with_any(name, &PREFIXES) && !name.starts_with("content-security-policy"))
}

/// Whether the API map may add a response header: one that neither acts on the gateway's origin nor instructs a cache.
#[must_use]
pub fn may_be_passed(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 4] = ["content-security-policy", "cross-origin-", "x-frame-", "x-permitted-"];
    let name = name.as_str();
    let of_pages = matches!(
        name,
        "document-policy"
            | "document-policy-report-only"
            | "feature-policy"
            | "origin-trial"
            | "permissions-policy"
            | "permissions-policy-report-only"
            | "referrer-policy"
            | "reporting-endpoints"
            | "require-document-policy"
            | "sourcemap"
            | "speculation-rules"
            | "supports-loading-mode"
            | "timing-allow-origin"
            | "x-content-type-options"
            | "x-sourcemap"
            | "x-xss-protection"
    );
    !of_pages && !starts_with_any(name, &PREFIXES) && acts_on_its_response_only(name)
}

/// Whether a response header of a fronted website is passed on. Unlike an API, it may set policies for its own pages.
#[must_use]
pub fn passed_for_site(name: &HeaderName) -> bool {
    acts_on_its_response_only(name.as_str()) && !name.as_str().starts_with("x-ms-")
}

/// Response headers that act on more than their response, besides the prefixes and suffixes below.
const ACTING: [&str; 41] = [
    "accept-ch",
    "activate-storage-access",
    "age",
    "alt-svc",
    "authentication-info",
    "authorization",
    "cache-group-invalidation",
    "cache-groups",
    "clear-site-data",
    "connection",
    "cookie",
    "critical-ch",
    "edge-control",
    "expect-ct",
    "expires",
    "http2-settings",
    "keep-alive",
    "login-status",
    "nel",
    "no-vary-search",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "p3p",
    "pragma",
    "refresh",
    "report-to",
    "secure-session-registration",
    "server",
    "service-worker-allowed",
    "set-login",
    "shared-storage-write",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "use-as-dictionary",
    "via",
    "www-authenticate",
    "x-lighttpd-send-file",
    "xkey",
];

/// False for what acts on the whole origin or its users, instructs a cache or a proxy, reveals the server, or concerns
/// the connection.
fn acts_on_its_response_only(name: &str) -> bool {
    const PREFIXES: [&str; 19] = [
        "access-control-",
        "attribution-reporting-",
        "cloakroom-",
        "proxy-",
        "public-key-pins",
        "sec-",
        "set-cookie",
        "surrogate-",
        "x-accel-",
        "x-appservice-",
        "x-arr-",
        "x-azure-",
        "x-forwarded",
        "x-function",
        "x-litespeed-",
        "x-ms-client-principal",
        "x-ms-token-",
        "x-powered-",
        "x-sendfile",
    ];
    const SUFFIXES: [&str; 3] = ["cache-control", "cache-tag", "cache-tags"];
    !ACTING.contains(&name)
        && !starts_with_any(name, &PREFIXES)
        && !SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn starts_with_any(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HeaderName {
        HeaderName::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_always_passed_could_be_added_too() {
        for header in
            ["ETag", "Content-Type", "OData-EntityId", "X-RateLimit-Limit", "REQ_ID", "x-ms-continuationtoken"]
        {
            assert!(always_passed(&name(header)) && may_be_passed(&name(header)), "{header}");
        }
        for header in
            ["Content-Security-Policy", "Content-Security-Policy-Report-Only", "x-ms-ags-diagnostic", "X-Mine"]
        {
            assert!(!always_passed(&name(header)), "{header}");
        }
        assert!(may_be_passed(&name("x-ms-ags-diagnostic")));
    }

    #[test]
    fn nothing_that_acts_on_the_origin_or_a_cache_can_be_added() {
        for header in [
            "Set-Cookie",
            "Cache-Groups",
            "Cache-Group-Invalidation",
            "Access-Control-Allow-Origin",
            "Clear-Site-Data",
            "Strict-Transport-Security",
            "Refresh",
            "Service-Worker-Allowed",
            "Server",
            "WWW-Authenticate",
            "Cloakroom-Error",
            "Cache-Control",
            "CDN-Cache-Control",
            "Cloudflare-CDN-Cache-Control",
            "Surrogate-Key",
            "X-Accel-Redirect",
            "X-Sendfile",
            "X-MS-CLIENT-PRINCIPAL-ID",
            "X-MS-TOKEN-AAD-ACCESS-TOKEN",
            "X-FUNCTION-SCALEOUT",
            "Content-Security-Policy",
            "Cache-Tag",
        ] {
            assert!(!may_be_passed(&name(header)), "{header}");
        }
    }

    #[test]
    fn a_website_may_set_policies_of_its_pages() {
        for header in ["Content-Security-Policy", "Permissions-Policy", "ETag", "X-Mine"] {
            assert!(passed_for_site(&name(header)), "{header}");
        }
        for header in ["Set-Cookie", "NEL", "x-ms-version", "CDN-Cache-Control"] {
            assert!(!passed_for_site(&name(header)), "{header}");
        }
    }
}
