//! Users list and end their own sessions, and operators end sessions by command, with sessions in Redis (contract 16.1
//! to 16.4): the real binary on several instances.

mod command;

use devkit::commands::stack::free_port;
use devkit::redis_server::{Options, RedisServer};
use serde_json::{Value, json};

use crate::app::{Builder, Gateway, TestApp, every_reach};
use crate::cloud::{ADA, eventually};
use crate::streams;
use crate::visitor::{CALL, Response, Visitor};

const GRACE: &str = "grace.hopper@contoso.example";
const SESSIONS: &str = "/auth/sessions";
/// A session that no user has.
const UNKNOWN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn redis() -> RedisServer {
    RedisServer::start(&Options::default()).unwrap()
}

fn stored(redis: &RedisServer) -> Builder {
    TestApp::builder().set("STORE", redis.url())
}

/// Another instance of an app, and its port.
async fn another_instance(app: &TestApp) -> (Gateway, u16) {
    let port = free_port().unwrap();
    let gateway = Gateway::start(&app.settings, port);
    let mut visitor = Visitor::new(&format!("http://localhost:{port}"));
    eventually(app, "ready there", async || (visitor.get("/health/ready").await.status == 200).then_some(())).await;
    (gateway, port)
}

/// A sign-in by this browser.
async fn signed_in_with(app: &TestApp, user_agent: &str) -> Visitor {
    let mut visitor = app.visitor();
    visitor.name_itself(user_agent);
    assert_eq!(visitor.sign_in(&app.provider, ADA, "/").await.status, 302, "{}", app.log());
    visitor
}

async fn is_alive(visitor: &mut Visitor) -> bool {
    let response = visitor.fetch("GET", "/graph/me").await;
    assert!(response.status == 200 || response.code() == "session_expired", "{}", response.text());
    response.status == 200
}

async fn list(visitor: &mut Visitor) -> Vec<Value> {
    let response = visitor.fetch("GET", SESSIONS).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["sessions"].as_array().unwrap().clone()
}

/// `id` of a browser's own session.
async fn own_id(visitor: &mut Visitor) -> String {
    let listed = list(visitor).await;
    let own: Vec<_> = listed.iter().filter(|session| session["current"] == true).collect();
    let [own] = own[..] else { panic!("{listed:?}") };
    own["id"].as_str().unwrap().to_owned()
}

/// Contract 16.1 to 16.3: on another instance the next call is rejected, without any delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_its_user_ends_is_over_on_every_instance_at_once() {
    let redis = redis();
    let app = stored(&redis).start().await;
    let (_second, port) = another_instance(&app).await;
    let mut laptop = signed_in_with(&app, "Laptop/1").await;
    let mut phone = signed_in_with(&app, "Phone/1").await.at(port);
    let mut grace = app.signed_in(GRACE).await;
    assert!(is_alive(&mut phone).await && is_alive(&mut laptop).await);

    let links = laptop.fetch("GET", "/auth/session").await.json()["links"].take();
    assert_eq!(links["sessions"], SESSIONS);
    let listed = list(&mut laptop).await;
    let agents: Vec<_> = listed.iter().map(|session| session["user_agent"].as_str().unwrap()).collect();
    assert_eq!(agents.len(), 2, "{listed:?}");
    assert!(agents.contains(&"Laptop/1") && agents.contains(&"Phone/1"), "{agents:?}");
    let (laptops, phones) = (own_id(&mut laptop).await, own_id(&mut phone).await);
    assert_ne!(laptops, phones);

    for id in [&own_id(&mut grace).await, UNKNOWN, "x"] {
        let response = laptop.fetch("DELETE", &format!("{SESSIONS}/{id}")).await;
        assert_eq!((response.status, response.code()), (404, "route_denied"), "{id}");
    }
    let ended = laptop.fetch("DELETE", &format!("{SESSIONS}/{phones}")).await;
    assert_eq!((ended.status, ended.text().as_str()), (204, ""));
    assert!(!is_alive(&mut phone).await, "{}", app.log());
    assert!(is_alive(&mut laptop).await && is_alive(&mut grace).await);
    let refreshed = phone.fetch("POST", "/auth/refresh").await;
    assert_eq!((refreshed.status, refreshed.code(), phone.jar.len()), (401, "session_expired", 0));

    let mut again = [signed_in_with(&app, "Phone/2").await.at(port), signed_in_with(&app, "Tablet/1").await];
    let ended = again[0].fetch("DELETE", SESSIONS).await;
    assert_eq!((ended.status, ended.json()), (200, json!({"ended": 2})));
    assert!(!is_alive(&mut laptop).await && !is_alive(&mut again[1]).await);
    assert!(is_alive(&mut again[0]).await && is_alive(&mut grace).await);
    app.wait_for_log("\"event\":\"session_ended\"").await;
    let events = crate::audit::events(&app.log());
    let ended = events.iter().find(|event| event["event"] == "session_ended").unwrap();
    assert!(events.iter().any(|event| event["event"] == "signed_in" && event["session"] == ended["session"]));
}

