//! What handler and client get in forwarding and in proxying mode.

use serde_json::json;

use super::support::{Project, Recorder, body, exchange, get, send, stage, started, status, values};
use crate::host::Mode::{self, Forward, Proxy};
use crate::host::Options;

/// The values of a header line by mode.
type Values = &'static [&'static str];

fn check(message: &str, mode: Mode, expected: &[(&str, Values, Values)]) {
    for (name, forward, proxy) in expected {
        let expected = if mode == Forward { forward } else { proxy };
        assert_eq!(values(message, name), *expected, "{name}, {mode:?}");
    }
}

#[tokio::test]
async fn request_headers_arrive_as_measured() {
    let lines = "User-Agent: Mozilla/5.0 (X11) Gecko/1\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=1\r\nCookie: b=2\r\n\
        Connection: keep-alive\r\nUpgrade: h2c\r\nTE: trailers\r\nSec-Fetch-Site: same-origin\r\nRange: bytes=0-1\r\n\
        X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: evil.example\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /p\r\nForwarded: for=6.6.6.6\r\n\
        X-Azure-Functions-HostVersion: spoof\r\nX-Azure-Functions-InvocationId: a\r\n\
        X-Azure-Functions-InvocationId: spoof\r\nX-Ms-Invocation-Id: spoof\r\nLast-Modified: now\r\n\
        Content-Encoding: gzip\r\nContent-Type: text/plain\r\n";
    for mode in [Forward, Proxy] {
        let (_project, recorder, host) = stage(mode, Recorder::ok().await).await;
        send(&host, "PROPFIND /x", lines, "abc").await;
        let seen = recorder.last();
        assert!(seen.starts_with("PROPFIND /x HTTP/1.1\r\n"));
        assert_eq!(body(&seen), "abc");
        let own_host = format!("127.0.0.1:{}", recorder.port);
        assert_eq!(values(&seen, "host"), [if mode == Forward { "app.example" } else { &own_host }]);
        let id = values(&seen, "x-azure-functions-invocationid")[0];
        let id = if mode == Forward { id.strip_prefix("a, spoof, ").unwrap() } else { id };
        assert_eq!(id.len(), 36);
        assert_eq!(values(&seen, "x-ms-invocation-id"), [if mode == Forward { "spoof" } else { id }]);
        check(
            &seen,
            mode,
            &[
                (
                    "user-agent",
                    &["Mozilla/5.0 (X11) Gecko/1 Azure-Functions-Host/4.1037.0.0"],
                    &["Mozilla/5.0 (X11) Gecko/1"],
                ),
                ("x-azure-functions-hostversion", &["spoof, 4.1037.0.0"], &["4.1037.0.0"]),
                ("x-a", &["1, 2"], &["1, 2"]),
                ("cookie", &["a=1; b=2"], &["a=1; b=2"]),
                ("sec-fetch-site", &["same-origin"], &["same-origin"]),
                ("range", &["bytes=0-1"], &["bytes=0-1"]),
                ("connection", &["keep-alive"], &[]),
                ("upgrade", &["h2c"], &[]),
                ("te", &["trailers"], &[]),
                ("x-forwarded-for", &["6.6.6.6, 7.7.7.7"], &["127.0.0.1"]),
                ("x-forwarded-host", &["evil.example"], &["app.example"]),
                ("x-forwarded-proto", &["https"], &["http"]),
                ("x-forwarded-prefix", &["/p"], &[]),
                ("forwarded", &["for=6.6.6.6"], &[]),
                ("content-type", &["text/plain"], &["text/plain"]),
                ("content-length", &["3"], &["3"]),
                ("content-encoding", &[], &["gzip"]),
                ("last-modified", &[], &["now"]),
                ("transfer-encoding", &[], &[]),
            ],
        );
        send(&host, "POST /x", "Content-Type: text/plain\r\n", "").await;
        check(&recorder.last(), mode, &[("content-type", &[], &["text/plain"])]);
    }
}

