//! What of an API's response reaches the browser: listed headers, repaired values, rewritten references (contract 10.9
//! to 10.11).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cloakroom::api_map::ApiMap;
use devkit::provider::Options;
use serde_json::json;

use crate::app::{TestApp, every_reach};
use crate::raw;
use crate::visitor::{Response, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";

/// Starts an API that answers each request with these header lines and closes the connection; returns its base.
fn api(status: &'static str, lines: impl AsRef<[u8]>) -> String {
    let lines = lines.as_ref().to_vec();
    serve(move |mut stream| {
        read_head(&mut stream);
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n");
        let _ = stream.write_all(&[head.as_bytes(), &lines, b"\r\n"].concat());
    })
}

fn serve(respond: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1.0", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(respond));
    base
}

fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

async fn app(members: serde_json::Value) -> (TestApp, Visitor) {
    let app = TestApp::builder().graph_entry(members).start().await;
    let visitor = app.signed_in(ADA).await;
    (app, visitor)
}

/// A call to an API that responds with these header lines.
async fn response_with(lines: impl AsRef<[u8]>) -> Response {
    let (_app, mut visitor) = app(json!({"base": api("200 OK", lines)})).await;
    visitor.fetch("GET", "/graph/me").await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_response_headers_reach_the_browser() {
    let cached = "CDN-Cache-Control: max-age=9\r\nCloudflare-CDN-Cache-Control: max-age=9\r\nSurrogate-Control: a\r\n\
                  Surrogate-Key: a\r\nCache-Tag: a\r\nEdge-Control: a\r\nX-Accel-Expires: 9\r\nX-Accel-Redirect: /a\r\n\
                  X-Sendfile: /a\r\nX-LiteSpeed-Cache-Control: a\r\nX-FUNCTION-SCALEOUT: 1\r\nX-MS-TOKEN-AAD-ID-TOKEN: a\r\n\
                  Use-As-Dictionary: match=a\r\nNo-Vary-Search: params\r\nLogin-Status: logged-out\r\nOrigin-Trial: a\r\n\
                  HTTP2-Settings: a\r\nX-Other: a\r\n";
    let listed = "X-Mine: 1\r\nX-RateLimit-Remaining: 1\r\nx-ms-request-id: 1\r\nUpload-Offset: 1\r\n";
    let base = api("200 OK", format!("{cached}{listed}"));
    let (app, mut visitor) = app(json!({"base": base, "response_headers": ["X-Mine"]})).await;
    for _ in 0..2 {
        let response = visitor.fetch("GET", "/graph/me").await;
        assert_eq!(response.status, 200);
        for line in cached.lines() {
            let name = line.split(':').next().unwrap().to_lowercase();
            assert_eq!(response.header(&name), None, "{name}");
        }
        for line in listed.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(response.header(&name.to_lowercase()), Some(value), "{name}");
        }
    }
    // Each name is logged once.
    app.wait_for_log_count("\"x-other\"", 1).await;
}

#[test]
fn a_forbidden_name_in_response_headers_fails_the_start() {
    for name in
        ["Set-Cookie", "Access-Control-Allow-Origin", "CDN-Cache-Control", "X-Accel-Redirect", "Cloakroom-X", "a b"]
    {
        let map = json!({"a": {"base": "https://a.example", "allow": ["GET /"], "response_headers": [name]}});
        let errors = ApiMap::parse(&map.to_string()).unwrap_err().join("\n");
        assert!(errors.contains("a: response_headers"), "{name}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_of_an_api_is_a_502() {
    let base = serve(|mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    });
    let (_app, mut visitor) = app(json!({"base": base})).await;
    let response = visitor.fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (502, "upstream_unavailable"));
    assert_eq!(response.header("upgrade"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_with_other_bytes_than_visible_ascii_are_repaired_or_removed() {
    let lines = b"Content-Disposition: attachment; filename=\"caf\xc3\xa9.txt\"\r\nETag: \"\xc3\xa9\"\r\n\
                  X-Total: 1\r\nLocation: /v1.0/caf\xc3\xa9\r\nX-Page: 1\t2\r\n";
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).graph_entry(json!({"base": api("201 Created", lines)})).start().await;
        let mut visitor = app.signed_in(ADA).await;
        let response = visitor.fetch("GET", "/graph/me").await;
        assert_eq!(response.status, 201, "{reach:?}");
        let disposition = "attachment; filename=\"caf_.txt\"; filename*=UTF-8''caf%C3%A9.txt";
        assert_eq!(response.header("content-disposition"), Some(disposition), "{reach:?}");
        assert_eq!(response.header("location"), Some("/graph/caf%C3%A9"), "{reach:?}");
        assert_eq!((response.header("etag"), response.header("x-total")), (None, Some("1")), "{reach:?}");
        assert_eq!(response.header("x-page"), Some("1\t2"), "{reach:?}");
    }
    let latin1 = response_with(b"Content-Disposition: attachment; filename=\"caf\xe9.txt\"\r\n").await;
    let disposition = "attachment; filename=\"caf_.txt\"; filename*=UTF-8''caf%C3%A9.txt";
    assert_eq!(latin1.header("content-disposition"), Some(disposition));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_over_48_kib_are_a_502_that_writes_new_tokens_all_the_same() {
    let fits = response_with(format!("X-Total: {}\r\n", "a".repeat(46 * 1_024))).await;
    assert_eq!(fits.status, 200);
    let base = api("200 OK", format!("X-Total: {}\r\n", "a".repeat(49 * 1_024)));
    let provider = Options { access_token_life: Duration::from_secs(2), ..Options::new("http://unused") };
    let app = TestApp::builder().provider(provider).graph_entry(json!({"base": base})).start().await;
    let mut visitor = app.signed_in(ADA).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let response = visitor.fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (502, "upstream_unavailable"));
    assert!(response.header("set-cookie").is_some(), "the new tokens: {:?}", response.headers);
    app.wait_for_log("too long for the host").await;
    app.wait_for_log("\"api\":\"graph\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_path_of_microsoft_graph_is_relative_to_its_base() {
    let lines = "Location: /teams('1')/operations('2')\r\nContent-Location: /teams('1')\r\n";
    let (_app, mut visitor) = app(json!({"base": api("202 Accepted", lines), "locations": "base"})).await;
    let response = visitor.fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.header("location")), (202, Some("/graph/teams('1')/operations('2')")));
    assert_eq!(response.header("content-location"), Some("/graph/teams('1')"));
    assert_eq!(response_with(lines).await.header("location"), None, "unless the map says so, it is outside the base");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_header_with_a_reference_is_rewritten() {
    let lines = "Operation-Location: operations/1?x=1\r\nAzure-AsyncOperation: https://evil.example/1\r\n\
                 OData-EntityId: ../v1.0/users/1\r\nContent-Location: ../../secret\r\n\
                 Link: <?page=2>; rel=next; title=\"a, b\", <https://evil.example/>; rel=prev, </v1.0/me>; rel=last\r\n";
    let response = response_with(lines).await;
    for (name, expected) in [
        ("operation-location", Some("/graph/operations/1?x=1")),
        ("azure-asyncoperation", None),
        ("odata-entityid", Some("/graph/users/1")),
        ("content-location", None),
        ("link", Some("</graph/me?page=2>; rel=next; title=\"a, b\", </graph/me>; rel=last")),
    ] {
        assert_eq!(response.header(name), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_stored_only_if_the_map_says_so() {
    for (members, of_api, expected) in [
        (json!({}), "max-age=60", "no-store"),
        (json!({"cache": "none"}), "private", "no-store"),
        (json!({"cache": "private"}), "max-age=60", "private, no-cache"),
        (json!({"cache": "private"}), "no-store", "no-store"),
    ] {
        let mut members = members;
        members["base"] = json!(api("200 OK", format!("ETag: \"1\"\r\nCache-Control: {of_api}\r\n")));
        let (_app, mut visitor) = app(members).await;
        let response = visitor.fetch("GET", "/graph/me").await;
        let headers = (response.header("cache-control"), response.header("etag"));
        assert_eq!(headers, (Some(expected), Some("\"1\"")), "{of_api}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_is_counted_from_the_end_of_the_request_body() {
    let base = serve(|mut stream| {
        read_head(&mut stream);
        let mut body = [0; 8];
        if stream.read_exact(&mut body).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    let timeouts = json!({"first_byte": "1s"});
    let (app, visitor) = app(json!({"base": base, "allow": ["PUT /me"], "timeouts": timeouts})).await;
    let head = |length: usize| {
        format!(
            "PUT /graph/me HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\
             Content-Length: {length}\r\n\r\n",
            visitor.cookie_header()
        )
    };
    let mut slow = raw::open(app.port);
    slow.write_all(head(8).as_bytes()).unwrap();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        slow.write_all(b"x").unwrap();
    }
    let (response, _) = raw::read_response(&mut slow, |bytes| bytes.ends_with(b"\r\n\r\n"));
    assert_eq!(raw::status(&String::from_utf8_lossy(&response)), 204, "a steady upload of 2.4 s");
    let started = Instant::now();
    let late = raw::exchange(app.port, &format!("{}1234", head(4)));
    assert_eq!(raw::status(&late), 504, "the API waits for more: {late}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
