//! Headers of hostile clients and of hostile APIs.

use serde_json::json;

use crate::app::{Reach, TestApp, every_reach};
use crate::raw;
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace@contoso.example";

/// Request headers that must never be forwarded, each with a harmful value.
pub const OF_CLIENTS: [&str; 63] = [
    "Authorization: Bearer stolen",
    "authorization: Basic eDp4",
    "Authorization_: Bearer stolen",
    "Proxy-Authorization: Basic eDp4",
    "Cookie2: $Version=1",
    "Connection: authorization",
    "Connection: traceparent, host",
    "Connection: keep-alive, x-csrf",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Trailer: Authorization",
    "Upgrade: websocket",
    "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    "Forwarded: for=1.2.3.4;host=evil.example",
    "Via: 1.1 evil",
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Server: evil",
    "X-Forwarded: evil",
    "X-Forwarded-Client-Cert: evil",
    "X_Forwarded_For: 1.2.3.4",
    "X-Real-IP: 1.2.3.4",
    "X-Client-IP: 1.2.3.4",
    "True-Client-IP: 1.2.3.4",
    "Client-IP: 1.2.3.4",
    "X-Original-URL: /admin",
    "X-Original-Host: evil.example",
    "X-Rewrite-URL: /admin",
    "X-Host: evil.example",
    "Disguised-Host: evil.example",
    "Was-Default-Hostname: evil.example",
    "X-ARR-SSL: evil",
    "X-ARR-ClientCert: evil",
    "X-AppService-Proto: http",
    "X-Azure-FDID: evil",
    "X-MS-CLIENT-PRINCIPAL: eyJ9",
    "X-MS-CLIENT-PRINCIPAL-ID: evil",
    "X-MS-CLIENT-PRINCIPAL-NAME: evil",
    "X-MS-TOKEN-AAD-ACCESS-TOKEN: stolen",
    "X-MS-TOKEN-AAD-ID-TOKEN: stolen",
    "X_MS_TOKEN_AAD_ACCESS_TOKEN: stolen",
    "X-Functions-Key: evil",
    "X-HTTP-Method: DELETE",
    "X-HTTP-Method-Override: DELETE",
    "X-Method-Override: DELETE",
    "X_HTTP_Method_Override: DELETE",
    "Max-Forwards: 0",
    "Host_: evil.example",
    "Content_Length: 5",
    "Transfer_Encoding: chunked",
    "Referer: http://localhost/secret",
    "User-Agent: evil",
    "From: ada@contoso.example",
    "DNT: 1",
    "Sec-WebSocket-Key: AAAA",
    "Sec-Fetch-Dest: empty",
    "Cloakroom-Error: x",
    "tracestate: evil=1",
    "baggage: evil=1",
];

