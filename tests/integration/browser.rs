//! Journeys in a real browser, in both host modes: what only a browser decides, such as which cookies it accepts,
//! stores and sends, what content security policies block, and what a page on another origin may do.
//!
//! The provider is on `127.0.0.1` and the page on `localhost`: different sites, as in production.

mod chrome;
mod client;
mod elsewhere;
mod frontchannel_logout;
mod graph_client;
mod own_sessions;
mod persist;
mod same_tag;
mod sessions;
mod stolen_code;

use std::path::Path;

use devkit::commands::stack::free_port;
use devkit::host::Mode;
use serde_json::{Value, json};

use crate::app::{ROOT, Reach, TestApp};
use crate::plans::{PLANS, by_templates, on_plan};
use chrome::Chrome;
use elsewhere::{Elsewhere, NOTHING};

const MODES: [Mode; 2] = [Mode::Forward, Mode::Proxy];
const ADA: &str = "ada.lovelace@contoso.example";
/// The cookies of a browser with a session: the session cookie and its companion.
const SIGNED_IN: [&str; 2] = ["__Host-Http-cloakroom", "__Host-Http-cloakroom-id"];
const GRACE: &str = "grace.hopper@contoso.example";

async fn start(mode: Mode) -> (TestApp, Chrome) {
    let app = TestApp::builder().reach(Reach::Host(mode)).start();
    tokio::join!(app, Chrome::start())
}

/// Opens an address of the app and signs in from there.
async fn sign_in(chrome: &Chrome, address: &str, user: &str) {
    chrome.open(address).await;
    chrome.shows("anonymous").await;
    chrome.click("#sign-in").await;
    chrome.choose(user).await;
    chrome.shows("signed-in").await;
}

