//! A static website as the SPA, fronted so that page and gateway share one origin (contract 3.24).

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

use super::{INDEX, add_file_headers};
use crate::api_map::base::Base;
use crate::api_map::path::ProvenPath;
use crate::error::Error;
use crate::net::{CONNECT, OutboundClients};
use crate::reply::body::{GuardedBody, Limit};
use crate::reply::{Reply, full, is_navigation};
use crate::upstream::{Failure, Upstream};

/// Request headers that the website gets: no cookies, no credentials, nothing about the client.
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
/// Response headers that concern the connection to the website, or would affect more than its files.
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
/// Prefixes of such headers.
const STRIPPED_PREFIXES: [&str; 5] = ["access-control-", "cloakroom-", "keep-alive", "x-ms-", "x-azure-"];
/// Deadline for the head of a response.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// Deadline for the whole response.
const TOTAL: Duration = Duration::from_secs(100);

#[derive(Debug)]
pub struct Site {
    base: Base,
    upstream: Upstream,
}

impl Site {
    #[must_use]
    pub fn new(base: Base, net: Arc<OutboundClients>) -> Self {
        let upstream = Upstream::new(net, CONNECT, base.is_https());
        Self { base, upstream }
    }

    /// Fetches a file by `GET` or `HEAD`, or the app's page for a navigation to a path that is not a file.
    ///
    /// # Errors
    /// [`Error::BadRequest`], or why there is no response of the website.
    pub async fn get(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Reply, Error> {
        let is_root = path == "/";
        let path = if is_root { INDEX } else { path };
        let reply = self.fetch(method, path, query, passed(headers)).await?;
        if is_root && reply.status().is_redirection() && reply.status() != StatusCode::NOT_MODIFIED {
            // Websites with short addresses redirect from `/index.html` to `/`.
            return self.fetch(method, "/", query, passed(headers)).await;
        }
        if reply.status() == StatusCode::NOT_FOUND && is_navigation(headers) {
            // Without conditions and ranges: they refer to another file.
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
                tracing::warn!(%problem, "cannot reach the website");
                Error::UpstreamUnavailable
            }
        })?;
        let mut reply = response.map(|body| GuardedBody::new(body, Limit::Deadline(start + TOTAL), ()).boxed());
        strip(reply.headers_mut());
        self.keep_redirect_inside(&mut reply)?;
        // Only a file that exists may be immutable. Some websites respond to the name of a missing script with a page.
        let kind = reply.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_page = kind.starts_with("text/html");
        let exists = !is_page && (reply.status().is_success() || reply.status() == StatusCode::NOT_MODIFIED);
        add_file_headers(reply.headers_mut(), if exists { path } else { INDEX });
        Ok(reply)
    }

    /// Rewrites a redirect within the website to a path of the gateway, and rejects others: they leave the app's
    /// origin.
    fn keep_redirect_inside(&self, reply: &mut Reply) -> Result<(), Error> {
        let Some(location) = reply.headers_mut().remove(LOCATION) else { return Ok(()) };
        if !reply.status().is_redirection() {
            return Ok(());
        }
        let inside = location.to_str().ok().and_then(|location| self.base.relative(location));
        // Browsers take what follows two leading slashes for a host.
        let inside = inside.filter(|path| !path.starts_with("//"));
        match inside.and_then(|path| HeaderValue::from_str(if path.is_empty() { "/" } else { &path }).ok()) {
            Some(path) => {
                reply.headers_mut().insert(LOCATION, path);
                Ok(())
            }
            None => {
                tracing::warn!("rejected a redirect of the website to another origin");
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
    let is_stripped = |name: &HeaderName| {
        STRIPPED.contains(name) || STRIPPED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_stripped(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
