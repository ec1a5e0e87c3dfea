//! The socket and the routes, used by arbitrary clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::SystemTime;

use crate::app::{TestApp, every_reach, is_standalone};
use crate::raw;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_a_response_and_the_process_survives() {
    let app = TestApp::start().await;
    let pid = app.pid();
    for (request, allowed) in [
        ("CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n", &[400u16, 405][..]),
        ("GET evil:443 HTTP/1.1\r\nHost: x\r\n\r\n", &[400]),
        ("GET http://evil/graph/me HTTP/1.1\r\nHost: x\r\n\r\n", &[400]),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &[400]),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", &[405]),
        ("FOO /auth/session HTTP/1.1\r\nHost: x\r\n\r\n", &[405]),
        ("FOO / HTTP/1.1\r\nHost: x\r\n\r\n", &[405]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 400, 505]),
        ("GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded: b\r\n\r\n", &[400]),
        ("POST /auth/logout HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", &[400]),
        ("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", &[400]),
        ("garbage\r\n\r\n", &[400]),
    ] {
        for _ in 0..3 {
            let response = raw::exchange(app.port, request);
            assert!(allowed.contains(&raw::status(&response)), "{request:?}: {response:?}");
        }
    }
    assert_eq!(app.pid(), pid);
    assert_eq!(app.visitor().get("/health/live").await.status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let response = app.visitor().send(method, "/some/route", &crate::visitor::NAVIGATION, "").await;
        assert_eq!(
            (response.status, response.header("allow")),
            (405, Some("GET, HEAD")),
            "{method}: the page is read-only"
        );
    }
}

