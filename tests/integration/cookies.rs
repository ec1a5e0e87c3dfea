//! The session cookie, modified as an attacker would (contract sections 4 and 5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;

use crate::app::TestApp;
use crate::visitor::{CALL, Response, Visitor};

const NAME: &str = "__Host-Http-cloakroom";
const ADA: &str = "ada.lovelace@contoso.example";

/// A call with this cookie header.
async fn call(browser: &Visitor, cookie: &str) -> Response {
    let mut headers = CALL.to_vec();
    headers.push(("cookie", cookie));
    browser.clone().send("GET", "/graph/me", &headers, "").await
}

/// A response without its date and trace id.
fn essence(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let headers = response.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
    let trace = response.json()["trace_id"].as_str().unwrap().to_owned();
    (response.status, headers, response.text().replace(&trace, "TRACE"))
}

#[tokio::test]
async fn every_flipped_bit_gives_the_same_401_without_an_api_call() {
    let app = TestApp::builder().set("LOG", "warn").start().await;
    let visitor = app.signed_in(ADA).await;
    let sealed = URL_SAFE_NO_PAD.decode(&visitor.jar[NAME]).unwrap();
    let before = app.graph.count();
    let expected = essence(&call(&visitor, &format!("{NAME}=x")).await);
    assert_eq!(expected.0, 401);
    let (visitor, sealed, expected) = (&visitor, &sealed, &expected);
    futures_util::stream::iter(0..sealed.len() * 8)
        .for_each_concurrent(16, |bit| async move {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let response = call(visitor, &format!("{NAME}={}", URL_SAFE_NO_PAD.encode(flipped))).await;
            assert_eq!(&essence(&response), expected, "bit {bit}");
        })
        .await;
    assert_eq!(app.graph.count(), before);
}

#[tokio::test]
async fn a_sealed_value_opens_only_for_its_purpose_name_and_client() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let session = visitor.jar[NAME].clone();
    visitor.begin("/").await;
    let login = visitor.jar.iter().find(|(name, _)| name.contains("-login-")).unwrap().1.clone();
    let link = visitor.fetch("GET", "/auth/session").await.json()["links"]["logout"].as_str().unwrap().to_owned();
    let logout_token = link.split("lt=").nth(1).unwrap().to_owned();
    let before = app.graph.count();
    for planted in
        [login, logout_token, format!("{session}A"), format!("2.{session}"), session[..session.len() - 4].to_owned()]
    {
        let response = call(&visitor, &format!("{NAME}={planted}")).await;
        assert_eq!((response.status, response.code()), (401, "session_expired"));
        assert_eq!(response.headers_named("set-cookie").count(), 0, "a proxied call leaves the cookie unchanged");
    }
    assert_eq!(call(&visitor, &format!("{NAME}-1={session}")).await.code(), "session_expired");
    assert_eq!(call(&visitor, &format!("x{NAME}={session}")).await.code(), "session_missing");
    assert_eq!(call(&visitor, &format!("{NAME}={session}; {NAME}=x")).await.code(), "session_expired");
    assert_eq!(app.graph.count(), before);
    assert_eq!(call(&visitor, &format!("a=1; {NAME}={session}; b=2")).await.status, 200);
}

#[tokio::test]
async fn a_session_of_several_cookies_needs_every_part() {
    let options = devkit::provider::Options { access_token_size: 6_000, ..devkit::provider::Options::new("http://x") };
    let app = TestApp::builder().provider(options).set("COOKIE_BUDGET", "12000").start().await;
    let mut visitor = app.signed_in(ADA).await;
    assert!(visitor.jar.contains_key(&format!("{NAME}-1")), "{:?}", visitor.jar.keys());
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    let part = visitor.jar.remove(&format!("{NAME}-1")).unwrap();
    assert_eq!(visitor.fetch("GET", "/graph/me").await.code(), "session_expired");
    visitor.jar.insert(format!("{NAME}-1"), part);
    let response = visitor.fetch("POST", "/auth/logout").await;
    assert_eq!(response.headers_named("set-cookie").count(), 5);
    assert!(visitor.jar.is_empty());
}

