//! Token refresh: before a call and by `POST /auth/refresh`, once for all waiting requests (contract 7.10 to 7.27).

mod outage;
mod times;

use std::time::Duration;

use devkit::provider::{Endpoint, Fault, Flaw, Mutation, Options};

use crate::app::TestApp;

const ADA: &str = "ada.lovelace@contoso.example";

/// Access tokens of 90 s: fresh for 45 s, unless a test sets another skew.
fn short_lived() -> Options {
    Options { access_token_life: Duration::from_secs(90), ..Options::new("http://unused") }
}

fn refreshes(app: &TestApp) -> usize {
    let of_refresh = |request: &devkit::provider::Recorded| {
        request.form_field("grant_type").is_some_and(|grant| grant == "refresh_token")
    };
    app.provider.requests().iter().filter(|request| of_refresh(request)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_refresh_its_session() {
    let app = TestApp::builder().provider(short_lived()).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let before = visitor.jar.clone();
    for _ in 0..2 {
        let response = visitor.fetch("POST", "/auth/refresh").await;
        assert_eq!((response.status, response.text().as_str()), (204, ""));
    }
    assert_eq!(refreshes(&app), 2, "no older result is used");
    assert_ne!(visitor.jar, before);
    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["links"]["refresh"], "/auth/refresh");
    let wrong = visitor.fetch("GET", "/auth/refresh").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let unguarded = visitor.send("POST", "/auth/refresh", &[("sec-fetch-site", "same-origin")], "").await;
    assert_eq!(unguarded.code(), "csrf_failed");
    let foreign = visitor.send("POST", "/auth/refresh", &[("sec-fetch-site", "cross-site"), ("x-csrf", "1")], "").await;
    assert_eq!(foreign.code(), "origin_denied");
    assert_eq!(app.visitor().fetch("POST", "/auth/refresh").await.code(), "session_missing");
    assert_eq!(refreshes(&app), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_continues_when_the_browser_disconnects() {
    let app = TestApp::builder().provider(Options { one_time_refresh: true, ..short_lived() }).start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_secs(1)));
    let mut leaving = visitor.clone();
    let left = tokio::time::timeout(Duration::from_millis(500), leaving.fetch("POST", "/auth/refresh")).await;
    assert!(left.is_err());
    let before = visitor.jar.clone();
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
    assert_ne!(visitor.jar, before);
    assert_eq!(refreshes(&app), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_under_an_unknown_key_is_kept() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let sealed = visitor.jar["__Host-Http-cloakroom"].clone();
    let other_kid = format!("{}AAAAAAAA{}", &sealed[..2], &sealed[10..]);
    visitor.jar.insert("__Host-Http-cloakroom".to_owned(), other_kid.clone());
    let response = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!((response.code(), response.header("set-cookie")), ("session_expired", None));
    let damaged = format!("{}AAAA", &sealed[..sealed.len() - 4]);
    visitor.jar.insert("__Host-Http-cloakroom".to_owned(), damaged);
    let response = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!(response.code(), "session_expired");
    assert!(visitor.jar.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_id_token_is_validated_in_full() {
    let app = TestApp::builder().provider(Options { access_token_life: Duration::from_secs(2), ..short_lived() });
    let app = app.start().await;
    let other_subject = Mutation::new(|draft| {
        draft.claims["sub"] = "somebody-else".into();
    });
    for mutation in [other_subject, Flaw::WrongIssuer.into(), Flaw::BadSignature.into()] {
        let mut visitor = app.signed_in(ADA).await;
        app.provider.set_mutation(Some(mutation));
        let response = visitor.fetch("POST", "/auth/refresh").await;
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{}", app.log());
        app.provider.set_mutation(None);
    }
    assert_eq!(app.signed_in(ADA).await.fetch("POST", "/auth/refresh").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_signing_keys_sign_no_user_out() {
    let mut app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.provider.rotate_keys();
    app.provider.fault(&[Endpoint::Keys], Fault::status(500));
    for _ in 0..2 {
        let response = visitor.fetch("POST", "/auth/refresh").await;
        assert_eq!((response.status, response.code()), (503, "provider_unavailable"), "{}", app.log());
        assert!(visitor.jar.contains_key("__Host-Http-cloakroom"), "with the next refresh token, if there is one");
        let response = app.visitor().sign_in(&app.provider, ADA, "/").await;
        assert_eq!(response.header("location"), Some("/?auth_error=provider_unavailable"));
    }
    let loads = || app.provider.requests().iter().filter(|request| request.path().ends_with("/keys")).count();
    assert_eq!(loads(), 2, "one at startup, and one per minute");
    app.provider.clear_faults();
    app.restart();
    app.wait_until_ready(200).await;
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
}
