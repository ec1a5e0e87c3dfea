//! Step-up and continuous access evaluation (contract 7.28 to 7.32).

use devkit::provider::{Endpoint, Fault, OAuthError, Options};

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
    let claims: serde_json::Value = serde_json::from_str(&claims).unwrap();
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