#[tokio::test]
async fn responses_keep_their_lines() {
    for (mode, framing) in [
        (Forward, "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"),
        (Proxy, "Content-Length: 6\r\n\r\nabcdef"),
    ] {
        let head = "HTTP/1.1 299 Quite Fine\r\nSet-Cookie: a=1\r\nVary: A\r\nSet-Cookie: b=2\r\nVary: B\r\n\
            Keep-Alive: timeout=5\r\nAlt-Svc: h3\r\nX-Frame-Options: OWN\r\nLocation: ../there\r\n\
            Content-Encoding: gzip\r\n";
        let recorder = Recorder::start(move |_, _| format!("{head}{framing}").into_bytes()).await;
        let project = Project::with_all();
        project.configure(
            &json!({"description": {"defaultExecutablePath": "handler"}}),
            &json!({"routePrefix": "", "customHeaders": {"X-Frame-Options": "DENY", "X-Added": "yes"}}),
        );
        let host = project.start(&recorder, mode).await;
        let response = get(&host, "/x").await;
        assert!(response.starts_with("HTTP/1.1 299 Quite Fine\r\n"), "{response}");
        assert_eq!(body(&response), "abcdef");
        check(
            &response,
            mode,
            &[
                ("set-cookie", &["a=1", "b=2"], &["a=1", "b=2"]),
                ("vary", &["A", "B"], &["A", "B"]),
                ("x-frame-options", &["OWN"], &["OWN"]),
                ("x-added", &["yes"], &["yes"]),
                ("location", &["../there"], &["../there"]),
                ("content-encoding", &["gzip"], &["gzip"]),
                ("content-length", &["6"], &["6"]),
                ("transfer-encoding", &[], &[]),
                ("keep-alive", &["timeout=5"], &[]),
                ("alt-svc", &["h3"], &[]),
                ("server", &["Kestrel"], &["Kestrel"]),
            ],
        );
    }
}

#[tokio::test]
async fn bodiless_responses_keep_the_handlers_length() {
    let recorder = Recorder::start(|_, request| {
        let head = if request.starts_with("HEAD") { "200 OK" } else { "304 Not Modified" };
        format!("HTTP/1.1 {head}\r\nContent-Length: 10\r\n\r\n").into_bytes()
    });
    let (_project, _recorder, host) = stage(Forward, recorder.await).await;
    for (method, expected) in [("HEAD", "200"), ("GET", "304")] {
        let response = exchange(&host, &format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!((status(&response), values(&response, "content-length")), (expected, vec!["10"]));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_500() {
    let (project, recorder, _host) = stage(Forward, Recorder::ok().await).await;
    for mode in [Forward, Proxy] {
        let options = project.options_with(mode, &[("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "4")]);
        let host = started(options, recorder.port).await;
        let before = recorder.requests().len();
        assert_eq!(status(&send(&host, "POST /x", "", "1234").await), "200");
        assert_eq!(status(&send(&host, "POST /x", "", "12345").await), "500");
        assert_eq!(recorder.requests().len(), before + 1);
        let chunked = send(&host, "POST /x", "Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n0\r\n\r\n").await;
        assert_eq!(status(&chunked), "500");
    }
}

#[tokio::test]
async fn the_front_end_of_app_service_adds_its_headers() {
    let (project, recorder, _host) = stage(Forward, Recorder::ok().await).await;
    for mode in [Forward, Proxy] {
        let host = started(Options { front_end_azure: true, ..project.options(mode) }, recorder.port).await;
        send(&host, "GET /a%2541", "X-Forwarded-For: 6.6.6.6\r\nX-Original-Url: /spoof\r\n", "").await;
        check(
            &recorder.last(),
            mode,
            &[
                ("x-original-url", &["/a%2541"], &["/a%2541"]),
                ("x-forwarded-for", &["6.6.6.6, 1.2.3.4:56789"], &["127.0.0.1"]),
                ("client-ip", &["1.2.3.4:56789"], &["1.2.3.4:56789"]),
                ("max-forwards", &["10"], &["10"]),
                ("x-forwarded-proto", &["https"], &["https"]),
                ("disguised-host", &["app.example"], &["app.example"]),
            ],
        );
    }
}
