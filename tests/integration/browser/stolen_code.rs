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
