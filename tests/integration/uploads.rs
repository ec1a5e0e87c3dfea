//! Uploads whose response comes before the body has been read (contract 11.12), through the host in both modes. The
//! host reads a response only after it has sent the whole body, as the real one does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use devkit::commands::stack::free_port;
use devkit::host::Mode;
use serde_json::json;

use crate::app::{Gateway, Reach, TestApp};
use crate::raw;

const ADA: &str = "ada.lovelace@contoso.example";
const SIZES: [usize; 4] = [1_024, 200 * 1_024, 3 * 1_024 * 1_024, 30 * 1_024 * 1_024];

/// An API that responds to a request head with 409 and then closes its connection or stops reading.
fn early_api(closes: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
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
    port
}

/// Sends a POST and then another request on the same connection; returns both statuses.
fn post(port: u16, target: &str, lines: &str, size: usize, chunked: bool) -> (u16, u16) {
    let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {size}") };
    let content = "Content-Type: application/octet-stream\r\nSec-Fetch-Site: same-origin\r\n";
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{content}{lines}{framing}\r\n\r\n");
    let mut body = vec![b'x'; size];
    if chunked {
        body = [format!("{size:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    }
    let mut wire = raw::Wire::to(port);
    let first = raw::status(&wire.exchange(&[head.as_bytes(), &body].concat()));
    let next = wire.exchange(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    (first, raw::status(&next))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_response_reaches_the_client_at_the_first_attempt() {
    let (closing, silent) = (early_api(true), early_api(false));
    for mode in [Mode::Forward, Mode::Proxy] {
        let api = |port: u16| {
            json!({"base": format!("http://127.0.0.1:{port}"), "scopes": ["api://orders/Orders.Read"],
                "allow": ["POST /**"], "max_body": 200_000_000})
        };
        let apis = json!({"closing": api(closing), "silent": api(silent)});
        let entry = json!({"allow": ["POST /**"], "max_body": 1_000});
        let app = TestApp::builder().reach(Reach::Host(mode)).graph_entry(entry).other_apis(apis).start().await;
        let cookie = format!("Cookie: {}\r\n", app.signed_in(ADA).await.cookie_header());
        let guarded = format!("{cookie}X-CSRF: 1\r\n");
        let mut findings = Vec::new();
        for (target, lines, expected) in [
            ("/graph/echo/x", "X-CSRF: 1\r\n", 401),
            ("/graph/echo/x", &*cookie, 403),
            ("/graph/echo/x", &*guarded, 413),
            ("/auth/session", &*guarded, 405),
            ("/api/closing/x", &*guarded, 409),
            ("/api/silent/x", &*guarded, 409),
        ] {
            for size in SIZES {
                for chunked in [false, true] {
                    // Forwarding mode has no chunked bodies.
                    if chunked && mode == Mode::Forward {
                        continue;
                    }
                    let got = post(app.port, target, lines, size, chunked);
                    if got != (expected, 200) {
                        findings.push(format!("{target} {expected}, {size} bytes, chunked {chunked}: {got:?}"));
                    }
                }
            }
        }
        assert!(findings.is_empty(), "{mode:?}\n{}", findings.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_100_follows_a_final_response_and_the_connection_closes() {
    let app = TestApp::start().await;
    let head = "POST /graph/echo/x HTTP/1.1\r\nHost: localhost\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\nExpect: 100-continue\r\n\
        Content-Length: 300000\r\n\r\n";
    let mut stream = raw::open(app.port);
    stream.write_all(head.as_bytes()).unwrap();
    let (response, _) = raw::read_response(&mut stream, |bytes| bytes.ends_with(b"}"));
    let response = String::from_utf8_lossy(&response).to_lowercase();
    assert!(raw::status(&response.replacen("http", "HTTP", 1)) == 401, "{response}");
    assert!(response.contains("\r\nconnection: close\r\n") && !response.contains("100 continue"), "{response}");
    // A client that sends the body all the same is not reset.
    stream.write_all(&vec![b'x'; 300_000]).unwrap();
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0, "nothing follows the response");
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
    assert!(code == Some(143) && !log.contains("still in flight"), "{code:?} {log}");
}
