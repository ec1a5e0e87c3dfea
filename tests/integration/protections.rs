//! Headers by which browsers protect pages, responses and their cache (contract 8.8 to 8.9b, 9.8, 9.9).

use serde_json::json;

use crate::app::TestApp;
use crate::raw;
use crate::visitor::{CALL, NAVIGATION, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";

fn spa() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("index.html", "<!doctype html>app"),
        ("user-Manual2024.pdf", "manual"),
        ("assets/app-BfX2k3aQ.js", "1"),
        ("static/js/app-BfX2k3aQ.js", "1"),
        (".well-known/microsoft-identity-association.json", "{}"),
        (".env", "SECRET=1"),
    ] {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_spa_cannot_be_framed_by_others() {
    let folder = spa();
    let app = TestApp::builder().set("SPA", folder.path().to_str().unwrap()).start().await;
    let page = app.visitor().navigate("/some/route").await;
    let etag = page.header("etag").unwrap().to_owned();
    let unchanged = app.visitor().send("GET", "/", &[&NAVIGATION[..], &[("if-none-match", &etag)]].concat(), "").await;
    assert_eq!((page.status, unchanged.status), (200, 304));
    for response in [page, unchanged] {
        assert_eq!(response.header("content-security-policy"), Some("frame-ancestors 'self'"));
        assert_eq!(response.header("cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(response.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
        assert_eq!(response.header("cross-origin-resource-policy"), None, "others may embed the SPA's files");
    }
    let script = app.visitor().get("/assets/app-BfX2k3aQ.js").await;
    assert_eq!(
        (script.header("content-security-policy"), script.header("referrer-policy")),
        (None, Some("no-referrer"))
    );

    let builder = TestApp::builder().set("SPA", folder.path().to_str().unwrap());
    let builder = builder.set("SPA_FRAME_ANCESTORS", "https://portal.example.org").set("SPA_OPENER_POLICY", "none");
    let page = builder.start().await.visitor().navigate("/").await;
    assert_eq!(page.header("content-security-policy"), Some("frame-ancestors https://portal.example.org"));
    assert_eq!(page.header("cross-origin-opener-policy"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_demands_https_where_the_public_origin_is_a_host_name() {
    let requests = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /graph/me HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /auth/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /graph/me HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    ];
    for (origin, setting, expected) in [
        ("https://app.example.org", "", Some("max-age=31536000")),
        ("https://app.example.org", "max-age=60; includeSubDomains", Some("max-age=60; includeSubDomains")),
        ("https://app.example.org", "none", None),
        ("https://app.example.org:8443", "", None),
        ("https://localhost", "", None),
        ("https://192.0.2.1", "", None),
    ] {
        let app = TestApp::builder().set("PUBLIC_ORIGIN", origin).set("HSTS", setting).start().await;
        for request in requests {
            let response = raw::exchange(app.port, request).to_lowercase();
            let line = expected.map(|value| format!("strict-transport-security: {}\r\n", value.to_lowercase()));
            match line {
                Some(line) => assert!(response.contains(&line), "{origin} {setting} {request}: {response}"),
                None => assert!(!response.contains("strict-transport"), "{origin} {setting} {request}: {response}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_cannot_embed_responses_unless_they_are_configured() {
    for (allowed, samesite, expected) in [
        ("", "strict", "same-origin"),
        ("http://localhost:9", "strict", "same-site"),
        ("https://spa.example.net", "none", "cross-origin"),
    ] {
        let app = TestApp::builder().set("ALLOWED_ORIGINS", allowed).set("SAMESITE", samesite).start().await;
        let mut visitor = app.signed_in(ADA).await;
        for path in ["/graph/me", "/auth/session", "/graph/nothing", "/health/live"] {
            let response = visitor.fetch("GET", path).await;
            assert_eq!(response.header("cross-origin-resource-policy"), Some(expected), "{path}");
        }
    }
}

async fn sign_in(app: &TestApp, visitor: &mut Visitor) -> Option<String> {
    let back = visitor.sign_in(&app.provider, ADA, "/").await;
    assert_eq!(back.status, 302);
    back.header("clear-site-data").map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_cache_is_cleared_when_the_user_may_change() {
    for (cache, expected) in [("none", None), ("private", Some("\"cache\""))] {
        let app = TestApp::builder().graph_entry(json!({"cache": cache})).start().await;
        let mut visitor = app.visitor();
        assert_eq!(sign_in(&app, &mut visitor).await.as_deref(), expected, "{cache}: sign-in");
        for path in ["/graph/me", "/auth/session"] {
            assert_eq!(visitor.fetch("GET", path).await.header("clear-site-data"), None, "{cache} {path}");
        }
        let mut expired = app.visitor();
        expired.jar.insert("__Host-Http-cloakroom".to_owned(), "invalid".to_owned());
        let refused = expired.fetch("POST", "/auth/refresh").await;
        assert_eq!((refused.status, refused.code()), (401, "session_expired"));
        assert_eq!(refused.header("clear-site-data"), expected, "{cache}: expired");
        let by_script = visitor.clone().fetch("POST", "/auth/logout").await;
        assert_eq!((by_script.status, by_script.header("clear-site-data")), (200, expected), "{cache}");
        let form = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
        let by_form = visitor.send("POST", "/auth/logout", &form, "a=b").await;
        assert_eq!((by_form.status, by_form.header("clear-site-data")), (303, expected), "{cache}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_built_files_with_a_hash_are_immutable_and_well_known_files_are_served() {
    let folder = spa();
    let caching = |response: crate::visitor::Response| response.header("cache-control").unwrap().contains("immutable");
    for (setting, assets, scripts) in [("", true, false), ("static/js", false, true), ("assets, static", true, true)] {
        let builder = TestApp::builder().set("SPA", folder.path().to_str().unwrap()).set("SPA_IMMUTABLE", setting);
        let app = builder.start().await;
        assert_eq!(caching(app.visitor().get("/assets/app-BfX2k3aQ.js").await), assets, "{setting}");
        assert_eq!(caching(app.visitor().get("/static/js/app-BfX2k3aQ.js").await), scripts, "{setting}");
        assert!(!caching(app.visitor().get("/user-Manual2024.pdf").await), "{setting}");
        let association = app.visitor().get("/.well-known/microsoft-identity-association.json").await;
        assert_eq!((association.status, association.text().as_str()), (200, "{}"));
        assert_eq!(app.visitor().get("/.env").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_name_the_headers_that_decided() {
    let app = TestApp::builder().graph_entry(json!({"csrf": "fetch-metadata"})).start().await;
    let script = [("sec-fetch-dest", "script"), ("sec-fetch-site", "same-origin")];
    for (method, path, headers) in [
        ("GET", "/graph/me", &[][..]),
        ("GET", "/graph/me", &CALL[..]),
        ("GET", "/graph/me", &script),
        ("GET", "/graph/me", &[("origin", "https://evil.example"), ("x-csrf", "1")]),
        ("POST", "/auth/refresh", &[]),
        ("POST", "/auth/logout", &[]),
    ] {
        let response = app.visitor().send(method, path, headers, "").await;
        assert!(response.status >= 400, "{path}");
        let vary: Vec<&str> = response.headers_named("vary").flat_map(|line| line.split(", ")).collect();
        for name in ["Sec-Fetch-Site", "Sec-Fetch-Dest", "Origin", "X-CSRF"] {
            assert!(vary.contains(&name), "{method} {path} {name}: {vary:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_another_origin_may_read_what_an_api_sends() {
    let page = "http://localhost:9";
    let allow = json!({"allow": ["GET /headers"], "response_headers": ["X-Mine"]});
    let app = TestApp::builder().set("ALLOWED_ORIGINS", page).graph_entry(allow).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let headers = [("origin", page), ("sec-fetch-site", "same-site"), ("x-csrf", "1")];
    let response = visitor.send("GET", "/graph/headers?etag=%221%22&x-mine=1&x-other=1", &headers, "").await;
    let exposed: Vec<&str> = response.header("access-control-expose-headers").unwrap().split(", ").collect();
    for name in ["Cloakroom-Error", "Retry-After", "Allow", "etag", "x-mine", "content-type"] {
        assert!(exposed.contains(&name), "{name}: {exposed:?}");
    }
    for name in ["x-other", "set-cookie", "cache-control", "content-security-policy"] {
        assert!(!exposed.contains(&name), "{name}: {exposed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_is_cut_off_before_any_check() {
    let app = TestApp::start().await;
    let cookie = app.signed_in(ADA).await.cookie_header();
    app.graph.clear_requests();
    let head = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\r\n"
        )
    };
    for path in ["/graph/me#/../users", "/graph/me#%zz"] {
        assert_eq!(raw::status(&raw::exchange(app.port, &head(path))), 200, "{path}");
        assert_eq!(app.graph.requests().pop().unwrap().target, "/v1.0/me", "{path}");
    }
    for path in ["/graph/..%20/me", "/graph/%EF%BC%8E%EF%BC%8E/me", "/graph/%E2%80%A5/me"] {
        assert_eq!(raw::status(&raw::exchange(app.port, &head(path))), 400, "{path}: some servers read it as ..");
    }
}
