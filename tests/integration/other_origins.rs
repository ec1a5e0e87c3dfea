//! A page on another origin: CORS for listed origins only, absolute links to the gateway (contract 9.9, 9.10, 8.11).

use serde_json::json;

use crate::app::TestApp;
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace@contoso.example";
/// Same-site with the gateway of the tests, because ports do not count.
const PAGE: &str = "http://localhost:9";

async fn app() -> TestApp {
    TestApp::builder().set("ALLOWED_ORIGINS", PAGE).set("RETURN_URI", format!("{PAGE}/home")).start().await
}

async fn signed_in(app: &TestApp) -> Visitor {
    let mut visitor = app.visitor();
    let away = visitor.navigate("/auth/login").await;
    let callback = app.provider.sign_in(away.header("location").unwrap(), ADA).unwrap();
    let back = visitor.come_back(&callback.location()).await;
    assert_eq!(back.header("location"), Some(&*format!("{PAGE}/home")));
    visitor
}

fn from<'a>(origin: &'a str, site: &'a str) -> [(&'a str, &'a str); 4] {
    [("origin", origin), ("sec-fetch-site", site), ("sec-fetch-mode", "cors"), ("x-csrf", "1")]
}

/// Contract 9.11: on these plans the host answers preflights by itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_the_platforms_cors_list_lacks_is_reported() {
    for (plan, list, is_reported) in [
        ("FlexConsumption", "", true),
        ("FlexConsumption", r#"["https://portal.azure.com"]"#, true),
        ("Dynamic", "https://portal.azure.com", true),
        ("FlexConsumption", r#"["https://portal.azure.com", "http://localhost:9"]"#, false),
        ("Dynamic", r#"["http://localhost:9"]"#, false),
        ("ElasticPremium", "", false),
        ("", "", false),
    ] {
        let builder = TestApp::builder().set("ALLOWED_ORIGINS", PAGE).variable("WEBSITE_SKU", plan);
        let app = builder.variable("CORS_ALLOWED_ORIGINS", list).start().await;
        let ready = app.visitor().get("/health/ready").await;
        let expected = if is_reported { json!(["platform_cors"]) } else { json!(null) };
        assert_eq!((ready.status, &ready.json()["misconfigured"]), (200, &expected), "{plan} {list}");
        let warning = "the platform's CORS list, which lacks http://localhost:9";
        if is_reported {
            app.wait_for_log(warning).await;
        } else {
            assert!(!app.log().contains(warning), "{plan} {list}");
        }
    }
    let app = TestApp::builder().variable("WEBSITE_SKU", "FlexConsumption").start().await;
    assert!(app.visitor().get("/health/ready").await.json().get("misconfigured").is_none(), "no CORS");
}

#[tokio::test]
async fn a_page_on_a_listed_origin_calls_and_reads() {
    let app = app().await;
    let mut visitor = signed_in(&app).await;
    for (method, path, status) in [
        ("GET", "/graph/me", 200),
        ("POST", "/auth/refresh", 204),
        ("GET", "/auth/session", 200),
        ("GET", "/graph/nothing", 404),
        ("POST", "/auth/logout", 200),
        ("GET", "/graph/me", 401),
    ] {
        let response = visitor.send(method, path, &from(PAGE, "same-site"), "").await;
        assert_eq!(response.status, status, "{method} {path}: {}", app.log());
        assert_eq!(response.header("access-control-allow-origin"), Some(PAGE), "{path}");
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        assert!(response.header("access-control-expose-headers").unwrap().contains("Cloakroom-Error"));
        let vary: Vec<&str> = response.headers_named("vary").collect();
        assert!(vary.iter().any(|line| line.contains("Origin")), "{path}: {vary:?}");
    }
}

#[tokio::test]
async fn links_are_absolute_for_a_page_on_another_origin() {
    let app = app().await;
    let mut visitor = signed_in(&app).await;
    let session = visitor.send("GET", "/auth/session", &from(PAGE, "same-site"), "").await.json();
    for link in ["login", "logout", "refresh"] {
        let link = session["links"][link].as_str().unwrap();
        assert!(link.starts_with(&app.origin), "{link}");
    }
    let rejected = app.visitor().send("GET", "/graph/me", &from(PAGE, "same-site"), "").await;
    assert_eq!(rejected.json()["login_url"], format!("{}/auth/login", app.origin));
    let wanted = visitor.navigate("/auth/login?return_to=/there%3Fx%3D1").await;
    let callback = app.provider.sign_in(wanted.header("location").unwrap(), ADA).unwrap();
    let back = visitor.come_back(&callback.location()).await;
    assert_eq!(back.header("location"), Some(&*format!("{PAGE}/there?x=1")));
    let page = visitor.navigate("/auth/logout").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains(&format!("{PAGE};")) || policy.contains(&format!("{PAGE} ")),
        "the policy allows the redirect: {policy}"
    );
    let lost = app.visitor().navigate("/auth/callback?state=x").await;
    assert_eq!(lost.header("location"), Some(&*format!("{PAGE}/home?auth_error=login_expired")));
}

#[tokio::test]
async fn other_origins_and_other_sites_are_rejected() {
    let app = app().await;
    let mut visitor = signed_in(&app).await;
    let before = app.graph.count();
    for (origin, site) in [
        ("http://localhost:10", "same-site"),
        ("http://evil.example", "cross-site"),
        ("null", "cross-site"),
        (PAGE, "cross-site"),
        (PAGE, "none"),
        ("http://localhost:9.evil.example", "cross-site"),
    ] {
        for (method, path) in [("GET", "/graph/me"), ("POST", "/auth/refresh")] {
            let response = visitor.send(method, path, &from(origin, site), "").await;
            assert_eq!((response.status, response.code()), (403, "origin_denied"), "{origin} {site} {path}");
            let shared = (origin == PAGE).then_some(PAGE);
            assert_eq!(response.header("access-control-allow-origin"), shared, "{origin} {site}");
        }
    }
    assert_eq!(app.graph.count(), before);
}

#[tokio::test]
async fn preflights_are_answered_without_session_or_api() {
    let app = app().await;
    let before = app.graph.count();
    for path in ["/graph/me", "/auth/refresh", "/auth/session", "/graph/not-in-the-map"] {
        let preflight = [("origin", PAGE), ("access-control-request-method", "PATCH"), ("sec-fetch-site", "same-site")];
        let response = app.visitor().send("OPTIONS", path, &preflight, "").await;
        assert_eq!((response.status, response.text().as_str()), (204, ""), "{path}");
        assert_eq!(response.header("access-control-allow-origin"), Some(PAGE));
        assert!(response.header("access-control-allow-methods").unwrap().contains("PATCH"));
        let names = response.header("access-control-allow-headers").unwrap();
        for name in ["x-csrf", "content-type", "if-match", "consistencylevel", "traceparent"] {
            assert!(names.split(", ").any(|of| of == name), "{name}: {names}");
        }
        let foreign = [("origin", "http://evil.example"), ("access-control-request-method", "GET")];
        let response = app.visitor().send("OPTIONS", path, &foreign, "").await;
        assert_eq!((response.status, response.code()), (403, "origin_denied"), "{path}");
        assert!(
            !response.headers.iter().any(|(name, _)| name.starts_with("access-control-")),
            "{:?}",
            response.headers
        );
    }
    assert_eq!(app.graph.count(), before);
}

#[tokio::test]
async fn without_listed_origins_there_is_no_cors() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let response = visitor.send("GET", "/auth/session", &from(PAGE, "same-site"), "").await;
    assert_eq!(response.status, 200);
    assert!(!response.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{:?}", response.headers);
    let preflight = [("origin", PAGE), ("access-control-request-method", "GET")];
    assert_eq!(visitor.send("OPTIONS", "/graph/me", &preflight, "").await.code(), "origin_denied");
}

#[tokio::test]
async fn with_samesite_none_a_listed_cross_site_page_may_call() {
    let page = "https://spa.example.net";
    let app = TestApp::builder().set("ALLOWED_ORIGINS", page).set("SAMESITE", "none").start().await;
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(visitor.send("GET", "/graph/me", &from(page, "cross-site"), "").await.status, 200);
    assert_eq!(visitor.send("GET", "/graph/me", &from("https://evil.example", "cross-site"), "").await.status, 403);
    let without = [("origin", page), ("sec-fetch-site", "cross-site")];
    assert_eq!(visitor.send("GET", "/graph/me", &without, "").await.code(), "csrf_failed");
    app.wait_for_log("SAMESITE=none").await;
}
