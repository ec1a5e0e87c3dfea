//! A static website as the SPA, fronted so that page and gateway share one origin (contract 3.24).

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::{FileHeaders, INDEX};
use crate::api_map::Locations;
use crate::api_map::base::Base;
use crate::api_map::path::ProvenPath;
use crate::api_map::response_headers::passed_for_site;
use crate::error::Error;
use crate::net::{CONNECT, OutboundClients};
use crate::proxy::headers::forwarded;
use crate::proxy::response_headers::{Filter, LeftOut};
use crate::reply::body::{GuardedBody, Limit};
use crate::reply::{Reply, is_navigation};
use crate::telemetry::{TRACEPARENT, TraceContext};
use crate::upstream::{Failure, Upstream};

/// Deadline for the head of a response.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// Deadline for the whole response.
const TOTAL: Duration = Duration::from_secs(100);
/// About how many bytes the headers of a request have.
const HEADER_BYTES: usize = 1_024;
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// What requests to the website are made of for one request of a client.
struct Forward<'a> {
    method: &'a Method,
    headers: Vec<(&'a HeaderName, &'a HeaderValue)>,
    trace: &'a TraceContext,
    /// Whether the client is a browser that goes to a page.
    is_navigation: bool,
}

#[derive(Debug)]
pub struct Site {
    base: Base,
    upstream: Upstream,
    left_out: LeftOut,
    file_headers: FileHeaders,
}

impl Site {
    #[must_use]
    pub fn new(base: Base, net: Arc<OutboundClients>, file_headers: FileHeaders) -> Self {
        let upstream = Upstream::new(net, base.origin(), CONNECT, IDLE);
        Self { base, upstream, left_out: LeftOut::default(), file_headers }
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
        trace: &TraceContext,
    ) -> Result<Reply, Error> {
        let is_navigation = is_navigation(headers);
        let mut forward = Forward { method, headers: forwarded(headers, &[], trace).collect(), trace, is_navigation };
        if path == "/" {
            return self.index(&forward, query).await;
        }
        match self.fetch(&forward, path, query).await {
            Ok(reply) if is_navigation && reply.status() == StatusCode::NOT_FOUND => {}
            // The page's own address may be one that no file has, for example with an encoded slash.
            Err(Error::BadRequest(_)) if is_navigation => {}
            found => return found,
        }
        // Without conditions and ranges: they refer to another file.
        let negotiation = [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE];
        forward.headers.retain(|(name, _)| negotiation.contains(name));
        self.index(&forward, None).await
    }

    /// The app's page. Websites with short addresses redirect from `/index.html` to `/`.
    async fn index(&self, forward: &Forward<'_>, query: Option<&str>) -> Result<Reply, Error> {
        let reply = self.fetch(forward, INDEX, query).await?;
        if reply.status().is_redirection() && reply.status() != StatusCode::NOT_MODIFIED {
            return self.fetch(forward, "/", query).await;
        }
        Ok(reply)
    }

    async fn fetch(&self, forward: &Forward<'_>, path: &str, query: Option<&str>) -> Result<Reply, Error> {
        let Forward { method, headers, trace, is_navigation } = forward;
        let proven = ProvenPath::parse(path).map_err(Error::BadRequest)?;
        let start = Instant::now();
        let url = self.base.uri(&proven, query).ok_or(Error::Internal)?;
        let target = url.path_and_query().ok_or(Error::Internal)?;
        let mut request = self.upstream.request(method, target, HEADER_BYTES);
        for (name, value) in headers {
            request.header(name, value);
        }
        request.header_with(&TRACEPARENT, |value| trace.write_traceparent(value));
        let whole = Some(start + TOTAL);
        let response =
            self.upstream.send(&mut request, FIRST_BYTE, whole, start).await.map_err(|failure| match failure {
                Failure::Timeout => Error::UpstreamTimeout,
                Failure::Incomplete(_) | Failure::TooLong => Error::Internal,
                Failure::Unreachable(problem) => {
                    tracing::warn!(%problem, "cannot reach the website");
                    Error::UpstreamUnavailable
                }
                Failure::Response(problem) => {
                    tracing::warn!(%problem, "the response of the website is not valid HTTP/1.1");
                    Error::UpstreamUnavailable
                }
            })?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::UpstreamUnavailable);
        }
        let mut reply = response.map(|body| GuardedBody::new(body, Limit::Deadline(start + TOTAL), ()).boxed());
        let locate = |name: &HeaderName, reference: &str| {
            let inside = self.base.relative(reference, &url, Locations::Host);
            // Two slashes at its beginning would make it another host's address.
            let inside = inside.filter(|path| !path.starts_with("//"));
            let inside = inside.map(|path| if path.starts_with('/') { path } else { format!("/{path}") });
            // Links of the website's pages may lead anywhere.
            inside.or_else(|| (*name == LINK).then(|| reference.to_owned()))
        };
        let filter = Filter { name: "SPA", passes: passed_for_site, locate, left_out: &self.left_out };
        filter.apply(reply.headers_mut());
        // Only a file that exists may be immutable. Some websites respond to the name of a missing script with a page.
        let kind = reply.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_page = kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let exists = !is_page && (reply.status().is_success() || reply.status() == StatusCode::NOT_MODIFIED);
        // A 304 has no content type, and its headers replace those in the browser's cache.
        let may_be_page = *is_navigation || path.ends_with('/') || path.ends_with(".html");
        let is_page = is_page || (reply.status() == StatusCode::NOT_MODIFIED && may_be_page);
        self.file_headers.add(reply.headers_mut(), if exists { path } else { INDEX }, is_page);
        Ok(reply)
    }
}
