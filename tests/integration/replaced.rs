//! Sessions that ended or were replaced by another sign-in of the same browser, and the companion cookie, from which
//! the callback learns of them (contract 4.22 to 4.24a, 8.9b).

use std::time::Duration;

use cloakroom::clock;
use cloakroom::error::Error;
use devkit::provider::{Endpoint, Fault, Options};
use serde_json::json;

use crate::app::TestApp;
use crate::lab::{ADA, Jar, Lab, ORIGIN};
use crate::visitor::{NAVIGATION, Response, Visitor};

const NAME: &str = "__Host-Http-cloakroom";
const ID: &str = "__Host-Http-cloakroom-id";
const GRACE: &str = "grace.hopper@contoso.example";
/// Lifetime of an access token in seconds.
const LIFE: u64 = 90;

async fn lab() -> Lab {
    let options = Options { access_token_life: Duration::from_secs(LIFE), ..Options::new(ORIGIN) };
    Lab::new(options, &[]).await
}

/// Signs in by a link of another site: the browser sends the session cookie with neither request.
async fn sign_in_by_link(app: &TestApp, visitor: &mut Visitor, user: &str) -> Response {
    let mut other_site = app.visitor();
    other_site.jar.extend(visitor.jar.iter().filter(|(name, _)| *name == ID).map(|(k, v)| (k.clone(), v.clone())));
    let address = other_site.begin("/").await;
    let back = other_site.come_back(&app.provider.sign_in(&address, user).unwrap().location()).await;
    visitor.jar.extend(other_site.jar);
    visitor.jar.retain(|name, _| !name.contains("-login-"));
    back
}

/// The session has ended for all routes, and the cookie is not touched: the browser may have another one by now.
async fn assert_rejected(visitor: &Visitor) {
    let mut visitor = visitor.clone();
    let before = visitor.jar.clone();
    for (method, path) in [("GET", "/graph/me"), ("POST", "/auth/refresh")] {
        let response = visitor.fetch(method, path).await;
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{path}");
        assert_eq!(response.header("set-cookie"), None, "{path}");
    }
    assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["authenticated"], false);
    assert_eq!(visitor.jar, before);
}

/// Contract 4.24: one that was signed out or replaced.
#[tokio::test]
async fn a_session_that_ended_or_was_replaced_is_rejected_and_its_cookie_is_kept() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let replaced = visitor.clone();
    assert_eq!(visitor.sign_in(&app.provider, GRACE, "/").await.header("location"), Some("/"));
    assert_rejected(&replaced).await;
    let ended = visitor.clone();
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    assert_rejected(&ended).await;
    assert_eq!(app.signed_in(ADA).await.fetch("GET", "/graph/me").await.status, 200);
}

/// Contract 4.24a: however the sign-in began, the callback knows which session it replaces.
#[tokio::test]
async fn a_sign_in_by_a_link_of_another_site_replaces_the_session() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    for user in [GRACE, ADA, ADA] {
        let replaced = visitor.clone();
        let back = sign_in_by_link(&app, &mut visitor, user).await;
        assert_eq!((back.status, back.header("location")), (302, Some("/")));
        assert_rejected(&replaced).await;
        let session = visitor.fetch("GET", "/auth/session").await.json();
        assert_eq!(session["user"]["preferred_username"], user);
    }
    // A tab that began its sign-in before the other one was signed in.
    let mut tab = app.visitor();
    let address = tab.begin("/").await;
    tab.jar.extend(visitor.jar.clone());
    let replaced = visitor.clone();
    tab.come_back(&app.provider.sign_in(&address, GRACE).unwrap().location()).await;
    assert_rejected(&replaced).await;
    assert_eq!(tab.fetch("GET", "/graph/me").await.status, 200);
}

/// Contract 4.23, 4.24a: a call waits for new tokens while another user signs in, and its response is late.
#[tokio::test]
async fn a_call_that_waits_for_tokens_does_not_bring_the_replaced_session_back() {
    let (lab, now) = (lab().await, clock::now());
    let mut slow = lab.signed_in(now).await;
    let mut jar: Jar = slow.clone().into_iter().filter(|(name, _)| name == ID).collect();
    lab.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(500)));
    let before = (slow.clone(), lab.provider.token_requests());
    let signs_in = async {
        while lab.provider.token_requests() == before.1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab.sign_in(&mut jar, GRACE, now + LIFE).await;
    };
    let (called, ()) = tokio::join!(lab.call(&mut slow, now + LIFE), signs_in);
    assert_eq!(called, Err(Error::SessionExpired));
    assert_eq!(slow, before.0, "no cookie was written or deleted");
    assert_eq!(lab.session(&jar, now + LIFE).await["user"]["preferred_username"], GRACE);
}

/// A host repeats a callback with the cookies of its first attempt, a user with those of the browser.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_callback_ends_neither_its_own_session_nor_a_later_one() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    let transaction = visitor.jar.clone();
    visitor.come_back(&location).await;
    visitor.jar.extend(transaction.clone());
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/"));
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "with its own companion");
    visitor.sign_in(&app.provider, GRACE, "/").await;
    let later = visitor.jar.clone();
    visitor.jar.extend(transaction);
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/"));
    assert_eq!(visitor.jar, later, "the session of the repeated callback was replaced");
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
}

