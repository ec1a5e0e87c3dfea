use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::io::InspectReader;

use super::fault::{Fault, Faults, HangUp};
use super::head::Head;
use super::request::{Recorded, RequestLog};
use super::response::Body;
use super::{Clock, hex};

/// How much of a body is kept.
const KEPT_BODY: usize = 1 << 20;

/// Marks requests between stand-ins, which are neither recorded nor failed.
pub(crate) const INTERNAL_HEADER: &str = "x-stand-in";

/// How a stand-in receives connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptMode {
    Normal,
    /// Refused, as when nothing listens. The port stays taken.
    Refused,
    /// Accepted, but no byte is ever sent.
    Silent,
}

/// What every stand-in has. `T` is what faults can be set for.
#[derive(Debug)]
pub struct Core<T> {
    pub(crate) clock: Clock,
    pub(crate) log: RequestLog,
    pub(crate) faults: Faults<T>,
}

impl<T> Default for Core<T> {
    fn default() -> Self {
        Self { clock: Clock::default(), log: RequestLog::default(), faults: Faults::default() }
    }
}

/// The service of a stand-in.
pub trait Handler: Send + Sync + 'static {
    type Target: Copy + PartialEq + Send + Sync;

    fn core(&self) -> &Core<Self::Target>;

    fn respond(&self, request: Recorded) -> impl Future<Output = Result<Response<Body>, HangUp>> + Send;
}

/// A running stand-in. It serves until the last handle is dropped, or one is stopped.
#[derive(Debug)]
pub struct StandIn<S> {
    pub(crate) state: Arc<S>,
    addr: SocketAddr,
    orders: mpsc::Sender<Order>,
}

/// Another mode, or `None` for the end; and who waits until it is in effect.
type Order = (Option<AcceptMode>, oneshot::Sender<io::Result<()>>);

impl<S> Clone for StandIn<S> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), addr: self.addr, orders: self.orders.clone() }
    }
}

impl<S: Handler> StandIn<S> {
    /// Serves on a listener that is already bound, since the state may have to know the port.
    pub(crate) fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: S) -> io::Result<Self> {
        let (addr, state) = (listener.local_addr()?, Arc::new(state));
        let (orders, received) = mpsc::channel(1);
        tokio::spawn(run(listener, addr, received, tls, Arc::clone(&state)));
        Ok(Self { state, addr, orders })
    }

    /// Closes the listener and all connections. The port is free afterwards.
    pub async fn stop(&self) {
        // An error means that another handle has stopped it.
        let _stopped = self.order(None).await;
    }

    /// Closes all connections, and sets how new ones are received.
    ///
    /// # Errors
    /// Another process has taken the port, or the stand-in was stopped.
    pub async fn set_accept_mode(&self, mode: AcceptMode) -> io::Result<()> {
        self.order(Some(mode)).await
    }

    async fn order(&self, mode: Option<AcceptMode>) -> io::Result<()> {
        let (done, when) = oneshot::channel();
        self.orders.send((mode, done)).await.map_err(io::Error::other)?;
        when.await.map_err(io::Error::other)?
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The requests that it received, oldest first, at most the newest 10,000; without those of other stand-ins.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.core().log.requests()
    }

    /// How many requests it received since its start.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.core().log.count()
    }

    /// How many bytes of request bodies it received, those of unfinished requests included.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.state.core().log.body_bytes()
    }

    /// Forgets the recorded requests and the counts by kind, but not [`StandIn::count`].
    pub fn clear_requests(&self) {
        self.state.core().log.clear();
    }

    /// Sets a fault until [`StandIn::clear_faults`]; no targets means all. The fault that was set last applies.
    pub fn fault(&self, targets: &[S::Target], fault: Fault) {
        self.state.core().faults.add(targets, fault, None);
    }

    /// Sets a fault for the next so many requests to any of the targets.
    pub fn fault_next(&self, targets: &[S::Target], times: u32, fault: Fault) {
        self.state.core().faults.add(targets, fault, Some(times));
    }

    /// Ends all faults, but not requests that already hang.
    pub fn clear_faults(&self) {
        self.state.core().faults.clear();
    }

    /// Its clock, Unix seconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.state.core().clock.now()
    }

    pub fn advance(&self, by: Duration) {
        self.state.core().clock.advance(by);
    }

    pub fn set_back(&self, by: Duration) {
        self.state.core().clock.set_back(by);
    }
}