/// Response headers that act on the gateway's origin or reveal infrastructure.
const OF_APIS: [(&str, &str); 58] = [
    ("set-cookie", "__Host-Http-cloakroom=evil; Path=/; Secure; HttpOnly"),
    ("set-cookie2", "a=b"),
    ("access-control-allow-origin", "https://evil.example"),
    ("access-control-allow-credentials", "true"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "*"),
    ("access-control-expose-headers", "*"),
    ("access-control-max-age", "86400"),
    ("access-control-allow-private-network", "true"),
    ("clear-site-data", "\"*\""),
    ("strict-transport-security", "max-age=0"),
    ("refresh", "0;url=https://evil.example/"),
    ("service-worker-allowed", "/"),
    ("server", "evil/1.0"),
    ("x-powered-by", "evil"),
    ("via", "1.1 evil"),
    ("www-authenticate", "Basic realm=\"evil\""),
    ("proxy-authenticate", "Basic realm=\"evil\""),
    ("proxy-authentication-info", "evil"),
    ("authorization", "Bearer evil"),
    ("content-security-policy-report-only", "default-src *; report-uri https://evil.example/"),
    ("cross-origin-opener-policy", "unsafe-none"),
    ("cross-origin-embedder-policy", "unsafe-none"),
    ("cross-origin-resource-policy", "cross-origin"),
    ("permissions-policy", "camera=*"),
    ("feature-policy", "camera *"),
    ("document-policy", "x"),
    ("origin-agent-cluster", "?0"),
    ("report-to", "{\"endpoints\":[{\"url\":\"https://evil.example\"}]}"),
    ("reporting-endpoints", "x=\"https://evil.example\""),
    ("nel", "{\"report_to\":\"evil\"}"),
    ("expect-ct", "max-age=1, report-uri=\"https://evil.example\""),
    ("public-key-pins", "max-age=1"),
    ("alt-svc", "h3=\"evil.example:443\""),
    ("sourcemap", "https://evil.example/map"),
    ("x-sourcemap", "https://evil.example/map"),
    ("accept-ch", "Sec-CH-UA-Full-Version-List"),
    ("critical-ch", "Sec-CH-UA-Model"),
    ("x-frame-options", "ALLOWALL"),
    ("timing-allow-origin", "*"),
    ("speculation-rules", "\"https://evil.example/rules\""),
    ("observe-browsing-topics", "?1"),
    ("attribution-reporting-register-source", "{}"),
    ("shared-storage-write", "clear"),
    ("set-login", "logged-out"),
    ("sec-session-registration", "(ES256);path=\"x\""),
    ("activate-storage-access", "load"),
    ("p3p", "CP=\"x\""),
    ("cloakroom-error", "session_missing"),
    ("keep-alive", "timeout=1"),
    ("trailer", "Set-Cookie"),
    ("upgrade", "h2c"),
    ("te", "trailers"),
    ("age", "1"),
    ("expires", "Thu, 01 Jan 2037 00:00:00 GMT"),
    ("pragma", "x"),
    ("location", "https://evil.example/"),
    ("content-location", "https://evil.example/"),
];

/// Response headers that clients need.
const HONEST: [(&str, &str); 15] = [
    ("etag", "W/\"1\""),
    ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("content-disposition", "attachment; filename=\"a.txt\""),
    ("content-language", "de"),
    ("content-encoding", "br"),
    ("content-range", "bytes 0-1/2"),
    ("accept-ranges", "bytes"),
    ("vary", "Accept"),
    ("vary", "Prefer"),
    ("retry-after", "7"),
    ("preference-applied", "odata.maxpagesize=5"),
    ("odata-version", "4.0"),
    ("request-id", "0b1d0000-0000-4000-8000-000000000001"),
    ("client-request-id", "1"),
    ("x-ms-request-id", "1"),
];

