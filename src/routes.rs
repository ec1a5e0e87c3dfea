//! The table of URLs; with `routes/files.rs` the only place beside `server.rs` that knows warp.
//!
//! The path decides the route, exactly and by whole segments; then the method. Every handler answers for itself, so
//! that no refusal ever falls through to another route.

mod files;

use std::future::Future;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, TryStreamExt};
use http::header::{CONTENT_LENGTH, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply as _};

use crate::app::App;
use crate::clock::{UnixSeconds, now};
use crate::error::Error;
use crate::functions::rotate_keys::is_payload;
use crate::guard::cors::{self, Preflight};
use crate::guard::navigation::refuse_prefetch;
use crate::path::strip_prefix_segments;
use crate::proxy::forward::{Call, has_body};
use crate::reply::body::{Incomplete, text, without_long_pauses};
use crate::reply::{Body, BodyError, Context, Refused, Reply, empty, full, problem, wants_page};
use crate::spa::Spa;
use crate::{functions, health};

/// Where the host posts the payload of the timer.
const ROTATE_KEYS: &str = "/rotate-keys";
/// The names of our HTTP functions, where a host that neither proxies nor forwards posts payloads.
const HTTP_FUNCTIONS: [&str; 9] = [
    "/api-proxy",
    "/auth-callback",
    "/auth-login",
    "/auth-logout",
    "/auth-refresh",
    "/auth-session",
    "/graph-proxy",
    "/health",
    "/spa",
];

/// What the server saw of a request, put there by it. Nothing prints it: cookies and codes are in there.
pub struct RequestHead {
    /// The target as it came.
    pub target: Uri,
    /// All headers.
    pub headers: HeaderMap,
    /// Whether the request may be in flight among the others.
    pub admitted: bool,
    /// 32 hex digits.
    pub trace_id: String,
}

/// A request as the handlers see it.
struct GatewayRequest {
    method: Method,
    head: Arc<RequestHead>,
    body: Body,
    now: UnixSeconds,
}

/// All routes as one filter.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let apis = app.proxy.apis.iter().map(|api| api.route.clone()).chain(["/api".to_owned()]);
    let proxied = under_any(apis.collect());
    let rest = under_any(vec!["/auth".to_owned(), "/health".to_owned(), ROTATE_KEYS.to_owned()]);
    let table = [
        route_with_own_admission(app, proxied, proxy),
        route(app, readiness_probe(app.port), ready_for_the_host),
        route(app, exactly("/auth/login"), login),
        route(app, exactly("/auth/callback"), callback),
        route(app, exactly("/auth/session"), session),
        route(app, exactly("/auth/refresh"), refresh),
        route(app, exactly("/auth/logout"), logout),
        route(app, exactly("/health/live"), live),
        route(app, exactly("/health/ready"), ready),
        route(app, posted_by_host(app.port, &[ROTATE_KEYS]), rotate_keys),
        route(app, posted_by_host(app.port, &HTTP_FUNCTIONS), payload),
        route(app, rest, nothing_there),
        // Rejects non-admitted requests before the file route touches the disk.
        route(app, not_admitted(), nothing_there),
    ];
    let spa = app.spa.as_ref().map(|spa| match spa {
        Spa::Folder(folder) => files::routes(folder),
        Spa::Site(_) => route(app, warp::any().boxed(), site),
    });
    let last = route(app, warp::any().boxed(), neither_file_nor_route);
    // From the last to the first, so that the first lines are asked without a way through all the others.
    table.into_iter().chain(spa).rev().fold(last, |rest, route| route.or(rest).unify().boxed())
}

