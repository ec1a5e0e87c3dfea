//! A static website that the gateway fronts, so that page and gateway share one origin (contract 12.12).

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::app::{TestApp, every_reach, is_standalone};
use crate::visitor::NAVIGATION;

/// A website of two files, with a record of its requests.
struct Website {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Website {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/site", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let recorded = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let head = head.join("\n");
                let response = response(&head);
                recorded.lock().unwrap().push(head);
                let _ = stream.write_all(response.as_bytes());
            }
        });
        Self { url, requests }
    }

    fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn response(head: &str) -> String {
    const COMMON: &str = "Connection: close\r\nSet-Cookie: a=b\r\nx-ms-version: 1\r\nServer: secret\r\n\
        Strict-Transport-Security: max-age=1\r\nAccess-Control-Allow-Origin: *\r\nETag: \"1\"\r\n";
    let target = head.split(' ').nth(1).unwrap_or_default();
    let whole = |kind: &str, body: &str| {
        let body = if head.starts_with("HEAD") { "" } else { body };
        format!("HTTP/1.1 200 OK\r\n{COMMON}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", 12)
    };
    match target.split('?').next().unwrap_or_default() {
        _ if head.contains("if-none-match: \"1\"") => format!("HTTP/1.1 304 Not Modified\r\n{COMMON}\r\n"),
        "/site/assets/app-BfX2k3aQ.js" if head.contains("range: bytes=0-2") => format!(
            "HTTP/1.1 206 Partial Content\r\n{COMMON}Content-Range: bytes 0-2/12\r\nContent-Length: 3\r\n\r\nabc"
        ),
        // A website that serves the app for its pages' addresses itself.
        "/site/own/page" => whole("text/html", "<html></html"),
        // Media types ignore case (RFC 9110 section 8.3.1).
        "/site/" | "/site/index.html" => whole("Text/HTML", "<html></html"),
        "/site/assets/app-BfX2k3aQ.js" => whole("text/javascript", "abcdefghijkl"),
        "/site/old" => format!("HTTP/1.1 301 Moved\r\n{COMMON}Location: /site/new?x=1\r\nContent-Length: 0\r\n\r\n"),
        "/site/slashes" => {
            format!("HTTP/1.1 301 Moved\r\n{COMMON}Location: /site//evil.example/\r\nContent-Length: 0\r\n\r\n")
        }
        "/site/assets/gone-BfX2k3aQ.js" => whole("text/html", "<html></html"),
        "/site/away" => {
            format!("HTTP/1.1 302 Found\r\n{COMMON}Location: https://evil.example/\r\nContent-Length: 0\r\n\r\n")
        }
        _ => format!("HTTP/1.1 404 Not Found\r\n{COMMON}Content-Length: 7\r\n\r\nnothing"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_from_the_website_in_every_mode() {
    for reach in every_reach() {
        let website = Website::start();
        let app = TestApp::builder().reach(reach).set("SPA", &website.url).start().await;
        let mut visitor = app.signed_in("ada.lovelace@contoso.example").await;
        website.take_requests();
        let page = visitor.navigate("/").await;
        assert_eq!((page.status, page.text().as_str()), (200, "<html></html"), "{reach:?}: {}", app.log());
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert_eq!(page.header("content-security-policy"), Some("frame-ancestors 'self'"));
        assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
        let script = visitor.fetch("GET", "/assets/app-BfX2k3aQ.js?v=1").await;
        assert_eq!(script.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(script.header("etag"), Some("\"1\""));
        for name in ["set-cookie", "server", "strict-transport-security", "access-control-allow-origin", "x-ms-version"]
        {
            assert_ne!(script.header(name), Some("secret"), "{name}");
            assert!(name == "server" || script.header(name).is_none(), "{name}: the host adds its own Server header");
        }
        let deep = visitor.navigate("/some/route?of=the&app").await;
        assert_eq!((deep.status, deep.text().as_str()), (200, "<html></html"), "history fallback");
        assert_eq!(visitor.fetch("GET", "/some/file.txt").await.status, 404, "but not for scripts");
        let requests = website.take_requests();
        assert!(requests[1].starts_with("GET /site/assets/app-BfX2k3aQ.js?v=1 "), "{requests:?}");
        for head in &requests {
            let head = head.to_lowercase();
            for never in ["cookie:", "authorization:", "x-csrf", "x-forwarded", "x-ms-", "origin:", "referer:"] {
                assert!(!head.contains(never), "{reach:?} {never}: {head}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditionals_and_ranges_pass_and_redirects_stay_inside() {
    let website = Website::start();
    let app = TestApp::builder().set("SPA", &website.url).start().await;
    let mut visitor = app.visitor();
    let unchanged = visitor.send("GET", "/index.html", &[("if-none-match", "\"1\"")], "").await;
    assert_eq!((unchanged.status, unchanged.text().as_str()), (304, ""));
    // Its headers replace those of the page in the browser's cache (RFC 9111 section 3.2).
    let of_page = [NAVIGATION.as_slice(), &[("if-none-match", "\"1\"")]].concat();
    let page = visitor.send("GET", "/own/page", &of_page, "").await;
    assert_eq!((page.status, page.header("content-security-policy")), (304, Some("frame-ancestors 'self'")));
    assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
    assert_eq!(page.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
    let part = visitor.send("GET", "/assets/app-BfX2k3aQ.js", &[("range", "bytes=0-2")], "").await;
    assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "abc", Some("bytes 0-2/12")));
    let head = visitor.send("HEAD", "/index.html", &[], "").await;
    assert_eq!((head.status, head.header("content-length"), head.text().as_str()), (200, Some("12"), ""));
    let old = visitor.send("GET", "/old", &NAVIGATION, "").await;
    assert_eq!((old.status, old.header("location")), (301, Some("/new?x=1")));
    let slashes = visitor.send("GET", "/slashes", &[], "").await;
    assert_eq!((slashes.status, slashes.header("location")), (301, None), "another host for a browser");
    let gone = visitor.send("GET", "/assets/gone-BfX2k3aQ.js", &[], "").await;
    assert_eq!(gone.header("cache-control"), Some("no-cache"), "a page under a script's name is not cached");
    let away = visitor.send("GET", "/away", &[], "").await;
    assert_eq!((away.status, away.header("location")), (302, None));
    for path in ["/%2e%2e/secret", "/..%2fsecret", "/a%5cb", "/%00"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(crate::raw::status(&crate::raw::exchange(app.port, &request)), 400, "{path}");
    }
    let posted = visitor.send("POST", "/index.html", &[], "x").await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    let route = visitor.send("GET", "/auth/nothing", &NAVIGATION, "").await;
    assert_eq!(route.code(), "route_denied", "the gateway's own paths never reach it");
    website.take_requests();
    let probe = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", app.port);
    assert_eq!(crate::raw::status(&crate::raw::exchange(app.port, &probe)), 200);
    assert_eq!(website.take_requests().is_empty(), !is_standalone(), "and neither does the host's readiness probe");
}

/// A website with short addresses: it redirects `/index.html` to the root.
#[tokio::test(flavor = "multi_thread")]
async fn a_website_redirect_to_the_root_causes_no_loop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut line = String::new();
            let _ = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
            let response = if line.starts_with("GET / ") {
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\napp"
            } else if line.starts_with("GET /orders/5 ") {
                "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            } else {
                "HTTP/1.1 308 Permanent Redirect\r\nConnection: close\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
            };
            let _ = stream.write_all(response.as_bytes());
        }
    });
    let app = TestApp::builder().set("SPA", &url).start().await;
    for path in ["/", "/orders/5"] {
        let page = app.visitor().navigate(path).await;
        assert_eq!((page.status, page.text().as_str()), (200, "app"), "{path}");
    }
}

/// Contract 3.25: the page's own address may have an encoded slash.
#[tokio::test(flavor = "multi_thread")]
async fn a_navigation_to_an_address_that_no_file_has_gets_the_page() {
    let website = Website::start();
    let app = TestApp::builder().set("SPA", &website.url).start().await;
    for path in ["/items/a%2Fb", "/items/a%5Cb"] {
        let page = app.visitor().navigate(path).await;
        assert_eq!((page.status, page.text().as_str()), (200, "<html></html"), "{path}");
    }
    assert!(website.take_requests().iter().all(|head| head.starts_with("GET /site/index.html ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_website_is_reported() {
    let app = TestApp::builder().set("SPA", "http://127.0.0.1:9").start().await;
    let page = app.visitor().navigate("/").await;
    assert_eq!((page.status, page.code()), (502, "upstream_unavailable"));
    assert_eq!(app.visitor().get("/health/live").await.status, 200);
}

/// Contract 12.12 (RFC 9700, section 4.13): the same list as for an API.
#[tokio::test(flavor = "multi_thread")]
async fn none_of_a_clients_hostile_headers_reaches_the_website() {
    for reach in every_reach() {
        let website = Website::start();
        let app = TestApp::builder().reach(reach).set("SPA", &website.url).start().await;
        let cookie = app.signed_in("ada.lovelace@contoso.example").await.cookie_header();
        let mut connection = crate::raw::Wire::to(app.port);
        for hostile in crate::headers::OF_CLIENTS {
            website.take_requests();
            let request =
                format!("GET /index.html HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n{hostile}\r\n\r\n");
            let response = connection.exchange(request.as_bytes());
            assert_eq!(crate::raw::status(&response), 200, "{reach:?} {hostile}: {response}");
            let head = website.take_requests().remove(0).to_lowercase();
            let mut names: Vec<&str> = head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
            names.sort_unstable();
            assert_eq!(names, ["host", "traceparent"], "{reach:?} {hostile}");
            assert!(!head.contains("evil"), "{reach:?} {hostile}: {head}");
        }
    }
}
