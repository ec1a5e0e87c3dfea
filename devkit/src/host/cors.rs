//! The host's own CORS on the plans where it has one: ASP.NET's middleware, with one policy for any method and header.

use std::io;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::config::{Settings, is_on};
use crate::web::Body;
use crate::web::response::empty;

/// The platform's CORS list, as the platform passes it on in settings.
pub(super) struct Cors {
    origins: Vec<String>,
    credentials: bool,
}

impl Cors {
    /// `None` on plans where preflights reach the handler.
    pub(super) fn new(settings: &Settings) -> io::Result<Option<Self>> {
        let is_flex = settings.get("WEBSITE_SKU").is_some_and(|sku| sku.eq_ignore_ascii_case("FlexConsumption"));
        if !is_flex && !settings.contains_key("CONTAINER_NAME") {
            return Ok(None);
        }
        let list = settings.get("CORS_ALLOWED_ORIGINS").filter(|list| !list.trim().is_empty());
        let origins: Option<Vec<String>> = list.map(|list| serde_json::from_str(list)).transpose()?;
        let origins: Vec<String> = origins.iter().flatten().map(|origin| origin.to_lowercase()).collect();
        let cors = Self { origins, credentials: is_on(settings, "CORS_SUPPORT_CREDENTIALS") };
        if cors.credentials && cors.allows_any() {
            return Err(io::Error::other(
                "The CORS protocol does not allow any origin and credentials at the same time.",
            ));
        }
        Ok(Some(cors))
    }

    /// The response to a preflight, before [`Cors::allow`]: the handler gets none, even if the list is empty.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS)?;
        headers.get(ORIGIN)?;
        let mut response = empty(StatusCode::NO_CONTENT);
        if self.allowed(headers).is_some() {
            let names = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|line| line.to_str().ok());
            let names: Vec<&str> = names.flat_map(|line| line.split(',')).map(str::trim).collect();
            if let Some(names) = HeaderValue::from_str(&names.join(",")).ok().filter(|names| !names.is_empty()) {
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
        }
        Some(response)
    }

    /// The origin of a request, if the list has it.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, second) = (origins.next()?, origins.next());
        if self.allows_any() {
            return Some(HeaderValue::from_static("*"));
        }
        let is_listed = self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes());
        (is_listed && second.is_none()).then(|| origin.clone())
    }

    /// Lets a page on an allowed origin read a response. What the handler set under these names is replaced.
    pub(super) fn allow(&self, origin: HeaderValue, response: &mut HeaderMap) {
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if self.origins.len() > 1 {
            response.append(VARY, HeaderValue::from_static("Origin"));
        }
    }

    fn allows_any(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }
}

/// On the same plans the host takes its own name from what the front end adds.
pub(super) fn restore_host(headers: &mut HeaderMap) {
    if let Some(host) = headers.get("disguised-host").cloned() {
        headers.insert(HOST, host);
    }
}
