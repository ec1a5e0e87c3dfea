//! The host's own listener: what it responds itself, and which function gets the rest.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, SERVER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::config::{Functions, HostConfig, HttpFunction};
use super::cors::{Cors, restore_host};
use super::front::{RENAMED_LENGTH, accepted};
use super::http::{self as invoking, HttpInvoker, add_front_end, filtered, whole};
use super::options::{CodeLookup, Options};
use super::process::{Handler, Phase, Probe};
use super::timer::Timer;
use crate::web::response::{bytes, empty, with};
use crate::web::{Body, guid};

/// How long a host that shuts down by itself lets its connections end.
const GRACE: Duration = Duration::from_millis(250);

/// Where functions are run by hand.
const ADMIN: &str = "/admin/functions/";

/// What the host itself answers, and only with its key.
const PROTECTED: [&str; 3] = ["/admin/host/", ADMIN, "/runtime/webhooks/"];

const SCALE_OUT: &str = "x-function-scaleout";

const HOMEPAGE: &str = "<!DOCTYPE html><title>Functions</title><p>Your Functions host is up and running.</p>\n";

/// What a request needs.
pub(super) struct App {
    pub(super) functions: Functions,
    pub(super) timers: Vec<Arc<Timer>>,
    pub(super) invoker: HttpInvoker,
    /// For health pings, which reach the handler as well.
    pub(super) probe: Probe,
    pub(super) config: Arc<HostConfig>,
    pub(super) options: Options,
    pub(super) homepage: bool,
    /// On a plan where the host answers preflights itself.
    pub(super) cors: Option<Cors>,
    pub(super) outstanding: Option<Arc<Semaphore>>,
}

impl App {
    pub(super) fn handler(&self) -> &Arc<Handler> {
        &self.invoker.worker.handler
    }
}

/// Waits until the host has given up, whatever files change before that.
pub(super) async fn given_up(mut current: watch::Receiver<Arc<App>>) {
    loop {
        let app = Arc::clone(&current.borrow_and_update());
        tokio::select! {
            _ = app.handler().wait_for(|phase| phase == Phase::Down) => return,
            // An error means that no other app follows.
            Ok(()) = current.changed() => {}
        }
    }
}

/// Serves until the host has given up.
pub(super) async fn serve(listener: TcpListener, current: watch::Receiver<Arc<App>>) {
    let mut connections = JoinSet::new();
    let mut end = pin!(given_up(current.clone()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => drop(connections.spawn(connection(stream, peer, current.clone()))),
                // Most likely out of descriptors: others will be closed soon.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut end => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(GRACE, ended).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, current: watch::Receiver<Arc<App>>) {
    // A socket that accepts no options is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let app = Arc::clone(&current.borrow());
        respond(app, peer.ip(), request)
    });
    let Some(stream) = accepted(stream).await else { return };
    // An error is a client that disconnected or sent what hyper has rejected.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(app: Arc<App>, peer: IpAddr, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if app.options.front_end_azure {
        let target = request.uri().path_and_query().map_or(String::new(), ToString::to_string);
        add_front_end(request.headers_mut(), &target, &guid(rand::random()));
    }
    if app.cors.is_some() {
        restore_host(request.headers_mut());
    }
    let reader = app.cors.as_ref().and_then(|cors| Some((cors, cors.allowed(request.headers())?)));
    let closes = request.version() == Version::HTTP_10 || request.headers().contains_key(RENAMED_LENGTH);
    let mut response = match app.outstanding.clone().map(Semaphore::try_acquire_owned).transpose() {
        Err(_) => with(empty(StatusCode::TOO_MANY_REQUESTS), SCALE_OUT, "1"),
        Ok(None) => dispatch(&app, peer, request).await,
        // The request is outstanding until its response is sent.
        Ok(Some(permit)) => dispatch(&app, peer, request).await.map(|body| {
            filtered(body, move |_, polled| {
                let _held = &permit;
                polled
            })
        }),
    };
    if response.status() == StatusCode::NOT_MODIFIED && response.headers().contains_key(CONTENT_LENGTH) {
        // With a body that is known to be empty, hyper would drop the length that the handler gave.
        *response.body_mut() = StreamBody::new(stream::empty()).boxed_unsync();
    }
    for (name, value) in &app.config.custom_headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    if let Some((cors, origin)) = reader {
        cors.allow(origin, response.headers_mut());
    }
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers_mut().entry(SERVER).or_insert(HeaderValue::from_static("Kestrel"));
    Ok(response)
}

