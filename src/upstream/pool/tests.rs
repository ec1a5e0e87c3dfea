mod bodies;
mod tls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use tokio::net::TcpSocket;

use super::*;
use crate::net::OutboundClients;

const IDLE: Duration = Duration::from_secs(60);

/// What the API notices: the number of the connection, and the request line or `closed`.
type Notices = mpsc::Receiver<(usize, String)>;

/// An API that responds to every request by its path. The notices come in their order.
fn api() -> (SocketAddr, Notices) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (address, serve(listener, usize::MAX))
}

fn serve(listener: TcpListener, connections: usize) -> Notices {
    let (notices, receiver) = mpsc::channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().take(connections).enumerate() {
            let (notices, stream) = (notices.clone(), stream.unwrap());
            thread::spawn(move || respond(number, stream, &notices));
        }
        // The port stays open, but nothing more is accepted.
        thread::sleep(Duration::from_secs(60));
    });
    receiver
}

fn respond(number: usize, stream: TcpStream, notices: &mpsc::Sender<(usize, String)>) {
    let mut sending = stream.try_clone().unwrap();
    let mut receiving = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if receiving.read_line(&mut line).unwrap_or(0) == 0 {
            let _ = notices.send((number, "closed".to_owned()));
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            receiving.read_line(&mut header).unwrap();
            match header.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let path = line.split(' ').nth(1).unwrap().to_owned();
        if !path.starts_with("/early") {
            receiving.read_exact(&mut vec![0; length]).unwrap();
        }
        let _ = notices.send((number, line));
        let size = if path.ends_with("long") { 10_000_000 } else { 2 };
        let body = "x".repeat(size);
        if path == "/slow" {
            thread::sleep(Duration::from_millis(300));
        }
        match odd_response(&path, &mut sending) {
            None => {}
            Some(true) => continue,
            Some(false) => return,
        }
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        // What no request asked for.
        let surplus = if path == "/double" { format!("{response}no") } else { String::new() };
        let _ = write!(sending, "{response}{body}{surplus}");
        match path.as_str() {
            "/closes" => return,
            "/closes-later" => {
                thread::sleep(Duration::from_millis(50));
                return;
            }
            "/surplus" => {
                thread::sleep(Duration::from_millis(50));
                let _ = write!(sending, "{response}no");
            }
            _ => {}
        }
    }
}

/// Responds to some paths in a way of their own; whether the connection stays open.
fn odd_response(path: &str, stream: &mut TcpStream) -> Option<bool> {
    match path {
        "/hangs-up" => {}
        "/interim" => write!(stream, "HTTP/1.1 103 Early Hints\r\n\r\n").unwrap(),
        "/half-a-head" => write!(stream, "HTTP/1.1 200 OK\r\nContent-").unwrap(),
        "/endless-head" => while write!(stream, "HTTP/1.1 200 OK\r\nX: {}", "x".repeat(70_000)).is_ok() {},
        "/drips" => {
            for byte in b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 2\n\nxx" {
                stream.write_all(&[*byte]).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
            return Some(true);
        }
        _ => return None,
    }
    Some(false)
}

fn pool(address: SocketAddr) -> Arc<Pool> {
    let tls = OutboundClients::default().tls_without_roots().unwrap();
    let origin = format!("http://{address}/").parse().unwrap();
    Pool::new(tls, origin, Duration::from_secs(2), IDLE)
}

fn request(method: &str, path: &'static str) -> Request {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Request::new(&method, &PathAndQuery::from_static(path), &HeaderValue::from_static("api.example"), 0)
}

async fn send(pool: &Arc<Pool>, method: &str, path: &'static str) -> Response<PooledBody> {
    let sent = pool.send(&mut request(method, path), Instant::now()).await;
    sent.unwrap_or_else(|failure| panic!("{method} {path}: {failure:?}"))
}

async fn call(pool: &Arc<Pool>, method: &str, path: &'static str) {
    let response = send(pool, method, path).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "xx");
}

/// The connections that the next requests used.
fn connections<const N: usize>(notices: &Notices) -> [usize; N] {
    let next = || notices.recv_timeout(Duration::from_secs(10)).unwrap();
    [(); N].map(|()| std::iter::repeat_with(next).find(|(_, line)| line != "closed").unwrap().0)
}