async fn proxy(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Refused> {
    let GatewayRequest { method, head, body, now } = incoming;
    let RequestHead { target, headers, admitted, trace_id } = head.as_ref();
    let (path, query) = (target.path(), target.query());
    let call = Call { method: &method, path, query, headers, trace_id, admitted: *admitted, now };
    app.proxy.call(call, body).await
}

async fn ready_for_the_host(_app: Arc<App>, _incoming: GatewayRequest) -> Result<Reply, Error> {
    Ok(empty(StatusCode::OK))
}

async fn login(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    reading_only(&incoming.method)?;
    refuse_prefetch(incoming.headers())?;
    app.auth.login(incoming.headers(), incoming.query(), incoming.now).await
}

async fn callback(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    refuse_prefetch(incoming.headers())?;
    match incoming.method {
        Method::GET | Method::HEAD => {
            app.auth.callback(&incoming.method, incoming.headers(), incoming.query(), incoming.now).await
        }
        Method::POST if app.auth.takes_form_post() => {
            let form = text(incoming.body).await?;
            app.auth.callback(&incoming.method, &incoming.head.headers, &form, incoming.now).await
        }
        _ if app.auth.takes_form_post() => Err(Error::MethodDenied("GET, HEAD, POST".into())),
        _ => Err(Error::MethodDenied("GET, HEAD".into())),
    }
}

async fn session(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    reading_only(&incoming.method)?;
    refuse_prefetch(incoming.headers())?;
    app.auth.session(incoming.headers(), incoming.now).await
}

async fn refresh(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Refused> {
    refuse_prefetch(incoming.headers())?;
    if incoming.method != Method::POST {
        return Err(Error::MethodDenied("POST".into()).into());
    }
    app.auth.refresh(incoming.headers(), incoming.now).await
}

async fn logout(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    refuse_prefetch(incoming.headers())?;
    match incoming.method {
        Method::GET | Method::HEAD => {
            Ok(app.auth.logout_page(incoming.headers(), incoming.query(), incoming.now).await)
        }
        Method::POST => {
            let form = text(incoming.body).await?;
            app.auth.logout(&incoming.head.headers, &form, incoming.now).await
        }
        _ => Err(Error::MethodDenied("GET, HEAD, POST".into())),
    }
}

async fn live(_app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    reading_only(&incoming.method)?;
    Ok(health::live())
}

async fn ready(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    reading_only(&incoming.method)?;
    Ok(health::ready(&app.ring, &app.provider, app.host.mode().name()))
}

async fn rotate_keys(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    let payload = text(incoming.body).await.unwrap_or_default();
    if !is_payload(payload.as_bytes()) {
        return Err(Error::RouteDenied);
    }
    Ok(app.rotate_keys.step(incoming.now).await)
}

async fn payload(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    let payload = text(incoming.body).await.unwrap_or_default();
    if is_payload(payload.as_bytes()) { Ok(app.host.refuse_payload()) } else { Err(Error::RouteDenied) }
}

async fn nothing_there(_app: Arc<App>, _incoming: GatewayRequest) -> Result<Reply, Error> {
    Err(Error::RouteDenied)
}

async fn site(app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    let Some(Spa::Site(site)) = &app.spa else { return Err(Error::RouteDenied) };
    let target = &incoming.head.target;
    site.get(&incoming.method, target.path(), target.query(), incoming.headers()).await
}

async fn neither_file_nor_route(_app: Arc<App>, incoming: GatewayRequest) -> Result<Reply, Error> {
    reading_only(&incoming.method)?;
    Err(Error::RouteDenied)
}

fn reading_only(method: &Method) -> Result<(), Error> {
    if *method == Method::GET || *method == Method::HEAD {
        Ok(())
    } else {
        Err(Error::MethodDenied("GET, HEAD".into()))
    }
}

impl GatewayRequest {
    fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    fn query(&self) -> &str {
        self.head.target.query().unwrap_or_default()
    }
}

/// One line of the table: a path, and what answers there unless too much is in flight.
fn route<H, F, E>(app: &Arc<App>, path: BoxedFilter<()>, handler: H) -> BoxedFilter<(Response,)>
where
    H: Fn(Arc<App>, GatewayRequest) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Reply, E>> + Send + 'static,
    E: Into<Refused> + Send + 'static,
{
    route_with_own_admission(app, path, move |app, incoming: GatewayRequest| {
        let admitted = if incoming.head.admitted { Ok(handler.clone()) } else { Err(Error::Overloaded) };
        async move {
            let handler = admitted.map_err(Refused::from)?;
            handler(app, incoming).await.map_err(Into::into)
        }
    })
}

/// A line whose handler minds by itself whether too much is in flight.
fn route_with_own_admission<H, F, E>(app: &Arc<App>, path: BoxedFilter<()>, handler: H) -> BoxedFilter<(Response,)>
where
    H: Fn(Arc<App>, GatewayRequest) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Reply, E>> + Send + 'static,
    E: Into<Refused> + Send + 'static,
{
    let app = Arc::clone(app);
    path.and(incoming())
        .then(move |incoming: GatewayRequest| {
            let (app, handler) = (Arc::clone(&app), handler.clone());
            async move {
                let (head, wants_page) = (Arc::clone(&incoming.head), wants_page(incoming.headers()));
                let is_head = incoming.method == Method::HEAD;
                let allowed_origin = cors::allowed_origin(incoming.headers(), &app.origins);
                let reply = match cors::preflight(&incoming.method, incoming.headers(), &app.origins) {
                    None => handler(Arc::clone(&app), incoming).await.map_err(Into::into),
                    Some(Preflight::Granted(_)) => Ok(preflight_response(&app)),
                    Some(Preflight::Denied) => Err(Error::OriginDenied.into()),
                };
                let mut reply = reply.unwrap_or_else(|refused: Refused| {
                    let link_base = app.origins.link_base().to_owned();
                    refuse(&app, refused, &Context { trace_id: head.trace_id.clone(), wants_page, link_base })
                });
                cors::add_cors_headers(reply.headers_mut(), allowed_origin, &app.origins);
                into_response(reply, is_head)
            }
        })
        .boxed()
}

/// The answer to a preflight of an allowed origin.
fn preflight_response(app: &App) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    cors::add_preflight_headers(reply.headers_mut(), app.proxy.request_headers());
    reply
}

fn refuse(app: &App, refused: Refused, context: &Context) -> Reply {
    let Refused { error, cookies } = refused;
    let facts = error.facts();
    if facts.status.is_server_error() {
        tracing::warn!(code = facts.code, trace_id = context.trace_id, "refused");
    } else {
        tracing::debug!(code = facts.code, trace_id = context.trace_id, "refused");
    }
    let gone = if error == Error::SessionGone { app.auth.delete_session() } else { Vec::new() };
    let mut reply = problem(&error, context);
    for line in cookies.into_iter().chain(gone) {
        reply.headers_mut().append(SET_COOKIE, line);
    }
    reply
}

fn incoming() -> impl Filter<Extract = (GatewayRequest,), Error = Rejection> + Clone {
    warp::method().and(head()).and(warp::body::stream()).map(|method, head: Arc<RequestHead>, stream| {
        // A body is announced (RFC 9112 section 6.3), and most requests have none.
        let body = if has_body(&head.headers) { boxed_body(stream) } else { full(Bytes::new()) };
        GatewayRequest { method, head, body, now: now() }
    })
}

fn head() -> impl Filter<Extract = (Arc<RequestHead>,), Error = Rejection> + Clone {
    warp::ext::get::<Arc<RequestHead>>()
}

fn boxed_body(stream: impl Stream<Item = Result<impl Buf + 'static, warp::Error>> + Send + Sync + 'static) -> Body {
    let frames = stream.map_ok(|mut part| Frame::data(part.copy_to_bytes(part.remaining())));
    without_long_pauses(StreamBody::new(frames.map_err(|_| BodyError::from(Incomplete::BROKEN))).boxed())
}

fn exactly(path: &'static str) -> BoxedFilter<()> {
    when(move |head| head.target.path() == path)
}

fn under_any(prefixes: Vec<String>) -> BoxedFilter<()> {
    when(move |head| prefixes.iter().any(|prefix| strip_prefix_segments(head.target.path(), prefix).is_some()))
}

/// What may not be in flight among the others.
fn not_admitted() -> BoxedFilter<()> {
    when(|head| !head.admitted)
}

/// The host asks `GET /` until it is answered, before any key or provider can be reached.
fn readiness_probe(port: u16) -> BoxedFilter<()> {
    let fits = move |head: &RequestHead| head.target.path() == "/" && functions::is_from_host(&head.headers, port);
    warp::get().and(when(fits)).boxed()
}

/// What the host posts to the names of functions; anybody else finds nothing there.
fn posted_by_host(port: u16, paths: &'static [&'static str]) -> BoxedFilter<()> {
    let fits =
        move |head: &RequestHead| paths.contains(&head.target.path()) && functions::is_from_host(&head.headers, port);
    warp::post().and(when(fits)).boxed()
}

/// Lets a request through, or leaves it to the next route.
fn when(fits: impl Fn(&RequestHead) -> bool + Clone + Send + Sync + 'static) -> BoxedFilter<()> {
    head()
        .and_then(move |head: Arc<RequestHead>| {
            let fits = fits(&head);
            async move { if fits { Ok(()) } else { Err(warp::reject::not_found()) } }
        })
        .untuple_one()
        .boxed()
}

/// An answer as warp has it. A known length is told, else the body would go in chunks; to HEAD it would be that of
/// nothing.
#[must_use]
pub fn into_response(reply: Reply, is_head: bool) -> Response {
    let (parts, body) = reply.into_parts();
    let length = body.size_hint().exact();
    let bodiless = parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::NOT_MODIFIED;
    let mut response = warp::reply::stream(body.into_data_stream()).into_response();
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    if let Some(length) = length.filter(|_| !bodiless && !is_head) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
    }
    response
}
