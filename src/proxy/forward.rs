//! A proxied call: the checks in the order of contract 8.7, then the request to the API, then its response, streamed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, SET_COOKIE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;

use super::headers;
use super::response_headers::LeftOut;
use super::session_body::SessionBody;
use crate::api_map::headers::REQUEST;
use crate::api_map::path::ProvenPath;
use crate::api_map::patterns::Verdict;
use crate::api_map::{Api, ApiMap, CsrfMode, Timeouts};
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::guard::csrf;
use crate::guard::origins::Origins;
use crate::net::OutboundClients;
use crate::places::Place;
use crate::reply::body::{GuardedBody, Incomplete, Limit};
use crate::reply::{Body, Rejected, Reply};
use crate::session::payload::{AccessToken, Token};
use crate::session::{OpenSession, Sessions};
use crate::telemetry::{TRACEPARENT, TraceContext};
use crate::tokens::{TokenService, challenge};
use crate::upstream::{Failure, PooledBody, Request, Upstream};

/// How long a response may continue whose session ended before its head was there: one that is complete with its head
/// passes.
const AFTER_THE_END: Duration = Duration::from_secs(1);

/// About how many bytes the headers of a request have, without the token.
const HEADER_BYTES: usize = 1_024;

/// A response whose head is later than this does not write the session's activity: a newer response may have written it
/// already.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Proxy {
    pub apis: Arc<ApiMap>,
    sessions: Arc<Sessions>,
    tokens: Arc<TokenService>,
    origins: Arc<Origins>,
    /// One per API, in the order of `apis`.
    upstreams: Vec<(Upstream, LeftOut)>,
}

/// A call as received.
pub struct Call<'a> {
    pub method: &'a Method,
    /// The raw path of the request target.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub trace: &'a TraceContext,
    /// Where it has not entered yet.
    pub place: &'a Place,
    pub now: UnixSeconds,
}

impl Proxy {
    #[must_use]
    pub fn new(
        apis: Arc<ApiMap>,
        sessions: Arc<Sessions>,
        tokens: Arc<TokenService>,
        origins: Arc<Origins>,
        net: &Arc<OutboundClients>,
    ) -> Self {
        let upstream = |api: &Api| {
            let Timeouts { connect, idle, .. } = api.timeouts;
            (Upstream::new(Arc::clone(net), api.base.origin(), connect, idle), LeftOut::default())
        };
        let upstreams = apis.iter().map(upstream).collect();
        Self { apis, sessions, tokens, origins, upstreams }
    }

    /// The request headers that at least one API gets.
    pub fn request_headers(&self) -> impl Iterator<Item = HeaderName> {
        let of_apis = self.apis.iter().flat_map(|api| &api.request_headers).map(HeaderName::as_str);
        let all: BTreeSet<&str> = REQUEST.iter().copied().chain(of_apis).collect();
        all.into_iter().filter_map(|name| HeaderName::try_from(name).ok()).chain([TRACEPARENT])
    }

    /// Checks a call and forwards it with an access token of the session.
    ///
    /// # Errors
    /// The first check that fails, or why there is no response of the API.
    pub async fn call(&self, call: Call<'_>, body: Body) -> Result<Reply, Rejected> {
        let arrived = Instant::now();
        let mut apis = self.apis.iter().zip(&self.upstreams);
        let found = apis.find_map(|(api, upstream)| Some((api, upstream, api.path_below(call.path)?)));
        let path = ProvenPath::parse(found.map_or(call.path, |(.., rest)| rest)).map_err(Error::BadRequest)?;
        call.place.enter().await?;
        let mode = found.map_or(CsrfMode::Header, |(api, ..)| api.csrf);
        csrf::check(call.method, call.headers, &self.origins, mode)?;
        let ends = self.sessions.end_count();
        let mut open = self.sessions.open(call.headers, call.now).await.map_err(Error::from)?;
        call.place.enter_as(&open.session).await?;
        let (api, (upstream, left_out), _) = found.ok_or(Error::RouteDenied)?;
        match api.allowed.check(call.method, &path.decoded) {
            Verdict::Allowed => {}
            Verdict::MethodNotAllowed(allow) => return Err(Error::MethodDenied(allow.into()).into()),
            Verdict::NotFound => return Err(Error::RouteDenied.into()),
        }
        if !body.is_end_stream() && declared_length(call.headers).is_some_and(|length| length > api.max_body) {
            return Err(Error::BodyTooLarge.into());
        }
        let failed = |error| Box::pin(self.with_newer_tokens(error, &open, call.now, arrived));
        let token = match self.tokens.for_call(&open, &api.name, call.now).await {
            Ok(token) => token,
            Err(error) => return Err(failed(error).await),
        };
        let sent = Instant::now();
        let deadline = api.timeouts.total.map(|total| sent + total);
        let request = request(api, upstream, &call, &path, &token.token, body);
        let received = match send(api, upstream, request, sent, deadline).await {
            Ok(response) => self.without_challenge(response, &open, &token, call.now).await,
            Err(error) => Err(error),
        };
        let mut reply = match received {
            Ok(response) => response,
            Err(error) if matches!(token, Cow::Owned(_)) => return Err(failed(error).await),
            Err(error) => return Err(error.into()),
        };
        if reply.status() == StatusCode::UNAUTHORIZED {
            self.tokens.on_unauthorized(&open, &token);
        }
        headers::for_browser(reply.headers_mut(), api, || api.base.uri(&path, call.query), left_out);
        let answered = Instant::now();
        // New tokens are always written, activity only by a response that is quick.
        let lines = if let Cow::Owned(token) = token {
            open.session.put_access_token(token);
            Box::pin(self.sessions.write_or_log(&open, call.now, arrived)).await
        } else if open.is_cookie_outdated || answered - arrived < WRITE_WITHIN {
            self.sessions.write_if_due(&open, call.now, arrived).await
        } else {
            Vec::new()
        };
        lines.into_iter().for_each(|line| _ = reply.headers_mut().append(SET_COOKIE, line));
        if reply.body().is_complete() {
            return Ok(reply.map(BodyExt::boxed));
        }
        // Contract 10.21.
        let expiry = arrived + Duration::from_secs(open.expires_at.saturating_sub(call.now));
        let mut watch = self.sessions.watch(open.session, ends);
        let expiry = if watch.has_ended() { arrived } else { expiry }.max(answered + AFTER_THE_END);
        let limit = Limit::Deadline(deadline.map_or(expiry, |deadline| deadline.min(expiry)));
        Ok(reply.map(|body| GuardedBody::new(SessionBody::new(body, watch), limit, ()).boxed()))
    }

