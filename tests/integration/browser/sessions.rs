//! A session in a real browser: it outlives its access token, is stepped up, no slow response restores an older one,
//! and nothing that it cached is shown to the next user.

use std::time::Duration;

use devkit::host::Mode;
use devkit::provider::{Endpoint, Fault, Options};
use serde_json::{Value, json};

use super::chrome::Chrome;
use super::elsewhere::Elsewhere;
use super::same_tag::SameTag;
use super::{ADA, GRACE, MODES, SIGNED_IN, cookie_names, sign_in};
use crate::app::{Reach, TestApp};

/// Parallel calls, and the statuses of their responses.
const FIFTY_CALLS: &str =
    "const calls = Array.from({ length: 50 }, () => fetch('/graph/me', { headers: { 'X-CSRF': '1' } }));
    return Promise.all(calls).then((responses) => responses.map((response) => response.status));";
/// Starts a call with a slow response; [`SLOW_RESPONSE`] waits for it.
const SLOW_CALL: &str =
    "window.slow = fetch('/graph/slow?first=2500&total=2500&chunks=1', { headers: { 'X-CSRF': '1' } })
    .then((response) => response.status); return true;";
const SLOW_RESPONSE: &str = "return window.slow;";
/// Starts a call that waits for a new access token.
const WAITING_CALL: &str = "window.slow = fetch('/graph/me', { headers: { 'X-CSRF': '1' } })
    .then((response) => response.status); return true;";
/// A short life of access tokens.
const SHORT: Duration = Duration::from_secs(2);
/// The user of the session.
const USER: &str =
    "return fetch('/auth/session').then((a) => a.json()).then((session) => session.user.preferred_username)";
/// The bodies of two calls, one after the other.
const TWO_CALLS: &str = "
    const call = () => fetch('/graph/me', { headers: { 'X-CSRF': '1' } }).then((response) => response.text());
    return call().then((first) => call().then((second) => [first, second]));";

async fn start(mode: Mode, options: Options) -> (TestApp, Chrome) {
    // Activity is written after two seconds, so that a slow response writes the cookie.
    let app = TestApp::builder().reach(Reach::Host(mode)).provider(options).set("SESSION_IDLE", "20s").start();
    tokio::join!(app, Chrome::start())
}

fn lasting() -> Options {
    Options::new("http://unused")
}

#[tokio::test]
async fn a_session_outlives_its_access_token_in_all_tabs() {
    for mode in MODES {
        let once = Options { access_token_life: Duration::from_secs(8), one_time_refresh: true, ..lasting() };
        let (app, chrome) = start(mode, once).await;
        sign_in(&chrome, &app.origin, ADA).await;
        let first = chrome.client.window().await.unwrap();
        let second = chrome.client.new_window(true).await.unwrap().handle;
        chrome.client.switch_to_window(second.clone()).await.unwrap();
        chrome.open(&app.origin).await;
        chrome.shows("signed-in").await;
        for tab in [&second, &first] {
            tokio::time::sleep(Duration::from_millis(8_600)).await;
            chrome.client.switch_to_window(tab.clone()).await.unwrap();
            assert_eq!(chrome.script(FIFTY_CALLS).await, json!(vec![200; 50]), "{mode:?}");
        }
        chrome.click("#renew").await;
        chrome.says("Your session was extended.").await;
        assert_eq!(cookie_names(&chrome).await, SIGNED_IN);
        assert_eq!(chrome.console().await, json!([]), "{mode:?}");
    }
}

#[tokio::test]
async fn a_step_up_completes() {
    for mode in MODES {
        let (app, chrome) = start(mode, lasting()).await;
        sign_in(&chrome, &app.origin, ADA).await;
        app.graph.require_context(Some("c1"));
        chrome.click("#call-graph").await;
        chrome.find("#error button").await;
        assert_eq!(chrome.text("#error button").await, "Confirm identity");
        chrome.keep_picture(mode, "step-up").await;
        chrome.click("#error button").await;
        // A user with a session at the provider need not choose again.
        chrome.choose_if_asked(ADA).await;
        chrome.shows("signed-in").await;
        chrome.click("#call-graph").await;
        chrome.find("#graph-response:not([hidden])").await;
        let response: Value = serde_json::from_str(&chrome.text("#graph-result").await).unwrap();
        assert_eq!(response["userPrincipalName"], ADA, "{mode:?}");
    }
}

#[tokio::test]
async fn a_slow_response_restores_neither_an_ended_nor_a_replaced_session() {
    for mode in MODES {
        let (app, chrome) = start(mode, lasting()).await;
        sign_in(&chrome, &app.origin, ADA).await;
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        chrome.script(SLOW_CALL).await;
        let sign_out =
            "return fetch('/auth/logout', { method: 'POST', headers: { 'X-CSRF': '1' } }).then((a) => a.status)";
        assert_eq!(chrome.script(sign_out).await, 200);
        assert_eq!(chrome.script(SLOW_RESPONSE).await, 200);
        assert_eq!(cookie_names(&chrome).await, [""; 0], "{mode:?}: the user stays signed out");

        app.provider.end_sessions();
        sign_in(&chrome, &app.origin, ADA).await;
        let first = chrome.client.window().await.unwrap();
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        chrome.script(SLOW_CALL).await;
        let second = chrome.client.new_window(true).await.unwrap().handle;
        chrome.client.switch_to_window(second).await.unwrap();
        chrome.open(&format!("{}/auth/login?prompt=select_account", app.origin)).await;
        chrome.choose(GRACE).await;
        chrome.shows("signed-in").await;
        chrome.client.switch_to_window(first).await.unwrap();
        assert_eq!(chrome.script(SLOW_RESPONSE).await, 200);
        assert_eq!(chrome.script(USER).await, GRACE, "{mode:?}: the newer sign-in is kept");
    }
}

