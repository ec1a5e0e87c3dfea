//! The first line of the table, which is served without warp, responds as it would through warp.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use devkit::provider::{self, Options, Provider};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use serde_json::json;

use super::*;
use crate::config::Config;
use crate::reply::full;

const ORIGIN: &str = "http://localhost:7071";
const OTHER_ORIGIN: &str = "https://spa.example.org";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// An API that responds by the last segment of the path. Returns its port.
fn api() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let target = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
            lines.find(String::is_empty);
            let response = match target.rsplit('/').next().unwrap() {
                "none" => "204 No Content\r\n\r\n".to_owned(),
                "chunked" => {
                    "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n".to_owned()
                }
                "switch" => "101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned(),
                "much" => format!("200 OK\r\nContent-Length: 0\r\nX-Request-Id: {}\r\n\r\n", "x".repeat(50_000)),
                "cut" => String::new(),
                "elsewhere" => {
                    "302 Found\r\nLocation: /v1.0/me\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n".to_owned()
                }
                _ => "200 OK\r\nContent-Type: text/plain\r\nServer: x\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            };
            let response = if response.is_empty() { response } else { format!("HTTP/1.1 {response}") };
            // The connection closes with the response.
            let _ = stream.write_all(response.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes());
        }
    });
    port
}

async fn app(provider: &Provider, api: u16) -> Arc<App> {
    let allow = ["GET /me", "* /files/*"];
    let scopes = [format!("{}/User.Read", provider::GRAPH)];
    let entry = |port: u16| json!({"base": format!("http://127.0.0.1:{port}/v1.0"), "scopes": scopes, "allow": allow});
    let mut graph = entry(api);
    graph["route"] = "/graph".into();
    graph["max_body"] = 10.into();
    let pairs = [
        ("ALLOWED_ORIGINS", OTHER_ORIGIN.to_owned()),
        ("APIS", json!({"graph": graph, "down": entry(1)}).to_string()),
        ("AUTHORITY", provider.issuer()),
        ("CLIENT_ID", provider::CLIENT_ID.to_owned()),
        ("CLIENT_SECRET", provider::CLIENT_SECRET.to_owned()),
        ("ENC_KEY", "A".repeat(43)),
        ("PUBLIC_ORIGIN", ORIGIN.to_owned()),
    ];
    let vars = pairs.into_iter().map(|(name, value)| (format!("CLOAKROOM_{name}"), value)).collect();
    let app = App::new(Config::from_vars(&vars).unwrap());
    let now = crate::clock::now();
    tokio::join!(app.ring.refresh(now), app.revocations.refresh(now));
    app
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &'static str) -> Request<Body> {
    let mut request = Request::new(full(body));
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = target.parse().unwrap();
    let length = body.len().to_string();
    let length = (!body.is_empty()).then_some(("content-length", length.as_str()));
    for (name, value) in headers.iter().copied().chain(length).chain([("traceparent", TRACEPARENT)]) {
        request.headers_mut().append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    request
}

/// Status, headers and body. An error of the body is its end.
type Sent = (StatusCode, Vec<(String, String)>, String);

async fn respond(routes: &Routes, request: Request<Body>) -> Sent {
    let (head, body) = request.into_parts();
    let context = RequestContext::new(&head.headers, None);
    let head = RequestHead { method: head.method, target: head.uri, headers: head.headers, context };
    let (head, mut body) = routes.respond(Arc::new(head), body).await.into_parts();
    let header = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
    let mut headers: Vec<_> = head.headers.iter().map(header).collect();
    headers.sort();
    let mut text = String::new();
    while let Some(Ok(frame)) = body.frame().await {
        text.push_str(str::from_utf8(&frame.into_data().expect("no trailers")).unwrap());
    }
    (head.status, headers, text)
}

fn header<'a>((_, headers, _): &'a Sent, name: &str) -> &'a str {
    headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str()).unwrap_or_default()
}

/// The cookies that a response writes, as a browser sends them.
fn cookies((_, headers, _): &Sent) -> String {
    let lines = headers.iter().filter(|(name, value)| name == "set-cookie" && !value.contains("Max-Age=0"));
    lines.map(|(_, line)| line.split(';').next().unwrap().to_owned()).collect::<Vec<_>>().join("; ")
}

/// Signs in and returns the session cookie.
async fn sign_in(routes: &Routes, provider: &Provider) -> String {
    let navigation = ("sec-fetch-mode", "navigate");
    let login = respond(routes, request("GET", "/auth/login", &[navigation], "")).await;
    let callback = provider.sign_in(header(&login, "location"), "ada.lovelace@contoso.example").unwrap();
    let target = callback.location().replacen(ORIGIN, "", 1);
    let done = respond(routes, request("GET", &target, &[navigation, ("cookie", &cookies(&login))], "")).await;
    assert_eq!(done.0, StatusCode::FOUND, "{done:?}");
    cookies(&done)
}

/// Method, target, headers besides the session cookie, body; status and code of the response.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, u16, &'static str);

