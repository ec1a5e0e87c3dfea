//! Uploads whose response comes before the body has been read (contract 11.12), directly and through the host in both
//! modes. The host reads a response only after it has sent the whole body, as the real one does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use devkit::commands::stack::free_port;
use devkit::host::Mode;
use serde_json::json;

use crate::app::{Gateway, Reach, TestApp, every_reach, is_standalone};
use crate::raw;

const ADA: &str = "ada.lovelace@contoso.example";
/// How a script's call and a form are recognized.
const SCRIPT: &str = "Content-Type: application/octet-stream\r\nSec-Fetch-Site: same-origin\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Mode: navigate\r\n";
const SIZES: [usize; 4] = [1_024, 200 * 1_024, 3 * 1_024 * 1_024, 30 * 1_024 * 1_024];

/// An API that responds to a request head with 409 and then closes its connection or stops reading.
struct EarlyApi {
    port: u16,
    /// How many it has accepted: one per request.
    connections: Arc<AtomicUsize>,
}

impl EarlyApi {
    fn start(closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let accepted = Arc::clone(&connections);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                accepted.fetch_add(1, Ordering::Relaxed);
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut part = [0; 1_024];
                while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
                    match stream.read(&mut part) {
                        Ok(read) if read > 0 => head.extend_from_slice(&part[..read]),
                        _ => break,
                    }
                }
                // Without `Connection: close` the gateway would use the connection again.
                let response = b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly";
                let _ = stream.write_all(response);
                if closes {
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                }
                open.push(stream);
                if closes {
                    // Closing with unread bytes would reset the connection and could destroy the response.
                    let closing: Vec<TcpStream> = std::mem::take(&mut open);
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(300));
                        drop(closing);
                    });
                }
            }
        });
        Self { port, connections }
    }
}

