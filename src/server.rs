//! The listening socket: an accept loop with the limits that `warp::serve` lacks, and what every request gets.

mod connection;
mod connections;
mod parking;
mod request_body;
mod threads;

use std::convert::Infallible;
use std::io;
use std::net::TcpStream as StdTcpStream;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select};
use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::app::App;
use crate::error::Error;
use crate::guard::cors;
use crate::listen::Config;
use crate::os;
use crate::reply::{BodyError, Context, Reply, is_navigation, isolate, problem};
use crate::routes::{RequestHead, Routes, finish};
use crate::telemetry::{InRequest, RequestContext, report_dropped_lines};
use connection::{ActiveRequest, ConnState};
use connections::Connections;
use request_body::{Discarding, RequestBody, ResponseBody, Rest};
use threads::Threads;

/// Most bytes of the head of a request.
const HEADER_BYTES: usize = 32 * 1_024;
/// Most connections at a time, unless so many requests may be in flight that more are needed. The Functions host uses
/// far fewer.
const CONNECTIONS: usize = 2_048;
/// How long requests in flight may take after SIGTERM (contract 11.9).
const DRAIN: Duration = Duration::from_secs(8);
/// Longest time for accepting what has arrived when the listener is to close.
const BACKLOG: Duration = Duration::from_secs(1);
/// How long connections that were just accepted have to read what has arrived.
const FIRST_READ: Duration = Duration::from_millis(50);
/// Pause after a failed accept, for example when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that the system queues until they are accepted: as many as a burst may bring. It drops further ones,
/// whose clients try again after a second, and the default is 128.
const QUEUE: u32 = 1_024;
/// Exit code after SIGTERM under Functions, as shells report it. Never 0: the host would not start the process again.
const TERMINATED: u8 = 143;

/// Binds the address of the settings.
///
/// # Errors
/// The address is not this machine's, or the port is taken.
pub fn bind(config: &Config) -> io::Result<TcpListener> {
    let address = config.address.ok_or_else(|| io::Error::other("no address to listen on is set"))?.socket();
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; another process has the port",
            io::ErrorKind::PermissionDenied => "; choose a port from 1024 on",
            io::ErrorKind::AddrNotAvailable => "; the address is not one of this machine",
            _ => "",
        };
        io::Error::other(format!("cannot listen on {address}: {error}{hint}"))
    };
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(os::CAN_REUSE_ADDRESS)?;
        socket.bind(address)?;
        socket.listen(QUEUE)
    };
    listen().map_err(failed)
}

/// Serves until `end`, which is SIGTERM or Ctrl-C, then finishes the requests in flight. Returns the exit code.
///
/// # Errors
/// The operating system gives no more threads.
pub async fn run(listener: TcpListener, app: Arc<App>, end: impl Future<Output = ()>) -> io::Result<ExitCode> {
    let too_many = |error| io::Error::other(format!("cannot start the threads: {error}; lower CLOAKROOM_THREADS"));
    let threads = Threads::start(app.listen.threads).map_err(too_many)?;
    let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    tracing::info!(address, threads = app.listen.threads, "listening");
    app.load_in_background();
    tokio::spawn(report_dropped_lines());
    let server = Server {
        connections: Connections::new(CONNECTIONS.max(app.listen.limits.all * 2)),
        discarding: Discarding::default(),
        routes: Arc::new(Routes::new(&app)),
        app: Arc::clone(&app),
        threads,
    };
    server.accept(&listener, end).await;
    let is_standalone = app.listen.is_standalone();
    if is_standalone {
        app.announce_stop();
        let delay_s = app.listen.drain_delay.as_secs_f64();
        tracing::info!(delay_s, "stopping; requests are still accepted for CLOAKROOM_DRAIN_DELAY");
        let delay = pin!(sleep(app.listen.drain_delay));
        // A second signal ends the delay.
        server.accept(&listener, select(delay, pin!(os::termination()))).await;
    }
    let end = Instant::now() + DRAIN;
    server.accept_backlog(&listener).await;
    drop(listener);
    tracing::info!("shutting down; finishing requests in flight");
    let finish = async {
        server.connections.shutdown().await;
        app.flush().await;
    };
    if timeout_at(end, finish).await.is_err() {
        tracing::warn!("requests were still in flight after 8 s");
    }
    Ok(if is_standalone { ExitCode::SUCCESS } else { ExitCode::from(TERMINATED) })
}

/// What connections share.
struct Server {
    connections: Arc<Connections>,
    discarding: Discarding,
    routes: Arc<Routes>,
    app: Arc<App>,
    threads: Threads,
}

