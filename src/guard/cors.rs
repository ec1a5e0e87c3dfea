//! CORS for the origins that are configured, by exact match (WHATWG Fetch, section 3.3). Without any there is none.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::origins::Origins;

/// What a page on another origin may read of an answer besides the safelisted.
const EXPOSED: &str = "Cloakroom-Error, Retry-After, Allow, ETag, Location, Content-Disposition";
/// The methods of calls; which of them an API takes is for its map to say.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// How long a browser may remember the answer to a preflight, in seconds.
const REMEMBERED: &str = "600";

/// A preflight and what becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Preflight {
    /// It is answered 204 with the headers of [`add_preflight_headers`].
    Granted(HeaderValue),
    /// It is refused, without a CORS header.
    Denied,
}

/// Whether a request is a preflight, and from whom.
#[must_use]
pub fn preflight(method: &Method, headers: &HeaderMap, origins: &Origins) -> Option<Preflight> {
    let is_preflight = *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight || !headers.contains_key(ORIGIN) {
        return None;
    }
    Some(allowed_origin(headers, origins).map_or(Preflight::Denied, Preflight::Granted))
}

/// Adds the preflight-only headers. `passed` are the request headers that a page may send.
pub fn add_preflight_headers(answer: &mut HeaderMap, passed: impl Iterator<Item = HeaderName>) {
    let names: Vec<String> = ["x-csrf".to_owned()].into_iter().chain(passed.map(|name| name.to_string())).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
    answer.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers, Access-Control-Request-Method"));
}

/// Lets a page on an allowed origin read a response, errors included. `allowed_origin`: see [`allowed_origin`].
pub fn add_cors_headers(answer: &mut HeaderMap, allowed_origin: Option<HeaderValue>, origins: &Origins) {
    if origins.allowed.is_empty() {
        return;
    }
    let says_so = answer.get_all(VARY).iter().any(|line| line.to_str().is_ok_and(|line| line.contains("Origin")));
    if !says_so {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed_origin {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// The one origin of a request, if it is on the list.
#[must_use]
pub fn allowed_origin(headers: &HeaderMap, origins: &Origins) -> Option<HeaderValue> {
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
    fn only_listed_origins_are_granted_a_preflight() {
        let asked = |origin: &'static str| {
            preflight(
                &Method::OPTIONS,
                &headers(&[("origin", origin), ("access-control-request-method", "GET")]),
                &origins(),
            )
        };
        assert_eq!(asked(PAGE), Some(Preflight::Granted(HeaderValue::from_static(PAGE))));
        for origin in ["null", "https://app.example.org", "https://spa.example.org.evil", "http://spa.example.org", ""]
        {
            assert_eq!(asked(origin), Some(Preflight::Denied), "{origin}");
        }
        let no_preflight = [("origin", PAGE), ("access-control-request-method", "GET")];
        assert_eq!(preflight(&Method::GET, &headers(&no_preflight), &origins()), None);
        assert_eq!(preflight(&Method::OPTIONS, &headers(&no_preflight[..1]), &origins()), None);
        assert_eq!(preflight(&Method::OPTIONS, &headers(&no_preflight[1..]), &origins()), None);
        let twice = headers(&[("origin", PAGE), ("origin", PAGE), ("access-control-request-method", "GET")]);
        assert_eq!(preflight(&Method::OPTIONS, &twice, &origins()), Some(Preflight::Denied));
    }

    #[test]
    fn only_a_listed_origin_may_read_an_answer() {
        let shared = |origin: &'static str, origins: &Origins| {
            let mut answer = HeaderMap::new();
            add_cors_headers(&mut answer, allowed_origin(&headers(&[("origin", origin)]), origins), origins);
            answer
        };
        let answer = shared(PAGE, &origins());
        assert_eq!(answer["access-control-allow-origin"], PAGE);
        assert_eq!(answer["access-control-allow-credentials"], "true");
        assert_eq!(answer["vary"], "Origin");
        let answer = shared("https://evil.example", &origins());
        assert_eq!(answer.len(), 1, "{answer:?}");
        assert!(answer.contains_key("vary"));
        assert!(shared(PAGE, &Origins::only(origins().public)).is_empty());
    }
}