async fn cookie_names(chrome: &Chrome) -> Vec<String> {
    let all = chrome.cookies().await;
    let mut names: Vec<_> = all.iter().map(|cookie| cookie["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_user_signs_in_calls_graph_and_signs_out() {
    for mode in MODES {
        let (app, chrome) = start(mode).await;
        chrome.open(&app.origin).await;
        chrome.shows("anonymous").await;
        chrome.keep_picture(mode, "anonymous").await;

        chrome.click("#sign-in").await;
        chrome.find("button[name=user]").await;
        chrome.keep_picture(mode, "provider").await;
        chrome.choose(ADA).await;
        chrome.shows("signed-in").await;
        assert_eq!(chrome.text("#user-name").await, "Ada Lovelace");
        assert_eq!(chrome.address().await, format!("{}/", app.origin));
        assert_eq!(chrome.script("return document.cookie").await, "");
        chrome.keep_picture(mode, "signed-in").await;

        chrome.click("#call-graph").await;
        chrome.find("#graph-response:not([hidden])").await;
        let response: Value = serde_json::from_str(&chrome.text("#graph-result").await).unwrap();
        assert_eq!((&response["displayName"], &response["userPrincipalName"]), (&json!("Ada Lovelace"), &json!(ADA)));
        chrome.keep_picture(mode, "graph").await;

        chrome.client.refresh().await.unwrap();
        chrome.shows("signed-in").await;
        assert_eq!(chrome.text("#user-name").await, "Ada Lovelace");

        chrome.click("#sign-out").await;
        chrome.shows("anonymous").await;
        assert_eq!(chrome.address().await, format!("{}/", app.origin));
        assert_eq!(cookie_names(&chrome).await, [""; 0]);
        chrome.keep_picture(mode, "signed-out").await;

        // The sign-out reached the provider too: it prompts for the user again.
        chrome.click("#sign-in").await;
        chrome.choose(GRACE).await;
        chrome.shows("signed-in").await;
        assert_eq!(chrome.text("#user-name").await, "Grace Hopper");
        assert_eq!(chrome.console().await, json!([]), "{mode:?}");
    }
}

#[tokio::test]
async fn a_sign_in_returns_to_its_page() {
    for mode in MODES {
        let (app, chrome) = start(mode).await;
        let deep = format!("{}/inbox/2?folder=a%2Fb&q=%C3%A4+b&empty=#top/%C3%A4?x=1", app.origin);
        sign_in(&chrome, &deep, ADA).await;
        assert_eq!(chrome.address().await, deep);
        assert_eq!(chrome.console().await, json!([]), "{mode:?}");
    }
}

#[tokio::test]
async fn the_browser_stores_the_cookies_as_intended() {
    for mode in MODES {
        let (app, chrome) = start(mode).await;
        chrome.open(&app.origin).await;
        chrome.click("main[data-state=anonymous] #sign-in").await;
        chrome.find("button[name=user]").await;
        let [login] = &chrome.cookies().await[..] else { panic!("one transaction") };
        assert!(login["name"].as_str().unwrap().starts_with("__Host-Http-cloakroom-login-"), "{login}");
        assert_eq!(attributes(login), ["localhost", "/", "true", "true", "Lax", "false"]);

        chrome.choose(ADA).await;
        chrome.shows("signed-in").await;
        assert_eq!(cookie_names(&chrome).await, SIGNED_IN, "the transaction is deleted");
        for cookie in chrome.cookies().await {
            let same_site = if cookie["name"] == SIGNED_IN[0] { "Strict" } else { "Lax" };
            assert_eq!(attributes(&cookie), ["localhost", "/", "true", "true", same_site, "true"]);
        }
        assert_eq!(chrome.script("return document.cookie").await, "");
        let stored = "return [localStorage.length, sessionStorage.length]";
        assert_eq!(chrome.script(stored).await, json!([0, 0]));
    }
}

/// Domain (without a leading dot: this host only), path, `Secure`, `HttpOnly`, `SameSite`, session cookie.
fn attributes(cookie: &Value) -> [String; 6] {
    let text = |name: &str| cookie[name].as_str().map_or_else(|| cookie[name].to_string(), str::to_owned);
    ["domain", "path", "secure", "httpOnly", "sameSite", "session"].map(text)
}

#[tokio::test]
async fn cancelling_at_the_provider_is_explained_and_can_be_retried() {
    for mode in MODES {
        let (app, chrome) = start(mode).await;
        chrome.open(&format!("{}/inbox?folder=1#top", app.origin)).await;
        chrome.click("main[data-state=anonymous] #sign-in").await;
        chrome.click("#cancel").await;
        chrome.find("#error[data-code=access_denied]").await;
        let results = chrome.text("#error").await;
        assert!(results.contains("The sign-in was cancelled, or access was not granted."), "{results}");
        assert_eq!(chrome.address().await, format!("{}/inbox?folder=1#top", app.origin));
        assert_eq!(cookie_names(&chrome).await, [""; 0]);
        chrome.keep_picture(mode, "cancelled").await;

        chrome.client.refresh().await.unwrap();
        chrome.shows("anonymous").await;
        assert_eq!(chrome.text("#error").await, "", "a reload does not repeat it");
        chrome.click("#sign-in").await;
        chrome.choose(ADA).await;
        chrome.shows("signed-in").await;
        assert_eq!(chrome.console().await, json!([]), "{mode:?}");
    }
}

#[tokio::test]
async fn two_tabs_sign_in_at_once() {
    for mode in MODES {
        let (app, chrome) = start(mode).await;
        let first = chrome.client.window().await.unwrap();
        let second = chrome.client.new_window(true).await.unwrap().handle;
        let tabs = [(first, "/first#1"), (second, "/second?tab=2")];
        for (tab, path) in &tabs {
            chrome.client.switch_to_window(tab.clone()).await.unwrap();
            chrome.open(&format!("{}{path}", app.origin)).await;
            chrome.shows("anonymous").await;
        }
        for (tab, _) in &tabs {
            chrome.client.switch_to_window(tab.clone()).await.unwrap();
            chrome.click("#sign-in").await;
            chrome.find("button[name=user]").await;
        }
        assert_eq!(chrome.cookies().await.len(), 2, "one transaction per tab");
        for (tab, path) in &tabs {
            chrome.client.switch_to_window(tab.clone()).await.unwrap();
            chrome.choose(ADA).await;
            chrome.shows("signed-in").await;
            assert_eq!(chrome.address().await, format!("{}{path}", app.origin), "{mode:?}");
        }
        assert_eq!(cookie_names(&chrome).await, SIGNED_IN);
        assert_eq!(chrome.console().await, json!([]), "{mode:?}");
    }
}

/// On another site the browser does not send the cookie; on another port of the same host it does, and the gateway
/// rejects the request.
#[tokio::test]
async fn a_page_on_another_origin_reaches_nothing() {
    for mode in MODES {
        let (app, chrome) = start(mode).await;
        sign_in(&chrome, &app.origin, ADA).await;
        let elsewhere = Elsewhere::start(&app.origin).await;
        for host in ["127.0.0.1", "localhost"] {
            let theirs = format!("http://{host}:{}/", elsewhere.port);
            chrome.open(&theirs).await;
            let results = chrome.find("body[data-results]").await.attr("data-results").await.unwrap();
            assert_eq!(results.as_deref(), Some(NOTHING), "{host} {mode:?}");

            for (element, path) in [("#post", "/auth/logout"), ("#link", "/graph/me")] {
                chrome.open(&theirs).await;
                chrome.click(element).await;
                chrome.find("main small").await;
                assert_eq!(chrome.address().await, format!("{}{path}", app.origin));
                let page = chrome.text("body").await;
                assert!(page.contains("origin_denied"), "{host} {mode:?} {path}: {page}");
            }
            chrome.open(&app.origin).await;
            chrome.shows("signed-in").await;
        }
        assert_eq!(app.graph.count(), 0, "{mode:?}");
        chrome.click("#call-graph").await;
        chrome.find("#graph-response:not([hidden])").await;
        assert_eq!(app.graph.count(), 1, "the gateway's own page may call");
    }
}

/// Contract 8.9a: a page on another port of the host is on the same site, so that the browser sends the session cookie
/// with what it frames.
#[tokio::test]
async fn a_neighbour_on_the_same_site_cannot_frame_the_page() {
    let port = free_port().unwrap();
    let theirs = format!("http://localhost:{port}");
    for mode in MODES {
        for (ancestors, is_shown) in [("'self'", false), (theirs.as_str(), true)] {
            let app = TestApp::builder().reach(Reach::Host(mode)).set("SPA_FRAME_ANCESTORS", ancestors).start();
            let (app, chrome) = tokio::join!(app, Chrome::start());
            let _served = Elsewhere::neighbour(port, &app.origin).await;
            sign_in(&chrome, &app.origin, ADA).await;
            chrome.open(&theirs).await;
            chrome.find("body[data-loaded]").await;
            chrome.find("iframe").await.enter_frame().await.unwrap();
            if is_shown {
                chrome.shows("signed-in").await;
                chrome.click("#call-graph").await;
                chrome.find("#graph-response:not([hidden])").await;
                assert_eq!(app.graph.count(), 1, "{mode:?}: without the policy, clicks in the frame call");
            } else {
                let seen = "return [location.protocol, document.querySelectorAll('main').length]";
                assert_eq!(chrome.script(seen).await, json!(["chrome-error:", 0]), "{mode:?}");
                assert_eq!(app.graph.count(), 0, "{mode:?}");
                let console = chrome.console().await.to_string();
                assert!(console.contains("frame-ancestors 'self'"), "{mode:?}: {console}");
            }
        }
    }
}

/// Contract 9.11: on these plans the host answers preflights by the platform's list, which the templates set.
#[tokio::test]
async fn a_spa_on_another_origin_calls_by_the_platforms_list_and_not_without_it() {
    let chrome = Chrome::start().await;
    for (plan, mode) in PLANS.into_iter().flat_map(|plan| MODES.map(|mode| (plan, mode))) {
        let port = free_port().unwrap();
        let spa = format!("http://localhost:{port}");
        let (allowed, list) = by_templates(&format!("https://spa.example.org, {spa}/"));
        for (list, results) in [
            (list, "Ada Lovelace, Ada Lovelace, 204, route_denied"),
            (Vec::new(), "Ada Lovelace, TypeError, TypeError, TypeError"),
        ] {
            let builder = on_plan(plan, &list).reach(Reach::Host(mode));
            let app = builder.set("ALLOWED_ORIGINS", &allowed).set("RETURN_URI", format!("{spa}/home")).start().await;
            let _served = Elsewhere::spa(port, &app.origin).await;
            chrome.open(&format!("{}/auth/login", app.origin)).await;
            chrome.choose(ADA).await;
            let seen = chrome.find("body[data-results]").await.attr("data-results").await.unwrap();
            assert_eq!(chrome.address().await, format!("{spa}/home#"));
            assert_eq!(seen.as_deref(), Some(results), "{plan:?} {mode:?} {list:?}: {}", app.log());
            let message = format!("the platform's CORS list, which lacks https://spa.example.org, {spa};");
            if list.is_empty() {
                app.wait_for_log(&message).await;
            } else {
                assert!(!app.log().contains(&message), "{message} {}", app.log());
            }
        }
    }
}

/// The form of the confirmation page posts, and its policy allows the redirect through the provider.
#[tokio::test]
async fn the_confirmation_page_signs_out() {
    for mode in MODES {
        let (app, chrome) = start(mode).await;
        sign_in(&chrome, &app.origin, ADA).await;
        chrome.open(&format!("{}/auth/logout", app.origin)).await;
        chrome.keep_picture(mode, "sign-out-question").await;
        chrome.click("form button").await;
        chrome.shows("anonymous").await;
        assert_eq!(chrome.address().await, format!("{}/", app.origin));
        assert_eq!(cookie_names(&chrome).await, [""; 0]);
        assert_eq!(chrome.console().await, json!([]), "{mode:?}");
    }
}

/// The provider's form posts from another site, so the transaction must be `SameSite=None`.
#[tokio::test]
async fn form_post_returns_the_code() {
    for mode in MODES {
        let app = TestApp::builder().reach(Reach::Host(mode)).set("RESPONSE_MODE", "form_post").start();
        let (app, chrome) = tokio::join!(app, Chrome::start());
        sign_in(&chrome, &format!("{}/inbox#top", app.origin), ADA).await;
        assert_eq!(chrome.address().await, format!("{}/inbox#top", app.origin));
        assert_eq!(cookie_names(&chrome).await, SIGNED_IN);
        assert_eq!(chrome.console().await, json!([]), "{mode:?}");
    }
}

#[tokio::test]
async fn the_page_fits_a_phone_and_reports_a_lost_network() {
    let mode = Mode::Proxy;
    let (app, chrome) = start(mode).await;
    chrome.narrow().await;
    chrome.prefer("dark").await;
    sign_in(&chrome, &app.origin, ADA).await;
    chrome.click("#call-graph").await;
    chrome.find("#graph-response:not([hidden])").await;
    let width = "return document.documentElement.scrollWidth";
    assert_eq!(chrome.script(width).await, 360);
    chrome.keep_picture(mode, "phone").await;

    chrome.go_offline().await;
    chrome.click("#call-graph").await;
    chrome.find("#error[data-code=network]").await;
    assert_eq!(chrome.script(width).await, 360);
    assert_eq!(chrome.text("#user-name").await, "Ada Lovelace", "the page does not say that the session is lost");
    chrome.keep_picture(mode, "phone-offline").await;
}

#[tokio::test]
#[ignore = "rewrites docs/images"]
async fn screenshots_for_the_docs() {
    let (app, chrome) = start(Mode::Proxy).await;
    let folder = Path::new(ROOT).join("docs/images");
    chrome.open(&app.origin).await;
    chrome.shows("anonymous").await;
    for scheme in ["light", "dark"] {
        chrome.prefer(scheme).await;
        std::fs::write(folder.join(format!("sample-anonymous-{scheme}.png")), chrome.picture().await).unwrap();
    }
    sign_in(&chrome, &app.origin, ADA).await;
    chrome.click("#call-graph").await;
    chrome.find("#graph-response:not([hidden])").await;
    for scheme in ["light", "dark"] {
        chrome.prefer(scheme).await;
        std::fs::write(folder.join(format!("sample-signed-in-{scheme}.png")), chrome.picture().await).unwrap();
    }
}
