//! The socket: an accept loop of our own around `warp::service`, with the limits that `warp::serve` lacks.

mod connection;
mod load;

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use warp::reply::Response as WarpResponse;

use crate::app::App;
use crate::error::Error;
use crate::functions::{is_from_host, trace_id};
use crate::reply::{Context, problem};
use crate::routes::{RequestHead, into_response, routes};
use connection::{ConnState, TimeoutStream, TrackedBody};
use load::{Load, Permit, is_exempt};

/// Most bytes of the head of a request.
const HEADER_BYTES: usize = 32 * 1_024;
/// Most connections at a time. The host keeps far fewer.
const CONNECTIONS: usize = 2_048;
/// How long requests in flight may take once the process was asked to end.
const DRAIN: Duration = Duration::from_secs(8);
/// Pause after an accept that failed, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Ended by SIGTERM, as a shell counts it. Never 0, which the host takes for a handler that wants to stay gone.
const TERMINATED: u8 = 143;

/// Listens where the host calls.
///
/// # Errors
/// The port is taken.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Serves until the process is asked to end, then finishes what is in flight.
pub async fn run(listener: TcpListener, app: Arc<App>) -> ExitCode {
    tracing::info!(port = app.port, "listening");
    app.load_in_background();
    let routes = TowerToHyperService::new(warp::service(routes(&app)));
    let state = ServerState { app: Arc::clone(&app), load: Arc::default() };
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(asked_to_end());
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit,
            () = &mut end => break,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it the second segment of an answer waits 40 ms for the other side's acknowledgement.
        let _ = stream.set_nodelay(true);
        let (routes, state, connection_state) = (routes.clone(), state.clone(), ConnState::new());
        let socket = TimeoutStream::new(stream, connection_state.clone());
        // Boxed, so that a connection keeps no room for a request while it is idle.
        let service =
            service_fn(move |request| answer(routes.clone(), state.clone(), connection_state.clone(), request).boxed());
        let connection = http().serve_connection(TokioIo::new(socket), service);
        // A connection that breaks is the other side's affair.
        tokio::spawn(graceful.watch(connection).map(move |_| drop(permit)));
    }
    drop(listener);
    tracing::info!("asked to end; finishing what is in flight");
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still in flight after 8 s");
    }
    ExitCode::from(TERMINATED)
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // The deadline for heads is that of the connection's own socket.
    http.header_read_timeout(None).max_buf_size(HEADER_BYTES);
    http
}

/// What the state asks before the routes.
#[derive(Clone)]
struct ServerState {
    app: Arc<App>,
    load: Arc<Load>,
}

/// The body of warp's answers, which has no name of its own.
trait BodyOf {
    type Body;
}

impl<B> BodyOf for hyper::Response<B> {
    type Body = B;
}

type WarpBody = <WarpResponse as BodyOf>::Body;
type Answer = hyper::Response<TrackedBody<WarpBody, Option<Permit>>>;

/// Answers a request whatever it is, and holds its place among those in flight until the answer is out.
async fn answer<S>(
    routes: S,
    state: ServerState,
    connection_state: ConnState,
    request: Request<Incoming>,
) -> Result<Answer, Infallible>
where
    S: Service<Request<Incoming>, Response = WarpResponse, Error = Infallible>,
{
    connection_state.request_begins();
    state.app.host.observe(request.headers(), state.app.port);
    let path = request.uri().path();
    let exempt = is_exempt(path) || is_from_host(request.headers(), state.app.port);
    let held = if exempt { None } else { state.load.admit(path) };
    let response = guarded(routes, exempt || held.is_some(), request).await;
    Ok(response.map(|body| TrackedBody::new(body, connection_state, held)))
}

/// Odd targets are refused before warp, which panics on some; a panic becomes a 500.
async fn guarded<S>(routes: S, admitted: bool, mut request: Request<Incoming>) -> WarpResponse
where
    S: Service<Request<Incoming>, Response = WarpResponse, Error = Infallible>,
{
    let trace_id = trace_id(request.headers());
    if let Err(why) = well_formed(&request) {
        let mut refusal = problem(&Error::BadRequest(why), &context(&trace_id));
        // Where a request begins and ends may be in doubt, so that nothing more is read from here.
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return into_response(refusal, false);
    }
    // Move URI and headers into an extension; routing uses our own predicates.
    let (target, headers) = (std::mem::take(request.uri_mut()), std::mem::take(request.headers_mut()));
    let head = Arc::new(RequestHead { target, headers, admitted, trace_id });
    request.extensions_mut().insert(Arc::clone(&head));
    match AssertUnwindSafe(routes.call(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => into_response(problem(&Error::Internal, &context(&head.trace_id)), false),
    }
}

fn context(trace_id: &str) -> Context {
    Context { trace_id: trace_id.to_owned(), wants_page: false, link_base: String::new() }
}

/// What the parser of HTTP lets through and nobody may send (RFC 9112, sections 3.2 and 6.1).
fn well_formed<B>(request: &Request<B>) -> Result<(), &'static str> {
    let target = request.uri();
    if target.scheme().is_some() || target.authority().is_some() || !target.path().starts_with('/') {
        return Err("the request target is not a path");
    }
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err("the request names no host, or several");
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !chunked || codings.next().is_some() {
        return Err("the body of the request is encoded otherwise than in chunks");
    }
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C.
async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            return;
        }
    }
    // Without signal handlers only the system ends the process.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