async fn run<H: Handler>(
    listener: TcpListener,
    addr: SocketAddr,
    mut orders: mpsc::Receiver<Order>,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
) {
    let mut socket = Some((Socket::Listening(listener), AcceptMode::Normal));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((wanted, done)) = order else { return };
                connections.shutdown().await;
                // The port must be free before it is bound again.
                socket = None;
                let outcome = match wanted {
                    None => Ok(()),
                    Some(mode) => Socket::bind(addr, mode).await.map(|bound| socket = Some((bound, mode))),
                };
                // The caller may no longer wait.
                let _waiting = done.send(outcome);
                if wanted.is_none() {
                    return;
                }
            }
            (stream, mode) = accept(socket.as_ref()) => {
                connections.spawn(serve(stream, mode, tls.clone(), Arc::clone(&handler)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

enum Socket {
    Listening(TcpListener),
    /// Not listening: the system refuses connections and gives the port to no other process.
    Bound(#[expect(dead_code, reason = "held for its port")] TcpSocket),
}

impl Socket {
    async fn bind(addr: SocketAddr, mode: AcceptMode) -> io::Result<Self> {
        let bind = || -> io::Result<Self> {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            Ok(if mode == AcceptMode::Refused { Self::Bound(socket) } else { Self::Listening(socket.listen(1024)?) })
        };
        for _ in 0..100 {
            match bind() {
                // A process that was forked just now holds the port until it executes its own program.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(Duration::from_millis(10)).await,
                outcome => return outcome,
            }
        }
        bind()
    }
}

async fn accept(socket: Option<&(Socket, AcceptMode)>) -> (TcpStream, AcceptMode) {
    let Some((Socket::Listening(listener), mode)) = socket else {
        return pending().await;
    };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return (stream, *mode);
        }
    }
}

/// A client that disconnects is no failure, so that errors of the connection are ignored.
async fn serve<H: Handler>(mut stream: TcpStream, mode: AcceptMode, tls: Option<TlsAcceptor>, handler: Arc<H>) {
    let _ = stream.set_nodelay(true);
    match tls {
        _ if mode == AcceptMode::Silent => {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        None => serve_http(stream, handler).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve_http(stream, handler).await;
            }
        }
    }
}

async fn serve_http<H: Handler>(stream: impl AsyncRead + AsyncWrite + Unpin, handler: Arc<H>) {
    let head = Head::default();
    let recorded = head.clone();
    let stream = InspectReader::new(stream, move |read: &[u8]| recorded.add(read));
    let service = service_fn(move |request| respond(Arc::clone(&handler), head.clone(), request));
    let mut http = http1::Builder::new();
    // Tests may keep idle connections open as long as they like.
    http.timer(TokioTimer::new()).header_read_timeout(None);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn respond<H: Handler>(
    handler: Arc<H>,
    head: Head,
    request: Request<Incoming>,
) -> Result<Response<Body>, HangUp> {
    let (parts, body) = request.into_parts();
    let request = Recorded::new(&parts, &head.bytes());
    let log = &handler.core().log;
    let internal = parts.headers.contains_key(INTERNAL_HEADER);
    let number = (!internal).then(|| log.open(request.clone()));
    let request = read(request, body, log).await?;
    head.reset();
    if let Some(number) = number {
        log.complete(number, request.clone());
    }
    handler.respond(request).await
}

async fn read(mut request: Recorded, mut body: Incoming, log: &RequestLog) -> Result<Recorded, HangUp> {
    let mut kept = BytesMut::new();
    let mut hash = digest::Context::new(&digest::SHA256);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| HangUp)?.into_data() else {
            continue;
        };
        log.add_body_bytes(data.len());
        hash.update(&data);
        request.body_length += data.len() as u64;
        let room = KEPT_BODY.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(data.get(..room).unwrap_or_default());
    }
    request.body = Bytes::from(kept);
    request.body_sha256 = hex(hash.finish().as_ref());
    Ok(request)
}
