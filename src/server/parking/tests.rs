//! Real sockets; where a test is about time, the clock is paused once nothing is on its way.

mod deadlines;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::server::connection::Ending;
use crate::server::request_body::{Discarding, ResponseBody, shared};

const LONG: usize = 16 * 1_024 * 1_024;
/// Longest time, of the real clock, for what takes none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Never within a test.
const NEVER: Duration = Duration::from_secs(3_600);

/// A connection of the gateway, with the client's end.
struct Peer {
    client: TcpStream,
    state: ConnState,
    task: JoinHandle<()>,
    opened: Arc<AtomicUsize>,
    /// Lets `/slow` respond.
    slow: Arc<Notify>,
}

/// Responds with the path, to `/long` with a long body, and to `/slow` when it is allowed to. `/early` is not marked as
/// active while it is slow.
async fn respond(
    state: ConnState,
    slow: Arc<Notify>,
    request: Request<Incoming>,
) -> Response<ResponseBody<Full<Bytes>>> {
    let mut active = Some(state.begin_request(!request.body().is_end_stream()));
    let path = request.uri().path().to_owned();
    if path == "/early" {
        active = None;
    }
    if ["/slow", "/early"].contains(&path.as_str()) {
        slow.notified().await;
    }
    let active = active.unwrap_or_else(|| state.begin_request(false));
    let body = if path == "/long" { Bytes::from(vec![b'x'; LONG]) } else { path.into() };
    let (_, rest) = shared(request.into_body(), &Discarding::default());
    Response::new(ResponseBody::new(Full::new(body), rest, active))
}

type Service = BoxFuture<'static, Result<Response<ResponseBody<Full<Bytes>>>, Infallible>>;

