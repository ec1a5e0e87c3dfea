use http::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};
use serde_json::{Value, json};

use super::{State, batch, drive, streams};
use crate::web::{Body, Call, Form, HangUp, reply};

const PHOTO: &[u8] = include_bytes!("photo.png");
const PHOTO_TAG: &str = "\"photo-1\"";
const MESSAGES: usize = 25;

/// Answers somebody whose token counts.
pub(super) async fn answer(state: &State, call: &Call, claims: &Value) -> Result<Response<Body>, HangUp> {
    let query = query(call);
    match segments(call).as_slice() {
        ["echo", ..] => Ok(echo(call)),
        ["hostile"] => Ok(hostile()),
        ["headers"] => Ok(headers(&query)),
        ["redirect"] => Ok(redirect(&query)),
        ["status", code] => Ok(status(code)),
        ["slow"] => Ok(streams::slow(&query).await),
        ["bytes"] => Ok(streams::bytes(&query)),
        ["events"] => Ok(streams::events(state.events.subscribe())),
        ["hang-up"] => streams::hang_up(&query),
        ["$batch"] if call.parts.method == "POST" => Ok(batch::answer(state, call, claims).await),
        _ => Ok(documented(state, call, claims)),
    }
}

fn query(call: &Call) -> Form {
    Form::parse(call.parts.uri.query().unwrap_or_default().as_bytes())
}

/// The segments of the path behind the version; none when that is another.
fn segments(call: &Call) -> Vec<&str> {
    let path = call.parts.uri.path().strip_prefix("/v1.0/");
    path.map(|path| path.split('/').collect()).unwrap_or_default()
}

/// The part that Graph itself has, with its methods.
pub(super) fn documented(state: &State, call: &Call, claims: &Value) -> Response<Body> {
    let path = segments(call);
    match (call.parts.method.as_str(), path.as_slice()) {
        ("GET" | "HEAD", ["me"]) => reply::json(StatusCode::OK, &me(claims)),
        ("PATCH", ["me"]) => changed(call),
        ("GET" | "HEAD", ["me", "photo", "$value"]) => photo(call),
        ("GET" | "HEAD", ["me", "messages"]) => messages(state, &query(call)),
        ("POST", ["me", "sendMail"]) => reply::empty(StatusCode::ACCEPTED),
        ("GET" | "HEAD", ["users"]) => users(),
        (_, ["me", "drive", rest @ ..]) => drive::answer(state, call, rest),
        (_, ["me"] | ["me", "photo", "$value"] | ["me", "messages"] | ["me", "sendMail"] | ["users"] | ["$batch"]) => {
            error(StatusCode::METHOD_NOT_ALLOWED, "Request_BadRequest", "Specified HTTP method is not allowed.")
        }
        _ => missing(call.parts.uri.path()),
    }
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

fn changed(call: &Call) -> Response<Body> {
    match serde_json::from_slice::<Value>(&call.request.body) {
        Ok(Value::Object(_)) => reply::empty(StatusCode::NO_CONTENT),
        _ => error(StatusCode::BAD_REQUEST, "BadRequest", "Unable to read JSON request payload."),
    }
}

fn photo(call: &Call) -> Response<Body> {
    let header = |name| call.parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let tagged = |answer| reply::with(reply::with(answer, ETAG, PHOTO_TAG), ACCEPT_RANGES, "bytes");
    let same = |list: &str| list.split(',').any(|tag| matches!(tag.trim(), "*" | PHOTO_TAG));
    if header(IF_NONE_MATCH).is_some_and(same) {
        return tagged(reply::empty(StatusCode::NOT_MODIFIED));
    }
    let asked = header(RANGE).filter(|_| header(IF_RANGE).is_none_or(|tag| tag == PHOTO_TAG));
    match asked.and_then(|range| range.strip_prefix("bytes=")) {
        None => tagged(reply::bytes(StatusCode::OK, "image/png", PHOTO)),
        Some(range) => tagged(part(range)),
    }
}

/// One range (RFC 9110, section 14).
fn part(range: &str) -> Response<Body> {
    let size = PHOTO.len();
    let bounds = match range.split_once('-') {
        Some(("", last)) => last.parse().ok().map(|last: usize| (size.saturating_sub(last), size)),
        Some((first, "")) => first.parse().ok().map(|first| (first, size)),
        Some((first, last)) => first.parse().ok().zip(last.parse().ok().map(|last: usize| size.min(last + 1))),
        None => None,
    };
    let bytes =
        bounds.and_then(|(from, to)| PHOTO.get(from..to).filter(|part| !part.is_empty()).map(|part| (from, part)));
    match bytes {
        Some((from, part)) => {
            let answer = reply::bytes(StatusCode::PARTIAL_CONTENT, "image/png", part);
            reply::with(answer, CONTENT_RANGE, &format!("bytes {from}-{}/{size}", from + part.len() - 1))
        }
        None => {
            let answer = reply::empty(StatusCode::RANGE_NOT_SATISFIABLE);
            reply::with(answer, CONTENT_RANGE, &format!("bytes */{size}"))
        }
    }
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
    if let Some(members) = page.as_object_mut().filter(|_| end < MESSAGES) {
        let next = state.link(&format!("/me/messages?%24top={top}&%24skip={end}"));
        members.insert("@odata.nextLink".to_owned(), next.into());
    }
    reply::json(StatusCode::OK, &page)
}

fn users() -> Response<Body> {
    let user = |number: u8, name: &str| json!({"id": format!("0b1d0000-0000-4000-8000-00000000000{number}"), "displayName": name});
    let body = json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users",
        "value": [user(1, "Ada Lovelace"), user(2, "Grace Hopper")],
    });
    reply::json(StatusCode::OK, &body)
}

