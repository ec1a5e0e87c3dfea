//! Headers in both directions: what goes on is on a list, what comes back loses whatever would act on our origin.

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION,
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE,
    REFERRER_POLICY, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::api_map::Api;
use crate::guard::csrf;
use crate::reply;

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

/// Response headers that would act on the gateway's origin or tell of the way between.
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
    "server",
    "sec-session-registration",
    "secure-session-registration",
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

/// The headers that go to an API, without `Authorization` and `traceparent`, which the caller adds.
#[must_use]
pub fn for_api(headers: &HeaderMap, api: &Api) -> HeaderMap {
    let nominated = nominated(headers);
    let mut passed = HeaderMap::with_capacity(headers.len());
    for name in REQUEST.iter().chain(&api.request_headers).filter(|name| !nominated.contains(name)) {
        for value in headers.get_all(name) {
            passed.append(name.clone(), value.clone());
        }
    }
    // The length frames the body that streams through, so it is no header that anybody may nominate.
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        passed.insert(CONTENT_LENGTH, length.clone());
    }
    passed
}

/// Cleans an API's answer for the browser.
pub fn for_browser(headers: &mut HeaderMap, api: &Api) {
    let nominated = nominated(headers);
    let doomed = |name: &HeaderName| {
        STRIPPED.contains(&name.as_str())
            || STRIPPED_BEGINNING.iter().any(|beginning| name.as_str().starts_with(beginning))
            || nominated.contains(name)
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| doomed(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    for name in [LOCATION, CONTENT_LOCATION] {
        rewrite_location(headers, &name, api);
    }
    let no_store = headers.get_all(CACHE_CONTROL).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-store")))
    });
    let caching = if no_store { "no-store" } else { "private, no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.append(VARY, HeaderValue::from_static(csrf::VARY));
    headers.remove(REFERRER_POLICY);
    reply::secure(headers);
}

/// The names that `Connection` makes hop-by-hop (RFC 9110 section 7.6.1).
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let words =
        headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(','));
    words.filter_map(|word| HeaderName::from_bytes(word.trim().as_bytes()).ok()).collect()
}

/// An address inside the API's base becomes one of the API's route; any other goes.
fn rewrite_location(headers: &mut HeaderMap, name: &HeaderName, api: &Api) {
    let Some(value) = headers.remove(name) else { return };
    let inside = value.to_str().ok().and_then(|location| api.base.relative(location));
    if let Some(path) = inside
        && let Ok(value) = HeaderValue::from_str(&format!("{}{path}", api.route))
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::api_map;

    fn api() -> Api {
        let json = r#"{"graph": {"route": "/graph", "base": "https://graph.example/v1.0", "allow": ["GET /me"],
                       "request_headers": ["Prefer"]}}"#;
        api_map::parse(json).unwrap().remove(0)
    }

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_listed_headers_go_on() {
        let headers = map(&[
            ("accept", "a"),
            ("prefer", "b"),
            ("prefer", "c"),
            ("if-range", "d"),
            ("content-length", "3"),
            ("cookie", "x"),
            ("authorization", "x"),
            ("connection", "close, prefer2"),
            ("x-forwarded-for", "x"),
            ("x-ms-client-principal", "x"),
            ("x-http-method-override", "x"),
            ("host", "x"),
            ("origin", "x"),
            ("te", "x"),
            ("sec-fetch-site", "x"),
            ("x-csrf", "1"),
            ("x_forwarded_for", "x"),
            ("transfer-encoding", "chunked"),
        ]);
        let passed = for_api(&headers, &api());
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["accept", "if-range", "prefer", "prefer", "content-length"]);
    }

    #[test]
    fn nominated_headers_stay_behind_and_framing_does_not() {
        let headers =
            map(&[("connection", "Prefer, content-length"), ("prefer", "b"), ("accept", "a"), ("content-length", "3")]);
        let passed = for_api(&headers, &api());
        assert!(!passed.contains_key("prefer"));
        assert!(passed.contains_key("accept") && passed.contains_key("content-length"));
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

    #[test]
    fn an_answer_loses_what_would_act_on_our_origin() {
        let mut headers = map(&[
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("clear-site-data", "*"),
            ("refresh", "0"),
            ("strict-transport-security", "x"),
            ("server", "x"),
            ("www-authenticate", "x"),
            ("cloakroom-error", "x"),
            ("service-worker-allowed", "/"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-security-policy", "x"),
            ("etag", "\"1\""),
            ("content-type", "text/html"),
            ("vary", "Accept"),
            ("link", "</a>"),
            ("cache-control", "max-age=5"),
            ("location", "https://graph.example/v1.0/me"),
            ("content-location", "https://evil.example/"),
        ]);
        for_browser(&mut headers, &api());
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "cache-control",
            "content-security-policy",
            "content-type",
            "etag",
            "link",
            "location",
            "referrer-policy",
            "vary",
            "x-content-type-options",
        ];
        assert_eq!(names, expected);
        assert_eq!(headers["location"], "/graph/me");
        assert_eq!(headers["cache-control"], "private, no-cache");
        assert_eq!(headers["content-security-policy"], "sandbox; default-src 'none'");
        assert_eq!(headers.get_all("vary").iter().count(), 2);
    }

    #[test]
    fn an_apis_no_store_stays() {
        let mut headers = map(&[("cache-control", "private, No-Store")]);
        for_browser(&mut headers, &api());
        assert_eq!(headers["cache-control"], "no-store");
    }
}
