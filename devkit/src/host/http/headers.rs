//! How the host changes header lines.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// The version that the stand-in claims to be.
const HOST_VERSION: &str = "4.1037.0.0";
const USER_AGENT_SUFFIX: &str = "Azure-Functions-Host/4.1037.0.0";

const VERSION_HEADER: &str = "x-azure-functions-hostversion";
const INVOCATION_HEADER: &str = "x-azure-functions-invocationid";

/// .NET does not accept these on a message, since they belong to its content; the host ignores that error.
#[rustfmt::skip]
const CONTENT_HEADERS: [&str; 9] = [
    "content-encoding", "content-language", "content-range", "content-disposition", "content-md5", "content-location",
    "expires", "last-modified", "allow",
];

/// YARP drops these in both directions.
#[rustfmt::skip]
const HOP_BY_HOP: [&str; 17] = [
    "connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection", "proxy-authenticate",
    "proxy-authentication-info", "proxy-authorization", "proxy-features", "proxy-instruction", "security-scheme", "alpn",
    "close", "http2-settings", "upgrade-insecure-requests", "te", "alt-svc",
];

/// Where a proxied request comes from and goes to.
pub(super) struct Route<'a> {
    pub(super) peer: &'a str,
    pub(super) scheme: &'static str,
    pub(super) handler_port: u16,
}

/// The headers of a forwarded request.
///
/// `None` if there is a body whose `Content-Type` .NET cannot parse.
pub(super) fn forwarded(
    client: &HeaderMap,
    method: &Method,
    body_length: usize,
    invocation: &str,
) -> Option<HeaderMap> {
    let mut headers = joined(client);
    if let Some(kind) = headers.get("content-type").filter(|_| body_length > 0) {
        let text = kind.to_str().ok()?;
        let essence = text.split(';').next().unwrap_or_default().trim();
        if essence.contains([' ', ',']) || !essence.contains('/') {
            return None;
        }
    }
    if headers.get("connection").is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("keep-alive"))) {
        set(&mut headers, "connection", "keep-alive");
    }
    remove(&mut headers, &CONTENT_HEADERS);
    let kind = headers.remove("content-type").filter(|_| body_length > 0);
    headers.remove("content-length");
    if body_length > 0 || has_content(method) {
        set(&mut headers, "content-length", &body_length.to_string());
    }
    headers.extend(kind.map(|kind| (HeaderName::from_static("content-type"), kind)));
    append(&mut headers, "user-agent", " ", USER_AGENT_SUFFIX);
    append(&mut headers, VERSION_HEADER, ", ", HOST_VERSION);
    append(&mut headers, INVOCATION_HEADER, ", ", invocation);
    Some(headers)
}

/// Whether .NET sends a length with a request even if it has no body.
fn has_content(method: &Method) -> bool {
    let without = ["GET", "HEAD", "DELETE", "OPTIONS", "CONNECT"];
    !without.iter().any(|name| method.as_str().eq_ignore_ascii_case(name))
}

/// A directive of `Cache-Control` as .NET writes it: words that it knows in lower case.
pub(super) fn cache_directive(item: &str) -> String {
    let (name, value) = item.split_at(item.find('=').unwrap_or(item.len()));
    format!("{}{value}", name.to_ascii_lowercase())
}

/// The headers of a proxied request. A streamed body is always chunked, whatever the method is.
pub(super) fn proxied(
    client: &HeaderMap,
    method: &Method,
    route: &Route<'_>,
    streamed: bool,
    invocation: &str,
) -> HeaderMap {
    let mut headers = joined(client);
    let content = ["allow", "expires", "last-modified"].iter().any(|name| headers.contains_key(*name));
    if !streamed && !headers.contains_key("content-length") && (content || has_content(method)) {
        set(&mut headers, "content-length", "0");
    }
    remove(&mut headers, &HOP_BY_HOP);
    remove(&mut headers, &["forwarded", "x-forwarded-prefix", "x-forwarded-host"]);
    if streamed {
        headers.remove("content-length");
        set(&mut headers, "transfer-encoding", "chunked");
    }
    let host = headers.remove("host");
    headers.extend(host.map(|host| (HeaderName::from_static("x-forwarded-host"), host)));
    for (name, value) in [
        ("host", format!("127.0.0.1:{}", route.handler_port).as_str()),
        ("x-forwarded-for", route.peer),
        ("x-forwarded-proto", route.scheme),
        (VERSION_HEADER, HOST_VERSION),
        (INVOCATION_HEADER, invocation),
        ("x-ms-invocation-id", invocation),
    ] {
        set(&mut headers, name, value);
    }
    headers
}

