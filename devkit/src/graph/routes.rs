use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{State, streams};
use crate::web::{Body, Form, HangUp, Recorded, response};

const PHOTO: &[u8] = include_bytes!("photo.png");
const PHOTO_TAG: &str = "\"photo-1\"";
const MESSAGES: usize = 25;

pub(super) async fn respond(state: &State, request: &Recorded, claims: &Value) -> Result<Response<Body>, HangUp> {
    let query = request.query_form();
    let path = request.path();
    let segments: Vec<&str> = path.strip_prefix("/v1.0/").map_or_else(Vec::new, |path| path.split('/').collect());
    Ok(match (request.method.as_str(), segments.as_slice()) {
        (_, ["echo", ..]) => echo(request),
        (_, ["hostile"]) => hostile(),
        (_, ["headers"]) => {
            query.pairs().fold(response::json(StatusCode::OK, &json!({})), |response, (name, value)| {
                response::with(response, name, value)
            })
        }
        (_, ["redirect"]) => redirect(&query),
        (_, ["status", code]) => status(code),
        (_, ["slow"]) => streams::slow(&query).await,
        (_, ["bytes"]) => streams::bytes(&query),
        (_, ["events"]) => streams::events(state.events.subscribe()),
        (_, ["hang-up"]) => streams::hang_up(&query)?,
        ("GET" | "HEAD", ["me"]) => response::json(StatusCode::OK, &me(claims)),
        ("PATCH", ["me"]) => change(request),
        ("GET" | "HEAD", ["me", "photo", "$value"]) => photo(request),
        ("GET" | "HEAD", ["me", "messages"]) => messages(state, &query),
        ("POST", ["me", "sendMail"]) => response::empty(StatusCode::ACCEPTED),
        ("GET" | "HEAD", ["users"]) => users(),
        (_, ["me"] | ["me", "photo", "$value"] | ["me", "messages"] | ["me", "sendMail"] | ["users"]) => {
            error(StatusCode::METHOD_NOT_ALLOWED, "Request_BadRequest", "Specified HTTP method is not allowed.")
        }
        _ => error(StatusCode::NOT_FOUND, "ResourceNotFound", &format!("Resource not found for '{path}'.")),
    })
}

fn me(claims: &Value) -> Value {
    let claim = |name: &str| claims.get(name).cloned().unwrap_or_default();
    json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/$entity",
        "displayName": claim("name"),
        "id": claim("oid"),
        "userPrincipalName": claim("upn"),
        "mail": claim("email"),
    })
}

fn change(request: &Recorded) -> Response<Body> {
    match serde_json::from_slice::<Value>(&request.body) {
        Ok(Value::Object(_)) => response::empty(StatusCode::NO_CONTENT),
        _ => error(StatusCode::BAD_REQUEST, "BadRequest", "Unable to read JSON request payload."),
    }
}

fn photo(request: &Recorded) -> Response<Body> {
    let tagged = |response| response::with(response::with(response, "etag", PHOTO_TAG), "accept-ranges", "bytes");
    let matches = |list: &str| list.split(',').any(|tag| matches!(tag.trim(), "*" | PHOTO_TAG));
    if request.header("if-none-match").is_some_and(matches) {
        return tagged(response::empty(StatusCode::NOT_MODIFIED));
    }
    let range = request.header("range").filter(|_| request.header("if-range").is_none_or(|tag| tag == PHOTO_TAG));
    match range.and_then(|range| range.strip_prefix("bytes=")) {
        None => tagged(response::bytes(StatusCode::OK, "image/png", PHOTO)),
        Some(range) => tagged(partial_photo(range)),
    }
}

/// One range (RFC 9110, section 14).
fn partial_photo(range: &str) -> Response<Body> {
    let size = PHOTO.len();
    let bounds = match range.split_once('-') {
        Some(("", last)) => last.parse().ok().map(|last: usize| (size.saturating_sub(last), size)),
        Some((first, "")) => first.parse().ok().map(|first| (first, size)),
        Some((first, last)) => first.parse().ok().zip(last.parse().ok().map(|last: usize| size.min(last + 1))),
        None => None,
    };
    let part = bounds.and_then(|(from, to)| PHOTO.get(from..to).map(|part| (from, part)));
    let (response, content_range) = match part.filter(|(_, part)| !part.is_empty()) {
        Some((from, part)) => {
            let content_range = format!("bytes {from}-{}/{size}", from + part.len() - 1);
            (response::bytes(StatusCode::PARTIAL_CONTENT, "image/png", part), content_range)
        }
        None => (response::empty(StatusCode::RANGE_NOT_SATISFIABLE), format!("bytes */{size}")),
    };
    response::with(response, "content-range", &content_range)
}

