//! A static website as the SPA: the gateway fronts it, so that page and gateway share one origin.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LOCATION, CONTENT_TYPE,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, PROXY_AUTHENTICATE, RANGE,
    SERVER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::{INDEX, add_file_headers, is_navigation};
use crate::api_map::base::Base;
use crate::api_map::path::ProvenPath;
use crate::error::Error;
use crate::net::{CONNECT, OutboundClients};
use crate::reply::body::{GuardedBody, Limit};
use crate::reply::{Reply, full};
use crate::upstream::{Failure, Upstream};

/// Request headers that the website gets; no cookie, no credentials, nothing of who asks.
const PASSED: [HeaderName; 9] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
];
/// Response headers that are the website's own affair, or would act on more than its files.
const STRIPPED: [HeaderName; 15] = [
    ALT_SVC,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LOCATION,
    PROXY_AUTHENTICATE,
    SERVER,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VIA,
    WWW_AUTHENTICATE,
    HeaderName::from_static("clear-site-data"),
];
/// Beginnings of such names.
const STRIPPED_BEGINNING: [&str; 5] = ["access-control-", "cloakroom-", "keep-alive", "x-ms-", "x-azure-"];
/// Deadline for the head of an answer.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// Deadline for the whole of it.
const TOTAL: Duration = Duration::from_secs(100);

/// The website.
#[derive(Debug)]
pub struct Site {
    base: Base,
    upstream: Upstream,
}

impl Site {
    /// The website at a base address.
    #[must_use]
    pub fn new(base: Base, net: Arc<OutboundClients>) -> Self {
        let upstream = Upstream::new(net, CONNECT, base.is_https());
        Self { base, upstream }
    }

    /// Fetches a file; for a navigation to what is no file, the app's page.
    ///
    /// # Errors
    /// [`Error::MethodDenied`], [`Error::BadRequest`], or what is wrong with the website.
    pub async fn get(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Reply, Error> {
        if *method != Method::GET && *method != Method::HEAD {
            return Err(Error::MethodDenied("GET, HEAD".into()));
        }
        let is_root = path == "/";
        let path = if is_root { INDEX } else { path };
        let reply = self.fetch(method, path, query, passed(headers)).await?;
        if is_root && reply.status().is_redirection() && reply.status() != StatusCode::NOT_MODIFIED {
            // Websites with short addresses send the page's own name to the root, which is what was asked for.
            return self.fetch(method, "/", query, passed(headers)).await;
        }
        if reply.status() == StatusCode::NOT_FOUND && is_navigation(headers) {
            // The page as a whole: conditions and ranges were about another file.
            let negotiation = [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE];
            let headers = passed(headers).into_iter().filter_map(|(name, value)| Some((name?, value)));
            let headers = headers.filter(|(name, _)| negotiation.contains(name)).collect();
            return self.fetch(method, INDEX, None, headers).await;
        }
        Ok(reply)
    }

    async fn fetch(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: HeaderMap,
    ) -> Result<Reply, Error> {
        let proven = ProvenPath::parse(path).map_err(Error::BadRequest)?;
        let start = Instant::now();
        let mut request = Request::new(full(Bytes::new()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.base.uri(&proven, query).ok_or(Error::Internal)?;
        *request.headers_mut() = headers;
        let response = self.upstream.send(request, start + FIRST_BYTE).await.map_err(|failure| match failure {
            Failure::Timeout => Error::UpstreamTimeout,
            Failure::Incomplete(_) | Failure::TooLong => Error::Internal,
            Failure::Unreachable(problem) => {
                tracing::warn!(%problem, "the website cannot be reached");
                Error::UpstreamUnavailable
            }
        })?;
        let mut reply = response.map(|body| GuardedBody::new(body, Limit::Deadline(start + TOTAL), ()).boxed());
        strip(reply.headers_mut());
        self.keep_redirect_inside(&mut reply)?;
        // Only a file that is there may be kept for ever.
        // A page under the name of a script is what some websites answer for what is not there.
        let kind = reply.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_page = kind.starts_with("text/html");
        let is_there = !is_page && (reply.status().is_success() || reply.status() == StatusCode::NOT_MODIFIED);
        add_file_headers(reply.headers_mut(), if is_there { path } else { INDEX });
        Ok(reply)
    }

    /// A redirect inside the website becomes one of ours; another would lead away from the app's origin.
    fn keep_redirect_inside(&self, reply: &mut Reply) -> Result<(), Error> {
        let Some(location) = reply.headers_mut().remove(LOCATION) else { return Ok(()) };
        if !reply.status().is_redirection() {
            return Ok(());
        }
        let inside = location.to_str().ok().and_then(|location| self.base.relative(location));
        // Two slashes in front would be another host's name to a browser.
        let inside = inside.filter(|path| !path.starts_with("//"));
        match inside.and_then(|path| HeaderValue::from_str(if path.is_empty() { "/" } else { &path }).ok()) {
            Some(path) => {
                reply.headers_mut().insert(LOCATION, path);
                Ok(())
            }
            None => {
                tracing::warn!("the website redirects to another place, which is refused");
                Err(Error::UpstreamUnavailable)
            }
        }
    }
}

fn passed(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in &PASSED {
        for value in headers.get_all(name) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

fn strip(headers: &mut HeaderMap) {
    let doomed = |name: &HeaderName| {
        STRIPPED.contains(name) || STRIPPED_BEGINNING.iter().any(|beginning| name.as_str().starts_with(beginning))
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| doomed(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
