//! Token refresh: before a call and by `POST /auth/refresh`, once for all waiting requests (contract 7.10 to 7.27).

use std::time::{Duration, Instant};

use devkit::commands::stack::free_port;
use devkit::provider::{Endpoint, Fault, Flaw, Mutation, OAuthError, Options};
use futures_util::future::join_all;

use crate::app::{Gateway, PATIENCE, TestApp};
use crate::visitor::{Response, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";
const GRACE: &str = "grace.hopper@contoso.example";

/// Access tokens of 90 s: fresh for 45 s, unless a test sets another skew.
fn short_lived() -> Options {
    Options { access_token_life: Duration::from_secs(90), ..Options::new("http://unused") }
}

/// A provider with access tokens of this lifetime and one-time refresh tokens.
fn one_time(life: u64) -> Options {
    Options { access_token_life: Duration::from_secs(life), one_time_refresh: true, ..Options::new("http://unused") }
}

/// Waits until tokens of `life` seconds that were just issued are due for refresh, but still valid.
async fn grow_old(life: u64) {
    tokio::time::sleep(Duration::from_secs(life / 2) + Duration::from_millis(1_100)).await;
}

/// Waits until tokens of `life` seconds that were just issued have expired.
async fn end(life: u64) {
    tokio::time::sleep(Duration::from_secs(life) + Duration::from_millis(1_100)).await;
}

fn refreshes(app: &TestApp) -> usize {
    let of_refresh = |request: &devkit::provider::Recorded| {
        request.form_field("grant_type").is_some_and(|grant| grant == "refresh_token")
    };
    app.provider.requests().iter().filter(|request| of_refresh(request)).count()
}

async fn fifty(tab: &Visitor) -> Vec<Response> {
    join_all((0..50).map(|_| {
        let mut tab = tab.clone();
        async move { tab.fetch("GET", "/graph/me").await }
    }))
    .await
}

fn statuses(answers: &[Response]) -> Vec<u16> {
    answers.iter().map(|response| response.status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_calls_with_an_expired_token_cause_one_refresh() {
    let app = TestApp::builder().provider(one_time(2)).start().await;
    let mut visitor = app.signed_in(ADA).await;
    end(2).await;
    let old_tab = visitor.clone();
    let answers = fifty(&visitor).await;
    assert_eq!(statuses(&answers), [200; 50], "{}", app.log());
    assert_eq!(refreshes(&app), 1);
    assert!(
        answers.iter().all(|response| response.header("set-cookie").is_some()),
        "each response writes the new tokens"
    );
    // The same old cookie from a second tab: the provider would revoke everything if its token were used twice.
    let again = fifty(&old_tab).await;
    assert_eq!(statuses(&again), [200; 50]);
    assert!(refreshes(&app) <= 2, "{}", refreshes(&app));
    visitor.jar.clone_from(&old_tab.jar);
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204);
    end(2).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "still signed in after");
    assert_eq!(app.visitor().get("/auth/session").await.json()["authenticated"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_refresh_in_parallel_with_reusable_refresh_tokens() {
    let app = TestApp::builder().provider(Options { access_token_life: Duration::from_secs(2), ..short_lived() });
    let app = app.start().await;
    let port = free_port().unwrap();
    let _second = Gateway::start(&app.settings, port);
    let mut visitor = app.signed_in(ADA).await;
    end(2).await;
    let (here, there) = tokio::join!(fifty(&visitor), async { fifty(&visitor.at(port)).await });
    assert_eq!((statuses(&here), statuses(&there)), (vec![200; 50], vec![200; 50]), "{}", app.log());
    assert_eq!(refreshes(&app), 2, "one per instance");
    // The last response decides the cookie; each of them works on both instances.
    for response in [&here[0], &here[49], &there[0], &there[49]] {
        for line in response.headers_named("set-cookie").filter(|line| !line.contains("Max-Age=0")) {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            visitor.jar.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
        assert_eq!(visitor.at(port).fetch("GET", "/graph/me").await.status, 200);
    }
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
async fn during_a_provider_outage_a_valid_token_is_used_then_503_until_it_recovers() {
    let app = TestApp::builder().provider(Options { access_token_life: Duration::from_secs(6), ..short_lived() });
    let app = app.start().await;
    let mut visitor = app.signed_in(ADA).await;
    let signed_in = visitor.jar.clone();
    app.provider.fault(&[Endpoint::Token], Fault::Status { status: 503, retry_after: Some(7) });
    grow_old(6).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "due for refresh, but valid");
    let refused = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!(refused.code(), "provider_unavailable", "`POST /auth/refresh` reports it");
    end(3).await;
    for fault in [Fault::status(500), Fault::Html, Fault::Garbage, Fault::HangUp, Fault::Truncated] {
        let case = format!("{fault:?}");
        app.provider.fault(&[Endpoint::Token], fault);
        let response = visitor.fetch("GET", "/graph/me").await;
        assert_eq!((response.status, response.code()), (503, "provider_unavailable"), "{case}");
        assert!(response.header("retry-after").is_some() && response.header("set-cookie").is_none());
    }
    assert_eq!(visitor.jar, signed_in, "an outage signs no user out");
    app.provider.clear_faults();
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_provider_delays_no_call_with_a_valid_token() {
    let app = TestApp::builder().provider(Options { access_token_life: Duration::from_secs(20), ..short_lived() });
    let app = app.start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.provider.fault(&[Endpoint::Token], Fault::Delay(Duration::from_secs(6)));
    grow_old(20).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(refreshes(&app), 1);
    app.provider.clear_faults();
    // The tokens of the slow response are stored, although the call got its response long ago.
    let started = Instant::now();
    let held = visitor.jar.clone();
    while visitor.jar == held {
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
        assert!(started.elapsed() < PATIENCE, "the new token is not used");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(refreshes(&app), 1, "one token request only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_continues_when_the_browser_disconnects() {
    let app = TestApp::builder().provider(one_time(4)).start().await;
    let mut visitor = app.signed_in(ADA).await;
    end(4).await;
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_secs(1)));
    let mut leaving = visitor.clone();
    let left = tokio::time::timeout(Duration::from_millis(500), leaving.fetch("GET", "/graph/me")).await;
    assert!(left.is_err());
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    assert_eq!(refreshes(&app), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_refresh_token_ends_the_session_and_only_refresh_deletes_the_cookie() {
    let app = TestApp::builder().provider(Options { access_token_life: Duration::from_secs(2), ..short_lived() });
    let app = app.start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.provider.revoke_grants();
    end(2).await;
    for _ in 0..3 {
        let response = visitor.fetch("GET", "/graph/me").await;
        assert_eq!((response.status, response.code()), (401, "session_expired"));
        assert_eq!(response.header("set-cookie"), None, "another instance may have set a newer one");
    }
    assert_eq!(refreshes(&app), 1, "the provider's rejection is cached");
    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["apis"]["graph"]["status"], "expired");
    assert_eq!(session["apis"]["graph"]["login_url"], "/auth/login?api=graph");
    let response = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!((response.status, response.code()), (401, "session_expired"));
    assert!(visitor.jar.is_empty(), "{:?}", visitor.jar);
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
async fn refresh_errors_of_the_provider_are_distinguished() {
    let app = TestApp::builder().provider(Options { access_token_life: Duration::from_secs(2), ..short_lived() });
    let app = app.start().await;
    let visitor = app.signed_in(ADA).await;
    end(2).await;
    let error = |error: &'static str, suberror: &'static str| OAuthError {
        suberror: Some(suberror).filter(|text| !text.is_empty()),
        ..OAuthError::new(error)
    };
    for (body, status, code, login_url) in [
        (error("invalid_grant", "consent_required"), 401, "consent_required", Some("/auth/login?api=graph")),
        (error("interaction_required", ""), 401, "step_up_required", Some("/auth/login?api=graph")),
        (error("invalid_grant", "basic_action"), 401, "step_up_required", Some("/auth/login?api=graph")),
        (error("temporarily_unavailable", ""), 503, "provider_unavailable", None),
        (OAuthError { status: 401, ..error("invalid_client", "") }, 503, "provider_unavailable", None),
    ] {
        let case = format!("{body:?}");
        app.provider.fault_next(&[Endpoint::Token], 1, Fault::Error(body));
        let mut tab = visitor.clone();
        let response = tab.fetch("GET", "/graph/me").await;
        assert_eq!((response.status, response.code()), (status, code), "{case}");
        assert_eq!(response.json()["login_url"].as_str(), login_url, "{case}");
        let stays = tab.fetch("GET", "/auth/session").await.json();
        assert_eq!(stays["authenticated"], true, "{case}");
        let expected = match code {
            "consent_required" => "needs_consent",
            "step_up_required" => "needs_step_up",
            _ => "needs_step_up",
        };
        assert_eq!(stays["apis"]["graph"]["status"], expected, "{case}");
    }
    let mut tab = visitor.clone();
    assert_eq!(tab.fetch("GET", "/graph/me").await.status, 200, "none of them ended the session");
    let session = tab.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["apis"]["graph"]["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_id_token_is_validated_in_full() {
    let app = TestApp::builder().provider(Options { access_token_life: Duration::from_secs(2), ..short_lived() });
    let app = app.start().await;
    let other_subject = Mutation::new(|draft| {
        draft.claims["sub"] = "somebody-else".into();
    });
    for mutation in [other_subject, Flaw::BadSignature.into()] {
        let mut visitor = app.signed_in(ADA).await;
        app.provider.set_mutation(Some(mutation));
        let response = visitor.fetch("POST", "/auth/refresh").await;
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{}", app.log());
        app.provider.set_mutation(None);
    }
    assert_eq!(app.signed_in(ADA).await.fetch("POST", "/auth/refresh").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_wins_over_a_refresh_in_flight() {
    let app = TestApp::builder().provider(Options { revocation: true, ..one_time(2) }).start().await;
    let mut visitor = app.signed_in(ADA).await;
    end(2).await;
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_secs(2)));
    let mut slow = visitor.clone();
    let call = tokio::spawn(async move { slow.fetch("GET", "/graph/me").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut left_behind = visitor.clone();
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    let response = call.await.unwrap();
    assert_eq!(response.header("set-cookie"), None, "a slow response restores no session");
    assert_eq!(left_behind.fetch("GET", "/graph/me").await.code(), "session_expired");
    let revocations = || app.provider.requests().iter().filter(|request| request.path().ends_with("/revoke")).count();
    let started = Instant::now();
    while revocations() < 2 {
        assert!(started.elapsed() < PATIENCE, "a refresh token received after the sign-out is revoked too");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_response_does_not_restore_a_replaced_session() {
    let app = TestApp::builder().set("SESSION_IDLE", "20s").start().await;
    let mut visitor = app.signed_in(ADA).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let mut slow = visitor.clone();
    let call = tokio::spawn(async move { slow.fetch("GET", "/graph/slow?first=3000&total=3000&chunks=1").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let response = visitor.sign_in(&app.provider, GRACE, "/").await;
    assert_eq!(response.status, 302);
    let response = call.await.unwrap();
    assert_eq!((response.status, response.header("set-cookie")), (200, None), "its activity would be due");
    assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["user"]["preferred_username"], GRACE);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_never_get_each_others_tokens() {
    let app = TestApp::builder().provider(one_time(2)).start().await;
    let mut visitors = Vec::new();
    for user in [ADA, GRACE] {
        visitors.push((user, app.signed_in(user).await));
    }
    for round in 0..2 {
        end(2).await;
        let mut calls = Vec::new();
        for (user, visitor) in &visitors {
            for number in 0..25 {
                let mut tab = visitor.clone();
                calls.push(async move {
                    tokio::time::sleep(Duration::from_millis((number * 7 + round * 3) % 40)).await;
                    let response = tab.fetch("GET", "/graph/me").await;
                    (*user, response.json()["userPrincipalName"].as_str().unwrap_or_default().to_owned(), tab)
                });
            }
        }
        let answers = join_all(calls).await;
        for (user, seen, tab) in answers {
            assert_eq!(user, seen, "{}", app.log());
            visitors.iter_mut().find(|(of, _)| *of == user).unwrap().1 = tab;
        }
    }
    assert_eq!(refreshes(&app), 4, "one per user and round");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_rejection_deletes_no_cookie_of_a_new_sign_in() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.provider.revoke_grants();
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_secs(2)));
    let mut slow = visitor.clone();
    let refresh = tokio::spawn(async move { slow.fetch("POST", "/auth/refresh").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(visitor.sign_in(&app.provider, GRACE, "/").await.header("location"), Some("/"));
    let response = refresh.await.unwrap();
    assert_eq!((response.code(), response.header("set-cookie")), ("session_expired", None));
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tokens_are_written_even_when_the_api_fails() {
    let app = TestApp::builder().provider(one_time(2)).start().await;
    let mut visitor = app.signed_in(ADA).await;
    end(2).await;
    let before = visitor.jar.clone();
    let response = visitor.fetch("GET", "/graph/hang-up").await;
    assert_eq!((response.status, response.code()), (502, "upstream_unavailable"));
    assert_ne!(visitor.jar, before, "the provider rejects the old refresh token");
    let port = free_port().unwrap();
    let _second = Gateway::start(&app.settings, port);
    end(2).await;
    assert_eq!(visitor.at(port).fetch("GET", "/graph/me").await.status, 200, "another instance can use it");
}
