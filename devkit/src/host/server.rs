//! The host's own listener: what it answers itself, and which function gets the rest.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, SERVER, USER_AGENT},
};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Body, BoxError, CodeLookup, Mode,
    client::Client,
    empty,
    functions::Functions,
    given_up,
    handler::{Handler, Phase},
    headers,
    invocation::invoke,
    path,
    readiness::Probe,
    uuid, whole,
};

/// How long a host that shuts down by itself lets its connections end.
const GRACE: Duration = Duration::from_millis(250);

/// Where functions are run by hand.
const ADMIN: &str = "/admin/functions/";

const HOMEPAGE: &str = "<!DOCTYPE html><title>Functions</title><p>Your Functions host is up and running.</p>\n";

/// All that a request needs.
pub(super) struct App {
    pub(super) functions: Functions,
    /// How the functions are called that can be called in any mode.
    pub(super) mode: Mode,
    pub(super) handler: Arc<Handler>,
    pub(super) client: Client,
    /// For health pings, which reach the handler as well.
    pub(super) probe: Probe,
    pub(super) initialization_timeout: Duration,
    pub(super) function_timeout: Option<Duration>,
    pub(super) body_limit: usize,
    pub(super) custom_headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) homepage: bool,
    pub(super) key: Option<String>,
    pub(super) code_lookup: Option<CodeLookup>,
    pub(super) front_end_azure: bool,
    pub(super) outstanding: Option<Arc<Semaphore>>,
}

/// Serves until the host has given up.
pub(super) async fn serve(listener: TcpListener, current: watch::Receiver<Arc<App>>) {
    let mut connections = JoinSet::new();
    let mut over = pin!(given_up(current.clone()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => drop(connections.spawn(connection(stream, peer, current.clone()))),
                // Out of descriptors, most likely: others will be closed soon.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut over => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(GRACE, ended).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, current: watch::Receiver<Arc<App>>) {
    // A socket that takes no options is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let app = Arc::clone(&current.borrow());
        respond(app, peer.ip(), request)
    });
    // An error here is a client that went away or sent nonsense, which hyper has answered.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(app: Arc<App>, peer: IpAddr, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if app.front_end_azure {
        let target = request.uri().path_and_query().map_or(String::new(), ToString::to_string);
        headers::add_front_end(request.headers_mut(), &target, &uuid());
    }
    let mut response = match app.outstanding.clone().map(Semaphore::try_acquire_owned).transpose() {
        Err(_) => throttled(),
        Ok(None) => answer(&app, peer, request).await,
        Ok(Some(permit)) => answer(&app, peer, request).await.map(|body| Held { body, _permit: permit }.boxed_unsync()),
    };
    if response.status() == StatusCode::NOT_MODIFIED && response.headers().contains_key(CONTENT_LENGTH) {
        // With a body that is known to be empty, hyper would drop the length that the handler has told.
        *response.body_mut() = StreamBody::new(stream::empty()).boxed_unsync();
    }
    for (name, value) in &app.custom_headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response.headers_mut().entry(SERVER).or_insert(HeaderValue::from_static("Kestrel"));
    Ok(response)
}

/// A body that counts as outstanding until it is sent.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn answer(app: &Arc<App>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let Some(path) = path::decode(raw_path(request.uri())) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    if app.handler.phase() == Phase::Stopped {
        return unavailable();
    }
    if let Some(response) = built_in(app, &path, &request).await {
        return response;
    }
    let admin = path.get(..ADMIN.len()).filter(|start| start.eq_ignore_ascii_case(ADMIN));
    if let (Some(_), &Method::POST) = (admin, request.method()) {
        return run_now(app, path.get(ADMIN.len()..).unwrap_or_default(), request).await;
    }
    match app.functions.find(&path, request.method().as_str()) {
        Some(function) => invoke(app, function, path, peer, request).await,
        None if path == "/" => homepage(app),
        None => empty(StatusCode::NOT_FOUND),
    }
}

/// `*` and the authority of `CONNECT` are no paths to Kestrel.
fn raw_path(uri: &Uri) -> &str {
    if uri.path().starts_with('/') { uri.path() } else { "" }
}

async fn built_in(app: &App, path: &str, request: &Request<Incoming>) -> Option<Response<Body>> {
    let is = |other: &str| request.method() == Method::GET && path.eq_ignore_ascii_case(other);
    if is("/admin/host/status") {
        let mut response = Response::new(whole(r#"{"state":"Running"}"#));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        return Some(response);
    }
    if is("/admin/host/ping") {
        if asks_for_health(request) {
            app.probe.once().await;
        }
        return Some(empty(StatusCode::OK));
    }
    None
}

/// `POST /admin/functions/NAME`: runs a timer function now, and does not wait for its end.
async fn run_now(app: &Arc<App>, name: &str, request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get("x-functions-key");
    if app.key.as_ref().is_some_and(|required| key.is_none_or(|key| key != required.as_str())) {
        return empty(StatusCode::UNAUTHORIZED);
    }
    let Some(timer) = app.functions.timer(name) else {
        return empty(StatusCode::NOT_FOUND);
    };
    let body = Limited::new(request.into_body(), app.body_limit).collect().await.ok();
    let body = body.and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok());
    if !body.is_some_and(|body| body.is_object()) {
        return empty(StatusCode::BAD_REQUEST);
    }
    let (app, timer) = (Arc::clone(app), Arc::clone(timer));
    tokio::spawn(async move { timer.call(&app, "This function was programmatically called via the host APIs.").await });
    empty(StatusCode::ACCEPTED)
}

/// What the host answers while its files are in error.
fn unavailable() -> Response<Body> {
    let mut response = Response::new(whole("Function host is not running."));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

fn asks_for_health(request: &Request<Incoming>) -> bool {
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let by_platform = ["HttpScaleManager", "ElasticScaleController"].iter().any(|name| agent.contains(name));
    let query = request.uri().query().unwrap_or_default().as_bytes();
    by_platform || url::form_urlencoded::parse(query).any(|(name, value)| name == "checkHealth" && value == "1")
}

fn homepage(app: &App) -> Response<Body> {
    if !app.homepage {
        return empty(StatusCode::NO_CONTENT);
    }
    let mut response = Response::new(whole(HOMEPAGE));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

fn throttled() -> Response<Body> {
    let mut response = empty(StatusCode::TOO_MANY_REQUESTS);
    response.headers_mut().insert("x-function-scaleout", HeaderValue::from_static("1"));
    response
}
