#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::reply::{Body, Split};
use super::tap::{Head, Tap};
use super::{Log, Recorded, hex, lock};

/// How much of a body is kept.
const KEPT_BODY: usize = 1 << 20;

/// With this header one stand-in asks another: such a request is not part of the play, so it is not recorded.
pub(crate) const BACKSTAGE: &str = "x-stand-in";

/// A request whose body has been read.
pub(crate) struct Call {
    pub(crate) parts: Parts,
    pub(crate) request: Recorded,
}

/// Instead of an answer: the connection is closed without a word.
#[derive(Debug)]
pub(crate) struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hung up")
    }
}

impl std::error::Error for HangUp {}

/// What answers the requests of a stand-in.
pub(crate) trait Handler: Send + Sync + 'static {
    fn log(&self) -> &Log;

    fn answer(&self, call: Call) -> impl Future<Output = Result<Response<Body>, HangUp>> + Send;
}

/// How answers are put on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wire {
    /// Head and body in two TCP segments.
    pub(crate) two_segments: bool,
}

/// A listener with its connections. Dropped, it ends with all of them.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    task: Mutex<Option<JoinHandle<Infallible>>>,
}

impl Server {
    /// Serves on a listener that is bound already: who answers may need to know the port.
    pub(crate) fn start<H: Handler>(listener: TcpListener, wire: Wire, handler: Arc<H>) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, wire, handler));
        Ok(Self { addr, task: Mutex::new(Some(task)) })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes the listener and every connection; afterwards the port is free again.
    pub(crate) async fn stop(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
            // It was told to end just now: how it ended is no news.
            let _ended = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

async fn accept<H: Handler>(listener: TcpListener, wire: Wire, handler: Arc<H>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, wire, Arc::clone(&handler)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve<H: Handler>(stream: TcpStream, wire: Wire, handler: Arc<H>) {
    if stream.set_nodelay(true).is_ok() {
        converse(stream, wire, handler).await;
    }
}

async fn converse<S, H>(stream: S, wire: Wire, handler: Arc<H>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let tap = Tap::new(stream);
    let head = tap.head();
    let service = service_fn(move |request| answer(Arc::clone(&handler), wire, head.clone(), request));
    let mut http = http1::Builder::new();
    // An idle client is no fault here: tests keep connections open for as long as they like.
    http.timer(TokioTimer::new()).header_read_timeout(None);
    // A client that goes away is the client's business.
    let _ended = http.serve_connection(TokioIo::new(tap), service).await;
}

async fn answer<H: Handler>(
    handler: Arc<H>,
    wire: Wire,
    head: Head,
    request: Request<Incoming>,
) -> Result<Response<Body>, HangUp> {
    let (parts, body) = request.into_parts();
    let open = Recorded::of(&parts, &head.bytes());
    let log = Some(handler.log()).filter(|_| !parts.headers.contains_key(BACKSTAGE));
    let number = log.map(|log| log.open(open.clone()));
    let request = read(open, body, handler.log()).await?;
    head.next();
    if let (Some(log), Some(number)) = (log, number) {
        log.close(number, request.clone());
    }
    let reply = handler.answer(Call { parts, request }).await?;
    Ok(if wire.two_segments { reply.map(Split::body) } else { reply })
}

async fn read(mut request: Recorded, mut body: Incoming, log: &Log) -> Result<Recorded, HangUp> {
    let mut kept = BytesMut::new();
    let mut hash = digest::Context::new(&digest::SHA256);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| HangUp)?.into_data() else {
            continue;
        };
        log.received(data.len());
        hash.update(&data);
        request.body_length += data.len() as u64;
        let room = KEPT_BODY.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(data.get(..room).unwrap_or_default());
    }
    request.body = Bytes::from(kept);
    request.body_sha256 = hex(hash.finish().as_ref());
    Ok(request)
}