fn connection(
    stream: StdTcpStream,
    delay: Duration,
) -> (ConnState, Arc<Notify>, Arc<AtomicUsize>, impl Future<Output = ()> + Send) {
    let (state, slow, opened) = (ConnState::new(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let shared = (state.clone(), slow.clone(), opened.clone());
    let open = move |socket| {
        let (state, slow, opened) = shared.clone();
        opened.fetch_add(1, Ordering::Relaxed);
        let service =
            service_fn(move |request| -> Service { respond(state.clone(), slow.clone(), request).map(Ok).boxed() });
        crate::server::http().serve_connection(socket, service)
    };
    let served = serve(stream, state.clone(), delay, open);
    (state, slow, opened, served)
}

impl Peer {
    async fn new(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        // Otherwise a second byte waits for the acknowledgement of the first, in real time.
        client.set_nodelay(true).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (state, slow, opened, served) = connection(stream.into_std().unwrap(), delay);
        Self { client, state, task: tokio::spawn(served), opened, slow }
    }

    async fn send(&mut self, bytes: &str) {
        self.client.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Receives a whole response, which is the path.
    async fn receive(&mut self, path: &str) -> String {
        let mut response = String::new();
        while !response.ends_with(&format!("\r\n\r\n{path}")) {
            let mut part = [0; 1_024];
            let read = timeout(PATIENCE, self.client.read(&mut part)).await.expect("a response").unwrap();
            assert!(read > 0, "closed after {response:?}");
            response.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        response
    }

    async fn call(&mut self, path: &str) -> String {
        self.send(&get(path)).await;
        self.receive(path).await
    }

    /// Lets what is on its way arrive.
    async fn settle(&self) {
        for _ in 0..50 {
            yield_now().await;
        }
    }

    /// Lets time pass while nothing is on its way.
    async fn pass(&self, time: Duration) {
        self.settle().await;
        tokio::time::pause();
        tokio::time::sleep(time).await;
        tokio::time::resume();
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Waits until the gateway closes the connection.
    async fn closed(self) {
        timeout(PATIENCE, self.task).await.expect("the connection stays open").unwrap();
    }

    /// After how many seconds the gateway closes the connection.
    async fn seconds(self) -> u64 {
        self.settle().await;
        tokio::time::pause();
        let start = Instant::now();
        timeout(NEVER, self.task).await.expect("the connection stays open").unwrap();
        tokio::time::resume();
        (start.elapsed() + Duration::from_millis(500)).as_secs()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test]
async fn a_response_does_not_wait_for_an_acknowledgement() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let stream = listener.accept().await.unwrap().0.into_std().unwrap();
    let same_socket = stream.try_clone().unwrap();
    assert!(!same_socket.nodelay().unwrap());
    let (.., served) = connection(stream, NEVER);
    assert!(served.now_or_never().is_none());
    assert!(same_socket.nodelay().unwrap());
}

#[tokio::test]
async fn hyper_has_a_connection_only_from_a_request_until_the_delay_after_its_response() {
    let mut peer = Peer::new(DELAY).await;
    peer.pass(DELAY).await;
    assert_eq!(peer.opened(), 0);
    for opened in 1..=3 {
        for call in 0..20 {
            peer.call(&format!("/{call}")).await;
            peer.pass(DELAY - Duration::from_millis(50)).await;
        }
        assert_eq!(peer.opened(), opened, "it is not parked between calls");
        peer.pass(DELAY).await;
    }
}

/// Contract 11.10.
#[tokio::test]
async fn a_connection_with_a_request_in_progress_is_not_parked() {
    let mut peer = Peer::new(DELAY).await;
    peer.send(&get("/slow")).await;
    peer.pass(Duration::from_secs(1_000)).await;
    peer.slow.notify_one();
    peer.receive("/slow").await;
    assert_eq!(peer.opened(), 1);
    // Its response is sent before the body has arrived, whose rest is discarded.
    peer.send("POST /early-response HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc").await;
    peer.receive("/early-response").await;
    peer.pass(Duration::from_secs(10)).await;
    peer.send(&format!("456789{}", get("/next"))).await;
    peer.receive("/next").await;
    assert_eq!(peer.opened(), 1);
}

/// A head has 10 s from its first byte (contract 11.10), but what is discarded belongs to the request before it.
/// The task of the connection waits without a deadline while another one discards.
#[tokio::test]
async fn a_connection_that_is_not_idle_for_hyper_is_not_parked() {
    let mut peer = Peer::new(DELAY).await;
    peer.send(&get("/early")).await;
    peer.pass(DELAY * 2).await;
    peer.slow.notify_one();
    let response = peer.receive("/early").await;
    assert!(response.contains("connection: close") && peer.opened() == 1, "{response}");
    peer.closed().await;
}

#[tokio::test]
async fn half_a_head_that_came_with_the_request_before_is_not_lost() {
    let mut peer = Peer::new(DELAY).await;
    let (half, rest) = ("GET /2 HTTP/1.1\r\nHo", "st: x\r\n\r\n");
    for _ in 0..2 {
        peer.send(&(get("/1") + half)).await;
        peer.receive("/1").await;
        peer.pass(DELAY * 2).await;
        peer.send(rest).await;
        peer.receive("/2").await;
    }
    peer.send(&(get("/1") + half)).await;
    peer.receive("/1").await;
    assert_eq!(peer.seconds().await, 10, "contract 11.10");
}

/// RFC 9112, section 2.2.
#[tokio::test]
async fn an_empty_line_after_a_request_is_no_head() {
    let mut peer = Peer::new(DELAY).await;
    peer.send(&(get("/1") + "\r\n")).await;
    peer.receive("/1").await;
    peer.pass(DELAY).await;
    peer.call("/2").await;
    assert_eq!(peer.opened(), 2);
    peer.send(&(get("/3") + "\r\n")).await;
    peer.receive("/3").await;
    assert_eq!(peer.seconds().await, 300);
}

#[tokio::test]
async fn a_client_that_closes_or_resets_a_parked_connection_ends_it() {
    for reset in [false, true] {
        let mut peer = Peer::new(DELAY).await;
        peer.call("/1").await;
        peer.pass(DELAY * 2).await;
        assert!(!peer.task.is_finished());
        if reset {
            peer.client.set_zero_linger().unwrap();
            drop(std::mem::replace(&mut peer.client, Peer::new(DELAY).await.client));
        } else {
            peer.client.shutdown().await.unwrap();
        }
        peer.closed().await;
    }
}

#[tokio::test]
async fn a_connection_whose_response_says_close_is_closed_and_not_parked() {
    for head in ["GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /1 HTTP/1.0\r\n\r\n"] {
        let mut peer = Peer::new(Duration::ZERO).await;
        peer.send(head).await;
        peer.receive("/1").await;
        assert_eq!(peer.client.read(&mut [0]).await.unwrap(), 0);
        peer.closed().await;
    }
}

/// Contract 11.9, 17.6.
#[tokio::test]
async fn at_shutdown_a_parked_connection_closes_at_once_and_what_has_arrived_is_finished() {
    let mut parked = Peer::new(DELAY).await;
    parked.call("/1").await;
    parked.pass(DELAY * 2).await;
    parked.state.end(Ending::Shutdown);
    parked.closed().await;

    let mut active = Peer::new(DELAY).await;
    active.send(&get("/slow")).await;
    active.settle().await;
    active.state.end(Ending::Shutdown);
    active.pass(DELAY).await;
    active.slow.notify_one();
    assert!(active.receive("/slow").await.contains("\r\nconnection: close\r\n"));
    active.closed().await;

    // The request is there before the task knows either.
    let mut arriving = Peer::new(DELAY).await;
    arriving.call("/1").await;
    arriving.pass(DELAY * 2).await;
    arriving.send(&get("/2")).await;
    arriving.state.end(Ending::Shutdown);
    arriving.receive("/2").await;
    arriving.closed().await;
}

/// Contract 11.8.
#[tokio::test]
async fn a_connection_that_makes_room_finishes_the_request_that_has_just_arrived() {
    let mut peer = Peer::new(DELAY).await;
    peer.call("/1").await;
    peer.pass(DELAY * 2).await;
    peer.send(&get("/slow")).await;
    peer.state.end(Ending::MakeRoom);
    peer.pass(DELAY).await;
    peer.slow.notify_one();
    peer.receive("/slow").await;
    peer.closed().await;
    for bytes in ["", "GET /half-a-head"] {
        let mut peer = Peer::new(DELAY).await;
        peer.send(bytes).await;
        peer.settle().await;
        peer.state.end(Ending::MakeRoom);
        peer.closed().await;
    }
}

/// The requests arrive before, while and after the connection is being parked.
#[test]
fn a_connection_that_is_parked_a_thousand_times_answers_every_request() {
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| park(100));
        }
    });
}

/// Sends requests until the connection has been parked so many times.
fn park(times: usize) {
    use std::io::{Read, Write};
    let delay = Duration::from_millis(1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let (_, _, opened, served) = connection(stream, delay);
    let server = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(served);
    });
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for call in 0.. {
        if opened.load(Ordering::Relaxed) > times {
            break;
        }
        assert!(call < 10_000, "parked {opened:?} times");
        let path = format!("/{call}");
        client.write_all(get(&path).as_bytes()).unwrap();
        let mut response = String::new();
        while !response.ends_with(&format!("\r\n\r\n{path}")) {
            let mut part = [0; 1_024];
            let read = client.read(&mut part).unwrap();
            assert!(read > 0, "closed at call {call} after {response:?}");
            response.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        // Steps of 10 us around the delay, to which the timer adds up to 1 ms.
        std::thread::sleep(Duration::from_micros(500) + Duration::from_micros(10) * (call % 200));
    }
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_parked_connection_is_small() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (.., served) = connection(stream, DELAY);
    assert!(size_of_val(&served) <= 288, "{} bytes", size_of_val(&served));
}
