//! The sample page's list of the user's own sessions, in two browsers with profiles of their own (contract 16.1, 16.3).

use devkit::host::Mode;
use devkit::redis_server::{Options, RedisServer};
use serde_json::json;

use super::chrome::Chrome;
use super::{ADA, MODES, sign_in};
use crate::app::{Reach, TestApp};

const ITEMS: &str = "return document.querySelectorAll('#session-list li').length";
/// Names and buttons of the items.
const LIST: &str = "return [...document.querySelectorAll('#session-list li')].map((item) =>
    [item.querySelector('.session-name').textContent, item.querySelector('button')?.ariaLabel.split(',')[0] ?? null]);";

async fn start(mode: Mode, redis: &RedisServer) -> (TestApp, Chrome, Chrome) {
    let app = TestApp::builder().reach(Reach::Host(mode)).set("STORE", redis.url()).start();
    tokio::join!(app, Chrome::start(), Chrome::start())
}

/// Waits until the page lists so many sessions.
async fn lists(chrome: &Chrome, count: usize) {
    chrome.find(&format!("#session-list:has(li:nth-child({count})):not(:has(li:nth-child({})))", count + 1)).await;
}

#[tokio::test]
async fn a_user_ends_the_session_of_another_browser_whose_page_says_so() {
    let redis = RedisServer::start(&Options::default()).unwrap();
    for mode in MODES {
        let (app, here, there) = start(mode, &redis).await;
        sign_in(&there, &app.origin, ADA).await;
        lists(&there, 1).await;
        assert_eq!(there.script("return document.getElementById('end-others').hidden").await, true);
        sign_in(&here, &app.origin, ADA).await;
        lists(&here, 2).await;
        let [own, other] = ["Chrome on Linux (this browser)", "Chrome on Linux"];
        let button = "End the session: Chrome on Linux";
        let listed = here.script(LIST).await;
        // Two sign-ins within one second are in no order.
        let orders = [json!([[own, null], [other, button]]), json!([[other, button], [own, null]])];
        assert!(orders.contains(&listed), "{mode:?}: {listed}");
        here.keep_picture(mode, "sessions").await;

        here.click("#session-list button").await;
        here.says("The session was ended: Chrome on Linux.").await;
        lists(&here, 1).await;
        assert_eq!(here.script("return document.activeElement.id").await, "sessions-title");

        let calls = app.graph.count();
        there.click("#call-graph").await;
        there.find("#error[data-code=session_expired]").await;
        there.shows("anonymous").await;
        let said = there.text("#error").await;
        assert!(said.contains("Your session has ended. Please sign in again."), "{said}");
        assert_eq!(there.script(ITEMS).await, 0, "the list of one user is not left in the page");
        assert_eq!(app.graph.count(), calls, "the call did not reach the API");
        there.keep_picture(mode, "session-ended-elsewhere").await;

        here.click("#call-graph").await;
        here.find("#graph-response:not([hidden])").await;
        assert_eq!(here.console().await, json!([]), "{mode:?}");
    }
}

#[tokio::test]
async fn a_user_ends_all_other_sessions() {
    let redis = RedisServer::start(&Options::default()).unwrap();
    let (app, here, there) = start(Mode::Proxy, &redis).await;
    sign_in(&there, &app.origin, ADA).await;
    here.narrow().await;
    here.prefer("dark").await;
    sign_in(&here, &app.origin, ADA).await;
    lists(&here, 2).await;
    assert_eq!(here.script("return document.documentElement.scrollWidth").await, 360);
    here.keep_picture(Mode::Proxy, "sessions-phone").await;
    here.click("#end-others").await;
    here.says("One session was ended.").await;
    lists(&here, 1).await;
    there.client.refresh().await.unwrap();
    there.shows("anonymous").await;
}

/// Contract 16.1.
#[tokio::test]
async fn without_a_store_the_page_has_no_list() {
    let (app, chrome) = super::start(Mode::Proxy).await;
    sign_in(&chrome, &app.origin, ADA).await;
    assert_eq!(chrome.script("return document.getElementById('sessions').hidden").await, true);
    assert_eq!(chrome.console().await, json!([]));
}