fn messages(state: &State, query: &Form) -> Response<Body> {
    let number = |name, default| match query.get(name) {
        Some(text) => text.parse::<usize>().ok(),
        None => Some(default),
    };
    let (Some(top), Some(skip)) = (number("$top", 10).filter(|top| (1..=1_000).contains(top)), number("$skip", 0))
    else {
        return error(StatusCode::BAD_REQUEST, "BadRequest", "Invalid value for $top or $skip.");
    };
    let end = MESSAGES.min(skip.saturating_add(top));
    let message = |number: usize| json!({"id": format!("AAMk{number:04}="), "subject": format!("Message {number}")});
    let mut page = json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users('me')/messages",
        "value": (skip..end).map(message).collect::<Vec<_>>(),
    });
    if end < MESSAGES {
        page["@odata.nextLink"] = state.link(&format!("/me/messages?%24top={top}&%24skip={end}")).into();
    }
    response::json(StatusCode::OK, &page)
}

fn users() -> Response<Body> {
    let user = |number: u8, name: &str| json!({"id": format!("0b1d0000-0000-4000-8000-00000000000{number}"), "displayName": name});
    let body = json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users",
        "value": [user(1, "Ada Lovelace"), user(2, "Grace Hopper")],
    });
    response::json(StatusCode::OK, &body)
}

fn echo(request: &Recorded) -> Response<Body> {
    let body = json!({
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body_length": request.body_length,
        "body_sha256": request.body_sha256,
        "body": std::str::from_utf8(&request.body).ok(),
    });
    response::json(StatusCode::OK, &body)
}

/// Every header that would affect the gateway's origin if it were forwarded.
fn hostile() -> Response<Body> {
    const HEADERS: [(&str, &str); 22] = [
        ("set-cookie", "__Host-Http-cloakroom=evil; Path=/; Secure; HttpOnly"),
        ("set-cookie", "second=1"),
        ("access-control-allow-origin", "https://evil.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "*"),
        ("strict-transport-security", "max-age=0"),
        ("clear-site-data", "\"*\""),
        ("refresh", "0;url=https://evil.example/"),
        ("www-authenticate", "Basic realm=\"evil\""),
        ("proxy-authenticate", "Basic realm=\"evil\""),
        ("server", "evil/1.0"),
        ("x-powered-by", "evil"),
        ("location", "https://evil.example/"),
        ("service-worker-allowed", "/"),
        ("content-security-policy", "default-src *"),
        ("report-to", "{\"endpoints\":[{\"url\":\"https://evil.example\"}]}"),
        ("nel", "{\"report_to\":\"evil\"}"),
        ("alt-svc", "h3=\"evil.example:443\""),
        ("link", "<https://evil.example/x.js>; rel=preload; as=script"),
        ("cloakroom-error", "session_missing"),
        ("x-ms-evil", "1"),
        ("sourcemap", "https://evil.example/map"),
    ];
    let start = response::bytes(StatusCode::OK, "text/html", "<script>alert(document.domain)</script>");
    HEADERS.into_iter().fold(start, |response, (name, value)| response::with(response, name, value))
}

fn redirect(query: &Form) -> Response<Body> {
    let status = query.get("status").and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    let response = response::empty(status.unwrap_or(StatusCode::FOUND));
    response::with(response, "location", query.get("to").unwrap_or("https://graph.microsoft.com/v1.0/me"))
}

fn status(code: &str) -> Response<Body> {
    let Some(status) = StatusCode::from_bytes(code.as_bytes()).ok().filter(|status| status.as_u16() >= 200) else {
        return error(StatusCode::BAD_REQUEST, "BadRequest", "Not a status that can be sent.");
    };
    match status.as_u16() {
        204 | 304 => response::empty(status),
        429 | 503 => response::with(error(status, "TooManyRequests", "Please retry."), "retry-after", "7"),
        400.. => error(status, "TestError", "As requested."),
        _ => response::json(status, &json!({"status": status.as_u16()})),
    }
}

pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    response::json(status, &json!({"error": {"code": code, "message": message}}))
}
