//! Headers in both directions: requests keep those on a list, responses lose those that would affect the gateway's
//! origin.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::header_lists::is_stripped;
use crate::api_map::Api;
use crate::api_map::headers::always_passed;
use crate::guard::csrf;
use crate::reply;

/// The headers that go to an API, without `Authorization` and `traceparent`, which the caller adds.
#[must_use]
pub fn for_api(headers: &HeaderMap, api: &Api) -> HeaderMap {
    let nominated = nominated(headers);
    let passes =
        |name: &HeaderName| (always_passed(name) || api.request_headers.contains(name)) && !nominated.contains(name);
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
        passed.append(name.clone(), value.clone());
    }
    // The length frames the streamed body, so `Connection` cannot nominate it.
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        passed.insert(CONTENT_LENGTH, length.clone());
    }
    passed
}

/// Prepares the headers of an API's response for the browser.
pub fn for_browser(headers: &mut HeaderMap, api: &Api) {
    let nominated = nominated(headers);
    let stripped = headers.keys().filter(|name| is_stripped(name) || nominated.contains(name));
    let names: Vec<HeaderName> = stripped.cloned().collect();
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
    reply::add_security_headers(headers);
}

/// The names that `Connection` makes hop-by-hop (RFC 9110 section 7.6.1).
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let words =
        headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(','));
    words.filter_map(|word| HeaderName::from_bytes(word.trim().as_bytes()).ok()).collect()
}

/// Rewrites a URL inside the API's base to the API's route; any other is removed.
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
    use crate::api_map::ApiMap;

    fn api_map() -> ApiMap {
        let json = r#"{"graph": {"route": "/graph", "base": "https://graph.example/v1.0", "allow": ["GET /me"],
                       "request_headers": ["Prefer"]}}"#;
        ApiMap::parse(json).unwrap()
    }

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_listed_headers_are_forwarded() {
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
        let passed = for_api(&headers, api_map().get("graph").unwrap());
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["accept", "prefer", "prefer", "if-range", "content-length"]);
    }

    #[test]
    fn nominated_headers_are_dropped_but_not_the_length() {
        let headers =
            map(&[("connection", "Prefer, content-length"), ("prefer", "b"), ("accept", "a"), ("content-length", "3")]);
        let passed = for_api(&headers, api_map().get("graph").unwrap());
        assert!(!passed.contains_key("prefer"));
        assert!(passed.contains_key("accept") && passed.contains_key("content-length"));
    }

    #[test]
    fn a_response_loses_what_would_affect_the_gateways_origin() {
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
        for_browser(&mut headers, api_map().get("graph").unwrap());
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
        for_browser(&mut headers, api_map().get("graph").unwrap());
        assert_eq!(headers["cache-control"], "no-store");
    }
}
