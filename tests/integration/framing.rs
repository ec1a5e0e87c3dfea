//! Requests with ambiguous framing, each on its own connection: one request at the API, or an error and a closed
//! connection, never a second, smuggled request.

use crate::app::TestApp;
use crate::raw;

const ADA: &str = "ada.lovelace@contoso.example";

/// The expected result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is rejected and the connection closed; the API gets nothing.
    Rejected,
    /// The API gets it once, and the connection stays open.
    Once,
    /// The API gets it once, and the connection is closed.
    Last,
    /// The API may get its head, but never a complete body; it is rejected and the connection closed.
    Broken,
}

use Outcome::{Broken, Last, Once, Rejected};

/// Framings of a POST: headers, body, and the expected result.
fn framings() -> Vec<(&'static str, String, Outcome)> {
    let smuggled = "GET /graph/echo/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let in_chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let five = |body: &str| format!("5\r\nhello\r\n{body}");
    vec![
        // Lengths.
        ("Content-Length: 5\r\n", "hello".to_owned(), Once),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello".to_owned(), Once),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!".to_owned(), Rejected),
        ("Content-Length: 0\r\nContent-Length: 49\r\n", smuggled.to_owned(), Rejected),
        ("Content-Length: 5, 5\r\n", "hello".to_owned(), Rejected),
        ("Content-Length: 5,6\r\n", "hello!".to_owned(), Rejected),
        ("Content-Length: +5\r\n", "hello".to_owned(), Rejected),
        ("Content-Length: -1\r\n", "hello".to_owned(), Rejected),
        ("Content-Length: 0x5\r\n", "hello".to_owned(), Rejected),
        ("Content-Length: 5 5\r\n", "hello".to_owned(), Rejected),
        ("Content-Length: \r\n", "hello".to_owned(), Rejected),
        ("Content-Length: 99999999999999999999\r\n", "hello".to_owned(), Rejected),
        ("Content-Length : 5\r\n", "hello".to_owned(), Rejected),
        // A length and chunks.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", five("0\r\n\r\n"), Last),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", five("0\r\n\r\n"), Last),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", in_chunk.clone(), Last),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", in_chunk.clone(), Last),
        // Transfer codings.
        (chunked, five("0\r\n\r\n"), Once),
        (chunked, in_chunk, Once),
        ("Transfer-Encoding: CHUNKED\r\n", five("0\r\n\r\n"), Once),
        ("Transfer-Encoding: identity\r\n", "hello".to_owned(), Rejected),
        ("Transfer-Encoding: chunked, identity\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: identity, chunked\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: gzip, chunked\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: chunked, chunked\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: xchunked\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: \"chunked\"\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: chunked;a=b\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding: \u{b}chunked\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding : chunked\r\n", five("0\r\n\r\n"), Rejected),
        ("Transfer-Encoding:\r\n chunked\r\n", five("0\r\n\r\n"), Rejected),
        // Lines.
        ("X: a\r\n Content-Length: 5\r\n", "hello".to_owned(), Rejected),
        ("X: a\r\n\tb\r\nContent-Length: 5\r\n", "hello".to_owned(), Rejected),
        ("X: a\rContent-Length: 5\r\n", "hello".to_owned(), Rejected),
        ("X: a\0b\r\nContent-Length: 5\r\n", "hello".to_owned(), Rejected),
        (": a\r\nContent-Length: 5\r\n", "hello".to_owned(), Rejected),
        ("X\r\nContent-Length: 5\r\n", "hello".to_owned(), Rejected),
        ("Host: y\r\nContent-Length: 5\r\n", "hello".to_owned(), Rejected),
        // Chunks.
        (chunked, "5;a=b\r\nhello\r\n0\r\n\r\n".to_owned(), Once),
        (chunked, "5\r\nhello\r\n0\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n".to_owned(), Once),
        (chunked, "-1\r\nhello\r\n0\r\n\r\n".to_owned(), Broken),
        (chunked, "0x5\r\nhello\r\n0\r\n\r\n".to_owned(), Broken),
        (chunked, "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n".to_owned(), Broken),
        (chunked, "5\nhello\r\n0\r\n\r\n".to_owned(), Broken),
        (chunked, "5\r\nhello0\r\n\r\n".to_owned(), Broken),
        (chunked, "3\r\nhello\r\n0\r\n\r\n".to_owned(), Broken),
        (chunked, "5;a=b\nc\r\nhello\r\n0\r\n\r\n".to_owned(), Broken),
        (chunked, format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(40_000)), Broken),
        (chunked, "\r\nhello\r\n0\r\n\r\n".to_owned(), Broken),
    ]
}

