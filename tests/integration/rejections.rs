//! A call that is not allowed is rejected before its body is read, and the API is not contacted (contract 8.7, 9.8).

use std::io::Write;
use std::time::Duration;

use crate::app::{TestApp, every_reach};
use crate::raw;
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace@contoso.example";
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE"];
/// Headers of a `fetch` by the page.
const OWN: &str = "X-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n";
/// Shorter than the gateway waits for a body: a response within it has not waited for one.
const AT_ONCE: Duration = Duration::from_secs(12);

/// Headers of a body that is never sent.
const AWAITED: [&str; 2] = ["Content-Length: 100000\r\n", "Transfer-Encoding: chunked\r\n"];

/// Sends a request head and returns status and error code of the response.
fn status_and_code(port: u16, head: &str) -> (u16, String) {
    let mut stream = raw::open(port);
    stream.set_read_timeout(Some(AT_ONCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let (response, _) = raw::read_response(&mut stream, |response| response.windows(4).any(|end| end == b"\r\n\r\n"));
    let response = String::from_utf8_lossy(&response).into_owned();
    let code = response.lines().find_map(|line| line.strip_prefix("cloakroom-error: ")).unwrap_or("-").to_owned();
    (raw::status(&response), code)
}

/// Cookies without a valid session: none, garbage, truncated, with another name, duplicated.
fn no_sessions(visitor: &Visitor) -> Vec<(String, &'static str)> {
    let (name, value) = visitor.jar.first_key_value().unwrap();
    let cut = &value[..value.len() - 1];
    let line = |cookies: String| format!("Cookie: {cookies}\r\n");
    vec![
        (String::new(), "session_missing"),
        (line("other=1".to_owned()), "session_missing"),
        (line(format!("x{name}={value}")), "session_missing"),
        (line(format!("{}={value}", name.to_lowercase())), "session_missing"),
        (line(format!("{name}=")), "session_expired"),
        (line(format!("{name}=x")), "session_expired"),
        (line(format!("{name}={cut}")), "session_expired"),
        (line(format!("{name}={value}x")), "session_expired"),
        (line(format!("{name}={value}; {name}={cut}")), "session_expired"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_no_method_body_or_header_reaches_the_api() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    let sessions = no_sessions(&visitor);
    let others = ["", "Authorization: Bearer x\r\n", "Authorization: Basic eDp4\r\nX-MS-TOKEN-AAD-ACCESS-TOKEN: x\r\n"];
    app.graph.clear_requests();
    let (count, bytes) = (app.graph.count(), app.graph.body_bytes());
    for method in METHODS {
        for ((cookie, code), other) in sessions.iter().flat_map(|session| others.map(|other| (session, other))) {
            let bodies = [
                "\r\n",
                "Content-Length: 5\r\n\r\nhello",
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "Content-Length: 100000\r\n\r\n",
            ];
            for body in bodies {
                let origin = format!("Origin: {}\r\n", app.origin);
                let head =
                    format!("{method} /graph/echo/x HTTP/1.1\r\nHost: localhost\r\n{OWN}{origin}{cookie}{other}{body}");
                assert_eq!(status_and_code(app.port, &head), (401, (*code).to_owned()), "{head}");
            }
        }
    }
    assert_eq!((app.graph.count(), app.graph.body_bytes()), (count, bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_do_not_wait_for_the_body() {
    let app = TestApp::start().await;
    let cookie = format!("Cookie: {}\r\n", app.signed_in(ADA).await.cookie_header());
    let (count, bytes) = (app.graph.count(), app.graph.body_bytes());
    for awaited in AWAITED {
        for (method, path, headers, status, code) in [
            ("POST", "/graph/echo/x", cookie.clone(), 403, "origin_denied"),
            ("POST", "/graph/echo/x", format!("{cookie}Sec-Fetch-Site: same-origin\r\n"), 403, "csrf_failed"),
            (
                "POST",
                "/graph/echo/x",
                format!("{cookie}X-CSRF: 1\r\nSec-Fetch-Site: cross-site\r\n"),
                403,
                "origin_denied",
            ),
            ("PUT", "/graph/echo/x", format!("{cookie}X-CSRF: 1\r\nOrigin: null\r\n"), 403, "origin_denied"),
            ("POST", "/auth/refresh", format!("{cookie}Sec-Fetch-Site: cross-site\r\n"), 403, "origin_denied"),
            ("POST", "/graph/echo/x", OWN.to_owned(), 401, "session_missing"),
            ("POST", "/graph/nothing", format!("{cookie}{OWN}"), 404, "route_denied"),
            ("DELETE", "/graph/me", format!("{cookie}{OWN}"), 405, "method_denied"),
            ("POST", "/graph/a%2Fb", format!("{cookie}{OWN}"), 400, "bad_request"),
        ] {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{awaited}\r\n");
            assert_eq!(status_and_code(app.port, &head), (status, code.to_owned()), "{head}");
        }
    }
    assert_eq!((app.graph.count(), app.graph.body_bytes()), (count, bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_host_no_call_is_forwarded_without_a_session() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let before = app.graph.body_bytes();
        for method in METHODS {
            for more in [&[][..], &[("authorization", "Bearer x")], &[("cookie", "__Host-Http-cloakroom=x")]] {
                for body in ["", "hello"] {
                    let headers = [&crate::visitor::CALL[..], &[("origin", app.origin.as_str())], more].concat();
                    let response = app.visitor().send(method, "/graph/echo/x", &headers, body).await;
                    assert_eq!(response.status, 401, "{reach:?} {method} {more:?}: {}", response.text());
                }
            }
        }
        assert_eq!((app.graph.count(), app.graph.body_bytes()), (0, before), "{reach:?}");
    }
}
