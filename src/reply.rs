//! Responses of the gateway itself: JSON, problems, redirects and pages, with the headers that all of them carry.

pub mod body;

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::Error;

pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The streamed body of a request or a response.
pub type Body = BoxBody<Bytes, BodyError>;
pub type Reply = Response<Body>;

/// Distinguishes a 401 of the gateway from one of an API (contract 8.4).
pub const CLOAKROOM_ERROR: HeaderName = HeaderName::from_static("cloakroom-error");

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

const HTML: &str = "text/html; charset=utf-8";

/// The policy of an isolated response that is no page.
const SANDBOX: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// The style of every page of the gateway.
const STYLE: &str = "body{font:1.1rem/1.6 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem}\
                     button{font:inherit;padding:.5em 1.2em}small{opacity:.7}";

/// `style-src` with the hash of [`STYLE`] (CSP 3 section 2.3.1).
static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("style-src 'sha256-{}'", STANDARD.encode(Sha256::digest(STYLE))));

/// What the response to a rejected request needs to know of the request.
#[derive(Debug, Clone)]
pub struct Context {
    /// 32 hex digits.
    pub trace_id: String,
    /// HTML instead of JSON (contract 3.35).
    pub as_page: bool,
    /// The prefix of links to the gateway: its origin where the SPA has another one (contract 8.11), else empty.
    pub link_base: String,
}

/// Why a request was rejected, and cookies that must be written all the same, because new tokens are in them.
#[derive(Debug)]
pub struct Rejected {
    pub error: Error,
    /// `Set-Cookie` lines.
    pub cookies: Vec<HeaderValue>,
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Self { error, cookies: Vec::new() }
    }
}

/// A body that is complete already.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// No body. It allocates nothing.
#[must_use]
pub fn no_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

#[must_use]
pub fn empty(status: StatusCode) -> Reply {
    build(status, None, Bytes::new())
}

#[must_use]
pub fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    build(status, Some("application/json"), value.to_string().into())
}

/// A redirect. A location that is not a valid header value is an internal error.
#[must_use]
pub fn redirect(status: StatusCode, location: &str) -> Reply {
    let Ok(location) = HeaderValue::from_str(location) else {
        return build(StatusCode::INTERNAL_SERVER_ERROR, None, Bytes::new());
    };
    let mut reply = empty(status);
    reply.headers_mut().insert(LOCATION, location);
    reply
}

/// A page of the gateway. `body` is HTML, already escaped.
#[must_use]
pub fn page(status: StatusCode, title: &str, body: &str) -> Reply {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta name=color-scheme content='light dark'><title>{title}</title>\
         <style>{STYLE}</style>\
         <main><h1>{title}</h1>{body}</main></html>",
        title = escape(title)
    );
    let mut reply = build(status, Some(HTML), html.into());
    set_page_policy(&mut reply, "'none'", "'none'");
    reply
}

/// An empty page that pages of these origins may frame, and no others (contract 16.9).
#[must_use]
pub fn empty_frame(ancestors: &[String]) -> Reply {
    let mut reply = build(StatusCode::OK, Some(HTML), Bytes::new());
    set_page_policy(&mut reply, "'none'", &ancestors.join(" "));
    reply
}

/// A page with a form (contract 8.10). It may post to this origin, and the response may redirect to
/// `end_session_origin`.
///
/// With any stricter `Referrer-Policy` browsers send `Origin: null` with the form.
#[must_use]
pub fn form_page(title: &str, body: &str, end_session_origin: Option<&str>) -> Reply {
    let mut reply = page(StatusCode::OK, title, body);
    let targets = end_session_origin.map_or_else(|| "'self'".to_owned(), |origin| format!("'self' {origin}"));
    set_page_policy(&mut reply, &targets, "'none'");
    reply.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    reply
}