/// The headers of an invocation in payload mode, all of them.
pub(super) fn payload(handler_port: u16, invocation: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", format!("127.0.0.1:{handler_port}").as_str()),
        ("content-type", "application/json; charset=utf-8"),
        ("transfer-encoding", "chunked"),
        ("user-agent", USER_AGENT_SUFFIX),
        (VERSION_HEADER, HOST_VERSION),
        (INVOCATION_HEADER, invocation),
    ] {
        set(&mut headers, name, value);
    }
    headers
}

/// Removes from a proxied response what YARP does not copy.
pub(super) fn clean_proxied_response(status: StatusCode, headers: &mut HeaderMap) {
    let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 205);
    let empty = headers.get("content-length").is_some_and(|length| length == "0");
    if headers.contains_key("transfer-encoding") || bodiless && empty {
        headers.remove("content-length");
    }
    remove(headers, &HOP_BY_HOP);
}

/// Adds what the front end of App Service adds.
pub(crate) fn add_front_end(headers: &mut HeaderMap, target: &str, log_id: &str) {
    const CLIENT: &str = "1.2.3.4:56789";
    append(headers, "x-forwarded-for", ", ", CLIENT);
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("x-original-url", target),
        ("x-arr-log-id", log_id),
        ("client-ip", CLIENT),
        ("max-forwards", "10"),
    ] {
        set(headers, name, value);
    }
    let host = headers.get("host").cloned();
    headers.extend(host.map(|host| (HeaderName::from_static("disguised-host"), host)));
}

/// All headers, each in one line. .NET joins cookies by their own separator.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let one_line = |name: &HeaderName| {
        let separator: &[u8] = match name.as_str() {
            "cookie" => b"; ",
            "user-agent" => b" ",
            _ => b", ",
        };
        let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        Some((name.clone(), HeaderValue::from_bytes(&lines.join(separator)).ok()?))
    };
    headers.keys().filter_map(one_line).collect()
}

fn remove(headers: &mut HeaderMap, names: &[&str]) {
    for name in names {
        headers.remove(*name);
    }
}

/// Adds a value after what the client sent under that name, in one line.
fn append(headers: &mut HeaderMap, name: &'static str, separator: &str, value: &str) {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let all: Vec<_> = lines.chain([value.as_bytes()]).collect();
    if let Ok(value) = HeaderValue::from_bytes(&all.join(separator.as_bytes())) {
        headers.insert(name, value);
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
        pairs.into_iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn forwarding_drops_content_headers_and_proxying_hop_by_hop_headers() {
        let own = [("content-type", "text/plain"), ("content-length", "3"), ("x-a", "1")];
        let content = CONTENT_HEADERS.map(|name| (name, "content"));
        let client = map(content.into_iter().chain(HOP_BY_HOP.map(|name| (name, "hop"))).chain(own));
        let route = Route { peer: "127.0.0.1", scheme: "http", handler_port: 9 };
        let forwarded = forwarded(&client, &Method::POST, 3, "ID").unwrap();
        let proxied = proxied(&client, &Method::POST, &route, false, "ID");
        let count = |headers: &HeaderMap, value: &str| headers.values().filter(|other| *other == value).count();
        assert_eq!((count(&forwarded, "content"), count(&forwarded, "hop")), (0, HOP_BY_HOP.len()));
        assert_eq!((count(&proxied, "content"), count(&proxied, "hop")), (CONTENT_HEADERS.len(), 0));
        for (name, value) in own {
            assert_eq!((&forwarded[name], &proxied[name]), (&value.parse().unwrap(), &value.parse().unwrap()));
        }
    }

    #[test]
    fn proxied_responses_lose_an_empty_length_only_where_none_is_allowed() {
        for (status, length, kept) in [(204, "0", false), (205, "0", false), (200, "0", true), (204, "3", true)] {
            let mut headers = map([("content-length", length), ("connection", "close"), ("x-a", "1")]);
            clean_proxied_response(StatusCode::from_u16(status).unwrap(), &mut headers);
            assert_eq!(headers.remove("content-length").is_some(), kept, "{status}");
            assert_eq!(headers, map([("x-a", "1")]));
        }
    }
}