/// The system queues the connections of a gateway that does not accept them yet. The client of one that is not queued
/// tries again after a second, or believes that it is connected.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_connections_is_queued() {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use devkit::os::{Signal, signal};

    use crate::app::PATIENCE;

    let app = TestApp::start().await;
    signal(app.pid(), Signal::Pause).unwrap();
    let address = (Ipv4Addr::LOCALHOST, app.port).into();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(700));
    let streams: std::io::Result<Vec<TcpStream>> = (0..300).map(connect).collect();
    signal(app.pid(), Signal::Resume).unwrap();
    for (number, stream) in streams.unwrap().iter_mut().enumerate() {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let response = raw::exchange_on(stream, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(raw::status(&response), 200, "connection {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded_in_bytes_and_number() {
    let app = TestApp::start().await;
    let long = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "a".repeat(64 * 1_024));
    assert_eq!(raw::status(&raw::exchange(app.port, &long)), 431);
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(
        raw::status(&raw::exchange(app.port, &format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{many}\r\n"))),
        431
    );
    let fits = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "a".repeat(20 * 1_024));
    assert_eq!(raw::status(&raw::exchange(app.port, &fits)), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_head_is_cut_off_and_other_requests_continue() {
    let app = TestApp::start().await;
    let mut slow = TcpStream::connect(("127.0.0.1", app.port)).unwrap();
    slow.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    assert_eq!(app.visitor().get("/health/live").await.status, 200);
    slow.set_read_timeout(Some(crate::app::PATIENCE)).unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("the gateway closes the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_paths_never_reach_the_spa() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.visitor();
        for path in ["/auth", "/auth/", "/auth/nope", "/auth/login/", "/health", "/health/nope", "/rotate_keys"] {
            let response = visitor.navigate(path).await;
            assert_eq!((response.status, response.code()), (404, "route_denied"), "{reach:?} {path}");
        }
        for path in ["/api", "/api/nope"] {
            assert_eq!(visitor.fetch("GET", path).await.code(), "session_missing", "{reach:?} {path}");
        }
        let response = visitor
            .send("POST", "/rotate_keys", &[("content-type", "application/json")], r#"{"Data":{},"Metadata":{}}"#)
            .await;
        assert_eq!(response.status, 404, "{reach:?}");
        for path in ["/authors", "/graphs/x", "/healthy"] {
            assert_eq!(visitor.navigate(path).await.status, 200, "{reach:?} {path} is the app's");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spa_is_served_with_history_fallback_and_caching() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.visitor();
        let index = visitor.navigate("/").await;
        assert_eq!(
            (index.status, index.header("content-type"), index.header("cache-control")),
            (200, Some("text/html"), Some("no-cache")),
            "{reach:?}"
        );
        assert_eq!(visitor.navigate("/some/route").await.body, index.body, "{reach:?}");
        let script = visitor.get("/cloakroom.js").await;
        assert_eq!((script.status, script.header("x-content-type-options")), (200, Some("nosniff")), "{reach:?}");
        assert!(script.header("content-type").unwrap().contains("javascript"));
        let tag = script.header("etag").unwrap().to_owned();
        let again = visitor.send("GET", "/cloakroom.js", &[("if-none-match", &tag)], "").await;
        assert_eq!((again.status, again.header("etag")), (304, Some(tag.as_str())), "{reach:?}");
        let part = visitor.send("GET", "/cloakroom.js", &[("range", "bytes=0-9")], "").await;
        assert_eq!((part.status, part.body.len()), (206, 10), "{reach:?}");
        assert_eq!(visitor.get("/nope.js").await.code(), "route_denied", "{reach:?}: a missing script is not the page");
        assert_eq!(visitor.fetch("GET", "/some/route").await.status, 404, "{reach:?}");
    }
}

/// A package gives every file the same time, and a rollback deploys older files.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_page_is_sent_despite_an_old_modification_time() {
    const OLD: &str = "<script src=a.1b2c3d4e.js></script>";
    const NEW: &str = "<script src=a.5f6a7b8c.js></script>";
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("index.html");
    let write = |content: &str| {
        std::fs::write(&page, content).unwrap();
        std::fs::File::options().write(true).open(&page).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    write(OLD);
    let app = TestApp::builder().set("SPA", folder.path().to_str().unwrap()).start().await;
    let mut visitor = app.visitor();
    let first = visitor.navigate("/").await;
    assert_eq!((first.text().as_str(), first.header("last-modified")), (OLD, None));
    let tag = first.header("etag").unwrap().to_owned();
    let conditions = [
        [("accept", "text/html"), ("if-none-match", tag.as_str())],
        [("accept", "text/html"), ("if-modified-since", "Sat, 28 Nov 2026 10:00:00 GMT")],
    ];
    write(NEW);
    for path in ["/", "/some/route"] {
        for headers in &conditions {
            let again = visitor.send("GET", path, headers, "").await;
            assert_eq!((again.status, again.text().as_str()), (200, NEW), "{path} {headers:?}");
        }
        let other_part = [("accept", "text/html"), ("range", "bytes=0-6"), ("if-range", tag.as_str())];
        assert_eq!(visitor.send("GET", path, &other_part, "").await.text(), NEW, "{path}");
    }
    write(OLD);
    let back = visitor.send("GET", "/", &conditions[0], "").await;
    assert_eq!((back.status, back.text().as_str(), back.header("cache-control")), (304, "", Some("no-cache")));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leaves_the_folder() {
    let app = TestApp::start().await;
    let climbs = ["..", "%2e%2e", ".%2e", "%252e%252e"];
    let slashes = ["/", "%2f", "%5c", "\\"];
    let mut targets: Vec<String> = vec!["//Cargo.toml".to_owned(), "/./../../Cargo.toml".to_owned()];
    for (climb, slash) in climbs.into_iter().flat_map(|climb| slashes.map(|slash| (climb, slash))) {
        targets.extend((1..4).map(|times| format!("/{}Cargo.toml", format!("{climb}{slash}").repeat(times))));
    }
    for target in targets {
        let response =
            raw::exchange(app.port, &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_ne!(raw::status(&response), 200, "{target}: {response}");
        assert!(!response.contains("[package]"), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_host_gets_the_probe_response() {
    let app = TestApp::start().await;
    let port = app.port;
    let probe = |more: &str| {
        raw::exchange(port, &format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}Connection: close\r\n\r\n"))
    };
    assert_eq!(probe("").contains("content-length: 0"), !is_standalone(), "outside Functions there is no host");
    for more in ["X-Forwarded-Host: app.example.org\r\n", "Cookie: a=b\r\n", "Sec-Fetch-Mode: navigate\r\n"] {
        assert!(probe(more).contains("<!doctype html>"), "{more} comes from a browser");
    }
}