/// Sends a POST and then another request on the same connection; returns both statuses.
fn post(port: u16, Row { target, kind, lines, .. }: &Row<'_>, size: usize, chunked: bool) -> (u16, u16) {
    let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {size}") };
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{kind}{lines}{framing}\r\n\r\n");
    let mut body = vec![b'x'; size];
    if chunked {
        body = [format!("{size:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    }
    let mut stream = raw::open(port);
    let first = raw::status(&raw::exchange_on(&mut stream, &[head.as_bytes(), &body].concat()));
    let next = raw::exchange_on(&mut stream, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    (first, raw::status(&next))
}

/// What a POST is rejected with, and by whom: the gateway, or an API that responds early.
struct Row<'a> {
    target: &'a str,
    /// The header lines by which it is a script's or a form's.
    kind: &'a str,
    lines: &'a str,
    status: u16,
    /// The gateway's code, which is also in its log.
    code: Option<&'a str>,
}

/// Rejections of every kind; `cookie` is that of a session.
fn rows<'a>(cookie: &'a str, guarded: &'a str) -> [Row<'a>; 6] {
    let row = |target, lines, status, code| Row { target, kind: SCRIPT, lines, status, code };
    [
        row("/graph/echo/x", "X-CSRF: 1\r\n", 401, Some("session_missing")),
        row("/graph/echo/x", cookie, 403, Some("csrf_failed")),
        row("/graph/echo/x", guarded, 413, Some("body_too_large")),
        row("/auth/session", guarded, 405, Some("method_denied")),
        row("/api/closing/x", guarded, 409, None),
        row("/api/silent/x", guarded, 409, None),
    ]
}

/// Forms, of which the gateway reads at most 64 KiB (contract 3.9b), and nothing if the head decides (3.12, 3.13).
const FORMS: [Row<'_>; 5] = {
    const fn row(target: &'static str, lines: &'static str, status: u16, code: Option<&'static str>) -> Row<'static> {
        Row { target, kind: FORM, lines, status, code }
    }
    [
        row("/auth/callback", "Sec-Fetch-Site: cross-site\r\n", 413, Some("body_too_large")),
        row("/auth/logout", "", 413, Some("body_too_large")),
        row("/auth/logout", "Sec-Fetch-Site: cross-site\r\n", 403, Some("origin_denied")),
        row("/auth/logout", "Sec-Fetch-Site: same-origin\r\n", 303, None),
        Row { kind: SCRIPT, ..row("/auth/logout", "", 403, Some("csrf_failed")) },
    ]
};

/// Sends each row in each size and framing. Returns how many requests each row is, and those without its status or
/// without a response to the next request on the connection.
fn post_all(app: &TestApp, reach: Reach, rows: &[Row<'_>], sizes: &[usize]) -> (usize, Vec<String>) {
    // Forwarding mode has no chunked bodies.
    let framings = if reach == Reach::Host(Mode::Forward) { &[false][..] } else { &[false, true] };
    let mut findings = Vec::new();
    for row in rows {
        for (size, chunked) in sizes.iter().flat_map(|size| framings.iter().map(move |chunked| (*size, *chunked))) {
            let got = post(app.port, row, size, chunked);
            if got != (row.status, 200) {
                let Row { target, lines, status, .. } = row;
                findings.push(format!("{target} {lines:?} {status}, {size} bytes, chunked {chunked}: {got:?}"));
            }
        }
    }
    (sizes.len() * framings.len(), findings)
}

/// Compares how many requests the gateway has rejected with those that were sent: the host repeats none.
async fn assert_rejected_once(app: &TestApp, reach: Reach, rows: &[Row<'_>], once: usize) {
    // The log has its lines in order, so all others are there.
    assert_eq!(app.visitor().fetch("GET", "/auth/login").await.code(), "navigation_required");
    app.wait_for_log("navigation_required").await;
    let log = app.log();
    for code in rows.iter().filter_map(|row| row.code) {
        let sent = rows.iter().filter(|row| row.code == Some(code)).count() * once;
        let member = format!(r#""code":"{code}""#);
        let rejected = log.lines().filter(|line| line.contains("request rejected") && line.contains(&member)).count();
        assert_eq!(rejected, sent, "{reach:?}: requests rejected with {code}");
    }
}

/// A gateway with both early APIs and a small limit for Graph; a session's `Cookie` line.
async fn start(reach: Reach, closing: &EarlyApi, silent: &EarlyApi) -> (TestApp, String) {
    let api = |api: &EarlyApi| {
        json!({"base": format!("http://127.0.0.1:{}", api.port), "scopes": ["api://orders/Orders.Read"],
            "allow": ["POST /**"], "max_body": 200_000_000})
    };
    let apis = json!({"closing": api(closing), "silent": api(silent)});
    let entry = json!({"allow": ["POST /**"], "max_body": 1_000});
    let app = TestApp::builder().reach(reach).graph_entry(entry).other_apis(apis).start().await;
    let cookie = format!("Cookie: {}\r\n", app.signed_in(ADA).await.cookie_header());
    (app, cookie)
}

/// Each POST reaches the gateway once, and an early API once: the host has nothing to repeat. Without the host, the
/// second request is on the connection whose body the gateway discarded.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_response_reaches_the_client_at_the_first_attempt() {
    for reach in every_reach() {
        let (closing, silent) = (EarlyApi::start(true), EarlyApi::start(false));
        let (app, cookie) = start(reach, &closing, &silent).await;
        let guarded = format!("{cookie}X-CSRF: 1\r\n");
        let rows = rows(&cookie, &guarded);
        let (once, findings) = post_all(&app, reach, &rows, &SIZES);
        assert!(findings.is_empty(), "{reach:?}\n{}", findings.join("\n"));
        assert_rejected_once(&app, reach, &rows, once).await;
        for (name, api) in [("closing", &closing), ("silent", &silent)] {
            assert_eq!(api.connections.load(Ordering::Relaxed), once, "{reach:?}: requests to the {name} API");
        }
    }
}

/// The same for forms that are too long, and for those that are decided before they are read.
#[tokio::test(flavor = "multi_thread")]
async fn the_response_to_a_long_form_reaches_the_client_at_the_first_attempt() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).set("RESPONSE_MODE", "form_post").start().await;
        let (once, findings) = post_all(&app, reach, &FORMS, &SIZES[1..]);
        assert!(findings.is_empty(), "{reach:?}\n{}", findings.join("\n"));
        assert_rejected_once(&app, reach, &FORMS, once).await;
    }
}

/// Contract 11.12. An early API may respond after the gateway has sent its 100; then none follows the response, and the
/// connection is used again.
#[tokio::test(flavor = "multi_thread")]
async fn no_100_follows_a_final_response_and_the_connection_closes() {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let (closing, silent) = (EarlyApi::start(true), EarlyApi::start(false));
    let (app, cookie) = start(Reach::Direct, &closing, &silent).await;
    let guarded = format!("{cookie}X-CSRF: 1\r\n");
    for Row { target, lines, status, code, .. } in rows(&cookie, &guarded) {
        let mut stream = raw::open(app.port);
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n{lines}\
             Expect: 100-continue\r\nContent-Length: 300000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let last = |bytes: &[u8]| raw::is_whole(bytes.strip_prefix(CONTINUE).unwrap_or(bytes));
        let (response, _) = raw::read_response(&mut stream, last);
        let last = response.strip_prefix(CONTINUE);
        let was_continued = last.is_some();
        let response = String::from_utf8_lossy(last.unwrap_or(&response)).into_owned();
        assert_eq!(raw::status(&response), status, "{target}: {response}");
        assert!(!response.contains("100 Continue"), "{target}: {response}");
        assert!(!was_continued || code.is_none(), "{target}: the body of a rejected request is not read");
        let closes = response.to_lowercase().contains("\r\nconnection: close\r\n");
        assert_eq!(closes, !was_continued, "{target}: {response}");
        // A client that sends the body all the same is not reset.
        stream.write_all(&vec![b'x'; 300_000]).unwrap();
        if closes {
            let mut rest = Vec::new();
            assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0, "{target}: nothing follows the response");
        } else {
            let next = raw::exchange_on(&mut stream, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(raw::status(&next), 200, "{target}: {next}");
        }
    }
}

/// Contract 11.12: at shutdown a connection that discards counts as in flight.
#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_a_connection_that_discards_is_finished() {
    let app = TestApp::start().await;
    let port = free_port().unwrap();
    let mut gateway = Gateway::start(&app.settings, port);
    let mut stream = raw::open(port);
    let head = "POST /graph/echo/x HTTP/1.1\r\nHost: localhost\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\
        Content-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let (response, _) = raw::read_response(&mut stream, |bytes| bytes.ends_with(b"}"));
    assert_eq!(raw::status(&String::from_utf8_lossy(&response)), 401);
    let ending = std::thread::spawn(move || (gateway.end_by("-TERM"), gateway.log()));
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // A process that does not wait for the body ends within this time.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!ending.is_finished());
    stream.write_all(&[b'x'; 1_000]).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the connection is not reset");
    let (code, log) = ending.join().unwrap();
    let expected = if is_standalone() { 0 } else { 143 };
    assert!(code == Some(expected) && !log.contains("still in flight"), "{code:?} {log}");
}