fn own(visitor: &Visitor) -> String {
    format!("Host: localhost\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n", visitor.cookie_header())
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_a_clients_hostile_headers_reaches_the_api() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let visitor = app.signed_in(ADA).await;
        let own = own(&visitor);
        let mut connection = raw::Wire::to(app.port);
        let all = OF_CLIENTS.join("\r\n").replace("Connection: ", "X-Connection: ");
        for hostile in OF_CLIENTS.into_iter().chain([all.as_str()]) {
            app.graph.clear_requests();
            let response =
                connection.exchange(format!("GET /graph/echo/x HTTP/1.1\r\n{own}{hostile}\r\n\r\n").as_bytes());
            assert_eq!(raw::status(&response), 200, "{reach:?} {hostile}: {response}");
            let request = app.graph.requests().remove(0);
            let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
            names.sort();
            assert_eq!(names, ["authorization", "host", "traceparent"], "{reach:?} {hostile}");
            assert!(request.header("authorization").unwrap().starts_with("Bearer ey"), "{reach:?} {hostile}");
            assert_eq!(request.header("host"), Some(&*app.graph.addr().to_string()), "{reach:?} {hostile}");
            assert_eq!(
                (request.method.as_str(), request.target.as_str()),
                ("GET", "/v1.0/echo/x"),
                "{reach:?} {hostile}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_every_api_needs_are_forwarded_without_an_entry_in_the_map() {
    const FORWARDED: [&str; 8] = [
        "Prefer: a",
        "ConsistencyLevel: eventual",
        "OData-Version: 4.0",
        "OData-MaxVersion: 4.01",
        "client-request-id: 1",
        "Idempotency-Key: 1",
        "Last-Event-ID: 7",
        "tracestate: a=b",
    ];
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).graph_entry(json!({"request_headers": []})).start().await;
        let own = own(&app.signed_in(ADA).await);
        for flags in ["00", "01"] {
            app.graph.clear_requests();
            let trace = format!("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let lines = FORWARDED.join("\r\n");
            let response =
                raw::exchange(app.port, &format!("GET /graph/echo/x HTTP/1.1\r\n{own}{trace}\r\n{lines}\r\n\r\n"));
            assert_eq!(raw::status(&response), 200, "{reach:?}: {response}");
            let request = app.graph.requests().remove(0);
            for line in FORWARDED {
                let (name, value) = line.split_once(": ").unwrap();
                assert_eq!(request.header(&name.to_lowercase()), Some(value), "{reach:?} {name}");
            }
            let sent = request.header("traceparent").unwrap();
            assert!(sent.ends_with(&format!("-{flags}")), "{reach:?}: the caller decides on sampling: {sent}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_and_too_long_headers_never_reach_the_api() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let visitor = app.signed_in(ADA).await;
        let own = own(&visitor);
        app.graph.clear_requests();
        let before = app.graph.count();
        let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
        let prefer = "Prefer: a\r\n".repeat(200);
        let cookies = format!("Cookie: {}\r\n", "a=b; ".repeat(13_000));
        let cookie_lines = format!("Cookie: {}\r\n", "a=b; ".repeat(1_300)).repeat(10);
        for headers in [many, prefer, cookies, cookie_lines] {
            let response = raw::exchange(app.port, &format!("GET /graph/echo/x HTTP/1.1\r\n{own}{headers}\r\n"));
            assert_eq!(raw::status(&response), 431, "{reach:?} {headers:.40}: {response}");
        }
        assert_eq!(app.graph.count(), before, "{reach:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_an_apis_hostile_headers_reaches_the_browser() {
    let app = TestApp::builder().graph_entry(json!({"allow": ["GET /headers", "GET /hostile"]})).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let jar = visitor.jar.clone();
    for (name, value) in OF_APIS {
        let response = visitor.fetch("GET", &with_headers(&[(name, value), ("etag", "\"1\"")])).await;
        assert_eq!((response.status, response.header("etag")), (200, Some("\"1\"")), "{name}");
        // The gateway's own.
        let expected = (name == "cross-origin-resource-policy").then_some("same-origin");
        assert_eq!(response.header(name), expected, "{name}");
    }
    let nominated = visitor.fetch("GET", &with_headers(&[("connection", "x-hop"), ("x-hop", "1")])).await;
    assert_eq!((nominated.header("x-hop"), nominated.header("connection")), (None, None));
    let policy = visitor.fetch("GET", &with_headers(&[("content-security-policy", "default-src *")])).await;
    let policies: Vec<_> = policy.headers_named("content-security-policy").collect();
    assert_eq!(policies, ["sandbox; default-src 'none'"]);
    assert_eq!(visitor.jar, jar, "no cookie was set");
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_response_headers_pass_unchanged() {
    let app = TestApp::builder().graph_entry(json!({"allow": ["GET /headers"]})).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let response = visitor.fetch("GET", &with_headers(&HONEST)).await;
    for (name, value) in HONEST {
        assert!(response.headers_named(name).any(|of| of == value), "{name}: {:?}", response.headers);
    }
    assert_eq!(response.headers_named("vary").count(), 3, "the gateway's own value is on a separate line");
}

/// The path of a call whose response has these headers.
fn with_headers(headers: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(headers).finish();
    format!("/graph/headers?{query}")
}

#[tokio::test(flavor = "multi_thread")]
async fn html_of_an_api_cannot_act_on_the_gateways_origin() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.signed_in(ADA).await;
        let response = visitor.fetch("GET", "/graph/hostile").await;
        let mut names: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        // The host sends each member of a list on a line of its own.
        names.dedup();
        let mut expected = vec!["cache-control", "content-length", "content-security-policy", "content-type"];
        expected.extend(["cross-origin-resource-policy", "date", "referrer-policy", "vary", "x-content-type-options"]);
        if reach != Reach::Direct {
            // The host's own, of which `host.json` names two.
            expected.extend(["cross-origin-opener-policy", "server", "x-frame-options"]);
        }
        expected.sort_unstable();
        assert_eq!(names, expected, "{reach:?}");
        assert_eq!(response.header("content-security-policy"), Some("sandbox; default-src 'none'"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        let opened = visitor.navigate("/graph/hostile").await;
        assert_eq!((opened.status, opened.code()), (403, "csrf_failed"), "{reach:?}: a navigation is rejected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_rewritten_to_the_apis_route_or_removed() {
    let app = TestApp::builder().graph_entry(json!({"allow": ["GET /redirect", "GET /headers"]})).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let base = app.graph.base();
    let origin = base.trim_end_matches("/v1.0").to_owned();
    let at = app.graph.addr();
    for (to, expected) in [
        (format!("{base}/me?a=b#c"), Some("/graph/me?a=b#c")),
        (base.clone(), Some("/graph")),
        ("/v1.0/me".to_owned(), Some("/graph/me")),
        ("../v1.0/me?a".to_owned(), Some("/graph/me?a")),
        ("../auth/logout".to_owned(), None),
        (format!("http://user:word@{at}/v1.0/me"), None),
        ("/".to_owned(), None),
        ("/v1.0x/me".to_owned(), None),
        ("/beta/me".to_owned(), None),
        ("/auth/logout".to_owned(), None),
        ("/v1.0/../auth/logout".to_owned(), None),
        ("/v1.0/%2e%2e/auth/logout".to_owned(), None),
        (format!("{origin}/beta"), None),
        (format!("{base}x/me"), None),
        (format!("https://{at}/v1.0/me"), None),
        (format!("http://{at}.evil.example/v1.0/me"), None),
        (format!("http://{at}@evil.example/v1.0/me"), None),
        ("http://127.0.0.1:1/v1.0/me".to_owned(), None),
        ("//evil.example/v1.0/me".to_owned(), None),
        ("/\\evil.example/v1.0/me".to_owned(), None),
        ("\\\\evil.example/v1.0/me".to_owned(), None),
        ("https://evil.example/v1.0/me".to_owned(), None),
        ("javascript:alert(1)//://".to_owned(), None),
        ("data:text/html,x".to_owned(), None),
        (app.origin.clone() + "/auth/logout", None),
    ] {
        let to_query: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        for status in [301, 302, 303, 307, 308] {
            let before = app.graph.count();
            let response = visitor.fetch("GET", &format!("/graph/redirect?status={status}&to={to_query}")).await;
            assert_eq!((response.status, response.header("location")), (status, expected), "{to}");
            assert_eq!(app.graph.count(), before + 1, "{to}: it is not followed");
        }
        let created = visitor.fetch("GET", &with_headers(&[("content-location", &to)])).await;
        assert_eq!(created.header("content-location"), expected, "{to}");
    }
}

/// What a client or a proxy in between may say about the host, the scheme and the path that the client used.
const ADDRESSES: [&str; 12] = [
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: evil.example",
    "X-Forwarded-Port: 666",
    "X-Forwarded-Prefix: /evil.example",
    "X-Forwarded-For: evil.example",
    "Forwarded: host=evil.example;proto=http",
    "X-Original-Host: evil.example",
    "X-Original-URL: //evil.example/",
    "X-Rewrite-URL: //evil.example/",
    "X-Host: evil.example",
    "Disguised-Host: evil.example",
    "Referer: https://evil.example/",
];

/// A header of a raw response.
fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = response.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.split_once(": ").filter(|(of, _)| of.eq_ignore_ascii_case(name))).map(|(_, value)| value)
}

/// Contract 11.4 (RFC 9700, sections 2.1 and 4.11): redirects, links and the redirect URI follow from the
/// configuration, at a whole sign-in, at rejections and at a sign-out.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_of_a_client_controls_a_redirect_or_a_link() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let hostile = ADDRESSES.join("\r\n");
        let send = |request: &str, lines: &str| {
            let head = format!("{request} HTTP/1.1\r\nHost: evil.example\r\n{hostile}\r\n{lines}");
            let response = raw::exchange(app.port, &format!("{head}Accept: text/html\r\n\r\n"));
            assert_ne!(raw::status(&response), 0, "{reach:?} {request}");
            // The port alone may be a part of the trace id.
            let echoed = ["evil.example", ":666", "%3A666"].into_iter().find(|text| response.contains(text));
            assert_eq!(echoed, None, "{reach:?} {request}: {response}");
            response
        };
        let begun = send("GET /auth/login?return_to=/a", "");
        let address = url::Url::parse(header(&begun, "location").unwrap()).unwrap();
        let parameter = |url: &url::Url, name: &str| {
            url.query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned())
        };
        assert_eq!(parameter(&address, "redirect_uri"), Some(format!("{}/auth/callback", app.origin)), "{reach:?}");
        let login = header(&begun, "set-cookie").unwrap().split(';').next().unwrap();
        let callback = app.provider.sign_in(address.as_str(), ADA).unwrap().location();
        let callback = callback.strip_prefix(&app.origin).unwrap();
        let back = send(&format!("GET {callback}"), &format!("Cookie: {login}\r\n"));
        assert_eq!((raw::status(&back), header(&back, "location")), (302, Some("/a#")), "{reach:?}: {}", app.log());

        let mut visitor = app.signed_in(ADA).await;
        let cookie = format!("Cookie: {}\r\n", visitor.cookie_header());
        let guarded = format!("{cookie}X-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n");
        send("GET /auth/callback?code=x&state=y", "");
        send("GET /auth/login?return_to=//x", "");
        send("GET /auth/logout?state=x", &cookie);
        send("GET /graph/me", "X-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n");
        send("GET /auth/session", &cookie);
        send("GET /graph/redirect?to=/v1.0/me", &guarded);
        let out = send("POST /auth/logout", &format!("{guarded}Content-Length: 0\r\n"));
        let out = out.split_once("\"logout_url\":\"").unwrap().1.split_once('"').unwrap().0;
        let back = parameter(&url::Url::parse(out).unwrap(), "post_logout_redirect_uri");
        assert_eq!(back, Some(format!("{}/auth/logout", app.origin)), "{reach:?}");
        assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["authenticated"], false, "{reach:?}");
    }
}

/// Contract 3.9a: what the host answers by itself at the callback's address, before the gateway sees the request.
#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_responses_leave_their_opener_and_cannot_be_framed() {
    for reach in every_reach().into_iter().filter(|reach| *reach != Reach::Direct) {
        let app = TestApp::builder().reach(reach).start().await;
        for (request, lines, status) in [
            ("GET //auth/callback?code=x&state=y", "", 404),
            ("GET /auth/callback?code=x&state=y", "X-Name: caf\u{e9}\r\n", 500),
        ] {
            let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n{lines}\r\n");
            let response = raw::exchange(app.port, &request);
            assert_eq!(raw::status(&response), status, "{reach:?}: {response}");
            assert_eq!(header(&response, "cloakroom-error"), None, "{reach:?}: the gateway did not respond");
            assert_eq!(header(&response, "cross-origin-opener-policy"), Some("same-origin"), "{reach:?}: {response}");
            assert_eq!(header(&response, "x-frame-options"), Some("DENY"), "{reach:?}: {response}");
        }
    }
}