/// Contract 10.21.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_off_when_its_session_is_ended_by_another_browser() {
    let redis = redis();
    let entry = json!({"allow": ["GET /events", "GET /me"], "timeouts": {"total": null}});
    let app = stored(&redis).graph_entry(entry).start().await;
    let (mut here, mut there) = (app.signed_in(ADA).await, app.signed_in(ADA).await);
    let mut own = streams::streams(&app, &here, 1).await;
    let mut others = streams::streams(&app, &there, 2).await;
    let id = own_id(&mut there).await;
    assert_eq!(here.fetch("DELETE", &format!("{SESSIONS}/{id}")).await.status, 204);
    others.iter_mut().for_each(streams::assert_cut_off);
    eventually(&app, "ended at the API", async || (app.graph.send_event("continues") == 1).then_some(())).await;
    streams::read_until(&mut own[0], "data: continues\n\n");
}

/// Contract 10.21: another instance knows of the end as soon as it gets another request of the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_at_another_instance_is_cut_off_once_that_knows_of_the_end() {
    let redis = redis();
    let entry = json!({"allow": ["GET /events", "GET /me"], "timeouts": {"total": null}});
    let app = stored(&redis).graph_entry(entry).start().await;
    let (_second, port) = another_instance(&app).await;
    let (mut here, mut there) = (app.signed_in(ADA).await, app.signed_in(ADA).await.at(port));
    let mut grace = app.signed_in(GRACE).await.at(port);
    let mut of_ada = streams::streams_at(port, &there, 2);
    let mut of_grace = streams::streams_at(port, &grace, 1);
    assert_eq!(here.fetch("DELETE", SESSIONS).await.json(), json!({"ended": 1}));
    assert!(!is_alive(&mut there).await && is_alive(&mut grace).await);
    of_ada.iter_mut().for_each(streams::assert_cut_off);
    eventually(&app, "ended at the API", async || (app.graph.send_event("continues") == 1).then_some(())).await;
    streams::read_until(&mut of_grace[0], "data: continues\n\n");
}

/// Status and code; `Allow`, which the host forwards as several lines.
fn checked(response: &Response) -> String {
    let allow: Vec<_> = response.headers_named("allow").collect();
    format!("{} {} {}", response.status, response.code(), allow.join(", ")).trim_end().to_owned()
}

