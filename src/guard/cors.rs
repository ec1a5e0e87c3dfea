//! CORS for the configured origins, by exact match (contract 9.9, 9.10; WHATWG Fetch, section 3.3). Without configured
//! origins there is no CORS.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ORIGIN, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::origins::Origins;

/// Response headers of the gateway that a page on another origin may read, whether the response has them or not.
const EXPOSED: &str = "Cloakroom-Error, Retry-After, Allow";
/// Response headers that the gateway sets and pages do not need. Every other is an API's.
const NOT_EXPOSED: [HeaderName; 14] = [
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_MAX_AGE,
    ALLOW,
    CACHE_CONTROL,
    CONTENT_SECURITY_POLICY,
    REFERRER_POLICY,
    RETRY_AFTER,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("cloakroom-error"),
    HeaderName::from_static("cross-origin-resource-policy"),
];
/// Methods that a preflight allows; the API map decides which of them an API accepts.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// How long a browser may cache a preflight response, in seconds.
const MAX_AGE: &str = "600";

/// The decision on a preflight request.
#[derive(Debug, PartialEq, Eq)]
pub enum Preflight {
    /// 204 with the headers of [`add_preflight_headers`], for this origin.
    Allowed(HeaderValue),
    /// 403 without a CORS header.
    Denied,
}

/// The decision if a request is a preflight; otherwise `None`.
#[must_use]
pub fn preflight(method: &Method, headers: &HeaderMap, origins: &Origins) -> Option<Preflight> {
    let is_preflight = *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight || !headers.contains_key(ORIGIN) {
        return None;
    }
    Some(allowed_origin(headers, origins).map_or(Preflight::Denied, Preflight::Allowed))
}

/// Adds the headers of a preflight response. `passed`: the request headers that a page may send.
#[expect(clippy::expect_used, reason = "a header name consists of characters that a value may have")]
pub fn add_preflight_headers(response: &mut HeaderMap, passed: impl Iterator<Item = HeaderName>) {
    let names: Vec<String> = ["x-csrf".to_owned()].into_iter().chain(passed.map(|name| name.to_string())).collect();
    let names = HeaderValue::from_str(&names.join(", ")).expect("header names and commas are a header value");
    response.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    response.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    response.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers, Access-Control-Request-Method"));
}

/// Lets a page on an allowed origin read a response, errors included. `allowed_origin`: see [`allowed_origin`].
pub fn add_cors_headers(response: &mut HeaderMap, allowed_origin: Option<HeaderValue>, origins: &Origins) {
    if origins.allowed.is_empty() {
        return;
    }
    let lines = response.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(','));
    if !names.any(|name| name.trim().eq_ignore_ascii_case("origin")) {
        response.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed_origin {
        let exposed = exposed(response);
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The headers that a page may read in addition to the safelisted ones, by name: with credentials, `*` is no wildcard.
#[expect(clippy::expect_used, reason = "a header name consists of characters that a value may have")]
fn exposed(response: &HeaderMap) -> HeaderValue {
    let of_api = response.keys().filter(|name| !NOT_EXPOSED.contains(name)).map(HeaderName::as_str);
    let names: Vec<&str> = [EXPOSED].into_iter().chain(of_api).collect();
    HeaderValue::from_str(&names.join(", ")).expect("header names and commas are a header value")
}

/// The origin of a request, if it is single and configured.
#[must_use]
pub fn allowed_origin(headers: &HeaderMap, origins: &Origins) -> Option<HeaderValue> {
    if origins.allowed.is_empty() {
        return None;
    }
    let mut values = headers.get_all(ORIGIN).iter();
    let (value, second) = (values.next()?, values.next());
    let listed = second.is_none() && value.to_str().is_ok_and(|origin| origins.allows(origin));
    listed.then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    const PAGE: &str = "https://spa.example.org";

    fn origins() -> Origins {
        let origin = |text| Origin::parse(text).unwrap();
        Origins { allowed: vec![origin(PAGE)], ..Origins::only(origin("https://app.example.org")) }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn only_configured_origins_pass_a_preflight() {
        let decision = |origin: &'static str| {
            preflight(
                &Method::OPTIONS,
                &headers(&[("origin", origin), ("access-control-request-method", "GET")]),
                &origins(),
            )
        };
        assert_eq!(decision(PAGE), Some(Preflight::Allowed(HeaderValue::from_static(PAGE))));
        for origin in ["null", "https://app.example.org", "https://spa.example.org.evil", "http://spa.example.org", ""]
        {
            assert_eq!(decision(origin), Some(Preflight::Denied), "{origin}");
        }
        let no_preflight = [("origin", PAGE), ("access-control-request-method", "GET")];
        assert_eq!(preflight(&Method::GET, &headers(&no_preflight), &origins()), None);
        assert_eq!(preflight(&Method::OPTIONS, &headers(&no_preflight[..1]), &origins()), None);
        assert_eq!(preflight(&Method::OPTIONS, &headers(&no_preflight[1..]), &origins()), None);
        let twice = headers(&[("origin", PAGE), ("origin", PAGE), ("access-control-request-method", "GET")]);
        assert_eq!(preflight(&Method::OPTIONS, &twice, &origins()), Some(Preflight::Denied));
    }

    #[test]
    fn only_a_configured_origin_may_read_a_response() {
        let headers_for = |origin: &'static str, origins: &Origins| {
            let mut response = HeaderMap::new();
            add_cors_headers(&mut response, allowed_origin(&headers(&[("origin", origin)]), origins), origins);
            response
        };
        let response = headers_for(PAGE, &origins());
        assert_eq!(response["access-control-allow-origin"], PAGE);
        assert_eq!(response["access-control-allow-credentials"], "true");
        assert_eq!(response["access-control-expose-headers"], "Cloakroom-Error, Retry-After, Allow, vary");
        assert_eq!(response["vary"], "Origin");
        let response = headers_for("https://evil.example", &origins());
        assert_eq!(response.len(), 1, "{response:?}");
        assert!(response.contains_key("vary"));
        assert!(headers_for(PAGE, &Origins::only(origins().public)).is_empty());
    }

    /// Contract 9.8: a cache must not give one origin's response to another.
    #[test]
    fn vary_names_the_origin_whatever_else_it_names() {
        for (sent, expected) in
            [("X-Original-Host", vec!["X-Original-Host", "Origin"]), ("Accept, origin", vec!["Accept, origin"])]
        {
            let mut response = headers(&[("vary", sent)]);
            add_cors_headers(&mut response, None, &origins());
            assert_eq!(response.get_all(VARY).iter().collect::<Vec<_>>(), expected, "{sent}");
        }
    }
}
