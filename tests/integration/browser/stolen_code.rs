//! A hostile script in the page tries to get hold of an authorization code (contract 3.9a).

use devkit::host::Mode;
use serde_json::json;

use super::chrome::Chrome;
use super::{ADA, sign_in};
use crate::app::{Reach, TestApp};

/// Opens the first argument in a window or a frame, and returns every address at which the script sees it in 2 s.
const ADDRESSES: &str = "
    const [address, kind, done] = arguments;
    const frame = () => {
        const element = document.createElement('iframe');
        element.src = address;
        return document.body.appendChild(element).contentWindow;
    };
    const opened = kind === 'frame' ? frame() : window.open(address);
    const seen = new Set();
    const look = () => { try { seen.add(opened.location.href); } catch { seen.add('another origin'); } };
    const timer = setInterval(look, 2);
    setTimeout(() => { clearInterval(timer); done([...seen]); }, 2000);";

/// The attacker begins a sign-in in a browser of their own, keeps its transaction, and has the script open the
/// authorization request so that the provider puts the code of the victim into the fragment.
#[tokio::test]
async fn a_script_does_not_see_the_code_of_a_sign_in_that_another_browser_began() {
    for mode in [Mode::Forward, Mode::Proxy] {
        let app = TestApp::builder().reach(Reach::Host(mode)).start();
        let (app, chrome) = tokio::join!(app, Chrome::start());
        sign_in(&chrome, &app.origin, ADA).await;
        let many = "&x".repeat(40);
        // The gateway redirects, or responds with a page at the address that has the code.
        for (kind, query) in [("window", ""), ("frame", ""), ("window", many.as_str()), ("frame", many.as_str())] {
            let address = app.visitor().begin("/").await;
            let callback = app.provider.sign_in(&address, ADA).unwrap().location();
            let (path, response) = callback.split_once('?').unwrap();
            let code = response.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap();
            chrome.open(&app.origin).await;
            chrome.shows("signed-in").await;
            let target = format!("{path}?{query}#{response}");
            let seen = chrome.script_with(ADDRESSES, vec![json!(target), json!(kind)]).await;
            assert!(!seen.to_string().contains(code), "{mode:?} {kind} {query}: {seen}");
            assert_ne!(seen, json!([]), "the script looked");
        }
    }
}

/// Cookies for the callback, of which the head of a request becomes too long.
const COOKIES: &str = "for (let n = 0; n < 40; n++) document.cookie = `c${n}=${'x'.repeat(4000)}; path=/auth/callback`";

/// The 431 to a head that is too long has no headers that isolate it: the HTTP library sends it. It has no body either,
/// and Chromium shows an error page of its own instead, which is another origin. Without the SPA's opener policy, so
/// that the script keeps the window.
#[tokio::test]
async fn a_script_does_not_see_the_address_of_a_head_that_is_too_long() {
    let app = TestApp::builder().reach(Reach::Direct).set("SPA_OPENER_POLICY", "none").start();
    let (app, chrome) = tokio::join!(app, Chrome::start());
    for kind in ["window", "frame"] {
        chrome.open(&app.origin).await;
        chrome.shows("anonymous").await;
        chrome.script(COOKIES).await;
        let target = format!("{}/auth/callback#code=CANARY", app.origin);
        let seen = chrome.script_with(ADDRESSES, vec![json!(target), json!(kind)]).await;
        assert!(seen.to_string().contains("another origin") && !seen.to_string().contains("CANARY"), "{kind}: {seen}");
        chrome.open(&target).await;
        assert!(chrome.text("body").await.contains("431"), "{} {}", chrome.address().await, chrome.text("body").await);
    }
}