/// The response to a rejected request: problem+json (RFC 9457), or a page for a navigation (contract 8.3, 3.35).
#[must_use]
pub fn problem(error: &Error, context: &Context) -> Reply {
    let facts = error.facts();
    let mut reply = if context.as_page { problem_page(error, context) } else { problem_json(error, context) };
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
    build(facts.status, Some("application/problem+json"), problem.to_string().into())
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

/// The error's own sign-in URL, or else the login route.
fn login_url(error: &Error, context: &Context) -> String {
    format!("{}{}", context.link_base, error.login_url().unwrap_or("/auth/login"))
}

/// Whether a request is a navigation request (contract section 1).
#[must_use]
pub fn is_navigation(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match value(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => value(ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Escapes text for an HTML element or a quoted attribute.
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

/// Adds what every response carries, proxied ones included (contract 8.9).
pub fn add_security_headers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
}

/// What every response carries, by settings (contract 8.9a).
#[derive(Debug, Clone)]
pub struct CommonHeaders {
    /// `Strict-Transport-Security`.
    pub hsts: Option<HeaderValue>,
    /// `Cross-Origin-Resource-Policy` of all responses but the SPA's files.
    pub resource_policy: HeaderValue,
}

impl CommonHeaders {
    pub fn add(&self, headers: &mut HeaderMap, is_spa_file: bool) {
        if let Some(hsts) = &self.hsts {
            headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        if !is_spa_file {
            headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, self.resource_policy.clone());
        }
    }
}

/// Makes the browser drop what it has cached of this origin, so that the next user does not see it (contract 8.9b).
pub fn clear_cache(headers: &mut HeaderMap) {
    headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\""));
}

/// Contract 8.9: `form_targets` are the sources of `form-action`, and `ancestors` those of `frame-ancestors`.
#[expect(clippy::expect_used, reason = "the sources are keywords and serialized origins")]
fn set_page_policy(reply: &mut Reply, form_targets: &str, ancestors: &str) {
    let policy = format!(
        "default-src 'none'; {}; base-uri 'none'; form-action {form_targets}; frame-ancestors {ancestors}",
        *STYLE_SOURCE
    );
    let policy = HeaderValue::from_str(&policy).expect("a policy is visible ASCII");
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
}

/// Keeps other windows away from a reply whose address may contain an authorization code (contract 3.9a). What is shown
/// in a sandbox, JSON too, has an origin of its own, and windows of other origins lose their reference to it.
#[expect(clippy::expect_used, reason = "a header value with ASCII text appended is a header value")]
pub fn isolate(headers: &mut HeaderMap) {
    headers.insert(CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
    if let Some(policy) = headers.get_mut(CONTENT_SECURITY_POLICY) {
        let sandboxed = [policy.as_bytes(), b"; sandbox"].concat();
        *policy = HeaderValue::from_bytes(&sandboxed).expect("a policy is visible ASCII");
    } else if !headers.contains_key(LOCATION) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    }
}

fn build(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Reply {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(reply: &Reply) -> &str {
        reply.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap()
    }

    fn html(reply: Reply) -> String {
        let body = futures_util::FutureExt::now_or_never(reply.into_body().collect()).unwrap().unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    /// Contract 8.9: `'unsafe-inline'` for the style of a page would allow that of an injected one too.
    #[test]
    fn a_pages_policy_allows_its_own_style_by_hash_and_nothing_unsafe() {
        for reply in [page(StatusCode::OK, "Title", "text"), form_page("Title", "form", Some("https://login.example"))]
        {
            let found = policy(&reply).to_owned();
            for required in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action '"] {
                assert!(found.contains(required), "{found}");
            }
            assert!(!found.contains("unsafe-") && !found.contains('*') && !found.contains("https:;"), "{found}");
            let html = html(reply);
            let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
            let hash = STANDARD.encode(Sha256::digest(style));
            assert!(found.contains(&format!("; style-src 'sha256-{hash}';")), "{found}");
        }
    }

    /// A browser shows JSON, too, as a document of its address's origin.
    #[test]
    fn an_isolated_page_is_sandboxed_and_leaves_its_opener() {
        for mut reply in [page(StatusCode::OK, "Title", "text"), json(StatusCode::OK, &json!({}))] {
            isolate(reply.headers_mut());
            assert!(policy(&reply).starts_with("default-src 'none'; ") && policy(&reply).ends_with("; sandbox"));
            assert!(policy(&reply).contains("; frame-ancestors 'none';"));
            assert_eq!(reply.headers()["cross-origin-opener-policy"], "same-origin");
        }
        let mut redirect = redirect(StatusCode::FOUND, "/#");
        isolate(redirect.headers_mut());
        assert_eq!(redirect.headers()["cross-origin-opener-policy"], "same-origin");
        assert!(!redirect.headers().contains_key(CONTENT_SECURITY_POLICY), "it shows nothing");
    }
}
