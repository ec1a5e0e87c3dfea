//! The table of routes; with `routes/` the only code that uses warp.
//!
//! A request belongs to the first line that matches its path. That line gives the response, rejections included:
//! nothing falls through to a later line.

mod route;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use tower_service::Service;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::app::App;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::functions::rotate_keys::is_payload;
use crate::health;
use crate::listen::Address;
use crate::places::Class::{Exempt, General, SignIn, SpaFile};
use crate::places::{Place, Places};
use crate::reply::body::{GuardedBody, text};
use crate::reply::{Body, BodyError, Rejected, Reply, empty};
use crate::spa::Spa;
use crate::telemetry::RequestContext;
use route::Path::{Any, Exact, FromHost, OneBelow};
use route::{ANY, DELETE, GET, GET_AND_DELETE, GET_AND_POST, POST, Path, Route, from_warp, one_below, request_body};

/// Where the host posts the payload of the timer.
const ROTATE_KEYS: &str = "/rotate_keys";
/// The user's own sessions; below it, each by its ID.
const SESSIONS: &str = "/auth/sessions";
/// The names of our HTTP functions, to which a misconfigured host posts payloads.
const HTTP_FUNCTIONS: [&str; 12] = [
    "/api-proxy",
    "/auth-backchannel-logout",
    "/auth-callback",
    "/auth-frontchannel-logout",
    "/auth-login",
    "/auth-logout",
    "/auth-refresh",
    "/auth-session",
    "/auth-sessions",
    "/graph-proxy",
    "/health",
    "/spa",
];

/// The head of a request. It has no `Debug`, since cookies and codes are in it.
pub struct RequestHead {
    pub method: Method,
    /// The request target as received.
    pub target: Uri,
    pub headers: HeaderMap,
    /// What its log lines say of it.
    pub context: Arc<RequestContext>,
}

/// A request as handlers get it.
struct GatewayRequest {
    head: Arc<RequestHead>,
    body: Body,
    /// Taken before the handler runs, unless the request may be a form.
    place: Place,
    now: UnixSeconds,
}

/// One line per route: path, methods, admission, handler.
fn table(app: &App) -> Vec<Route> {
    let apis = app.proxy.apis.iter().map(|api| api.route.clone()).chain(["/api".to_owned()]);
    let callback_methods = if app.auth.takes_form_post() { GET_AND_POST } else { GET };
    let has_index = app.sessions.has_index();
    // Without a SPA every other path is unknown (contract 12.12).
    let of_spa = if app.spa.is_some() { GET } else { ANY };
    let from_host = |paths| FromHost(app.listen.address.and_then(Address::functions_port), paths);
    let under = |prefix: &str| Path::under([prefix.to_owned()]);
    vec![
        Route::proxied(Path::under(apis)),
        Route::new(from_host(&["/"]), GET, Exempt, readiness_probe),
        Route::new(Exact("/auth/login"), GET, SignIn, login).without_prefetch(),
        Route::new(Exact("/auth/callback"), callback_methods, SignIn, callback)
            .taking_forms()
            .without_prefetch()
            .isolated()
            .with_pages(),
        Route::new(Exact("/auth/session"), GET, SignIn, session),
        Route::new(Exact("/auth/refresh"), POST, SignIn, refresh).without_prefetch().guarded(),
        Route::new(Exact("/auth/logout"), GET_AND_POST, SignIn, logout).taking_forms().without_prefetch().guarded(),
        Route::new(Exact(SESSIONS), GET_AND_DELETE, SignIn, sessions).guarded().only_if(has_index),
        Route::new(OneBelow(SESSIONS, "/auth/sessions/{id}"), DELETE, SignIn, end_session).guarded().only_if(has_index),
        Route::new(Exact("/auth/backchannel-logout"), POST, SignIn, backchannel_logout)
            .taking_forms()
            .only_if(has_index),
        Route::new(Exact("/auth/frontchannel-logout"), GET, SignIn, frontchannel_logout)
            .with_pages()
            .only_if(has_index),
        Route::new(Exact("/health/live"), GET, Exempt, live),
        Route::new(Exact("/health/ready"), GET, Exempt, ready),
        Route::new(from_host(&[ROTATE_KEYS]), POST, Exempt, rotate_keys),
        Route::new(from_host(&HTTP_FUNCTIONS), POST, Exempt, payload),
        Route::new(under("/auth"), ANY, SignIn, not_found),
        Route::new(under("/health"), ANY, Exempt, not_found),
        Route::new(under(ROTATE_KEYS), ANY, General, not_found),
        Route::new(Any, of_spa, SpaFile, spa),
    ]
}

