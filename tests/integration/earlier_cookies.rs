//! Cookies that an earlier version wrote, with payload version 2: a rolling deployment must not sign a user out
//! (contract 5.8).
//!
//! The binary of that version wrote them, so this fails if any layer of them is not read any more: the seal, the name,
//! the times, the payload. They are of a fixed time, which is passed to the gateway as a library.

use std::time::Duration;

use cloakroom::clock;
use devkit::provider::{GRAPH, Options};
use serde_json::Value;

use crate::lab::{ADA, Jar, Lab, ORIGIN};

fn vector() -> Value {
    serde_json::from_str(include_str!("../vectors/cookies-993cf6c.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The gateway with the key and the client of the cookies.
async fn lab(vector: &Value) -> Lab {
    assert_eq!(vector["public_origin"], ORIGIN);
    let settings = [("ENC_KEY", text(&vector["key"])), ("CLIENT_ID", text(&vector["client_id"]))];
    Lab::new(Options::new(ORIGIN), &settings).await
}

/// A browser with one of the cookies, and a time one minute after it was sealed.
fn browser(cookie: &Value) -> (Jar, u64) {
    let jar = Jar::from([(text(&cookie["cookie"]).to_owned(), text(&cookie["sealed"]).to_owned())]);
    (jar, cookie["issued_at"].as_u64().unwrap() + 60)
}

/// Sets the clocks of the stand-ins, so that their tokens are valid at this time.
fn set_clocks(lab: &Lab, time: u64) {
    let real = clock::now();
    let (ahead, back) = (time.saturating_sub(real), real.saturating_sub(time));
    lab.provider.advance(Duration::from_secs(ahead));
    lab.provider.set_back(Duration::from_secs(back));
    lab.graph.advance(Duration::from_secs(ahead));
    lab.graph.set_back(Duration::from_secs(back));
}

/// What the provider received in these fields of its token requests.
fn token_requests(lab: &Lab, field: &str) -> Vec<String> {
    lab.provider.requests().iter().filter_map(|request| request.form_field(field)).collect()
}

/// Contract 4.24b: it counts as the configured issuer's, whose refresh token it holds. Nothing says which API its
/// access token was issued for, so that one is not used.
#[tokio::test]
async fn a_session_of_commit_993cf6c_opens_and_gets_a_new_access_token() {
    let vector = vector();
    let session = &vector["session"];
    let mut lab = lab(&vector).await;
    let (mut jar, now) = browser(session);
    assert!(session["access_token_expires_at"].as_u64().unwrap() > now + 60, "its age is no reason for a refresh");
    set_clocks(&lab, now);
    let (old_access, old_refresh) = (text(&session["access_token"]), text(&session["refresh_token"]));
    lab.provider.restore_grant(ADA, &format!("openid offline_access {GRAPH}/User.Read"), old_refresh).unwrap();

    let shown = lab.session(&jar, now).await;
    assert_eq!((&shown["authenticated"], &shown["user"]), (&Value::Bool(true), &session["user"]));
    assert_eq!(shown["session"]["expires_in"], session["expires_at"].as_u64().unwrap() - now);
    assert_eq!(lab.provider.token_requests(), 0);

    assert_eq!(lab.call(&mut jar, now).await, Ok(true), "the response writes the new tokens");
    assert_eq!(token_requests(&lab, "refresh_token"), [old_refresh]);
    let calls = lab.graph.requests();
    let sent = calls[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    assert_ne!(sent, old_access);
    assert!(lab.provider.secrets().contains(&("access_token".to_owned(), sent.to_owned())));
    assert_eq!(calls.len(), 1, "the old one was not tried before");

    lab.replace_instance().await;
    assert_eq!(lab.call(&mut jar, now).await, Ok(false), "another instance reads what was written");
    assert_eq!(lab.session(&jar, now).await["user"], session["user"]);
    assert_eq!(lab.provider.token_requests(), 1);
}

/// Contract 7.5: without an issuer it counts as the configured issuer's.
#[tokio::test]
async fn a_sign_in_that_began_at_commit_993cf6c_completes() {
    let vector = vector();
    let login = &vector["login"];
    let lab = lab(&vector).await;
    let (mut jar, now) = browser(login);
    let (replaced, _) = browser(&vector["session"]);
    assert!(lab.is_signed_in(&replaced, now).await);

    // The browser was sent away by the earlier version, and comes back to this one.
    let authorize = lab.provider.issuer().replace("/v2.0", "/oauth2/v2.0/authorize");
    let away = format!("{authorize}?{}", text(&login["authorize_query"]));
    let callback = lab.provider.sign_in(&away, ADA).unwrap();
    assert_eq!(callback.field("state"), login["state"].as_str());
    assert_eq!(lab.come_back(&mut jar, &callback.form(), now).await, text(&login["return_to"]));
    assert_eq!(token_requests(&lab, "code_verifier"), [text(&login["verifier"])]);
    assert!(!jar.contains_key(text(&login["cookie"])), "the transaction is deleted: {:?}", jar.keys());

    assert_eq!(lab.session(&jar, now).await["user"], vector["session"]["user"]);
    assert_eq!(lab.call(&mut jar, now).await, Ok(false), "the code was exchanged for a token of the API");
    assert_eq!(lab.provider.token_requests(), 1);
    assert!(!lab.is_signed_in(&replaced, now).await, "the session in which the sign-in began is replaced");
}
