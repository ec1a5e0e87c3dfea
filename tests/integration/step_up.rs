//! Step-up and continuous access evaluation (contract 7.28 to 7.32, section 21).

use std::time::{SystemTime, UNIX_EPOCH};

use devkit::provider::{Endpoint, Fault, Mutation, OAuthError, Options};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace@contoso.example";
const GRACE: &str = "grace.hopper@contoso.example";

/// Follows a `login_url` to the provider, signs in there, and returns the response to the callback.
async fn response(app: &TestApp, visitor: &mut Visitor, login_url: &str, user: &str) -> crate::visitor::Response {
    let away = visitor.navigate(login_url).await;
    assert_eq!(away.status, 302, "{}", away.text());
    let callback = app.provider.sign_in(away.header("location").unwrap(), user).unwrap();
    visitor.come_back(&callback.location()).await
}

async fn challenged(visitor: &mut Visitor) -> String {
    let rejected = visitor.fetch("GET", "/graph/me").await;
    assert_eq!((rejected.status, rejected.code()), (401, "step_up_required"));
    assert_eq!(rejected.header("www-authenticate"), None);
    let login_url = rejected.json()["login_url"].as_str().unwrap().to_owned();
    assert!(login_url.starts_with("/auth/login?challenge="), "{login_url}");
    login_url
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_step_up_the_challenged_call_works() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.graph.require_context(Some("c1"));
    let login_url = challenged(&mut visitor).await;
    assert!(!login_url.contains("acrs"), "the challenge is sealed");
    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["apis"]["graph"]["status"], "needs_step_up");
    assert!(session["apis"]["graph"]["login_url"].is_string());
    let back = response(&app, &mut visitor, &login_url, ADA).await;
    assert_eq!((back.status, back.header("location")), (302, Some("/")));
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    let again = visitor.navigate(&login_url).await;
    assert_eq!(again.code(), "bad_request", "the session that was challenged is replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorization_request_carries_the_challenge_and_cp1() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.graph.require_context(Some("c1"));
    let login_url = challenged(&mut visitor).await;
    let away = visitor.navigate(&login_url).await;
    let url = url::Url::parse(away.header("location").unwrap()).unwrap();
    let claims = url.query_pairs().find(|(name, _)| name == "claims").unwrap().1.into_owned();
    let claims: Value = serde_json::from_str(&claims).unwrap();
    assert_eq!(claims["access_token"]["acrs"]["value"], "c1");
    assert_eq!(claims["access_token"]["xms_cc"]["values"][0], "cp1");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_cannot_answer_a_challenge() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.graph.require_context(Some("c1"));
    let login_url = challenged(&mut visitor).await;
    let back = response(&app, &mut visitor, &login_url, GRACE).await;
    assert_eq!(back.header("location"), Some("/?auth_error=login_failed"));
    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["user"]["preferred_username"], ADA, "the old session is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_valid_for_its_session_only() {
    let app = TestApp::start().await;
    let mut ada = app.signed_in(ADA).await;
    app.graph.require_context(Some("c1"));
    let login_url = challenged(&mut ada).await;
    app.graph.require_context(None);
    let mut grace = app.signed_in(GRACE).await;
    for url in [login_url.clone(), format!("{login_url}x"), "/auth/login?challenge=".to_owned()] {
        let rejected = grace.navigate(&url).await;
        assert_eq!((rejected.status, rejected.code()), (400, "bad_request"), "{url}");
        assert_eq!(rejected.header("set-cookie"), None);
    }
    let twice = format!("{login_url}&challenge=x");
    assert_eq!(ada.navigate(&twice).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_required_at_a_refresh_are_passed_on() {
    let app = TestApp::builder().provider(Options::new("http://unused")).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c2"}}}"#;
    let body = OAuthError { claims: Some(claims), ..OAuthError::new("interaction_required") };
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Error(body));
    let rejected = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!((rejected.status, rejected.code()), (401, "step_up_required"));
    assert!(visitor.jar.contains_key("__Host-Http-cloakroom"), "the session is kept");
    let login_url = rejected.json()["login_url"].as_str().unwrap().to_owned();
    app.graph.require_context(Some("c2"));
    response(&app, &mut visitor, &login_url, ADA).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
}

const RFC_9470: &str =
    r#"Bearer error="insufficient_user_authentication", acr_values="urn:mfa loa3", max_age="300", realm="x""#;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Members that every ID token has from now on; null removes one.
fn claims(app: &TestApp, members: Value) {
    app.provider.set_mutation(Some(Mutation::new(move |draft| {
        for (name, value) in members.as_object().unwrap() {
            draft.claims[name] = value.clone();
        }
    })));
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned())
}