/// The table, ready to serve.
///
/// Its first line, which proxied calls match, is served without warp: the chain of filters would cost each call about a
/// tenth of its time.
pub struct Routes {
    app: Arc<App>,
    places: Arc<Places>,
    first: Route,
    /// All other lines as one filter, which tries them in their order.
    others: BoxedFilter<(Response,)>,
}

/// A response, whose body holds the place of its request until it has been sent.
pub type RouteResponse = http::Response<GuardedBody<Body, Option<Place>>>;

impl Routes {
    #[must_use]
    pub fn new(app: &Arc<App>) -> Self {
        Self::of(app, table(app))
    }

    /// Of lines, at least two.
    #[expect(clippy::expect_used, reason = "every caller has several lines")]
    fn of(app: &Arc<App>, lines: Vec<Route>) -> Self {
        let places = Places::new(&app.listen.limits);
        let mut lines = lines.into_iter().filter(Route::is_served);
        let first = lines.next().expect("there is a line");
        let others = filter(lines, app, &places).expect("there are several lines");
        Self { app: Arc::clone(app), places, first, others }
    }

    /// The response to a request.
    pub async fn respond<B>(&self, head: Arc<RequestHead>, body: B) -> RouteResponse
    where
        B: http_body::Body<Data = Bytes, Error = BodyError> + Send + Sync + Unpin + 'static,
    {
        if self.first.matches(&head) {
            let (body, place) = (request_body(&head, body), self.places.arrived(self.first.class()));
            return self.first.respond(&self.app, head, body, place).await;
        }
        // The head is an extension: warp's own filters would copy it.
        let mut request = http::Request::new(body);
        request.extensions_mut().insert(head);
        match warp::service(self.others.clone()).call(request).await {
            Ok(response) => from_warp(response),
            Err(never) => match never {},
        }
    }
}

/// Lines as one filter. `None` without a line.
fn filter(
    lines: impl DoubleEndedIterator<Item = Route>,
    app: &Arc<App>,
    places: &Arc<Places>,
) -> Option<BoxedFilter<(Response,)>> {
    let lines = lines.map(|route| route.into_filter(app, places));
    // From the last to the first, so that the first lines are tried without passing through all others.
    lines.rev().reduce(|later, line| line.or(later).unify().boxed())
}

/// Completes a reply that no route gave.
#[must_use]
pub fn finish(reply: Reply) -> RouteResponse {
    route::finish(reply, false, None)
}

/// Responds to the host's probe before any key or provider is reachable (contract 3.37).
async fn readiness_probe(_app: Arc<App>, _request: GatewayRequest) -> Result<Reply, Error> {
    Ok(empty(StatusCode::OK))
}

async fn login(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    app.auth.login(&request.head.headers, request.query(), request.now).await
}

async fn callback(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let GatewayRequest { head, body, place, now, .. } = request;
    let form = if head.method == Method::POST { Some(place.enter_with_form(body).await?) } else { None };
    let params = form.as_deref().or(head.target.query()).unwrap_or_default();
    app.auth.callback(&head.method, &head.headers, params, || place.release(), now).await
}

async fn session(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    app.auth.session(&request.head.headers, request.now).await
}