async fn wait(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (address, notices) = api();
    let pool = pool(address);
    for (method, path) in [("GET", "/"), ("POST", "/"), ("HEAD", "/?x=1")] {
        drop(send(&pool, method, path).await.into_body().collect().await);
    }
    let lines = [(); 3].map(|()| notices.recv().unwrap());
    assert_eq!(lines, [(0, "GET /".to_owned()), (0, "POST /".to_owned()), (0, "HEAD /?x=1".to_owned())]);
}

/// One that the API closes at the same moment would make it uncertain whether the request had its effect.
#[tokio::test]
async fn a_request_with_effects_takes_no_connection_that_was_idle_for_a_second() {
    let (address, notices) = api();
    let pool = pool(address);
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        call(&pool, "GET", "/").await;
        wait(RECENT).await;
        call(&pool, method, "/").await;
    }
    let [a, b, c, d, e, f, g, h] = connections(&notices);
    assert_eq!([a, c, e, g], [0, 1, 2, 3], "GET takes the one that was used last");
    assert_eq!([b, d, f, h], [1, 2, 3, 4]);
    assert_eq!(pool.state().idle.len(), 1, "each took the place of one");
}

#[tokio::test]
async fn a_connection_is_closed_once_it_has_been_idle_for_its_time() {
    let (address, notices) = api();
    let pool = pool(address);
    call(&pool, "GET", "/").await;
    wait(IDLE - Duration::from_secs(1)).await;
    call(&pool, "GET", "/").await;
    assert_eq!(connections(&notices), [0, 0]);
    wait(IDLE - Duration::from_secs(1)).await;
    // Lets the task that closes it run.
    tokio::task::yield_now().await;
    assert!(pool.take(IDLE, Instant::now()).is_some_and(|mut connection| connection.is_open()), "not yet");
    call(&pool, "GET", "/").await;
    wait(IDLE).await;
    let closed = tokio::task::spawn_blocking(move || {
        notices.iter().filter(|(_, line)| line == "closed").take(2).map(|(number, _)| number).collect::<Vec<_>>()
    });
    let mut closed = closed.await.unwrap();
    closed.sort_unstable();
    assert_eq!(closed, [0, 1], "without another request");
}

#[tokio::test]
async fn a_connection_is_replaced_after_its_life() {
    let (address, notices) = api();
    let pool = pool(address);
    let step = IDLE - Duration::from_secs(10);
    for _ in 0..7 {
        call(&pool, "GET", "/").await;
        wait(step).await;
    }
    assert_eq!(connections(&notices), [0, 0, 0, 0, 0, 0, 1], "at 0, 50, …, 250 and 300 s");
}

/// The connection closes when the pool has given it to the request already.
#[tokio::test]
async fn a_request_that_was_not_sent_is_sent_on_another_connection() {
    let (address, notices) = api();
    let pool = pool(address);
    for method in ["GET", "POST"] {
        call(&pool, method, "/").await;
        pool.state().idle[0].break_sending();
        call(&pool, method, "/").await;
    }
    assert_eq!(connections(&notices), [0, 1, 1, 2]);
}

/// Contract 10.16: it may have had its effect.
#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    let (address, notices) = api();
    let pool = pool(address);
    for method in ["GET", "POST"] {
        call(&pool, "GET", "/").await;
        let failure = pool.send(&mut request(method, "/hangs-up"), Instant::now()).await.err();
        assert!(matches!(failure, Some(Failure::Unreachable(_))), "{method}: {failure:?}");
    }
    call(&pool, "GET", "/").await;
    let lines: Vec<_> = notices.try_iter().map(|(_, line)| line).filter(|line| line != "closed").collect();
    assert_eq!(lines, ["GET /", "GET /hangs-up", "GET /", "POST /hangs-up", "GET /"]);
}

/// Contract 10.16: one retry, and only before the first byte.
#[tokio::test]
async fn a_response_that_broke_in_its_head_is_no_missing_one() {
    let (address, _notices) = api();
    let pool = pool(address);
    for path in ["/interim", "/half-a-head", "/endless-head"] {
        let failure = pool.send(&mut request("GET", path), Instant::now()).await.err();
        assert!(matches!(failure, Some(Failure::Response(_))), "{path}: {failure:?}");
    }
}

#[tokio::test]
async fn a_head_may_arrive_byte_by_byte() {
    let (address, notices) = api();
    let pool = pool(address);
    for _ in 0..2 {
        timeout(Duration::from_secs(10), call(&pool, "GET", "/drips")).await.expect("its end is noticed");
    }
    assert_eq!(connections(&notices), [0, 0]);
}