/// Contract 21.1: the token is good for other calls, so that nothing else changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_of_rfc_9470_leads_to_a_sign_in_that_asks_for_it() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.graph.set_challenge(Some(RFC_9470));
    let login_url = challenged(&mut visitor).await;
    assert!(!login_url.contains("mfa"), "the challenge is sealed");
    let away = visitor.navigate(&format!("{login_url}&acr_values=weak&max_age=86400")).await;
    let away = away.header("location").unwrap().to_owned();
    assert_eq!(parameter(&away, "acr_values").as_deref(), Some("urn:mfa loa3"), "a challenge goes before parameters");
    assert_eq!(parameter(&away, "max_age").as_deref(), Some("300"));
    app.graph.set_challenge(None);
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    let mut grace = app.signed_in(GRACE).await;
    assert_eq!(grace.navigate(&login_url).await.code(), "bad_request", "it is bound to its session");
    claims(&app, json!({"acr": "loa3", "auth_time": now()}));
    let back = response(&app, &mut visitor, &login_url, GRACE).await;
    assert_eq!(back.header("location"), Some("/?auth_error=login_failed"), "it is bound to its user");
    let back = response(&app, &mut visitor, &login_url, ADA).await;
    assert_eq!(back.header("location"), Some("/"), "{}", app.log());
    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["user"]["acr"], "loa3");
}

/// Contract 21.1: what is beyond the bounds is left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_beyond_the_bounds_is_passed_on_without_what_exceeds_them() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let values: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
    let error = "Bearer error=\"insufficient_user_authentication\"";
    let long = "x".repeat(201);
    for (line, acr_values, max_age) in [
        (format!("{error}, acr_values=\"{}\", max_age=86401", values.join(" ")), Some(values[..10].join(" ")), None),
        (format!("{error}, acr_values=\"{long}\", max_age=\"86400\""), None, Some("86400".to_owned())),
        (error.to_owned(), None, None),
    ] {
        app.graph.set_challenge(Some(&line));
        let login_url = challenged(&mut visitor).await;
        let away = visitor.navigate(&login_url).await;
        let away = away.header("location").unwrap();
        assert_eq!((parameter(away, "acr_values"), parameter(away, "max_age")), (acr_values, max_age), "{line}");
    }
    app.graph.set_challenge(Some("Bearer error=\"insufficient_scope\""));
    assert_eq!(visitor.fetch("GET", "/graph/me").await.code(), "-", "another 401 is the API's own");
}

/// Contract 21.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_takes_acr_values_and_max_age_within_their_bounds() {
    let app = TestApp::builder().set("LOGIN_PARAMS", "max_age=600&acr_values=default").start().await;
    let mut visitor = app.visitor();
    for (query, acr_values, max_age) in
        [("acr_values=a%20b&max_age=0", "a b", "0"), ("max_age=86400", "default", "86400"), ("", "default", "600")]
    {
        let away = visitor.navigate(&format!("/auth/login?{query}")).await;
        let away = away.header("location").unwrap();
        let found = (parameter(away, "acr_values").unwrap(), parameter(away, "max_age").unwrap());
        assert_eq!(found, (acr_values.to_owned(), max_age.to_owned()), "{query}");
    }
    for bad in [
        "acr_values=".to_owned(),
        "acr_values=a%22b".to_owned(),
        "acr_values=%C3%A9".to_owned(),
        format!("acr_values={}", "x".repeat(201)),
        format!("acr_values={}", ["a"; 11].join("+")),
        "acr_values=a&acr_values=a".to_owned(),
        "max_age=86401".to_owned(),
        "max_age=-1".to_owned(),
        "max_age=".to_owned(),
        "max_age=1&max_age=1".to_owned(),
    ] {
        let rejected = visitor.navigate(&format!("/auth/login?{bad}")).await;
        assert_eq!((rejected.status, rejected.code()), (400, "bad_request"), "{bad}");
        assert_eq!(rejected.header("set-cookie"), None);
    }
}