fn echo(call: &Call) -> Response<Body> {
    let request = &call.request;
    let body = json!({
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body_length": request.body_length,
        "body_sha256": request.body_sha256,
        "body": std::str::from_utf8(&request.body).ok(),
    });
    reply::json(StatusCode::OK, &body)
}

/// Every header that would act on the gateway's origin if it passed.
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
    let start = reply::bytes(StatusCode::OK, "text/html", "<script>alert(document.domain)</script>");
    HEADERS.into_iter().fold(start, |answer, (name, value)| reply::with(answer, HeaderName::from_static(name), value))
}

/// The headers that the query names. What is no header's name is left out.
fn headers(query: &Form) -> Response<Body> {
    let named = query.pairs().filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value)));
    named.fold(reply::json(StatusCode::OK, &json!({})), |answer, (name, value)| reply::with(answer, name, value))
}

fn redirect(query: &Form) -> Response<Body> {
    let status = query.get("status").and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    let answer = reply::empty(status.unwrap_or(StatusCode::FOUND));
    reply::with(answer, LOCATION, query.get("to").unwrap_or("https://graph.microsoft.com/v1.0/me"))
}

fn status(code: &str) -> Response<Body> {
    let Some(status) = StatusCode::from_bytes(code.as_bytes()).ok().filter(|status| status.as_u16() >= 200) else {
        return error(StatusCode::BAD_REQUEST, "BadRequest", "Not a status that can be sent.");
    };
    match status.as_u16() {
        204 | 304 => reply::empty(status),
        429 | 503 => reply::with(error(status, "TooManyRequests", "Please retry."), RETRY_AFTER, "7"),
        400.. => error(status, "ErrorOfTheTestersChoice", "As asked."),
        _ => reply::json(status, &json!({"status": status.as_u16()})),
    }
}

pub(super) fn missing(path: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, "ResourceNotFound", &format!("Resource not found for '{path}'."))
}

pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    reply::json(status, &json!({"error": {"code": code, "message": message}}))
}
