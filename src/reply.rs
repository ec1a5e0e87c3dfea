//! Answers of our own: JSON, problems, redirects and pages, with the headers that all of them carry.

pub mod body;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use serde_json::json;

use crate::error::Error;

/// Anything that can go wrong while a body streams.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body in either direction, streamed.
pub type Body = BoxBody<Bytes, BodyError>;
/// An answer.
pub type Reply = Response<Body>;

/// The header by which a page tells our 401 from the API's.
pub const CLOAKROOM_ERROR: HeaderName = HeaderName::from_static("cloakroom-error");

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How the asker wants to be told of a refusal, and under which trace.
#[derive(Debug, Clone)]
pub struct Context {
    /// 32 hex digits, in the log lines of this request too.
    pub trace_id: String,
    /// A page rather than JSON.
    pub wants_page: bool,
    /// What stands before links of ours that the page follows.
    pub link_base: String,
}

/// A refusal, with the cookies that must be written all the same: new tokens would else be lost.
#[derive(Debug)]
pub struct Rejected {
    /// What the client hears.
    pub error: Error,
    /// Lines of `Set-Cookie`.
    pub cookies: Vec<HeaderValue>,
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Self { error, cookies: Vec::new() }
    }
}

/// A body that is all there.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An answer without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Reply {
    finish(status, None, Bytes::new())
}

/// An answer of JSON.
#[must_use]
pub fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    finish(status, Some("application/json"), value.to_string().into())
}

/// A redirect; 303 after a POST, else 302. An address that is no header value is a fault of ours.
#[must_use]
pub fn redirect(status: StatusCode, location: &str) -> Reply {
    let Ok(location) = HeaderValue::from_str(location) else {
        return finish(StatusCode::INTERNAL_SERVER_ERROR, None, Bytes::new());
    };
    let mut reply = empty(status);
    reply.headers_mut().insert(LOCATION, location);
    reply
}

/// A page of ours. `body` is HTML whose parts are already escaped.
#[must_use]
pub fn page(status: StatusCode, title: &str, body: &str) -> Reply {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta name=color-scheme content='light dark'><title>{title}</title>\
         <style>body{{font:1.1rem/1.6 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem}}\
         button{{font:inherit;padding:.5em 1.2em}}small{{opacity:.7}}</style>\
         <main><h1>{title}</h1>{body}</main></html>",
        title = escape(title)
    );
    let mut reply = finish(status, Some("text/html; charset=utf-8"), html.into());
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    reply
}

/// A page with a form: it may post to this origin and to `end_session_origin`, where that answer redirects.
///
/// It says `Referrer-Policy: same-origin`, else browsers would send `Origin: null` with the form.
#[must_use]
pub fn form_page(title: &str, body: &str, end_session_origin: Option<&str>) -> Reply {
    let mut reply = page(StatusCode::OK, title, body);
    let targets = end_session_origin.map_or_else(|| "'self'".to_owned(), |origin| format!("'self' {origin}"));
    let policy = PAGE_POLICY.replace("form-action 'none'", &format!("form-action {targets}"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    reply.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    reply
}

/// A refusal: problem+json (RFC 9457), or a page for a navigation.
#[must_use]
pub fn problem(error: &Error, context: &Context) -> Reply {
    let facts = error.facts();
    let mut reply = if context.wants_page { problem_page(error, context) } else { problem_json(error, context) };
    let headers = reply.headers_mut();
    headers.insert(CLOAKROOM_ERROR, HeaderValue::from_static(facts.code));
    if let Some(seconds) = facts.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
    }
    if let Error::MethodDenied(allow) = error
        && let Ok(allow) = HeaderValue::from_str(allow)
    {
        headers.insert(ALLOW, allow);
    }
    reply
}

fn problem_json(error: &Error, context: &Context) -> Reply {
    let facts = error.facts();
    let mut problem = json!({
        "type": format!("urn:cloakroom:error:{}", facts.code),
        "title": facts.title,
        "status": facts.status.as_u16(),
        "code": facts.code,
        "trace_id": context.trace_id,
    });
    if let Some(members) = problem.as_object_mut() {
        if let Some(detail) = error.detail() {
            members.insert("detail".to_owned(), detail.into());
        }
        if facts.login_helps {
            members.insert("login_url".to_owned(), login_url(error, context).into());
        }
    }
    finish(facts.status, Some("application/problem+json"), problem.to_string().into())
}

fn problem_page(error: &Error, context: &Context) -> Reply {
    let facts = error.facts();
    let detail = error.detail().map(|detail| format!("<p>{}</p>", escape(detail))).unwrap_or_default();
    let link = if facts.login_helps {
        format!("<p><a href=\"{}\">Sign in</a></p>", escape(&login_url(error, context)))
    } else {
        String::new()
    };
    let body = format!("{detail}{link}<p><small>{} · trace {}</small></p>", facts.code, escape(&context.trace_id));
    page(facts.status, facts.title, &body)
}

/// Where signing in helps: the error's own address, else the usual one.
fn login_url(error: &Error, context: &Context) -> String {
    format!("{}{}", context.link_base, error.login_url().unwrap_or("/auth/login"))
}

/// Whether a refusal should be a page: a navigation, or no word on that and HTML accepted.
#[must_use]
pub fn wants_page(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match value(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => value(ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Text as HTML shows it literally, in an element or in a quoted attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// What every answer of ours carries, the proxied ones included.
pub fn add_security_headers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
}

fn finish(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Reply {
    let mut reply = Response::new(full(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add_security_headers(headers);
    reply
}
