//! A session in a real browser: it outlives its access token, is stepped up, and no slow response restores an older
//! one.

use std::time::Duration;

use devkit::host::Mode;
use devkit::provider::Options;
use serde_json::{Value, json};

use super::chrome::Chrome;
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
        let who =
            "return fetch('/auth/session').then((a) => a.json()).then((session) => session.user.preferred_username)";
        assert_eq!(chrome.script(who).await, GRACE, "{mode:?}: the newer sign-in is kept");
    }
}