/// A round of that number: a POST with each framing, followed by another request. Returns what differs from the
/// expectation.
pub fn round(app: &TestApp, cookie: &str, round: usize) -> Vec<String> {
    let own = format!("Host: localhost\r\nCookie: {cookie}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n");
    let last = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut findings = Vec::new();
    // Each has its own path: the API may record an incomplete request only during the next one.
    for (number, (framing, body, outcome)) in (round * 1_000..).zip(framings()) {
        app.graph.clear_requests();
        let request = format!("POST /graph/echo/{number} HTTP/1.1\r\n{own}{framing}\r\n{body}{last}");
        let response = raw::exchange_to_the_end(app.port, request.as_bytes());
        let received: Vec<_> = app.graph.requests().into_iter().map(|one| (one.target, one.body_sha256)).collect();
        let (received, late): (Vec<_>, Vec<_>) =
            received.into_iter().partition(|(target, _)| *target == format!("/v1.0/echo/{number}"));
        let earlier = |target: &str| target.strip_prefix("/v1.0/echo/").and_then(|of| of.parse::<usize>().ok());
        let one = received.len() <= 1 && late.iter().all(|(target, _)| earlier(target).is_some_and(|of| of < number));
        let responses = response.matches("HTTP/1.1 ").count();
        let fits = match outcome {
            Rejected => received.is_empty() && responses == 1 && raw::status(&response) == 400,
            Once => received.len() == 1 && responses == 2 && raw::status(&response) == 200,
            Last => received.len() == 1 && responses == 1 && raw::status(&response) == 200,
            // The API records a digest for a complete body only.
            Broken => {
                received.iter().all(|(_, digest)| digest.is_empty()) && responses == 1 && raw::status(&response) == 400
            }
        };
        if !one || !fits {
            let body: String = body.chars().take(60).collect();
            findings.push(format!(
                "{framing:?} {body:?}: {outcome:?}, the API got {received:?} and late {late:?}: {response}"
            ));
        }
    }
    findings
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_framing_ends_the_connection_and_smuggles_nothing() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    let pid = app.pid();
    let findings = round(&app, &visitor.cookie_header(), 0);
    assert!(findings.is_empty(), "{} of them\n{}", findings.len(), findings.join("\n"));
    assert_eq!(app.pid(), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    app.graph.clear_requests();
    let own = format!(
        "Host: localhost\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n",
        visitor.cookie_header()
    );
    let request = |target: &str, more: &str, body: &str| format!("POST {target} HTTP/1.1\r\n{own}{more}\r\n{body}");
    let both = request("/graph/echo/first", "Content-Length: 5\r\n", "hello")
        + &request("/graph/echo/second", "Transfer-Encoding: chunked\r\nConnection: close\r\n", "2\r\nhi\r\n0\r\n\r\n");
    let response = raw::exchange_to_the_end(app.port, both.as_bytes());
    let (first, second) = (response.find("/v1.0/echo/first").unwrap(), response.find("/v1.0/echo/second").unwrap());
    assert!(first < second && response.matches("HTTP/1.1 200").count() == 2, "{response}");
    let received: Vec<_> = app.graph.requests().into_iter().map(|one| (one.target, one.body.to_vec())).collect();
    let expected =
        [("/v1.0/echo/first".to_owned(), b"hello".to_vec()), ("/v1.0/echo/second".to_owned(), b"hi".to_vec())];
    assert_eq!(received, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_a_path_ends_the_connection() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    app.graph.clear_requests();
    let own = format!(
        "Host: localhost\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\r\n",
        visitor.cookie_header()
    );
    let last = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for line in [
        "CONNECT graph.example:443 HTTP/1.1",
        "GET graph.example:443 HTTP/1.1",
        "GET http://localhost/graph/me HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET * HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET /graph/me HTTP/2.0",
        "GET /graph/me HTTP/0.9",
        "GET /graph/me",
        "GET  /graph/me HTTP/1.1",
        "GET /graph/me  HTTP/1.1",
        "GET\t/graph/me\tHTTP/1.1",
        "GET /graph/me HTTP/1.1 x",
        "G\u{0}T /graph/me HTTP/1.1",
        "GET /graph/me http/1.1",
    ] {
        let response = raw::exchange_to_the_end(app.port, format!("{line}\r\n{own}{last}").as_bytes());
        assert!([0, 400, 505].contains(&raw::status(&response)), "{line:?}: {response}");
        assert!(response.matches("HTTP/1.1 ").count() <= 1, "{line:?}: {response}");
    }
    for request in [
        format!("GET /graph/me HTTP/1.1\r\n{}{last}", own.strip_prefix("Host: localhost\r\n").unwrap()),
        format!("GET /graph/me HTTP/1.1\r\nHost: localhost\r\n{own}{last}"),
        format!("GET /graph/me HTTP/1.1\r\nHost: evil.example\r\n{own}{last}"),
    ] {
        let response = raw::exchange_to_the_end(app.port, request.as_bytes());
        assert_eq!((raw::status(&response), response.matches("HTTP/1.1 ").count()), (400, 1), "{request}: {response}");
    }
    assert_eq!(app.graph.count(), 0);
    // Methods that no API map lists are rejected; the connection may stay open.
    for method in ["TRACE", "CONNECT", "FOO", "get", "PROPFIND", "M-SEARCH"] {
        let request = format!("{method} /graph/me HTTP/1.1\r\n{own}{last}");
        let response = raw::exchange_to_the_end(app.port, request.as_bytes());
        assert!([403, 405].contains(&raw::status(&response)), "{method}: {response}");
    }
    assert_eq!(app.graph.count(), 0);
}