impl Server {
    /// Accepts connections until `end`.
    async fn accept<T>(&self, listener: &TcpListener, end: impl Future<Output = T>) {
        let mut end = pin!(end);
        loop {
            let permit = tokio::select! {
                permit = self.connections.permit() => permit,
                _ = &mut end => return,
            };
            let Some(permit) = permit else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = &mut end => return,
            };
            // The socket moves to the runtime of another thread.
            match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => self.serve(stream, permit),
                Err(error) => {
                    self.connections.warn(|| {
                        tracing::error!(%error, "no connection can be accepted; are there too few open files (ulimit -n)?");
                    });
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts the connections that the system has established already, and lets each read its first request: without
    /// that they would be reset.
    async fn accept_backlog(&self, listener: &TcpListener) {
        let accept = async {
            while let Some(Ok((stream, _))) = listener.accept().now_or_never()
                && let (Ok(stream), Some(permit)) = (stream.into_std(), self.connections.permit().await)
            {
                self.serve(stream, permit);
            }
        };
        // It waits while all connections that may be open have requests.
        let _ = timeout(BACKLOG, accept).await;
        sleep(FIRST_READ).await;
    }

    fn serve(&self, stream: StdTcpStream, permit: OwnedSemaphorePermit) {
        let (routes, app, discarding) = (Arc::clone(&self.routes), Arc::clone(&self.app), self.discarding.clone());
        let state = ConnState::new();
        let open = self.connections.add(&state, permit);
        let of_connection = state.clone();
        let connection = move |socket| {
            let (routes, app) = (Arc::clone(&routes), Arc::clone(&app));
            let of_connection = (of_connection.clone(), discarding.clone());
            let service =
                service_fn(move |request| respond(Arc::clone(&routes), Arc::clone(&app), &of_connection, request));
            http().serve_connection(socket, service)
        };
        let served = parking::serve(stream, state, parking::DELAY, connection);
        self.threads.spawn(served.map(move |()| drop(open)));
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `TimeoutStream` has the deadline for heads.
    http.header_read_timeout(None).max_buf_size(HEADER_BYTES);
    http
}

/// Gives every request a response. Until that has been sent, its body keeps the connection marked as active. Boxed, so
/// that an idle connection holds no memory for a request.
fn respond(
    routes: Arc<Routes>,
    app: Arc<App>,
    (state, discarding): &(ConnState, Discarding),
    request: Request<Incoming>,
) -> InRequest<BoxFuture<'static, Result<Response<impl Body<Data = Bytes, Error = BodyError> + use<>>, Infallible>>> {
    let active = state.begin_request(!request.body().is_end_stream());
    let (head, incoming) = request.into_parts();
    let body = request_body::shared(incoming, discarding);
    let framing = Framing { is_well_formed: well_formed(&head), is_last: head.version < Version::HTTP_11 };
    let context = RequestContext::new(&head.headers, app.host.invocation(&head.headers));
    let head =
        RequestHead { method: head.method, target: head.uri, headers: head.headers, context: Arc::clone(&context) };
    InRequest::new(context, Box::pin(response(routes, app, active, Arc::new(head), framing, body)))
}

/// What is known of a request's place in its connection.
struct Framing {
    is_well_formed: Result<(), &'static str>,
    /// Whether the connection closes after the response, as with HTTP/1.0 (contract 11.12).
    is_last: bool,
}

/// Rejects malformed requests; a panic of a handler becomes a 500 (contract 11.8).
async fn response(
    routes: Arc<Routes>,
    app: Arc<App>,
    active: ActiveRequest,
    head: Arc<RequestHead>,
    framing: Framing,
    (body, mut rest): (RequestBody, Rest),
) -> Result<Response<impl Body<Data = Bytes, Error = BodyError>>, Infallible> {
    app.host.observe(&head.headers);
    let mut response = match framing.is_well_formed {
        Ok(()) => match AssertUnwindSafe(routes.respond(Arc::clone(&head), body)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => finish(rejection(&Error::Internal, &app, &head)),
        },
        Err(why) => {
            let mut rejection = rejection(&Error::BadRequest(why), &app, &head);
            // Where this request ends may be in doubt, so nothing more is read from the connection.
            rest.abandon();
            rejection.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            finish(rejection)
        }
    };
    if rest.is_there() && response.headers().contains_key(CONNECTION) {
        // A form that did not arrive (contract 3.9b): the connection closes at once, since the rest may never come.
        rest.abandon();
    } else if rest.is_unread() && head.headers.contains_key(EXPECT) {
        // Whether the client will send the body without a 100 is not known (RFC 9110, section 10.1.1).
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // At shutdown the client opens its next connection to another instance, before this one closes all that are idle.
    if framing.is_last || app.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let context = Arc::clone(&head.context);
    Ok(response.map(|body| ResponseBody::new(body.in_request(context), rest, active)))
}

/// The response to a request that no route responds to. It is isolated, since its address may be the callback's, with a
/// code in it (contract 3.9a).
fn rejection(error: &Error, app: &App, head: &RequestHead) -> Reply {
    let (trace_id, link_base) = (head.context.trace.trace_id.clone(), app.origins.link_base().to_owned());
    let mut reply = problem(error, &Context { trace_id, as_page: is_navigation(&head.headers), link_base });
    app.common_headers.add(reply.headers_mut(), false);
    let origin = cors::allowed_origin(&head.headers, &app.origins);
    cors::add_cors_headers(reply.headers_mut(), origin, &app.origins);
    isolate(reply.headers_mut());
    reply
}

/// Rejects what hyper's parser accepts although RFC 9112 forbids it (sections 3.2 and 6.1).
fn well_formed(head: &Parts) -> Result<(), &'static str> {
    let target = &head.uri;
    if target.scheme().is_some() || target.authority().is_some() || !target.path().starts_with('/') {
        return Err("the request target is not a path");
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err("the request has no Host header or several");
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !chunked || codings.next().is_some() {
        return Err("the transfer encoding is not chunked");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
