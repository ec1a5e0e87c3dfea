//! The provider's sign-out page frames the gateway (contract 16.9). Both are on different sites, so that the browser
//! sends the frame no cookie.

use devkit::host::Mode;
use devkit::provider::{CLIENT_ID, TENANT};
use devkit::redis_server::{Options, RedisServer};
use serde_json::json;
use url::form_urlencoded::Serializer;

use super::chrome::Chrome;
use super::elsewhere::Elsewhere;
use super::{ADA, MODES, SIGNED_IN, cookie_names, sign_in};
use crate::app::{PATIENCE, Reach, TestApp};

async fn start(mode: Mode) -> (TestApp, Chrome, RedisServer) {
    let redis = RedisServer::start(&Options::default()).unwrap();
    let app = TestApp::builder().reach(Reach::Host(mode)).with_frontchannel_logout().set("STORE", redis.url()).start();
    let (app, chrome) = tokio::join!(app, Chrome::start());
    (app, chrome, redis)
}

const SESSION: &str = "return fetch('/auth/session').then((a) => a.json()).then((session) => session.authenticated)";

#[tokio::test]
async fn a_sign_out_at_the_provider_ends_the_session_by_a_frame() {
    for mode in MODES {
        let (app, chrome, _redis) = start(mode).await;
        sign_in(&chrome, &app.origin, ADA).await;
        let _ = chrome.console().await;
        // As by another application: not through the gateway.
        let back = format!("{}/auth/logout", app.origin);
        let query = Serializer::new(String::new())
            .extend_pairs([("client_id", CLIENT_ID), ("post_logout_redirect_uri", &back)])
            .finish();
        let provider = app.provider.issuer().replace(&format!("/{TENANT}/v2.0"), "");
        chrome.open(&format!("{provider}/{TENANT}/oauth2/v2.0/logout?{query}")).await;
        let at_gateway = |address: &str| address.starts_with(&app.origin);
        let started = std::time::Instant::now();
        while !at_gateway(&chrome.address().await) {
            assert!(started.elapsed() < PATIENCE, "{mode:?}: {}", chrome.address().await);
        }
        assert_eq!(chrome.console().await, json!([]), "{mode:?}: nothing blocks the frame");
        assert_eq!(cookie_names(&chrome).await, SIGNED_IN, "{mode:?}: the frame has no cookie to delete");
        chrome.open(&app.origin).await;
        chrome.shows("anonymous").await;
        assert_eq!(chrome.script(SESSION).await, false, "{mode:?}");
        let sid = app.provider.sign_ins().pop().unwrap().1;
        assert!(!app.log().contains(&sid), "{mode:?}");
    }
}

#[tokio::test]
async fn no_other_page_can_frame_the_front_channel_logout() {
    for mode in MODES {
        let (app, chrome, _redis) = start(mode).await;
        let theirs = Elsewhere::framing(0, &format!("{}/auth/frontchannel-logout?sid=guess", app.origin)).await;
        for host in ["localhost", "127.0.0.1"] {
            chrome.open(&format!("http://{host}:{}", theirs.port)).await;
            chrome.find("body[data-loaded]").await;
            let console = chrome.console().await.to_string();
            assert!(console.contains("frame-ancestors"), "{mode:?}: {console}");
            chrome.find("iframe").await.enter_frame().await.unwrap();
            assert_eq!(chrome.script("return location.protocol").await, "chrome-error:", "{mode:?}");
        }
    }
}