/// Contract 21.2, with the provider's own clock, which here is half an hour behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_callback_checks_when_and_how_the_user_authenticated() {
    let app = TestApp::start().await;
    let iat = now() - 1_800;
    let at = |auth_time: u64| json!({"iat": iat, "auth_time": auth_time});
    for (query, members, reason) in [
        ("max_age=60", at(iat - 60), None),
        ("max_age=60", at(iat - 120), Some("auth_time")),
        ("max_age=0", at(iat), None),
        ("max_age=60", json!({"iat": iat}), Some("auth_time")),
        ("max_age=60", json!({"iat": iat, "auth_time": "today"}), Some("auth_time")),
        ("max_age=60", json!({"iat": iat, "auth_time": -1}), Some("auth_time")),
        ("", at(iat - 7_200), None),
        ("acr_values=c9", json!({"acr": "c1"}), None),
    ] {
        claims(&app, members.clone());
        let mut visitor = app.visitor();
        let back = response(&app, &mut visitor, &format!("/auth/login?{query}"), ADA).await;
        let expected = if reason.is_some() { "/?auth_error=login_failed" } else { "/" };
        assert_eq!(back.header("location"), Some(expected), "{query} {members}: {}", app.log());
        assert_eq!(visitor.jar.is_empty(), reason.is_some(), "{query} {members}");
    }
    app.wait_for_log_count("\"reason\":\"auth_time\"", 4).await;
    let log = app.log();
    let events =
        log.lines().filter(|line| line.contains("sign_in_failed") && line.contains("\"reason\":\"auth_time\""));
    assert_eq!(events.count(), 4, "{log}");
}

/// Contract 21.2: the values of a challenge are required, those of a parameter are a wish.
#[tokio::test(flavor = "multi_thread")]
async fn the_authentication_must_be_one_of_those_that_a_challenge_asked() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.graph.set_challenge(Some(RFC_9470));
    let login_url = challenged(&mut visitor).await;
    for acr in [json!("urn:mfa loa3"), json!("loa"), json!(""), json!(["loa3"]), Value::Null] {
        claims(&app, json!({"acr": acr, "auth_time": now()}));
        let back = response(&app, &mut visitor, &login_url, ADA).await;
        assert_eq!(back.header("location"), Some("/?auth_error=login_failed"), "{acr}");
    }
    app.wait_for_log("\"reason\":\"acr\"").await;
    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["authenticated"], true, "the old session is kept");
    claims(&app, json!({"acr": "urn:mfa", "auth_time": now()}));
    assert_eq!(response(&app, &mut visitor, &login_url, ADA).await.header("location"), Some("/"), "{}", app.log());
}

/// Contract 21.3.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_shows_how_the_user_authenticated_at_the_sign_in() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let user = visitor.fetch("GET", "/auth/session").await.json()["user"].clone();
    for name in ["acr", "amr", "auth_time"] {
        assert!(user.get(name).is_none(), "{user}");
    }
    let time = now() - 60;
    claims(&app, json!({"acr": "c1", "amr": ["pwd", "mfa"], "auth_time": time}));
    let mut visitor = app.signed_in(ADA).await;
    claims(&app, json!({"acr": "c2", "amr": ["face"], "auth_time": time + 30}));
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
    let user = visitor.fetch("GET", "/auth/session").await.json()["user"].clone();
    assert_eq!((&user["acr"], &user["amr"], &user["auth_time"]), (&json!("c1"), &json!(["pwd", "mfa"]), &json!(time)));
}