#[tokio::test]
async fn a_connection_with_an_unread_response_is_not_used_again() {
    let (address, notices) = api();
    let pool = pool(address);
    let mut response = send(&pool, "GET", "/long").await;
    assert!(response.body_mut().frame().await.unwrap().is_ok());
    drop(response);
    call(&pool, "GET", "/").await;
    assert_eq!(connections(&notices), [0, 1]);
}

/// Bytes of one response never become another user's.
#[tokio::test]
async fn a_connection_with_bytes_that_no_request_asked_for_is_not_used_again() {
    let (address, notices) = api();
    let pool = pool(address);
    for path in ["/double", "/surplus"] {
        call(&pool, "GET", path).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        call(&pool, "POST", "/").await;
    }
    let [a, b, c, d] = connections(&notices);
    assert!(a != b && c != d, "{:?}", [a, b, c, d]);
}

#[tokio::test]
async fn the_response_to_a_request_that_was_dropped_is_no_others() {
    let (address, notices) = api();
    let pool = pool(address);
    call(&pool, "GET", "/").await;
    let dropped = timeout(Duration::from_millis(50), send(&pool, "GET", "/slow")).await;
    assert!(dropped.is_err());
    call(&pool, "GET", "/").await;
    assert_eq!(connections(&notices), [0, 0, 1]);
}

#[tokio::test]
async fn a_new_connection_that_no_request_needs_any_more_is_kept() {
    let (address, _notices) = api();
    let pool = pool(address);
    let opened = Arc::clone(&pool).open().await.unwrap();
    pool.put(opened);
    assert_eq!(pool.state().idle.len(), 1);
}

/// A connection that is free before a new one is open serves the request that waits.
#[tokio::test]
async fn a_request_takes_a_connection_that_becomes_free_before_a_new_one_is_open() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    let address = listener.local_addr().unwrap();
    let notices = serve(listener, 1);
    let pool = pool(address);
    let slow = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { call(&pool, "GET", "/slow").await }
    });
    assert_eq!(tokio::task::spawn_blocking(move || (notices.recv().unwrap(), notices)).await.unwrap().0.0, 0);
    // The system completes no further connection once the queue of those to accept is full.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(20)) {
        queued.push(stream);
    }
    call(&pool, "GET", "/").await;
    slow.await.unwrap();
}

#[tokio::test]
async fn requests_that_have_a_connection_wait_no_more() {
    let (address, _notices) = api();
    let pool = pool(address);
    for _ in 0..20 {
        call(&pool, "GET", "/closes").await;
        while pool.state().idle.iter_mut().any(Connection::is_open) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(pool.state().waiting.len() <= 1);
}

/// Contract 10.15: the system completes the connection, and there is no response to the TLS handshake.
#[tokio::test]
async fn a_connection_has_a_deadline_tls_included() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = OutboundClients::default().tls_without_roots().unwrap();
    let origin = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let pool = Pool::new(tls, origin, Duration::from_secs(2), IDLE);
    let call = tokio::spawn(async move { pool.send(&mut request("GET", "/"), Instant::now()).await.err() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    wait(Duration::from_secs(2)).await;
    let ended = timeout(Duration::from_secs(5), call).await.expect("it ends at its deadline").unwrap();
    assert!(matches!(ended, Some(Failure::Unreachable(_))), "{ended:?}");
}

/// A connection that the API has closed is not kept until it would be used.
#[tokio::test]
async fn an_idle_connection_that_the_api_closes_is_closed_within_a_second() {
    let (address, _notices) = api();
    let pool = pool(address);
    call(&pool, "GET", "/closes-later").await;
    assert_eq!(pool.state().idle.len(), 1);
    while pool.state().idle.iter_mut().any(Connection::is_open) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    wait(SWEEP).await;
    tokio::task::yield_now().await;
    assert!(pool.state().idle.is_empty());
}

/// A task that has done much is made to wait for its next turn, which must not hide what has arrived.
#[tokio::test]
async fn what_arrived_is_noticed_by_a_task_that_has_used_up_its_turn() {
    let (address, _notices) = api();
    let pool = pool(address);
    call(&pool, "GET", "/surplus").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::consume_budget().await;
    }
    assert!(!pool.state().idle[0].is_open());
}