#[tokio::test]
async fn a_session_over_the_budget_fails_the_sign_in_once() {
    let options =
        devkit::provider::Options { refresh_token_size: 12_000, ..devkit::provider::Options::new("http://x") };
    let app = TestApp::builder().provider(options).start().await;
    let mut visitor = app.visitor();
    let response = visitor.sign_in(&app.provider, ADA, "/").await;
    assert_eq!(response.header("location"), Some("/?auth_error=cookie_too_large"));
    assert!(visitor.jar.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_over_the_budget_is_left_out_and_obtained_again() {
    for size in [1_000, 4_000, 12_000, 32_000] {
        let options =
            devkit::provider::Options { access_token_size: size, ..devkit::provider::Options::new("http://x") };
        let app = TestApp::builder().provider(options).start().await;
        let mut visitor = app.signed_in(ADA).await;
        let before = app.provider.token_requests();
        for _ in 0..3 {
            assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{size}: {}", app.log());
        }
        assert_eq!(app.provider.token_requests(), before, "{size}: this instance cached it");
        let companion = "; ".len() + NAME.len() + "-id=".len() + 60;
        assert!(visitor.cookie_header().len() <= 7_000 + companion, "{size}");
        let port = devkit::commands::stack::free_port().unwrap();
        let _second = crate::app::Gateway::start(&app.settings, port);
        let mut there = visitor.at(port);
        for _ in 0..3 {
            assert_eq!(there.fetch("GET", "/graph/me").await.status, 200, "{size}: another instance obtains its own");
        }
        assert!(app.provider.token_requests() <= before + 1, "{size}: once");
    }
}

#[tokio::test]
async fn the_cookie_attributes_are_the_strictest() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let login = visitor.navigate("/auth/login").await;
    let line = login.header("set-cookie").unwrap();
    assert!(
        line.starts_with(&format!("{NAME}-login-"))
            && line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"),
        "{line}"
    );
    let address = login.header("location").unwrap();
    let back = visitor.come_back(&app.provider.sign_in(address, ADA).unwrap().location()).await;
    let line = back.headers_named("set-cookie").next().unwrap();
    assert!(
        line.starts_with(&format!("{NAME}=")) && line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"),
        "{line}"
    );
    assert_eq!(
        back.headers_named("set-cookie").count(),
        6,
        "the session cookie, its companion, three deletions, and that of the transaction"
    );
}

#[tokio::test]
async fn two_sessions_of_one_user_end_independently() {
    let app = TestApp::start().await;
    let mut first = app.signed_in(ADA).await;
    let mut second: Visitor = app.signed_in(ADA).await;
    let kept = first.jar.clone();
    assert_eq!(first.fetch("POST", "/auth/logout").await.status, 200);
    first.jar = kept;
    assert_eq!(
        first.fetch("GET", "/graph/me").await.code(),
        "session_expired",
        "an instance rejects a session that ended on it"
    );
    assert_eq!(first.fetch("GET", "/auth/session").await.json()["authenticated"], false);
    assert_eq!(second.fetch("GET", "/graph/me").await.status, 200);
}

/// What the provider responds from now on to token requests: these members are set.
fn set_in_token_responses(app: &TestApp, members: Option<serde_json::Value>) {
    let change = |members: serde_json::Value| {
        devkit::provider::Alteration::json(move |document| {
            document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        })
    };
    app.provider.set_alteration(devkit::provider::Endpoint::Token, members.map(change));
}

/// Contract 4.17: the response has the new token, the browser keeps its cookie, and the log says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_outgrows_the_budget_at_a_refresh_keeps_its_cookie() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    set_in_token_responses(&app, Some(serde_json::json!({"refresh_token": "r".repeat(12_000)})));
    let response = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!((response.status, response.headers_named("set-cookie").count()), (204, 0), "{}", app.log());
    app.wait_for_log("is too large, so that the old one is kept").await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["authenticated"], true);
}

/// Contract 4.17: with one-time refresh tokens the old one is worth nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_refresh_token_is_written_even_if_access_tokens_are_left_out() {
    let options = devkit::provider::Options { one_time_refresh: true, ..devkit::provider::Options::new("http://x") };
    let mut app = TestApp::builder().provider(options).start().await;
    let mut visitor = app.signed_in(ADA).await;
    set_in_token_responses(&app, Some(serde_json::json!({"access_token": "a".repeat(9_000)})));
    let response = visitor.fetch("POST", "/auth/refresh").await;
    assert!(response.status == 204 && response.header("set-cookie").is_some(), "{}", app.log());
    set_in_token_responses(&app, None);
    // Another instance knows only the cookie.
    app.restart();
    app.wait_until_ready(200).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
}