const CSRF: (&str, &str) = ("x-csrf", "1");
const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
const NAVIGATION: (&str, &str) = ("sec-fetch-mode", "navigate");
const PAGE: (&str, &str) = ("origin", OTHER_ORIGIN);
const EVIL: (&str, &str) = ("origin", "https://evil.example");
const PREFLIGHT: (&str, &str) = ("access-control-request-method", "GET");
/// Replaces the session cookie.
const NO_COOKIE: (&str, &str) = ("cookie", "a=b");
const BAD_COOKIE: (&str, &str) = ("cookie", "__Host-Http-cloakroom=AAAA");
const CALL: &[(&str, &str)] = &[CSRF, SAME];

const CASES: &[Case] = &[
    ("GET", "/graph/me?x=1", CALL, "", 200, ""),
    ("HEAD", "/graph/me", CALL, "", 200, ""),
    ("GET", "/api/graph/me", CALL, "", 404, "route_denied"),
    ("POST", "/graph/files/1", CALL, "12345", 200, ""),
    ("DELETE", "/graph/files/none", CALL, "", 204, ""),
    ("GET", "/graph/files/chunked", CALL, "", 200, ""),
    ("GET", "/graph/files/elsewhere", CALL, "", 302, ""),
    ("GET", "/graph/files/switch", CALL, "", 502, "upstream_unavailable"),
    ("GET", "/graph/files/much", CALL, "", 502, "upstream_unavailable"),
    ("POST", "/graph/files/cut", CALL, "", 502, "upstream_unavailable"),
    ("GET", "/api/down/me", CALL, "", 502, "upstream_unavailable"),
    ("GET", "/graph/other", CALL, "", 404, "route_denied"),
    ("GET", "/graph", CALL, "", 404, "route_denied"),
    ("GET", "/api", CALL, "", 404, "route_denied"),
    ("GET", "/api/unknown/me", CALL, "", 404, "route_denied"),
    ("PUT", "/graph/me", CALL, "", 405, "method_denied"),
    ("TRACE", "/graph/files/1", CALL, "", 405, "method_denied"),
    ("POST", "/graph/files/1", CALL, "12345678901", 413, "body_too_large"),
    ("GET", "/graph/%2e%2e/me", CALL, "", 400, "bad_request"),
    ("GET", "/graph/a%2fb", CALL, "", 400, "bad_request"),
    ("GET", "/graph/me", &[SAME], "", 403, "csrf_failed"),
    ("GET", "/graph/me", &[CSRF, CROSS], "", 403, "origin_denied"),
    ("GET", "/graph/me", &[CSRF, NO_COOKIE], "", 401, "session_missing"),
    ("GET", "/graph/me", &[CSRF, BAD_COOKIE], "", 401, "session_expired"),
    ("GET", "/graph/me", &[NAVIGATION], "", 403, "csrf_failed"),
    ("GET", "/graph/me", &[NAVIGATION, CSRF, NO_COOKIE], "", 401, "session_missing"),
    ("OPTIONS", "/graph/me", &[PAGE, PREFLIGHT], "", 204, ""),
    ("OPTIONS", "/graph/me", &[EVIL, PREFLIGHT], "", 403, "origin_denied"),
    ("GET", "/graph/me", &[CSRF, PAGE], "", 200, ""),
    ("GET", "/graph/me", &[CSRF, PAGE, NO_COOKIE], "", 401, "session_missing"),
];

/// An instance, its table with and without warp before the first line, and a session cookie.
async fn set_up() -> (Routes, Routes, String) {
    let provider = Provider::start(Options::new(ORIGIN)).await.unwrap();
    let app = app(&provider, api()).await;
    let (direct, through_warp) = (Routes::new(&app), Routes::through_warp(&app));
    let cookie = sign_in(&through_warp, &provider).await;
    // Writes the token for the other API, so that no later response does.
    let written = respond(&direct, request("GET", "/api/down/me", &[("cookie", &cookie), CSRF], "")).await;
    (direct, through_warp, cookies(&written))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_line_responds_as_it_would_through_warp() {
    let (direct, through_warp, cookie) = set_up().await;
    for (method, target, headers, body, status, code) in CASES {
        let case = format!("{method} {target} {headers:?}");
        let session = (!headers.iter().any(|(name, _)| *name == "cookie")).then_some(("cookie", cookie.as_str()));
        let headers: Vec<_> = headers.iter().copied().chain(session).collect();
        let expected = respond(&through_warp, request(method, target, &headers, body)).await;
        assert_eq!(
            (expected.0.as_u16(), header(&expected, "cloakroom-error")),
            (*status, *code),
            "{case}: {expected:?}"
        );
        assert_eq!(respond(&direct, request(method, target, &headers, body)).await, expected, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_places_both_ways_reject() {
    let (direct, through_warp, cookie) = set_up().await;
    for routes in [&through_warp, &direct] {
        let mut held = Vec::new();
        loop {
            let place = routes.places.arrived(crate::places::Class::Proxied);
            if place.enter().await.is_err() {
                break;
            }
            held.push(place);
        }
        let rejected = respond(routes, request("GET", "/graph/me", &[("cookie", &cookie), CSRF], "")).await;
        assert_eq!((rejected.0.as_u16(), header(&rejected, "cloakroom-error")), (503, "overloaded"));
    }
}
