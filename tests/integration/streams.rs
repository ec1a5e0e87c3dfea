//! Streamed bodies: event by event, with bounded memory, and without slow peers affecting others (contract 10.13).

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devkit::host::Mode;
use serde_json::json;

use crate::app::{PATIENCE, Reach, TestApp};
use crate::cloud::eventually;
use crate::raw;
use crate::visitor::{CALL, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";
const GRACE: &str = "grace.hopper@contoso.example";
pub const MEGABYTE: usize = 1 << 20;
/// Maximum memory growth while streaming, in KiB.
pub const GROWTH: u64 = 2 * 1_024;

/// A connection on which the head of a call was sent; a body may follow.
fn begin(app: &TestApp, visitor: &Visitor, method: &str, target: &str, more: &str) -> TcpStream {
    begin_at(app.port, visitor, method, target, more)
}

fn begin_at(port: u16, visitor: &Visitor, method: &str, target: &str, more: &str) -> TcpStream {
    let cookie = visitor.cookie_header();
    let mut stream = raw::open(port);
    let own = format!("Host: localhost\r\nCookie: {cookie}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n");
    stream.write_all(format!("{method} {target} HTTP/1.1\r\n{own}{more}\r\n").as_bytes()).unwrap();
    stream
}

/// Reads until a text has arrived.
pub fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let has = |response: &[u8]| String::from_utf8_lossy(response).contains(text);
    let (response, ended) = raw::read_response(stream, has);
    let response = String::from_utf8_lossy(&response).into_owned();
    assert!(!ended && response.contains(text), "{text:?} does not arrive, but {response:?}");
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_arrive_one_by_one() {
    for reach in [Reach::Direct, Reach::Host(Mode::Proxy)] {
        let entry = json!({"allow": ["GET /events"], "timeouts": {"total": null}});
        let app = TestApp::builder().reach(reach).graph_entry(entry).start().await;
        let visitor = app.signed_in(ADA).await;
        let mut stream = begin(&app, &visitor, "GET", "/graph/events", "Accept: text/event-stream\r\n");
        let head = read_until(&mut stream, "\r\n\r\n");
        assert!(raw::status(&head) == 200 && head.contains("content-type: text/event-stream"), "{head}");
        for number in 0..5 {
            // The API sends the next one only after this one has arrived.
            assert_eq!(app.graph.send_event(&format!("event {number}")), 1, "{reach:?}");
            read_until(&mut stream, &format!("data: event {number}\n\n"));
        }
        drop(stream);
        let started = Instant::now();
        while app.graph.send_event("anybody there?") > 0 {
            assert!(started.elapsed() < PATIENCE, "{reach:?}: the call continues after the client has disconnected");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An app whose API sends events, and as many streams of a browser's session as are asked for, each in progress.
pub async fn streams(app: &TestApp, visitor: &Visitor, count: usize) -> Vec<TcpStream> {
    streams_at(app.port, visitor, count)
}

/// The same at another instance.
pub fn streams_at(port: u16, visitor: &Visitor, count: usize) -> Vec<TcpStream> {
    let accept = "Accept: text/event-stream\r\n";
    let mut streams: Vec<_> = (0..count).map(|_| begin_at(port, visitor, "GET", "/graph/events", accept)).collect();
    for stream in &mut streams {
        read_until(stream, "\r\n\r\n");
    }
    streams
}

/// Asserts that a stream is cut off: the connection closes without the end of the chunked body.
pub fn assert_cut_off(stream: &mut TcpStream) {
    let (rest, ended) = raw::read_response(stream, |_| false);
    assert!(ended && !rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
}

/// Contract 10.21.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_off_when_its_session_ends_or_is_replaced() {
    let entry = json!({"allow": ["GET /events"], "timeouts": {"total": null}});
    let app = TestApp::builder().graph_entry(entry).start().await;
    let mut ada = app.signed_in(ADA).await;
    let other = app.signed_in(ADA).await;
    let mut of_ada = streams(&app, &ada, 2).await;
    let mut of_other = streams(&app, &other, 1).await;
    assert_eq!(ada.fetch("POST", "/auth/logout").await.status, 200);
    of_ada.iter_mut().for_each(assert_cut_off);
    let mut of_other = of_other.remove(0);
    eventually(&app, "ended at the API", async || (app.graph.send_event("continues") == 1).then_some(())).await;
    read_until(&mut of_other, "data: continues\n\n");
    let mut same_browser = other.clone();
    assert_eq!(same_browser.sign_in(&app.provider, GRACE, "/").await.header("location"), Some("/"));
    assert_cut_off(&mut of_other);
    let mut of_grace = streams(&app, &same_browser, 1).await;
    eventually(&app, "the only stream", async || (app.graph.send_event("new") == 1).then_some(())).await;
    read_until(&mut of_grace[0], "data: new\n\n");
}

/// Contract 10.21: such a response does not stream any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_complete_with_its_head_passes_after_a_sign_out() {
    let app = TestApp::start().await;
    let mut ada = app.signed_in(ADA).await;
    let before = app.graph.count();
    let mut call = begin(&app, &ada, "GET", "/graph/slow?first=1500&total=1500", "");
    let started = Instant::now();
    while app.graph.count() == before {
        assert!(started.elapsed() < PATIENCE, "{}", app.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ada.fetch("POST", "/auth/logout").await.status, 200);
    let response = read_until(&mut call, "\r\n0\r\n\r\n");
    assert!(raw::status(&response) == 200 && response.contains("chunk 0"), "{response}");
}

/// Contract 10.21.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_off_at_the_absolute_expiry_of_its_session() {
    let entry = json!({"allow": ["GET /events"], "timeouts": {"total": null}});
    let short = TestApp::builder().graph_entry(entry).set("SESSION_IDLE", "3s").set("SESSION_MAX", "3s");
    let app = short.start().await;
    let ada = app.signed_in(ADA).await;
    let mut of_ada = streams(&app, &ada, 1).await;
    app.graph.send_event("before");
    read_until(&mut of_ada[0], "data: before\n\n");
    assert_cut_off(&mut of_ada[0]);
    assert_eq!(ada.clone().fetch("GET", "/graph/events").await.code(), "session_expired");
}

/// The memory of a process in KiB.
#[cfg(not(target_os = "linux"))]
fn memory(pid: u32) -> u64 {
    let listed = std::process::Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().trim().parse().unwrap()
}

/// The memory of a process in KiB.
#[cfg(target_os = "linux")]
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The peak memory of a process while a future runs.
async fn peak(pid: u32, work: impl Future<Output = ()>) -> u64 {
    let running = Arc::new(AtomicBool::new(true));
    let continues = Arc::clone(&running);
    let watcher = std::thread::spawn(move || {
        let mut most = 0;
        while continues.load(Ordering::Relaxed) {
            most = most.max(memory(pid));
            std::thread::sleep(Duration::from_millis(2));
        }
        most
    });
    work.await;
    running.store(false, Ordering::Relaxed);
    watcher.join().unwrap()
}

/// Streams so many bytes up and down, and returns the growth of the gateway's memory in KiB.
pub async fn growth(size: usize) -> u64 {
    let allow = ["PUT /echo/**", "GET /bytes"];
    let entry = json!({"allow": allow, "max_body": 200 * MEGABYTE, "timeouts": {"total": null}});
    let app = TestApp::builder().graph_entry(entry).start().await;
    let mut visitor = app.signed_in(ADA).await;
    // A first round allocates buffers, connections and code pages.
    for _ in 0..3 {
        both_ways(&app, &mut visitor, MEGABYTE).await;
    }
    let before = memory(app.pid());
    peak(app.pid(), both_ways(&app, &mut visitor, size)).await.saturating_sub(before)
}

async fn both_ways(app: &TestApp, visitor: &mut Visitor, size: usize) {
    let headers = [&CALL[..], &[("content-type", "application/octet-stream")]].concat();
    let before = app.graph.body_bytes();
    assert_eq!(visitor.send("PUT", "/graph/echo/up", &headers, vec![b'x'; size]).await.status, 200);
    assert_eq!(app.graph.body_bytes() - before, size as u64);
    assert_eq!(visitor.fetch("GET", &format!("/graph/bytes?n={size}")).await.body.len(), size);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_do_not_grow_memory() {
    let growth = growth(20 * MEGABYTE).await;
    assert!(growth <= GROWTH, "{growth} KiB for 20 MB up and down");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_and_writers_do_not_affect_others() {
    const EACH: usize = 16;
    /// Per reader or writer, in KiB.
    const SHARE: u64 = 512;
    let app = TestApp::builder().graph_entry(json!({"allow": ["PUT /echo/**", "GET /bytes", "GET /me"]})).start().await;
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(visitor.fetch("GET", "/graph/bytes?n=1000000").await.status, 200);
    let before = memory(app.pid());
    let came = app.graph.count();
    let target = format!("/graph/bytes?n={}", 100 * MEGABYTE);
    let readers: Vec<_> = (0..EACH).map(|_| begin(&app, &visitor, "GET", &target, "")).collect();
    let length = "Content-Length: 1000000\r\n";
    let mut writers: Vec<_> = (0..EACH).map(|_| begin(&app, &visitor, "PUT", "/graph/echo/x", length)).collect();
    let started = Instant::now();
    while app.graph.count() < came + 2 * EACH as u64 {
        assert!(started.elapsed() < PATIENCE, "{}", app.log());
        for writer in &mut writers {
            writer.write_all(b"x").unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let most = peak(app.pid(), async {
        for _ in 0..50 {
            assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "others continue");
        }
    })
    .await;
    let growth = most.saturating_sub(before);
    assert!(growth <= SHARE * EACH as u64, "{growth} KiB for {EACH} readers of 100 MB each");
    drop((readers, writers));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_body_is_rejected_without_affecting_others() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let framings = [("Content-Length: 1000\r\n", "hello"), ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n")];
    let stopped = framings.map(|(framing, part)| {
        let mut stream = begin(&app, &visitor, "PUT", "/graph/echo/x", framing);
        stream.write_all(part.as_bytes()).unwrap();
        stream
    });
    for _ in 0..20 {
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    }
    for mut stream in stopped {
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let (response, ended) = raw::read_response(&mut stream, |_| false);
        let response = String::from_utf8_lossy(&response).into_owned();
        assert!(ended && raw::status(&response) == 400 && response.contains("the request body stalled"), "{response}");
    }
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_100_continue_is_sent_only_if_the_call_is_forwarded() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    let waits = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    let mut stream = begin(&app, &visitor, "PUT", "/graph/echo/x", waits);
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    let response = read_until(&mut stream, "hello");
    assert_eq!(raw::status(&response), 200, "{response}");
    assert_eq!(app.graph.requests().pop().unwrap().header("expect"), None);
    let response = read_until(&mut begin(&app, &visitor, "PUT", "/graph/nowhere", waits), "\r\n\r\n");
    assert_eq!(raw::status(&response), 404, "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_in_neither_direction() {
    let api = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1.0", api.local_addr().unwrap());
    let app = TestApp::builder().graph_entry(json!({"base": base})).start().await;
    let visitor = app.signed_in(ADA).await;
    let received = std::thread::spawn(move || {
        let mut stream = api.accept().unwrap().0;
        let received = read_until(&mut stream, "\r\n0\r\n\r\n");
        let response =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n";
        stream.write_all(response.as_bytes()).unwrap();
        received.to_lowercase()
    });
    let chunked = "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n";
    let mut stream = begin(&app, &visitor, "PUT", "/graph/echo/x", chunked);
    stream.write_all(b"5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n").unwrap();
    let response = read_until(&mut stream, "\r\n0\r\n\r\n").to_lowercase();
    let received = received.join().unwrap();
    assert!(received.contains("hello") && !received.contains("x-late"), "{received}");
    assert!(response.contains("ok") && !response.contains("x-late"), "{response}");
}
