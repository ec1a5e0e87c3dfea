//! What all stand-ins share, shown with one that counts.

use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

/// Long enough for a response, if there is one.
const SOON: Duration = Duration::from_millis(200);

/// Counts requests to `/a` and `/b`, which faults are set for.
#[derive(Default)]
struct Counter {
    core: Core<char>,
    counted: AtomicU32,
}

impl Handler for Counter {
    type Target = char;

    fn core(&self) -> &Core<char> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> std::result::Result<Response<Body>, HangUp> {
        let work = || {
            let counted = self.counted.fetch_add(1, Ordering::SeqCst) + 1;
            response::json(StatusCode::OK, &json!({"counted": counted}))
        };
        match self.core.faults.take(if request.path() == "/a" { 'a' } else { 'b' }) {
            Some(fault) => fault.apply(response::empty, work).await,
            None => Ok(work()),
        }
    }
}

async fn start() -> StandIn<Counter> {
    StandIn::serve(TcpListener::bind(ANY_PORT).await.unwrap(), None, Counter::default()).unwrap()
}

impl StandIn<Counter> {
    async fn get(&self, path: &str) -> Result<Response<Bytes>> {
        client::send("GET", &format!("http://{}{path}", self.addr()), &[], "").await
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.unwrap().status().as_u16()
    }

    fn counted(&self) -> u32 {
        self.state.counted.load(Ordering::SeqCst)
    }
}

async fn exchange(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn faults_apply_to_their_targets_and_requests() {
    let counter = start().await;
    counter.fault(&['a'], Fault::status(500));
    assert_eq!((counter.status("/a").await, counter.status("/b").await), (500, 200));
    counter.fault_next(&[], 2, Fault::Status { status: 429, retry_after: Some(7) });
    assert_eq!(counter.get("/b").await.unwrap().headers()["retry-after"], "7");
    assert_eq!((counter.status("/a").await, counter.status("/a").await, counter.status("/b").await), (429, 500, 200));
    counter.clear_faults();
    assert_eq!(counter.status("/a").await, 200);
    assert_eq!((counter.count(), counter.counted()), (7, 3), "failed requests are recorded, but not executed");
}

#[tokio::test]
async fn responses_are_replaced_broken_or_lost() {
    let counter = start().await;
    let is_json = |body: &Bytes| serde_json::from_slice::<Value>(body).is_ok();
    for (fault, content_type, counted) in [
        (Fault::Html, "text/html; charset=utf-8", 0),
        (Fault::Garbage, "application/json", 0),
        (Fault::CutJson, "application/json; charset=utf-8", 1),
    ] {
        counter.fault_next(&[], 1, fault);
        let response = counter.get("/").await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        assert!(!is_json(response.body()) && counter.counted() == counted, "{fault:?}");
    }
    for (fault, counted) in [(Fault::HangUp, 1), (Fault::LoseResponse, 2), (Fault::Truncated, 3)] {
        counter.fault_next(&[], 1, fault);
        assert!(counter.get("/").await.is_err(), "{fault:?}");
        assert_eq!(counter.counted(), counted, "{fault:?}");
    }
    counter.fault_next(&[], 1, Fault::Truncated);
    let response = exchange(counter.addr(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 13") && body == "{\"coun", "{response}");
    assert!(is_json(counter.get("/").await.unwrap().body()));
}

#[tokio::test]
async fn responses_are_delayed_or_never_sent() {
    let counter = start().await;
    counter.fault_next(&[], 1, Fault::Delay(SOON));
    let start = Instant::now();
    assert_eq!(counter.status("/").await, 200);
    assert!(start.elapsed() >= SOON);
    counter.fault(&[], Fault::Hang);
    assert!(timeout(SOON, counter.get("/")).await.is_err());
    counter.clear_faults();
    assert_eq!((counter.status("/").await, counter.counted()), (200, 2));
}

#[tokio::test]
async fn connections_are_refused_ignored_and_accepted_again() {
    let counter = start().await;
    let mut idle = TcpStream::connect(counter.addr()).await.unwrap();
    counter.set_accept_mode(AcceptMode::Refused).await.unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0, "open connections are closed");
    let refused = TcpStream::connect(counter.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    counter.set_accept_mode(AcceptMode::Silent).await.unwrap();
    assert!(timeout(SOON, counter.get("/")).await.is_err());
    counter.set_accept_mode(AcceptMode::Normal).await.unwrap();
    assert_eq!(counter.status("/").await, 200);
}

#[tokio::test]
async fn stopping_and_dropping_free_the_port() {
    let counter = start().await;
    let addr = counter.addr();
    counter.clone().stop().await;
    let again = StandIn::serve(TcpListener::bind(addr).await.unwrap(), None, Counter::default()).unwrap();
    assert_eq!(again.status("/").await, 200);
    drop(again);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(counter.set_accept_mode(AcceptMode::Normal).await.is_err());
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn requests_are_recorded_as_they_were_written() {
    let counter = start().await;
    let request = |round: u8| {
        let head = format!("POST /no%2fwhere?a=%41&{round} HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-one: ü\r\n");
        format!("{head}X-TWO:  2 \r\nContent-Length: 3\r\n\r\nabc")
    };
    let mut stream = TcpStream::connect(counter.addr()).await.unwrap();
    for round in 0..2 {
        stream.write_all(request(round).as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    }
    let [_, second] = &counter.requests()[..] else { panic!("two requests") };
    assert_eq!((second.method.as_str(), second.target.as_str()), ("POST", "/no%2fwhere?a=%41&1"));
    assert_eq!((second.path(), second.query()), ("/no%2fwhere", Some("a=%41&1")));
    let names: Vec<&str> = second.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "X-Two", "x-one", "X-TWO", "Content-Length"]);
    assert_eq!((second.header_values("x-two"), second.header("x-one")), (vec!["1", "2"], Some("Ã¼")));
    assert_eq!((&second.body[..], second.body_length), (&b"abc"[..], 3));
    assert!(second.body_sha256.starts_with("ba7816bf"));
    counter.clear_requests();
    assert_eq!((counter.requests().len(), counter.count()), (0, 2));
}

#[tokio::test]
async fn an_upload_is_counted_while_it_is_received() {
    let counter = start().await;
    let mut stream = TcpStream::connect(counter.addr()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    while counter.body_bytes() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((counter.count(), counter.counted()), (1, 0), "recorded as soon as its head was received");
    stream.write_all(b"67890").await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    assert_eq!(counter.requests()[0].body, "1234567890");
}

#[tokio::test]
async fn internal_requests_are_not_recorded() {
    let counter = start().await;
    assert_eq!(client::internal_json(&format!("http://{}/", counter.addr())).await.unwrap()["counted"], 1);
    assert_eq!(counter.count(), 0);
}

#[tokio::test]
async fn the_clock_can_be_set() {
    let counter = start().await;
    let start = counter.now();
    counter.advance(Duration::from_secs(1_000));
    assert!(counter.now() >= start + 1_000);
    counter.set_back(Duration::from_secs(2_000));
    assert!(counter.now() < start);
}
