//! What becomes of headers on their way through the host.

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

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-azure-functions-hostversion");
const INVOCATION_HEADER: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
const PROXY_INVOCATION_HEADER: HeaderName = HeaderName::from_static("x-ms-invocation-id");
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// .NET refuses these on a message, since to it they belong to its content; the host does not notice.
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

/// YARP drops these both ways.
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

/// What a proxied request tells of where it came from.
pub(super) struct Origin<'a> {
    pub(super) peer: &'a str,
    pub(super) scheme: &'static str,
    /// The host part of the handler's URL.
    pub(super) handler: &'a str,
}

/// The headers of a forwarded request.
pub(super) fn forwarded(client: &HeaderMap, body_length: usize, invocation: &str) -> HeaderMap {
    let mut headers = joined(client);
    for name in CONTENT_HEADERS.iter().chain([&CONTENT_TYPE, &CONTENT_LENGTH]) {
        headers.remove(name);
    }
    if body_length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body_length));
        if let Some(kind) = client.get(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, kind.clone());
        }
    }
    append(&mut headers, USER_AGENT, " ", USER_AGENT_SUFFIX);
    append(&mut headers, VERSION_HEADER, ", ", HOST_VERSION);
    append(&mut headers, INVOCATION_HEADER, ", ", invocation);
    headers
}

/// The headers of a proxied request. A streamed body needs its chunks announced, whatever its method is.
pub(super) fn proxied(client: &HeaderMap, origin: &Origin<'_>, streamed: bool, invocation: &str) -> HeaderMap {
    let mut headers = joined(client);
    strip_hop_by_hop(&mut headers);
    for name in [FORWARDED_PREFIX, FORWARDED, FORWARDED_HOST] {
        headers.remove(name);
    }
    if streamed {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(host) = client.get(HOST) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    set(&mut headers, HOST, origin.handler);
    set(&mut headers, FORWARDED_FOR, origin.peer);
    set(&mut headers, FORWARDED_PROTO, origin.scheme);
    set(&mut headers, VERSION_HEADER, HOST_VERSION);
    set(&mut headers, INVOCATION_HEADER, invocation);
    set(&mut headers, PROXY_INVOCATION_HEADER, invocation);
    headers
}

/// The headers of a call in payload mode, all of them.
pub(super) fn payload(port: u16, length: usize, invocation: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    set(&mut headers, HOST, &format!("127.0.0.1:{port}"));
    set(&mut headers, CONTENT_TYPE, "application/json; charset=utf-8");
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    set(&mut headers, USER_AGENT, USER_AGENT_SUFFIX);
    set(&mut headers, VERSION_HEADER, HOST_VERSION);
    set(&mut headers, INVOCATION_HEADER, invocation);
    headers
}

/// Takes from a proxied response what YARP does not copy.
pub(super) fn clean_proxied_response(status: StatusCode, headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
    let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 205);
    if bodiless && headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0") {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Adds what the front end of App Service adds.
pub(super) fn add_front_end(headers: &mut HeaderMap, target: &str, log_id: &str) {
    const CLIENT: &str = "1.2.3.4:56789";
    append(headers, FORWARDED_FOR, ", ", CLIENT);
    set(headers, FORWARDED_PROTO, "https");
    set(headers, HeaderName::from_static("x-original-url"), target);
    set(headers, HeaderName::from_static("x-arr-log-id"), log_id);
    set(headers, HeaderName::from_static("client-ip"), CLIENT);
    set(headers, HeaderName::from_static("max-forwards"), "10");
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(HeaderName::from_static("disguised-host"), host);
    }
}

/// All headers, each in one line. .NET joins cookies by their own separator.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in headers.keys() {
        let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
        let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(value) = HeaderValue::from_bytes(&lines.join(separator)) {
            out.insert(name.clone(), value);
        }
    }
    out
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Puts a value behind what the client sent under that name.
fn append(headers: &mut HeaderMap, name: HeaderName, separator: &str, value: &str) {
    let lines = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    let all: Vec<_> = lines.chain([value.as_bytes()]).collect();
    if let Ok(value) = HeaderValue::from_bytes(&all.join(separator.as_bytes())) {
        headers.insert(name, value);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
#[path = "tests/headers.rs"]
mod tests;
