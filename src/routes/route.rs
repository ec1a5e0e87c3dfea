//! One line of the table of routes, how it becomes a warp filter, and how it responds.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, TryFutureExt, TryStreamExt};
use http::header::{CONNECTION, CONTENT_LENGTH, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::{GatewayRequest, RequestHead, RouteResponse};
use crate::app::App;
use crate::clock::{UnixSeconds, now};
use crate::error::Error;
use crate::functions::is_from_host;
use crate::guard::cors::{self, Preflight};
use crate::guard::csrf;
use crate::guard::navigation::reject_prefetch;
use crate::path::strip_prefix_segments;
use crate::places::{Class, Place, Places};
use crate::proxy::forward::{Call, has_body};
use crate::reply::body::{FORM_LATE, GuardedBody, Incomplete, Limit};
use crate::reply::{
    Body, BodyError, Context, Rejected, Reply, clear_cache, empty, is_navigation, isolate, no_body, problem,
};

/// Longest pause in the body of a request while its handler waits for more (contract 11.10).
const BODY_IDLE: Duration = Duration::from_secs(15);

/// Most bytes of the headers of a response (contract 10.9a); the host accepts 64 KiB.
const HEADER_BYTES: usize = 48 * 1_024;

/// Methods of a route, written as the `Allow` header of its 405 response. `HEAD` goes with `GET` (contract 3.30).
pub(super) const GET: Option<&str> = Some("GET, HEAD");
pub(super) const POST: Option<&str> = Some("POST");
pub(super) const DELETE: Option<&str> = Some("DELETE");
pub(super) const GET_AND_DELETE: Option<&str> = Some("GET, HEAD, DELETE");
pub(super) const GET_AND_POST: Option<&str> = Some("GET, HEAD, POST");
/// The handler decides.
pub(super) const ANY: Option<&str> = None;

type BoxedHandler = Box<dyn Fn(Arc<App>, GatewayRequest) -> BoxFuture<'static, Result<Reply, Rejected>> + Send + Sync>;

/// What responds to the requests of a route.
enum Handler {
    /// [`Proxy::call`](crate::proxy::forward::Proxy::call), whose future is not boxed for each call.
    Proxy,
    Boxed(BoxedHandler),
}

/// The requests that a route matches.
pub(super) enum Path {
    /// This path. With a trailing slash it is another path (contract 3.29).
    Exact(&'static str),
    /// Every path under one of these prefixes. The second member is the pattern of the prefix.
    Under(Vec<(String, Arc<str>)>),
    /// One of these paths with a method of the route, requested by the host itself at this port (contract 3.36). The
    /// same request by a client goes to a later line, and outside Functions, where there is no port, every request.
    FromHost(Option<u16>, &'static [&'static str]),
    /// Every path with one more segment than this one. The second member is the pattern.
    OneBelow(&'static str, &'static str),
    Any,
}

impl Path {
    pub(super) fn under(prefixes: impl IntoIterator<Item = String>) -> Self {
        let with_pattern = |prefix: String| {
            let pattern = format!("{prefix}/{{*path}}");
            (prefix, pattern.into())
        };
        Self::Under(prefixes.into_iter().map(with_pattern).collect())
    }
}

/// One line of the table.
pub(super) struct Route {
    path: Path,
    methods: Option<&'static str>,
    admission: Class,
    takes_forms: bool,
    rejects_prefetch: bool,
    is_guarded: bool,
    is_isolated: bool,
    is_served: bool,
    shows_pages: bool,
    handler: Handler,
}

impl Route {
    pub(super) fn new<H, F, E>(path: Path, methods: Option<&'static str>, admission: Class, handler: H) -> Self
    where
        H: Fn(Arc<App>, GatewayRequest) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Reply, E>> + Send + 'static,
        E: Into<Rejected> + 'static,
    {
        let handler: BoxedHandler = Box::new(move |app, request| handler(app, request).map_err(Into::into).boxed());
        Self::of(path, methods, admission, Handler::Boxed(handler))
    }

    /// The route of proxied calls.
    pub(super) fn proxied(path: Path) -> Self {
        Self::of(path, ANY, Class::Proxied, Handler::Proxy).guarded()
    }

    const fn of(path: Path, methods: Option<&'static str>, admission: Class, handler: Handler) -> Self {
        Self {
            path,
            methods,
            admission,
            takes_forms: false,
            rejects_prefetch: false,
            is_guarded: false,
            is_isolated: false,
            is_served: true,
            shows_pages: false,
            handler,
        }
    }

    /// Leaves it to its handler to enter with a POST, since a form takes its place once it has arrived (contract
    /// 10.20).
    pub(super) fn taking_forms(self) -> Self {
        Self { takes_forms: true, ..self }
    }

    /// Rejects prefetches (contract 3.33).
    pub(super) fn without_prefetch(self) -> Self {
        Self { rejects_prefetch: true, ..self }
    }

    /// States in each response, rejections included, which headers decide about a guarded request (contract 9.8).
    pub(super) fn guarded(self) -> Self {
        Self { is_guarded: true, ..self }
    }

    /// Isolates its replies from other windows (contract 3.9a).
    pub(super) fn isolated(self) -> Self {
        Self { is_isolated: true, ..self }
    }

    /// Leaves its requests to later lines unless a condition holds.
    pub(super) fn only_if(self, is_served: bool) -> Self {
        Self { is_served, ..self }
    }

    pub(super) const fn is_served(&self) -> bool {
        self.is_served
    }

    /// Rejects with a page, whether the request is a navigation or not (contract 16.9).
    pub(super) fn with_pages(self) -> Self {
        Self { shows_pages: true, ..self }
    }

    /// The line as a filter: its response, or a warp rejection that leaves the request to the next line.
    pub(super) fn into_filter(self, app: &Arc<App>, places: &Arc<Places>) -> BoxedFilter<(Response,)> {
        let (route, app, places) = (Arc::new(self), Arc::clone(app), Arc::clone(places));
        let matching = Arc::clone(&route);
        warp::ext::get::<Arc<RequestHead>>()
            .and_then(move |head: Arc<RequestHead>| {
                ready(if matching.matches(&head) { Ok(head) } else { Err(warp::reject::not_found()) })
            })
            .and(warp::body::stream())
            .then(move |head: Arc<RequestHead>, stream| {
                let (route, app, place) = (Arc::clone(&route), Arc::clone(&app), places.arrived(route.admission));
                let frames = StreamBody::new(frames(stream));
                let body = request_body(&head, frames);
                async move { into_warp(route.respond(&app, head, body, place).await) }
            })
            .boxed()
    }

    /// Whether the route responds to a request. If so, its log lines get the pattern.
    pub(super) fn matches(&self, head: &RequestHead) -> bool {
        let Some(pattern) = self.pattern(head) else { return false };
        head.context.set_route(pattern);
        true
    }

    /// The admission class of its requests.
    pub(super) const fn class(&self) -> Class {
        self.admission
    }

    fn pattern(&self, head: &RequestHead) -> Option<Arc<str>> {
        let path = head.target.path();
        match &self.path {
            Path::Exact(exact) => (path == *exact).then(|| Arc::from(*exact)),
            Path::Under(prefixes) => {
                let found = prefixes.iter().find(|(prefix, _)| strip_prefix_segments(path, prefix).is_some());
                found.map(|(_, pattern)| Arc::clone(pattern))
            }
            Path::FromHost(port, paths) => {
                let (port, found) = ((*port)?, paths.iter().find(|of| path == **of)?);
                (self.allows(&head.method) && is_from_host(&head.headers, port)).then(|| Arc::from(*found))
            }
            Path::OneBelow(of, pattern) => one_below(path, of).map(|_| Arc::from(*pattern)),
            Path::Any => Some(Arc::from("/{*path}")),
        }
    }

    fn allows(&self, method: &Method) -> bool {
        self.methods.is_none_or(|methods| methods.split(", ").any(|allowed| allowed == method.as_str()))
    }

    /// The response to a request that the route matches, whatever the outcome.
    pub(super) async fn respond(
        &self,
        app: &Arc<App>,
        head: Arc<RequestHead>,
        body: Body,
        place: Place,
    ) -> RouteResponse {
        let now = now();
        let outcome = match cors::preflight(&head.method, &head.headers, &app.origins) {
            None => match (self.check(&head, &place).await, &self.handler) {
                (Err(rejected), _) => Err(rejected),
                // Awaited here, since each function between would copy the future.
                (Ok(()), Handler::Proxy) => app.proxy.call(call(&head, &place, now), body).await,
                (Ok(()), Handler::Boxed(handler)) => {
                    let request = GatewayRequest { head: Arc::clone(&head), body, place: place.clone(), now };
                    handler(Arc::clone(app), request).await
                }
            },
            Some(Preflight::Allowed(_)) => Ok(preflight_response(app)),
            Some(Preflight::Denied) => Err(Error::OriginDenied.into()),
        };
        // What is complete needs no place while it is sent, or a client that does not read would hold one.
        if outcome.is_err() || self.admission == Class::SignIn {
            place.release();
        }
        // The last line is the SPA's.
        let is_spa_file = outcome.is_ok() && matches!(self.path, Path::Any);
        let mut reply = outcome.unwrap_or_else(|rejected| rejection(app, rejected, &head, self.shows_pages));
        self.add_common_headers(app, &mut reply, &head, is_spa_file);
        let size = header_bytes(reply.headers());
        if size > HEADER_BYTES {
            let api = app.proxy.apis.iter().find(|api| api.path_below(head.target.path()).is_some());
            let api = api.map(|api| api.name.as_str());
            tracing::warn!(api, size, "the headers of the response are too long for the host");
            let cookies = reply.headers().get_all(SET_COOKIE).iter().cloned().collect();
            let rejected = Rejected { cookies, ..Error::UpstreamUnavailable.into() };
            reply = rejection(app, rejected, &head, self.shows_pages);
            self.add_common_headers(app, &mut reply, &head, false);
        }
        finish(reply, head.method == Method::HEAD, Some(place))
    }

    /// Adds what every response of this route carries.
    fn add_common_headers(&self, app: &App, reply: &mut Reply, head: &RequestHead, is_spa_file: bool) {
        app.common_headers.add(reply.headers_mut(), is_spa_file);
        if self.is_guarded {
            reply.headers_mut().append(VARY, HeaderValue::from_static(csrf::VARY));
        }
        let origin = cors::allowed_origin(&head.headers, &app.origins);
        cors::add_cors_headers(reply.headers_mut(), origin, &app.origins);
        if self.is_isolated {
            isolate(reply.headers_mut());
        }
    }

    /// The checks that come before a handler, in the order of contract 8.7.
    async fn check(&self, head: &RequestHead, place: &Place) -> Result<(), Rejected> {
        if self.rejects_prefetch {
            reject_prefetch(&head.headers)?;
        }
        let enters_itself = self.admission == Class::Proxied || (self.takes_forms && head.method == Method::POST);
        if !enters_itself {
            place.enter().await?;
        }
        match self.methods {
            Some(methods) if !self.allows(&head.method) => Err(Error::MethodDenied(methods.into()).into()),
            _ => Ok(()),
        }
    }
}

fn call<'a>(head: &'a RequestHead, place: &'a Place, now: UnixSeconds) -> Call<'a> {
    let RequestHead { method, target, headers, context } = head;
    Call { method, path: target.path(), query: target.query(), headers, trace: &context.trace, place, now }
}

/// The segment that a path has after another path, if it is one and not empty.
pub(super) fn one_below<'a>(path: &'a str, of: &str) -> Option<&'a str> {
    let segment = path.strip_prefix(of)?.strip_prefix('/')?;
    (!segment.is_empty() && !segment.contains('/')).then_some(segment)
}

