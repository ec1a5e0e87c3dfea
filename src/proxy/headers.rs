//! The headers of requests to APIs and websites, and those of proxied responses.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::response_headers::{Filter, LeftOut, nominated};
use crate::api_map::headers::{TRACESTATE, always_passed};
use crate::api_map::{Api, CacheMode, response_headers};
use crate::reply;
use crate::telemetry::{TRACEPARENT, TraceContext};

/// The client's headers that go to an API or a website, which gets those in `more` besides the built-in ones (contract
/// 10.7, 10.8). `Authorization`, `traceparent` and framing are not among them: the caller adds its own.
pub fn forwarded<'a>(
    headers: &'a HeaderMap,
    more: &'a [HeaderName],
    trace: &TraceContext,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let (nominated, is_continued) = (nominated(headers), trace.is_continued);
    // Without its `traceparent` a trace state belongs to no trace (W3C Trace Context, section 3.3.1).
    let is_traceless = move |name: &HeaderName| !is_continued && *name == TRACESTATE;
    headers.iter().filter(move |(name, _)| {
        let is_listed = always_passed(name) || (more.contains(name) && **name != TRACEPARENT);
        is_listed && !nominated.contains(name) && !is_traceless(name)
    })
}

/// Makes the headers of a response of an API what the browser gets. `url`: of the request that it responds to, which
/// few responses need.
pub fn for_browser(headers: &mut HeaderMap, api: &Api, url: impl Fn() -> Option<Uri>, left_out: &LeftOut) {
    let passes = |name: &HeaderName| response_headers::always_passed(name) || api.response_headers.contains(name);
    let locate = |_: &HeaderName, reference: &str| {
        let rest = api.base.relative(reference, &url()?, api.locations)?;
        Some(format!("{}{rest}", api.route))
    };
    let no_store = headers.get_all(CACHE_CONTROL).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-store")))
    });
    Filter { name: &api.name, passes, locate, left_out }.apply(headers);
    let is_cached = api.cache == CacheMode::Private && !no_store;
    let caching = if is_cached { "private, no-cache" } else { "no-store" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    reply::add_security_headers(headers);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_map::ApiMap;

    const PARENT: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");

    fn api_map(members: &str) -> ApiMap {
        let json = format!(
            r#"{{"graph": {{"route": "/graph", "base": "https://graph.example/v1.0", "allow": ["GET /me"]{members}}}}}"#
        );
        ApiMap::parse(&json).unwrap()
    }

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn sent(headers: &HeaderMap) -> Vec<String> {
        let more = [HeaderName::from_static("x-mine"), TRACEPARENT];
        forwarded(headers, &more, &TraceContext::from_headers(headers)).map(|(name, _)| name.to_string()).collect()
    }

    fn received(headers: &HeaderMap, members: &str) -> HeaderMap {
        let url = Uri::from_static("https://graph.example/v1.0/me");
        let mut headers = headers.clone();
        for_browser(&mut headers, api_map(members).get("graph").unwrap(), || Some(url.clone()), &LeftOut::default());
        headers
    }

    #[test]
    fn only_listed_headers_are_forwarded() {
        let headers = map(&[
            ("accept", "a"),
            ("prefer", "b"),
            ("prefer", "c"),
            ("if-range", "d"),
            ("consistencylevel", "e"),
            ("last-event-id", "f"),
            ("x-mine", "g"),
            ("tracestate", "a=b"),
            PARENT,
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
        let expected =
            ["accept", "prefer", "prefer", "if-range", "consistencylevel", "last-event-id", "x-mine", "tracestate"];
        assert_eq!(sent(&headers), expected);
    }

    #[test]
    fn a_trace_state_without_its_trace_is_not_forwarded() {
        assert_eq!(sent(&map(&[("tracestate", "a=b")])), [""; 0]);
    }

    #[test]
    fn nominated_headers_are_not_forwarded() {
        let headers = map(&[("connection", "Prefer, close"), ("prefer", "b"), ("accept", "a")]);
        assert_eq!(sent(&headers), ["accept"]);
        let mut headers = map(&[("prefer", "b"), ("accept", "a")]);
        headers.append("connection", HeaderValue::from_bytes(b"\xe9, Prefer ,\tclose").unwrap());
        assert_eq!(sent(&headers), ["accept"], "beside a name that none can have");
    }

    #[test]
    fn a_response_keeps_only_listed_headers() {
        let headers = map(&[
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("clear-site-data", "*"),
            ("connection", "x-hop, x-total"),
            ("x-hop", "1"),
            ("x-total", "1"),
            ("x-mine", "1"),
            ("x-other", "1"),
            ("cdn-cache-control", "max-age=1"),
            ("content-security-policy", "x"),
            ("etag", "\"1\""),
            ("content-type", "text/html"),
            ("vary", "Accept"),
            ("link", "</v1.0/a,b>; title=\"x, y\"; rel=next, <https://evil.example>; rel=x, <c>"),
            ("link", "<unclosed"),
            ("cache-control", "max-age=5"),
            ("location", "https://graph.example/v1.0/me"),
            ("operation-location", "ops/1"),
            ("content-location", "https://evil.example/"),
        ]);
        let headers = received(&headers, r#", "response_headers": ["X-Mine"]"#);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "cache-control",
            "content-security-policy",
            "content-type",
            "etag",
            "link",
            "location",
            "operation-location",
            "referrer-policy",
            "vary",
            "x-content-type-options",
            "x-mine",
        ];
        assert_eq!(names, expected);
        assert_eq!(headers["location"], "/graph/me");
        assert_eq!(headers["operation-location"], "/graph/ops/1");
        assert_eq!(headers["link"], "</graph/a,b>; title=\"x, y\"; rel=next, </graph/c>");
        assert_eq!(headers["content-security-policy"], "sandbox; default-src 'none'");
    }

    #[test]
    fn responses_are_cached_only_where_the_map_says_so() {
        let caching = |of_api: &'static str, members| {
            received(&map(&[("cache-control", of_api)]), members)["cache-control"].clone()
        };
        let private = r#", "cache": "private""#;
        assert_eq!(caching("max-age=5", ""), "no-store");
        assert_eq!(caching("max-age=5", private), "private, no-cache");
        assert_eq!(caching("private, No-Store", private), "no-store");
    }

    #[test]
    fn values_that_the_host_rejects_are_repaired_or_removed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("location", "/v1.0/ü"),
            ("link", "<ü>; rel=next"),
            ("content-disposition", "attachment; filename=\"ü\""),
            ("content-disposition", "inline"),
            ("etag", "\"ü\""),
            ("content-language", "de\t, en"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let headers = received(&headers, "");
        assert_eq!(headers["location"], "/graph/%C3%BC");
        assert_eq!(headers["link"], "</graph/%C3%BC>; rel=next");
        let dispositions: Vec<_> = headers.get_all("content-disposition").iter().collect();
        assert_eq!(dispositions, ["attachment; filename=\"_\"; filename*=UTF-8''%C3%BC"]);
        assert!(!headers.contains_key("etag"));
        assert_eq!(headers["content-language"], "de\t, en", "byte for byte");
    }
}