/// Contract 3.28, 9.1, 9.8: directly and through the host, whose function `auth-sessions` takes all methods.
#[tokio::test(flavor = "multi_thread")]
async fn each_path_has_its_methods_and_is_guarded() {
    let redis = redis();
    for reach in every_reach() {
        let app = stored(&redis).reach(reach).start().await;
        let mut visitor = app.signed_in(ADA).await;
        let one = format!("{SESSIONS}/{UNKNOWN}");
        for (method, path, expected) in [
            ("GET", SESSIONS, "200 -"),
            ("HEAD", SESSIONS, "200 -"),
            ("DELETE", SESSIONS, "200 -"),
            ("DELETE", &one, "404 route_denied"),
            ("POST", SESSIONS, "405 method_denied GET, HEAD, DELETE"),
            ("GET", &one, "405 method_denied DELETE"),
            ("PUT", &one, "405 method_denied DELETE"),
            ("GET", "/auth/sessions/a/b", "404 route_denied"),
            ("DELETE", "/auth/sessions/a/b", "404 route_denied"),
            ("GET", "/auth/sessionsx", "404 route_denied"),
        ] {
            let response = visitor.fetch(method, path).await;
            assert_eq!(checked(&response), expected, "{reach:?} {method} {path}: {}", app.log());
            assert_eq!(response.header("cache-control"), Some("no-store"), "{method} {path}");
        }
        for (method, path) in [("GET", SESSIONS), ("DELETE", SESSIONS), ("DELETE", &one)] {
            for (headers, expected) in [
                (&CALL[..3], "403 csrf_failed"),
                (&[("sec-fetch-site", "cross-site"), ("x-csrf", "1")], "403 origin_denied"),
            ] {
                let response = visitor.send(method, path, headers, "").await;
                assert_eq!(checked(&response), expected, "{reach:?} {method} {path}");
                let vary: Vec<_> = response.headers_named("vary").collect();
                assert!(vary.join(", ").contains("Sec-Fetch-Site, X-CSRF"), "{vary:?}");
            }
            let response = app.visitor().fetch(method, path).await;
            assert_eq!(checked(&response), "401 session_missing", "{reach:?} {method} {path}");
        }
        assert!(is_alive(&mut visitor).await);
    }
}

/// Contract 16.1: without a store the paths do not exist.
#[tokio::test(flavor = "multi_thread")]
async fn with_sessions_in_cookies_there_is_no_such_path() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.signed_in(ADA).await;
        let links = visitor.fetch("GET", "/auth/session").await.json()["links"].take();
        assert!(links.get("sessions").is_none(), "{links}");
        for (method, path) in [("GET", SESSIONS), ("DELETE", SESSIONS), ("DELETE", "/auth/sessions/x")] {
            let response = visitor.fetch(method, path).await;
            assert_eq!(checked(&response), "404 route_denied", "{reach:?} {method} {path}");
            let response = app.visitor().send(method, path, &[], "").await;
            assert_eq!(checked(&response), "404 route_denied", "at once: {reach:?} {method} {path}");
        }
    }
}

/// Contract 9.9, 9.10, 8.11.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_a_listed_origin_lists_and_ends_sessions() {
    const PAGE: &str = "http://localhost:9";
    let redis = redis();
    let app = stored(&redis).set("ALLOWED_ORIGINS", PAGE).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let mut other = app.signed_in(ADA).await;
    let one = format!("{SESSIONS}/{}", own_id(&mut other).await);
    let headers = |origin| [("origin", origin), ("sec-fetch-site", "same-site"), ("x-csrf", "1")];
    for (method, path) in [("DELETE", SESSIONS), ("DELETE", &one)] {
        let asked = [("origin", PAGE), ("access-control-request-method", method)];
        let preflight = app.visitor().send("OPTIONS", path, &asked, "").await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some(PAGE)), "{path}");
        let allowed = |name: &str| preflight.header(name).unwrap();
        assert!(allowed("access-control-allow-methods").split(", ").any(|of| of == method));
        assert!(allowed("access-control-allow-headers").split(", ").any(|of| of == "x-csrf"));
    }
    let foreign = visitor.send("DELETE", SESSIONS, &headers("http://localhost:10"), "").await;
    assert_eq!((foreign.status, foreign.code()), (403, "origin_denied"));
    for (method, path, status) in
        [("GET", SESSIONS, 200), ("DELETE", &one, 204), ("DELETE", &one, 404), ("DELETE", SESSIONS, 200)]
    {
        let response = visitor.send(method, path, &headers(PAGE), "").await;
        assert_eq!(response.status, status, "{method} {path}: {}", response.text());
        assert_eq!(response.header("access-control-allow-origin"), Some(PAGE), "{method} {path}");
    }
    assert!(!is_alive(&mut other).await && is_alive(&mut visitor).await);
}

/// Contract 15.12.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_endpoint_is_unavailable_and_the_cookie_is_kept() {
    let redis = redis();
    let app = stored(&redis).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let jar = visitor.jar.clone();
    redis.stop();
    for (method, path) in [("GET", SESSIONS), ("DELETE", SESSIONS), ("DELETE", "/auth/sessions/x")] {
        let response = visitor.fetch(method, path).await;
        assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{method} {path}");
        assert!(response.header("retry-after").is_some());
        assert_eq!(visitor.jar, jar);
    }
}