fn frames<D: Buf>(
    stream: impl Stream<Item = Result<D, warp::Error>>,
) -> impl Stream<Item = Result<Frame<Bytes>, warp::Error>> {
    stream.map_ok(|mut part| Frame::data(part.copy_to_bytes(part.remaining())))
}

/// The body of a request as handlers get it. A body is announced (RFC 9112 section 6.3), and most requests have none.
pub(super) fn request_body<B>(head: &RequestHead, body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
{
    if body.is_end_stream() || !has_body(&head.headers) {
        return no_body();
    }
    let body = body.map_err(|_| BodyError::from(Incomplete::BROKEN)).boxed();
    GuardedBody::new(body, Limit::Pause(BODY_IDLE), ()).boxed()
}

/// As the headers are sent: each on a line of its own.
fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

fn preflight_response(app: &App) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    cors::add_preflight_headers(reply.headers_mut(), app.proxy.request_headers());
    reply
}

fn rejection(app: &App, rejected: Rejected, head: &RequestHead, shows_pages: bool) -> Reply {
    let Rejected { error, cookies } = rejected;
    let facts = error.facts();
    if facts.status.is_server_error() {
        tracing::warn!(code = facts.code, "request rejected");
    } else {
        tracing::debug!(code = facts.code, "request rejected");
    }
    let deleted = if error == Error::SessionGone { app.auth.delete_session() } else { Vec::new() };
    let link_base = app.origins.link_base().to_owned();
    let as_page = shows_pages || is_navigation(&head.headers);
    let context = Context { trace_id: head.context.trace.trace_id.clone(), as_page, link_base };
    let mut reply = problem(&error, &context);
    let may_be_of_another_user = head.method == Method::POST && head.target.path() == "/auth/refresh";
    if matches!(error, Error::SessionExpired | Error::SessionGone)
        && may_be_of_another_user
        && app.proxy.apis.is_cached()
    {
        clear_cache(reply.headers_mut());
    }
    if error == FORM_LATE {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for line in cookies.into_iter().chain(deleted) {
        reply.headers_mut().append(SET_COOKIE, line);
    }
    reply
}

/// Completes a reply. Its body owns the request's place until it has been sent.
///
/// A known length is stated, since the body would be sent in chunks otherwise; but not for `HEAD`, where it would be
/// the length of an empty body.
pub(super) fn finish(mut reply: Reply, is_head: bool, place: Option<Place>) -> RouteResponse {
    let length = reply.body().size_hint().exact();
    let bodiless = reply.status() == StatusCode::NO_CONTENT || reply.status() == StatusCode::NOT_MODIFIED;
    let headers = reply.headers_mut();
    // Not by `entry`, which grows a full map even where the header is there.
    if let Some(length) = length.filter(|_| !bodiless && !is_head && !headers.contains_key(CONTENT_LENGTH)) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    reply.map(|body| GuardedBody::new(body, Limit::None, place))
}

fn into_warp(response: RouteResponse) -> Response {
    let (parts, body) = response.into_parts();
    let mut response = warp::reply::stream(body.into_data_stream()).into_response();
    (*response.status_mut(), *response.headers_mut()) = (parts.status, parts.headers);
    response
}

/// A response of a warp filter, which holds its place itself.
pub(super) fn from_warp(response: Response) -> RouteResponse {
    response.map(|body| GuardedBody::new(body.map_err(BodyError::from).boxed(), Limit::None, None))
}
