//! Requests whose handler panics (contract 11.8), over a connection in memory.

use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::config::{Config, Vars};
use crate::reply::Body;
use crate::telemetry::current;
use crate::upstream::Upstream;

fn app() -> Arc<App> {
    app_with(&[])
}

fn app_with(more: &[(&str, &str)]) -> Arc<App> {
    let pairs = [
        ("AUTHORITY", "http://127.0.0.1:1"),
        ("CLIENT_ID", "app"),
        ("CLIENT_SECRET", "secret"),
        ("ENC_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("PUBLIC_ORIGIN", "http://localhost:7071"),
    ];
    let pairs = pairs.iter().chain(more);
    let vars: Vars = pairs.map(|(name, value)| (format!("CLOAKROOM_{name}"), (*value).to_owned())).collect();
    App::new(Config::from_vars(&vars).unwrap())
}

/// A connection to handlers that panic at two paths: in the call, or in the future that it returns.
fn connection(app: Arc<App>) -> DuplexStream {
    let routes = Arc::new(Routes::with_handler(&app, |head: Arc<RequestHead>, body: Body| {
        assert!(!head.target.path().ends_with("/in-the-call"), "the text of a panic");
        async move {
            assert!(!head.target.path().ends_with("/in-the-future"), "the text of a panic");
            let length = body.collect().await.unwrap().to_bytes().len();
            crate::reply::json(http::StatusCode::OK, &length.into())
        }
    }));
    serve(app, routes)
}

/// A connection to these routes.
fn serve(app: Arc<App>, routes: Arc<Routes>) -> DuplexStream {
    let (client, server) = duplex(64 * 1_024);
    let of_connection = (ConnState::new(), Discarding::default());
    let service = service_fn(move |request| respond(Arc::clone(&routes), Arc::clone(&app), &of_connection, request));
    tokio::spawn(http().serve_connection(TokioIo::new(server), service));
    client
}

/// The response to a POST, up to `end`.
async fn post(client: &mut DuplexStream, path: &str, lines: &str, end: &str) -> String {
    let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: 3\r\n\r\nabc");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut response, mut part) = (Vec::new(), [0; 4_096]);
    while !response.ends_with(end.as_bytes()) {
        let read = client.read(&mut part).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&part[..read]);
    }
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_process_continues() {
    let mut client = connection(app());
    for path in ["/in-the-future", "/in-the-call", "/first/in-the-future", "/first/in-the-call"] {
        let response = post(&mut client, path, "", "}").await;
        assert!(response.starts_with("HTTP/1.1 500 ") && response.contains(r#""code":"internal""#), "{response}");
        for header in ["cloakroom-error: internal", "cache-control: no-store", "x-content-type-options: nosniff"] {
            assert!(response.contains(&format!("\r\n{header}\r\n")), "{path}: {header} in {response}");
        }
        assert!(!response.contains("the text of a panic"), "{path}: {response}");
        // On the same connection, whose body is discarded.
        for next in ["/", "/first"] {
            let next = post(&mut client, next, "", "\r\n\r\n3").await;
            assert!(next.starts_with("HTTP/1.1 200 "), "{path}: {next}");
        }
    }
}

/// Contract 3.9a: the request may have been one to the callback, whose address has a code.
#[tokio::test]
async fn the_500_after_a_panic_is_isolated_and_a_page_for_a_navigation() {
    let mut client = connection(app());
    for (lines, content_type, end) in [
        ("Sec-Fetch-Mode: navigate\r\n", "text/html; charset=utf-8", "</html>"),
        ("Sec-Fetch-Mode: cors\r\n", "application/problem+json", "}"),
    ] {
        let response = post(&mut client, "/in-the-call", lines, end).await;
        let value = |name: &str| response.split_once(&format!("\r\n{name}: ")).unwrap().1.split("\r\n").next().unwrap();
        assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
        assert_eq!((value("cloakroom-error"), value("content-type")), ("internal", content_type));
        assert_eq!(value("cross-origin-opener-policy"), "same-origin");
        let policy = value("content-security-policy");
        assert!(policy.ends_with("; sandbox") && policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}

/// Contract 9.9: a page on another origin gets to know the error.
#[tokio::test]
async fn errors_that_no_route_gives_can_be_read_by_a_page_on_an_allowed_origin() {
    let app = app_with(&[("ALLOWED_ORIGINS", "https://page.example")]);
    let mut client = connection(app);
    let response = post(&mut client, "/in-the-call", "Origin: https://page.example\r\n", "}").await;
    assert!(response.contains("\r\naccess-control-allow-origin: https://page.example\r\n"), "{response}");
    let response = post(&mut client, "/", "Origin: https://page.example\r\nHost: y\r\n", "}").await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.contains("\r\naccess-control-allow-origin: https://page.example\r\n"), "{response}");
}

/// Contract 11.12.
#[tokio::test]
async fn a_connection_of_http_1_0_closes_after_the_response() {
    for lines in ["", "Connection: keep-alive\r\n"] {
        let mut client = connection(app());
        let request = format!("POST / HTTP/1.0\r\n{lines}Content-Length: 3\r\n\r\nabc");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        // To `keep-alive` of the client hyper adds its own, which `close` overrides (RFC 9112 section 9.3).
        assert!(received.contains("\r\nconnection: close") && received.ends_with("\r\n\r\n3"), "{received}");
    }
}

/// An API that sends one response for each connection.
fn api(response: &'static str) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4_096]).unwrap();
        stream.write_all(response.as_bytes()).unwrap();
    });
    address
}

/// What a client gets on the wire of a response of an API.
async fn on_the_wire(method: &'static str, response: &'static str) -> String {
    let origin = format!("http://{}/", api(response)).parse().unwrap();
    let second = Duration::from_secs(1);
    let upstream = Arc::new(Upstream::new(Arc::default(), origin, second, second));
    let app = app();
    let routes = Arc::new(Routes::with_handler(&app, move |head: Arc<RequestHead>, body: Body| {
        let upstream = Arc::clone(&upstream);
        let mut request = upstream.request(&head.method, &PathAndQuery::from_static("/"), 0);
        if !body.is_end_stream() {
            request.body(body, None);
        }
        async move {
            let response = upstream.send(&mut request, second, None, Instant::now()).await.unwrap_or_else(|_| panic!());
            response.map(|body| body.boxed())
        }
    }));
    let mut client = serve(app, routes);
    client
        .write_all(
            format!("{method} /first HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await
        .unwrap();
    let mut received = String::new();
    client.read_to_string(&mut received).await.unwrap();
    received
}

/// Contract 10.9, 10.14.
#[tokio::test]
async fn responses_of_an_api_keep_their_length_on_the_wire_and_have_no_trailers() {
    for (method, response, length, end) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "content-length: 5", "\r\n\r\nhello"),
        ("GET", "HTTP/1.1 509 Over Limit\r\nContent-Length: 0\r\n\r\n", "content-length: 0", "\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "content-length: 5", "\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "content-length: 5", "\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            "transfer-encoding: chunked",
            "\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        let received = on_the_wire(method, response).await;
        assert!(received.contains(&format!("\r\n{length}\r\n")) && received.ends_with(end), "{response}: {received}");
        assert_eq!(received.lines().next(), response.lines().next());
    }
}

/// Contract 20.4: what is logged while a body streams has the trace id of its request.
#[tokio::test]
async fn bodies_stream_as_a_part_of_their_request() {
    let app = app();
    let routes = Arc::new(Routes::with_handler(&app, |head: Arc<RequestHead>, _body| async move {
        let frame = stream::iter([Arc::clone(&head.context)]).map(|context| {
            let is_its_request = current().is_some_and(|current| Arc::ptr_eq(&current, &context));
            Ok(Frame::data(is_its_request.to_string().into()))
        });
        Response::new(BodyExt::boxed(StreamBody::new(frame)))
    }));
    for path in ["/first", "/other"] {
        let mut client = serve(Arc::clone(&app), Arc::clone(&routes));
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert!(received.ends_with("\r\n\r\n4\r\ntrue\r\n0\r\n\r\n"), "{path}: {received}");
    }
}
