//! Sessions that outlast the browser session (contract 16.11): the browser ends and starts again with its profile.

use devkit::host::Mode;
use serde_json::Value;

use super::chrome::Chrome;
use super::elsewhere::Elsewhere;
use super::{ADA, MODES, SIGNED_IN, cookie_names, sign_in};
use crate::app::{Reach, TestApp};

async fn start(mode: Mode, setting: &str) -> (TestApp, Chrome) {
    let app = TestApp::builder().reach(Reach::Host(mode)).set("SESSION_PERSIST", setting).start();
    tokio::join!(app, Chrome::start())
}

/// Whether the browser keeps the cookies of the session when it ends. Both or none.
async fn are_kept(chrome: &Chrome) -> bool {
    let is_kept = |cookie: &Value| !cookie["session"].as_bool().unwrap();
    let kept: Vec<bool> = chrome.cookies().await.iter().map(is_kept).collect();
    assert!(kept == [true; 2] || kept == [false; 2], "{kept:?}");
    kept[0]
}

/// Signs in by what the page does: a script that goes to an address of its own origin.
async fn sign_in_by(chrome: &Chrome, origin: &str, path: &str) {
    chrome.open(origin).await;
    chrome.shows("anonymous").await;
    let go = format!("import('/cloakroom.js').then((client) => client.signIn({{ url: '{path}' }})); return true;");
    chrome.script(&go).await;
    chrome.choose(ADA).await;
    chrome.shows("signed-in").await;
}

#[tokio::test]
async fn a_session_is_there_after_a_restart_of_the_browser_if_the_setting_says_so() {
    for mode in MODES {
        for (setting, is_there) in [("on", true), ("off", false)] {
            let (app, chrome) = start(mode, setting).await;
            sign_in(&chrome, &app.origin, ADA).await;
            assert_eq!(are_kept(&chrome).await, is_there, "{mode:?} {setting}");
            let chrome = chrome.restart().await;
            chrome.open(&app.origin).await;
            if !is_there {
                chrome.shows("anonymous").await;
                assert_eq!(cookie_names(&chrome).await, [""; 0], "{mode:?} {setting}");
                continue;
            }
            chrome.shows("signed-in").await;
            assert_eq!(chrome.text("#user-name").await, "Ada Lovelace");
            assert_eq!(cookie_names(&chrome).await, SIGNED_IN);
            chrome.click("#renew").await;
            chrome.says("Your session was extended.").await;
            assert!(are_kept(&chrome).await, "{mode:?}: as written by a refresh");
            chrome.click("#sign-out").await;
            chrome.shows("anonymous").await;
            let chrome = chrome.restart().await;
            chrome.open(&app.origin).await;
            chrome.shows("anonymous").await;
            assert_eq!(cookie_names(&chrome).await, [""; 0], "{mode:?}: a sign-out deletes them for good");
        }
    }
}

#[tokio::test]
async fn with_ask_the_pages_parameter_decides() {
    for mode in MODES {
        let (app, mut chrome) = start(mode, "ask").await;
        for (path, is_there) in [("/auth/login", false), ("/auth/login?persist=true", true)] {
            sign_in_by(&chrome, &app.origin, path).await;
            assert_eq!(are_kept(&chrome).await, is_there, "{mode:?} {path}");
            chrome = chrome.restart().await;
            chrome.open(&app.origin).await;
            chrome.shows(if is_there { "signed-in" } else { "anonymous" }).await;
        }
    }
}

/// On another site, and on another port of the host, which is the same site.
#[tokio::test]
async fn with_ask_the_user_can_type_the_address_and_no_other_origin_can_link_to_it() {
    for mode in MODES {
        for host in ["127.0.0.1", "localhost"] {
            let (app, chrome) = start(mode, "ask").await;
            let elsewhere = Elsewhere::link(&app.origin).await;
            chrome.open(&format!("http://{host}:{}/", elsewhere.port)).await;
            chrome.click("#persist").await;
            chrome.choose(ADA).await;
            chrome.shows("signed-in").await;
            assert!(!are_kept(&chrome).await, "{mode:?} {host}");
            chrome.open(&format!("{}/auth/login?persist=true", app.origin)).await;
            chrome.choose_if_asked(ADA).await;
            chrome.shows("signed-in").await;
            assert!(are_kept(&chrome).await, "{mode:?}: typed");
        }
    }
}
