//! Calls to an API: what is forwarded, what is not, and what is returned (contract section 10).

use std::io::{Read, Write};

use serde_json::json;

use crate::app::{Reach, TestApp, every_reach};
use crate::raw;
use crate::visitor::{CALL, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";

async fn call(visitor: &mut Visitor, method: &str, path: &str, more: &[(&str, &str)]) -> crate::visitor::Response {
    let headers = [&CALL[..], more].concat();
    visitor.send(method, path, &headers, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_the_api_is_never_contacted() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
            for more in [
                &[][..],
                &[("authorization", "Bearer x")],
                &[("cookie", "__Host-Http-cloakroom=x")],
                &[("x-ms-token-aad-access-token", "x")],
            ] {
                let headers = [&CALL[..], more].concat();
                let response = app.visitor().send(method, "/graph/echo/x", &headers, "").await;
                assert_eq!(response.status, 401, "{reach:?} {method} {more:?}");
                assert!(response.header("www-authenticate").is_none());
            }
        }
        let response = call(&mut app.visitor(), "GET", "/graph/me", &[]).await;
        assert_eq!(
            (response.code(), response.header("content-type")),
            ("session_missing", Some("application/problem+json"))
        );
        let problem = response.json();
        assert_eq!(problem["type"], "urn:cloakroom:error:session_missing");
        assert_eq!(problem["status"], 401);
        assert_eq!(problem["login_url"], "/auth/login");
        assert_eq!(problem["trace_id"].as_str().unwrap().len(), 32);
        assert_eq!(app.graph.count(), 0, "{reach:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_body_is_forwarded_without_a_body() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let cookie = app.signed_in(ADA).await.cookie_header();
        for method in ["PATCH", "POST", "PUT"] {
            let head = format!(
                "{method} /graph/echo HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nX-CSRF: 1\r\n\
                 Sec-Fetch-Site: same-origin\r\n\r\n"
            );
            assert_eq!(raw::status(&raw::exchange(app.port, &head)), 200, "{reach:?} {method}");
            let request = app.graph.requests().pop().unwrap();
            assert_eq!((request.method.as_str(), request.header("content-length")), (method, Some("0")), "{reach:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_headers_and_the_access_token_reach_the_api() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.signed_in(ADA).await;
        app.graph.clear_requests();
        let hostile = [
            ("authorization", "Bearer stolen"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=x"),
            ("x-http-method-override", "DELETE"),
            ("x-ms-client-principal-name", "evil"),
            ("x_forwarded_for", "x"),
            ("te", "trailers"),
            ("connection", "accept-language"),
            ("accept-language", "de"),
            ("referer", "http://localhost/secret"),
            ("origin", app.origin.as_str()),
            ("x-original-url", "/evil"),
            ("proxy-authorization", "x"),
            ("prefer", "a=1"),
            ("consistencylevel", "eventual"),
            ("accept", "application/json"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        let response = call(&mut visitor, "GET", "/graph/me", &hostile).await;
        assert_eq!(response.status, 200, "{reach:?}: {}", response.text());
        let request = app.graph.requests().remove(0);
        let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        // The proxying host drops `Connection`, so the nominated header is not recognised as one.
        let expected: &[&str] = if reach == Reach::Host(devkit::host::Mode::Proxy) {
            &["accept", "accept-language", "authorization", "consistencylevel", "host", "prefer", "traceparent"]
        } else {
            &["accept", "authorization", "consistencylevel", "host", "prefer", "traceparent"]
        };
        assert_eq!(names, expected, "{reach:?}");
        assert!(request.header("authorization").unwrap().starts_with("Bearer ey"));
        assert!(
            request.header("traceparent").unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
            "the trace continues"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_cannot_act_on_the_gateways_origin() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let jar = visitor.jar.clone();
    let response = call(&mut visitor, "GET", "/graph/hostile", &[]).await;
    for name in [
        "set-cookie",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "strict-transport-security",
        "clear-site-data",
        "refresh",
        "www-authenticate",
        "server",
        "location",
        "service-worker-allowed",
    ] {
        assert!(response.header(name).is_none(), "{name}: {:?}", response.headers);
    }
    assert_eq!(visitor.jar, jar);
    assert_eq!(response.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_are_rewritten_or_removed() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let inside = format!("{}/me/messages", app.graph.base());
    for (to, expected) in [(inside.as_str(), Some("/graph/me/messages")), ("https://evil.example/", None)] {
        let before = app.graph.count();
        let path =
            format!("/graph/redirect?to={}", url::form_urlencoded::byte_serialize(to.as_bytes()).collect::<String>());
        let response = call(&mut visitor, "GET", &path, &[]).await;
        assert!((300..400).contains(&response.status), "{}", response.status);
        assert_eq!(response.header("location"), expected, "{to}");
        assert_eq!(app.graph.count(), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_map_decides_what_may_be_called() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.graph.clear_requests();
    for (method, path, status, code) in [
        ("GET", "/graph/users", 404, "route_denied"),
        ("GET", "/graph", 404, "route_denied"),
        ("GET", "/graph/Me", 404, "route_denied"),
        ("DELETE", "/graph/me", 405, "method_denied"),
        ("GET", "/api/nope/me", 404, "route_denied"),
        ("GET", "/graph/me/../users", 400, "bad_request"),
        ("GET", "/graph/me/%2e%2e/users", 400, "bad_request"),
        ("GET", "/graph/me/%252e%252e/users", 400, "bad_request"),
        ("GET", "/graph/me/a%2Fb", 400, "bad_request"),
        ("GET", "/graph/me/a%5cb", 400, "bad_request"),
        ("GET", "/graph/me/%00", 400, "bad_request"),
        ("GET", "/graph/me/%zz", 400, "bad_request"),
    ] {
        let response = raw_call(&app, &visitor, method, path);
        assert_eq!(raw::status(&response), status, "{method} {path}: {response}");
        assert!(response.contains(&format!("cloakroom-error: {code}")), "{method} {path}: {response}");
    }
    assert_eq!(call(&mut visitor, "DELETE", "/graph/me", &[]).await.header("allow"), Some("GET, HEAD, PATCH"));
    assert_eq!(app.graph.count(), 0);
}

/// A call whose target no client library normalises.
fn raw_call(app: &TestApp, visitor: &Visitor, method: &str, target: &str) -> String {
    let cookie = visitor.cookie_header();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\r\n"
    );
    raw::exchange(app.port, &head)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_is_forwarded_byte_for_byte() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    for path in [
        "/echo/a%20b",
        "/echo//x",
        "/echo/users('x@y.z')",
        "/echo/a+b;c=d",
        "/echo/%C3%A9",
        "/echo/100%25",
        "/echo/{a}|\"",
        "/echo/x?$filter=a%2Fb&$top=1&&x=",
        "/echo/x?",
    ] {
        app.graph.clear_requests();
        let response = raw_call(&app, &visitor, "GET", &format!("/graph{path}"));
        assert_eq!(raw::status(&response), 200, "{path}: {response}");
        assert_eq!(app.graph.requests()[0].target, format!("/v1.0{path}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csrf_rejections_open_no_session_and_call_no_api() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.graph.clear_requests();
    for (headers, code) in [
        (vec![], "csrf_failed"),
        (vec![("x-csrf", "1"), ("sec-fetch-site", "same-site")], "origin_denied"),
        (vec![("x-csrf", "1"), ("sec-fetch-site", "cross-site")], "origin_denied"),
        (vec![("x-csrf", "1"), ("sec-fetch-site", "none")], "origin_denied"),
        (vec![("x-csrf", "1"), ("origin", "null")], "origin_denied"),
        (vec![("x-csrf", "2"), ("sec-fetch-site", "same-origin")], "csrf_failed"),
    ] {
        let response = visitor.send("GET", "/graph/me", &headers, "").await;
        assert_eq!((response.status, response.code()), (403, code), "{headers:?}");
    }
    let response = visitor.send("POST", "/graph/me/sendMail", &[("x-csrf", "1")], "{}").await;
    assert_eq!(response.code(), "origin_denied", "an unsafe method with neither header");
    assert_eq!(app.graph.count(), 0);
    let before = visitor.send("GET", "/graph/me", &[("cookie", "__Host-Http-cloakroom=x")], "").await;
    assert_eq!(before.code(), "csrf_failed", "CSRF is checked before the session");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_streamed_and_a_declared_length_over_the_limit_is_rejected() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.signed_in(ADA).await;
        let body: Vec<u8> = (0..200_000u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let headers =
            [&CALL[..], &[("content-type", "application/octet-stream"), ("origin", app.origin.as_str())]].concat();
        let response = visitor.send("PUT", "/graph/echo/upload", &headers, body.clone()).await;
        assert_eq!(response.status, 200, "{reach:?}: {}", response.text());
        let request = app.graph.requests().into_iter().next_back().unwrap();
        assert_eq!((request.body_length, request.body == body), (200_000, true), "{reach:?}");
        assert_eq!(request.header("content-length"), Some("200000"), "{reach:?}");
        let response = visitor.fetch("GET", "/graph/bytes?n=1000000").await;
        assert_eq!(response.body.len(), 1_000_000, "{reach:?}");
        let head = visitor.fetch("HEAD", "/graph/me").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{reach:?}");
        for status in [204, 304, 404, 418, 500] {
            assert_eq!(visitor.fetch("GET", &format!("/graph/status/{status}")).await.status, status, "{reach:?}");
        }
    }
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    app.graph.clear_requests();
    let head = format!(
        "PUT /graph/echo/x HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 10485761\r\n\r\n",
        visitor.cookie_header()
    );
    let response = raw::exchange(app.port, &head);
    assert!(raw::status(&response) == 413 && response.contains("body_too_large"), "{response}");
    assert_eq!(app.graph.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_an_api_differ_from_those_of_the_gateway() {
    let map = |base: &str| crate::app::api_map(base).to_string();
    let unreachable = format!("http://127.0.0.1:{}/v1.0", devkit::commands::stack::free_port().unwrap());
    let app = TestApp::builder().set("APIS", map(&unreachable)).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let response = visitor.fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (502, "upstream_unavailable"));
    let app = TestApp::builder().graph_entry(json!({"timeouts": {"first_byte": "1s"}})).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let response = visitor.fetch("GET", "/graph/slow?first=5000&total=5000&chunks=1").await;
    assert_eq!((response.status, response.code()), (504, "upstream_timeout"));
    let response = visitor.fetch("GET", "/graph/status/401").await;
    assert_eq!((response.status, response.code()), (401, "-"), "the API's own 401 has no Cloakroom-Error");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_api_has_its_own_connect_deadline_including_tls() {
    // Accepts connections, and never sends any TLS.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}/v1.0", mute.local_addr().unwrap());
    let entry = json!({"base": base, "timeouts": {"connect": "300ms", "first_byte": "5s"}});
    let patient = json!({"patient": {"base": base, "allow": ["GET /me"], "timeouts": {"connect": "1m"}}});
    let app = TestApp::builder().graph_entry(entry).other_apis(patient).start().await;
    let response = app.signed_in(ADA).await.fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (502, "upstream_unavailable"), "else 504 after 5 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_response_ends_at_its_deadline() {
    let app = TestApp::builder().graph_entry(json!({"timeouts": {"total": "1s"}})).start().await;
    let visitor = app.signed_in(ADA).await;
    let response = raw_call(&app, &visitor, "GET", "/graph/slow?first=10&total=60000&chunks=600");
    assert_eq!(raw::status(&response), 200, "{response}");
    assert!(!response.ends_with("0\r\n\r\n"), "it is cut off, visibly: {response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_read_is_retried_once_and_a_write_never() {
    let app = TestApp::builder().graph_entry(json!({"allow": ["* /hang-up"]})).start().await;
    let mut visitor = app.signed_in(ADA).await;
    for (method, tries) in [("GET", 2), ("HEAD", 2), ("POST", 1), ("DELETE", 1), ("OPTIONS", 1)] {
        app.graph.clear_requests();
        let headers = [&CALL[..], &[("origin", app.origin.as_str())]].concat();
        let response = visitor.send(method, "/graph/hang-up", &headers, "").await;
        assert_eq!((response.status, app.graph.requests().len()), (502, tries), "{method}");
    }
}

/// Contract 10.16: only before the first byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_not_retried_once_its_response_has_begun() {
    for (response, tries) in [("HTTP/1.1 200 OK\r\nContent-", 1), ("", 2)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (notice, arrived) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 8_192]).unwrap();
                notice.send(()).unwrap();
                let _ = stream.write_all(response.as_bytes());
            }
        });
        let apis =
            json!({"raw": {"base": base, "allow": ["GET /x"], "scopes": ["https://graph.microsoft.com/User.Read"]}});
        let app = TestApp::builder().other_apis(apis).start().await;
        let response = app.signed_in(ADA).await.fetch("GET", "/api/raw/x").await;
        assert_eq!((response.status, response.code()), (502, "upstream_unavailable"));
        assert_eq!(arrived.try_iter().count(), tries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_body_over_the_limit_is_rejected() {
    let app = TestApp::builder().graph_entry(json!({"max_body": 1000})).start().await;
    let visitor = app.signed_in(ADA).await;
    let head = format!(
        "PUT /graph/echo/x HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        visitor.cookie_header()
    );
    let body = format!("258\r\n{0}\r\n258\r\n{0}\r\n0\r\n\r\n", "a".repeat(0x258));
    let response = raw::exchange(app.port, &(head.clone() + &body));
    assert!(raw::status(&response) == 413 && response.contains("body_too_large"), "{response}");
    let fits = format!("258\r\n{}\r\n0\r\n\r\n", "a".repeat(0x258));
    assert_eq!(raw::status(&raw::exchange(app.port, &(head + &fits))), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_expires_and_an_active_one_is_written_again() {
    let app = TestApp::builder().set("SESSION_IDLE", "3s").start().await;
    let mut active = app.signed_in(ADA).await;
    let mut idle = app.signed_in(ADA).await;
    let mut written = 0;
    let started = std::time::Instant::now();
    while started.elapsed() < std::time::Duration::from_secs(5) {
        let response = active.fetch("GET", "/graph/me").await;
        assert_eq!(response.status, 200, "activity extends the idle time: {}", app.log());
        written += response.headers_named("set-cookie").count().min(1);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(written >= 2, "{written}");
    let response = idle.fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (401, "session_expired"));
    assert_eq!(response.headers_named("set-cookie").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_refresh_token_the_session_ends_with_its_access_token() {
    let options = devkit::provider::Options {
        access_token_life: std::time::Duration::from_secs(1),
        ..devkit::provider::Options::new("http://x")
    };
    let app = TestApp::builder().provider(options).set("SCOPES", "openid profile").start().await;
    let mut visitor = app.signed_in(ADA).await;
    let started = std::time::Instant::now();
    loop {
        let response = visitor.fetch("GET", "/graph/me").await;
        if response.code() == "session_expired" {
            break;
        }
        assert!(started.elapsed() < crate::app::PATIENCE, "{response:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["apis"]["graph"]["status"], "expired");
}