/// Starts a call for which the provider takes 3 s to issue a token, and returns once the provider has the request.
async fn start_waiting_call(app: &TestApp, chrome: &Chrome) {
    let before = app.provider.token_requests();
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_secs(3)));
    chrome.script(WAITING_CALL).await;
    while app.provider.token_requests() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn assert_newer_sign_in_is_kept(chrome: &Chrome, mode: Mode) {
    let status = chrome.script(SLOW_RESPONSE).await;
    assert_eq!(chrome.script(USER).await, GRACE, "{mode:?}: the newer sign-in is kept");
    assert_eq!(status, 401, "{mode:?}: the call waited until the other sign-in had ended its session");
}

/// Contract 4.24a: the browser sends the `Strict` session cookie neither with the request by the link nor on the way
/// back from the provider, so that only the companion says which session the sign-in replaces.
#[tokio::test]
async fn a_slow_response_does_not_undo_a_sign_in_by_a_link_of_another_site() {
    for mode in MODES {
        let (app, chrome) = start(mode, Options { access_token_life: SHORT, ..lasting() }).await;
        sign_in(&chrome, &app.origin, ADA).await;
        tokio::time::sleep(SHORT).await;
        let elsewhere = Elsewhere::link(&app.origin).await;
        let first = chrome.client.window().await.unwrap();
        let second = chrome.client.new_window(true).await.unwrap().handle;
        chrome.client.switch_to_window(second.clone()).await.unwrap();
        chrome.open(&format!("http://127.0.0.1:{}/", elsewhere.port)).await;

        chrome.client.switch_to_window(first.clone()).await.unwrap();
        start_waiting_call(&app, &chrome).await;
        chrome.client.switch_to_window(second).await.unwrap();
        chrome.click("#link").await;
        chrome.choose(GRACE).await;
        chrome.shows("signed-in").await;
        chrome.client.switch_to_window(first).await.unwrap();
        assert_newer_sign_in_is_kept(&chrome, mode).await;
    }
}

/// Contract 4.24a: when the second tab began, there was no session that its sign-in could replace.
#[tokio::test]
async fn a_slow_response_does_not_undo_a_sign_in_that_began_before_its_own() {
    for mode in MODES {
        let (app, chrome) = start(mode, Options { access_token_life: SHORT, ..lasting() }).await;
        let first = chrome.client.window().await.unwrap();
        let second = chrome.client.new_window(true).await.unwrap().handle;
        chrome.client.switch_to_window(second.clone()).await.unwrap();
        chrome.open(&format!("{}/auth/login", app.origin)).await;
        chrome.find("button[name=user]").await;

        chrome.client.switch_to_window(first.clone()).await.unwrap();
        sign_in(&chrome, &app.origin, ADA).await;
        tokio::time::sleep(SHORT).await;
        start_waiting_call(&app, &chrome).await;
        chrome.client.switch_to_window(second).await.unwrap();
        chrome.choose(GRACE).await;
        chrome.shows("signed-in").await;
        chrome.client.switch_to_window(first).await.unwrap();
        assert_newer_sign_in_is_kept(&chrome, mode).await;
    }
}

/// Contract 8.9b: the API gives all users the same entity tag, and its 304 makes the browser use what it has cached.
#[tokio::test]
async fn the_cache_of_the_browser_shows_no_user_what_another_got() {
    let api = SameTag::start().await;
    for mode in MODES {
        let entry = json!({"base": api.base, "cache": "private"});
        let app = TestApp::builder().reach(Reach::Host(mode)).graph_entry(entry).start();
        let (app, chrome) = tokio::join!(app, Chrome::start());
        sign_in(&chrome, &app.origin, ADA).await;
        assert_eq!(chrome.script(TWO_CALLS).await, json!([ADA, ADA]), "{mode:?}");
        chrome.click("#sign-out").await;
        chrome.shows("anonymous").await;
        sign_in(&chrome, &app.origin, GRACE).await;
        assert_eq!(chrome.script(TWO_CALLS).await, json!([GRACE, GRACE]), "{mode:?}: after a sign-out");
        chrome.open(&format!("{}/auth/login?prompt=select_account", app.origin)).await;
        chrome.choose(ADA).await;
        chrome.shows("signed-in").await;
        assert_eq!(chrome.script(TWO_CALLS).await, json!([ADA, ADA]), "{mode:?}: without a sign-out");
        // The second call of each user was answered by the cache, so that the first could have been too.
        let each = [ADA, GRACE, ADA].into_iter().flat_map(|user| [(user.to_owned(), 200), (user.to_owned(), 304)]);
        assert_eq!(api.take_responses(), each.collect::<Vec<_>>(), "{mode:?}");
    }
}