/// Contract 4.24a: a companion proves nothing and opens nothing.
#[tokio::test]
async fn a_planted_companion_ends_at_most_the_session_that_it_names() {
    let app = TestApp::start().await;
    let mut other = app.signed_in(ADA).await;
    let companion = other.jar[ID].clone();
    let (hash, user) = companion.split_once('.').unwrap();
    let long = "A".repeat(4_000);
    for planted in ["", "x", ".", hash, &format!("{hash}.{user}x"), &format!("{hash}x.{user}"), &long] {
        let mut visitor = app.visitor();
        visitor.jar.insert(ID.to_owned(), planted.to_owned());
        for (method, path) in [("GET", "/graph/me"), ("POST", "/auth/refresh")] {
            assert_eq!(visitor.fetch(method, path).await.code(), "session_missing", "{planted}: {path}");
        }
        let back = visitor.sign_in(&app.provider, GRACE, "/").await;
        assert_eq!((back.status, back.header("location")), (302, Some("/")), "{planted}");
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{planted}");
        assert_eq!(other.fetch("GET", "/graph/me").await.status, 200, "{planted}");
    }
    let mut visitor = app.visitor();
    visitor.jar.insert(ID.to_owned(), companion.clone());
    visitor.navigate("/auth/login").await;
    let failed = visitor.navigate("/auth/callback?error=access_denied&state=x").await;
    assert_eq!(failed.header("location"), Some("/?auth_error=login_expired"));
    assert_eq!(other.fetch("GET", "/graph/me").await.status, 200, "only a successful sign-in replaces a session");
    visitor.sign_in(&app.provider, GRACE, "/").await;
    assert_rejected(&other).await;
}

/// Contract 4.24a, 4.13: written and deleted with the session cookie, and with its attributes apart from `SameSite`.
#[tokio::test]
async fn the_companion_goes_with_the_session_cookie() {
    for (mode, same_site) in [("query", "Lax"), ("form_post", "None")] {
        let app = TestApp::builder().set("RESPONSE_MODE", mode).start().await;
        let mut visitor = app.visitor();
        let address = visitor.begin("/").await;
        let callback = app.provider.sign_in(&address, ADA).unwrap();
        let form = [&NAVIGATION[..], &[("content-type", "application/x-www-form-urlencoded")]].concat();
        let signed_in = match mode {
            "form_post" => visitor.send("POST", "/auth/callback", &form, callback.form()).await,
            _ => visitor.come_back(&callback.location()).await,
        };
        let refreshed = visitor.fetch("POST", "/auth/refresh").await;
        let value = visitor.jar[ID].clone();
        assert!(value.len() <= 64, "{value}");
        let line = format!("{ID}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}");
        for response in [signed_in, refreshed] {
            assert_eq!(companion_line(&response), Some(line.as_str()));
        }
        let mut damaged = visitor.clone();
        damaged.jar.insert(NAME.to_owned(), "x".to_owned());
        let expired = damaged.fetch("POST", "/auth/refresh").await;
        let signed_out = visitor.fetch("POST", "/auth/logout").await;
        let line = format!(
            "{ID}=; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
        for response in [expired, signed_out] {
            assert_eq!(companion_line(&response), Some(line.as_str()));
        }
        assert!(visitor.jar.is_empty());
    }
}

fn companion_line(response: &Response) -> Option<&str> {
    response.headers_named("set-cookie").find(|line| line.starts_with(&format!("{ID}=")))
}

/// Contract 8.9b: every sign-in clears the cache, unless the companion names the same user.
#[tokio::test]
async fn the_cache_is_kept_for_the_user_whom_the_companion_names() {
    let app = TestApp::builder().graph_entry(json!({"cache": "private"})).start().await;
    let mut visitor = app.visitor();
    let cleared = Some("\"cache\"");
    for (user, by_link, expected) in [
        (ADA, false, cleared),
        (ADA, false, None),
        (ADA, true, None),
        (GRACE, true, cleared),
        (GRACE, false, None),
        (ADA, false, cleared),
    ] {
        let back = if by_link {
            sign_in_by_link(&app, &mut visitor, user).await
        } else {
            visitor.sign_in(&app.provider, user, "/").await
        };
        assert_eq!(back.header("clear-site-data"), expected, "{user}, {by_link}");
    }
    visitor.jar.insert(ID.to_owned(), "malformed".to_owned());
    assert_eq!(visitor.sign_in(&app.provider, ADA, "/").await.header("clear-site-data"), cleared);
    visitor.fetch("POST", "/auth/logout").await;
    assert_eq!(visitor.sign_in(&app.provider, ADA, "/").await.header("clear-site-data"), cleared);
}

/// One code must not replace any number of sessions: who repeats a callback with the companions of others ends none.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_callback_replaces_only_what_the_first_one_named() {
    let app = TestApp::start().await;
    let mut other = app.signed_in(GRACE).await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    let transaction = visitor.jar.clone();
    visitor.come_back(&location).await;
    visitor.jar = transaction;
    visitor.jar.insert(ID.to_owned(), other.jar[ID].clone());
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/"));
    assert_eq!(other.fetch("GET", "/graph/me").await.status, 200);
    // Once for each sign-in.
    app.wait_for_log_count("signed_in", 2).await;
}
