//! How the host changes header lines.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ALLOW, ALT_SVC, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
        CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPIRES, FORWARDED, HOST, LAST_MODIFIED,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, UPGRADE_INSECURE_REQUESTS, USER_AGENT,
    },
};

/// The version that the stand-in claims to be.
const HOST_VERSION: &str = "4.1037.0";
const USER_AGENT_SUFFIX: &str = "Azure-Functions-Host/4.1037.0";

const VERSION_HEADER: &str = "x-azure-functions-hostversion";
const INVOCATION_HEADER: &str = "x-azure-functions-invocationid";

/// .NET does not accept these on a message, since they belong to its content; the host ignores that error.
static CONTENT_HEADERS: [HeaderName; 9] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_RANGE,
    CONTENT_DISPOSITION,
    HeaderName::from_static("content-md5"),
    CONTENT_LOCATION,
    EXPIRES,
    LAST_MODIFIED,
    ALLOW,
];

/// YARP drops these in both directions.
static HOP_BY_HOP: [HeaderName; 17] = [
    CONNECTION,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    UPGRADE,
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-features"),
    HeaderName::from_static("proxy-instruction"),
    HeaderName::from_static("security-scheme"),
    HeaderName::from_static("alpn"),
    HeaderName::from_static("close"),
    HeaderName::from_static("http2-settings"),
    UPGRADE_INSECURE_REQUESTS,
    TE,
    ALT_SVC,
];

/// Where a proxied request comes from and goes to.
pub(super) struct Route<'a> {
    pub(super) peer: &'a str,
    pub(super) scheme: &'static str,
    pub(super) handler_port: u16,
}

/// The headers of a forwarded request.
pub(super) fn forwarded(client: &HeaderMap, body_length: usize, invocation: &str) -> HeaderMap {
    let mut headers = joined(client);
    remove(&mut headers, CONTENT_HEADERS.iter().chain([&CONTENT_TYPE, &CONTENT_LENGTH]));
    if body_length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body_length));
        if let Some(kind) = client.get(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, kind.clone());
        }
    }
    append(&mut headers, USER_AGENT.as_str(), " ", USER_AGENT_SUFFIX);
    append(&mut headers, VERSION_HEADER, ", ", HOST_VERSION);
    append(&mut headers, INVOCATION_HEADER, ", ", invocation);
    headers
}

/// The headers of a proxied request. A streamed body is always chunked, whatever the method is.
pub(super) fn proxied(client: &HeaderMap, route: &Route<'_>, streamed: bool, invocation: &str) -> HeaderMap {
    let mut headers = joined(client);
    remove(&mut headers, HOP_BY_HOP.iter().chain([&FORWARDED, &HeaderName::from_static("x-forwarded-prefix")]));
    if streamed {
        headers.remove(CONTENT_LENGTH);
        set(&mut headers, TRANSFER_ENCODING.as_str(), "chunked");
    }
    let host = headers.remove(HOST);
    headers.remove("x-forwarded-host");
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
pub(super) fn payload(handler_port: u16, length: usize, invocation: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", format!("127.0.0.1:{handler_port}").as_str()),
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", length.to_string().as_str()),
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
    let empty = headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    if headers.contains_key(TRANSFER_ENCODING) || bodiless && empty {
        headers.remove(CONTENT_LENGTH);
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
    let host = headers.get(HOST).cloned();
    headers.extend(host.map(|host| (HeaderName::from_static("disguised-host"), host)));
}

/// All headers, each in one line. .NET joins cookies by their own separator.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let one_line = |name: &HeaderName| {
        let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
        let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        Some((name.clone(), HeaderValue::from_bytes(&lines.join(separator)).ok()?))
    };
    headers.keys().filter_map(one_line).collect()
}

fn remove<'a>(headers: &mut HeaderMap, names: impl IntoIterator<Item = &'a HeaderName>) {
    for name in names {
        headers.remove(name);
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
#[path = "../tests/headers.rs"]
mod tests;