async fn dispatch(app: &App, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let no_host = request.headers().get(HOST).is_some_and(HeaderValue::is_empty);
    if no_host || request.headers().values().any(|value| !value.as_bytes().is_ascii()) {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    }
    // `*` and the authority of `CONNECT` are not paths to Kestrel.
    let raw = Some(request.uri().path()).filter(|path| path.starts_with('/')).unwrap_or_default();
    let Some(path) = invoking::decode(raw) else {
        return with(empty(StatusCode::BAD_REQUEST), "connection", "close");
    };
    if path.starts_with("//") {
        return empty(StatusCode::NOT_FOUND);
    }
    if app.handler().state().phase == Phase::Stopped {
        return empty(StatusCode::SERVICE_UNAVAILABLE).map(|_| whole("Function host is not running."));
    }
    if let Some(response) = app.cors.as_ref().and_then(|cors| cors.preflight(request.method(), request.headers())) {
        return response;
    }
    let lower = path.to_ascii_lowercase();
    match (request.method(), lower.as_str()) {
        (&Method::GET, "/admin/host/status") => {
            return bytes(StatusCode::OK, "application/json; charset=utf-8", r#"{"state":"Running"}"#);
        }
        (&Method::GET, "/admin/host/ping") => {
            if is_health_check(&request) {
                app.probe.once().await;
            }
            return with(with(empty(StatusCode::OK), "cache-control", "no-store,no-cache"), "pragma", "no-cache");
        }
        (&Method::POST, _) if lower.starts_with(ADMIN) => return run_now(app, lower.get(ADMIN.len()..), request).await,
        (_, "/admin/vfs" | "/admin/vfs/") => return empty(StatusCode::UNAUTHORIZED),
        _ if PROTECTED.iter().any(|prefix| lower.starts_with(prefix)) || lower == "/admin/functions" => {
            return with(empty(StatusCode::UNAUTHORIZED), "www-authenticate", "Bearer");
        }
        _ => {}
    }
    let Some(function) = app.functions.find(&path, request.method().as_str()) else {
        return match (path.as_str(), app.homepage) {
            ("/", true) => bytes(StatusCode::OK, "text/html", HOMEPAGE),
            ("/", false) => empty(StatusCode::NO_CONTENT),
            _ => empty(StatusCode::NOT_FOUND),
        };
    };
    match authorize(app, function, &request).await {
        Err(status) => empty(status),
        Ok(()) => app.invoker.invoke(function, path, peer, request).await,
    }
}

fn is_health_check(request: &Request<Incoming>) -> bool {
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let by_platform = ["HttpScaleManager", "ElasticScaleController"].iter().any(|name| agent.contains(name));
    let query = request.uri().query().unwrap_or_default().as_bytes();
    by_platform || url::form_urlencoded::parse(query).any(|(name, value)| name == "checkHealth" && value == "1")
}

/// `POST /admin/functions/NAME`: runs a timer function now, and does not wait for its end.
async fn run_now(app: &App, name: Option<&str>, request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get("x-functions-key");
    if app.options.key.as_ref().is_some_and(|required| key.is_none_or(|key| key != required.as_str())) {
        return empty(StatusCode::UNAUTHORIZED);
    }
    let Some(timer) = app.timers.iter().find(|timer| name.is_some_and(|name| timer.name().eq_ignore_ascii_case(name)))
    else {
        return empty(StatusCode::NOT_FOUND);
    };
    let body = Limited::new(request.into_body(), app.invoker.body_limit).collect().await.ok();
    let body = body.and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok());
    if !body.is_some_and(|body| body.is_object()) {
        return empty(StatusCode::BAD_REQUEST);
    }
    let timer = Arc::clone(timer);
    tokio::spawn(async move { timer.invoke(invoking::CALLED).await });
    empty(StatusCode::ACCEPTED)
}

/// The host's own authorization. The local host checks keys only if it is configured to.
async fn authorize(app: &App, function: &HttpFunction, request: &Request<Incoming>) -> Result<(), StatusCode> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let code = url::form_urlencoded::parse(query).find(|(name, _)| name.eq_ignore_ascii_case("code"));
    let key = request.headers().get("x-functions-key");
    if !function.anonymous {
        let fits = |required: &String| {
            key.is_some_and(|key| key == required.as_str()) || code.is_some_and(|(_, code)| code == required.as_str())
        };
        return if app.options.key.as_ref().is_none_or(fits) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) };
    }
    let looked_up = code.is_some() || key.is_some() || request.headers().contains_key("x-ms-client-principal");
    match app.options.code_lookup.filter(|_| looked_up) {
        Some(CodeLookup::Fail) => return Err(StatusCode::INTERNAL_SERVER_ERROR),
        Some(CodeLookup::Delay(delay)) => sleep(delay).await,
        None => {}
    }
    Ok(())
}