    /// An error with the cookie of newer tokens, if there are any: the provider may accept nothing but the new refresh
    /// token any more, so it must not be lost.
    async fn with_newer_tokens(
        &self,
        error: Error,
        open: &OpenSession,
        now: UnixSeconds,
        arrived: Instant,
    ) -> Rejected {
        // An expired session leaves the cookie: another instance may just have set a newer one (contract 4.20).
        let is_written = error != Error::SessionExpired && self.sessions.has_newer_tokens(open, now);
        let cookies = if is_written { self.sessions.write_or_log(open, now, arrived).await } else { Vec::new() };
        Rejected { error, cookies }
    }

    /// A response that requires something of a sign-in (contract 7.28, 21.1) becomes the error that leads to that
    /// sign-in.
    async fn without_challenge(
        &self,
        response: Response<PooledBody>,
        open: &OpenSession,
        token: &AccessToken,
        now: UnixSeconds,
    ) -> Result<Response<PooledBody>, Error> {
        match challenge::required_by(response.status(), response.headers()) {
            None => Ok(response),
            Some(required) => Err(Box::pin(self.tokens.on_challenge(open, token.clone(), required, now)).await),
        }
    }
}

async fn send(
    api: &Api,
    upstream: &Upstream,
    request: Option<Request>,
    mut now: Instant,
    deadline: Option<Instant>,
) -> Result<Response<PooledBody>, Error> {
    let mut request = request.ok_or(Error::Internal)?;
    let mut again = request.is_repeatable();
    loop {
        match upstream.send(&mut request, api.timeouts.first_byte, deadline, now).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                tracing::warn!(api = %api.name, "the API switches to another protocol, which is not supported");
                return Err(Error::UpstreamUnavailable);
            }
            Ok(response) => return Ok(response),
            Err(Failure::Timeout) => return Err(Error::UpstreamTimeout),
            Err(Failure::TooLong) => return Err(Error::BodyTooLarge),
            Err(Failure::Incomplete(Incomplete(why))) => return Err(Error::BadRequest(why)),
            Err(Failure::Unreachable(_)) if again => (again, now) = (false, Instant::now()),
            Err(Failure::Unreachable(problem)) => {
                tracing::warn!(api = %api.name, %problem, "cannot reach the API");
                return Err(Error::UpstreamUnavailable);
            }
            Err(Failure::Response(problem)) => {
                tracing::warn!(api = %api.name, %problem, "the response of the API is not valid HTTP/1.1");
                return Err(Error::UpstreamUnavailable);
            }
        }
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a request announces a body (RFC 9112 section 6.3).
#[must_use]
pub fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || declared_length(headers).is_some_and(|length| length > 0)
}

/// The request to the API. `None`, if the path is too long for a URI or the token has characters that no header has.
fn request(
    api: &Api,
    upstream: &Upstream,
    call: &Call<'_>,
    path: &ProvenPath<'_>,
    token: &Token,
    body: Body,
) -> Option<Request> {
    let target = api.base.target(path, call.query)?;
    let mut request = upstream.request(call.method, &target, HEADER_BYTES + token.bearer_len());
    for (name, value) in headers::forwarded(call.headers, &api.request_headers, call.trace) {
        request.header(name, value);
    }
    request.header_with(&TRACEPARENT, |value| call.trace.write_traceparent(value));
    let length = declared_length(call.headers);
    if !body.is_end_stream() {
        let limit = usize::try_from(api.max_body).unwrap_or(usize::MAX);
        request.body(Limited::new(body, limit).boxed(), length);
    } else if length.is_some() || matches!(*call.method, Method::PATCH | Method::POST | Method::PUT) {
        // Without a length, APIs respond 411 to methods that usually have a body (RFC 9110 section 8.6), and a host in
        // forwarding mode drops `Content-Length: 0`.
        request.body(body, Some(0));
    }
    // Before the token is written, so that no copy of it is left behind by a buffer that grows.
    request.reserve(token.bearer_len());
    request.header_with(&AUTHORIZATION, |value| token.write_bearer(value))?;
    Some(request)
}