async fn refresh(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Rejected> {
    app.auth.refresh(&request.head.headers, &request.place, request.now).await
}

async fn logout(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let GatewayRequest { head, body, place, now } = request;
    if head.method == Method::POST {
        return app.auth.logout(&head.headers, body, &place, now).await;
    }
    app.auth.logout_page(&head.headers, head.target.query().unwrap_or_default(), &place, now).await
}

async fn sessions(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let (RequestHead { method, headers, .. }, place) = (request.head.as_ref(), &request.place);
    if *method == Method::DELETE {
        return app.auth.end_other_sessions(headers, place, request.now).await;
    }
    app.auth.list_sessions(method, headers, place, request.now).await
}

async fn end_session(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let RequestHead { target, headers, .. } = request.head.as_ref();
    let id = one_below(target.path(), SESSIONS).unwrap_or_default();
    app.auth.end_session(headers, id, &request.place, request.now).await
}

async fn backchannel_logout(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let form = request.place.enter_with_form(request.body).await?;
    app.auth.backchannel_logout(&form, request.now).await
}

async fn frontchannel_logout(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    app.auth.frontchannel_logout(request.query(), request.now).await
}

async fn live(_app: Arc<App>, _request: GatewayRequest) -> Result<Reply, Error> {
    Ok(health::live())
}

async fn ready(app: Arc<App>, _request: GatewayRequest) -> Result<Reply, Error> {
    if app.is_stopping() {
        return Ok(health::stopping());
    }
    let store = app.redis.as_ref().map(|redis| redis.health());
    let host = app.host.name();
    Ok(health::ready(&app.ring, &app.provider, &app.revocations, store, host, &app.misconfigured))
}

async fn rotate_keys(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let payload = text(request.body).await.unwrap_or_default();
    if is_payload(payload.as_bytes()) { Ok(app.rotate_keys.step(request.now).await) } else { Err(Error::RouteDenied) }
}

async fn payload(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let payload = text(request.body).await.unwrap_or_default();
    if is_payload(payload.as_bytes()) { Ok(app.host.reject_payload()) } else { Err(Error::RouteDenied) }
}

async fn not_found(_app: Arc<App>, _request: GatewayRequest) -> Result<Reply, Error> {
    Err(Error::RouteDenied)
}

async fn spa(app: Arc<App>, request: GatewayRequest) -> Result<Reply, Error> {
    let RequestHead { method, target, headers, context } = request.head.as_ref();
    let reply = match &app.spa {
        Some(Spa::Folder(folder)) => folder.get(method, target.path(), headers).await?,
        Some(Spa::Site(site)) => site.get(method, target.path(), target.query(), headers, &context.trace).await?,
        None => return Err(Error::RouteDenied),
    };
    Ok(reply.map(|body| request.place.while_read(body)))
}

impl GatewayRequest {
    fn query(&self) -> &str {
        self.head.target.query().unwrap_or_default()
    }
}

#[cfg(test)]
impl Routes {
    /// The table with nothing before warp.
    fn through_warp(app: &Arc<App>) -> Self {
        let never = Route::new(FromHost(None, &[]), ANY, Exempt, not_found);
        Self::of(app, [never].into_iter().chain(table(app)).collect())
    }

    /// Paths under `/first`, served without warp, and all others through warp, with one handler.
    pub(crate) fn with_handler<H, F>(app: &Arc<App>, handler: H) -> Self
    where
        H: Fn(Arc<RequestHead>, Body) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let line = |path| {
            let handler = handler.clone();
            Route::new(path, ANY, Exempt, move |_, GatewayRequest { head, body, .. }| {
                let reply = handler(head, body);
                async { Ok::<_, Error>(reply.await) }
            })
        };
        Self::of(app, vec![line(Path::under(["/first".to_owned()])), line(Any)])
    }
}

#[cfg(test)]
mod tests;
