//! Back-channel logout by a provider that is not the project's own (contract 16.8). The sessions are in a real Redis.

use devkit::redis_server::{Options, RedisServer};

use super::Stage;
use super::peer::{Browser, Place};
use crate::app::{Reach, every_reach};
use crate::visitor::Visitor;

/// A gateway with its sessions in Redis, for a provider with these variables.
async fn stage(variables: &[(&str, &str)], reach: Reach) -> (Stage, RedisServer) {
    let redis = RedisServer::start(&Options::default()).unwrap();
    let stage = Stage::with(variables, &[("STORE", &redis.url())], reach).await;
    (stage, redis)
}

impl Stage {
    /// Signs in to the gateway in a browser at the provider, which prompts only if that has no session.
    async fn signed_in(&self, browser: &mut Browser, login: &str) -> Visitor {
        let mut visitor = self.app.visitor();
        let address = visitor.begin("/").await;
        let callback = browser.fill_in(&address, &[("login", login)]).await.away();
        assert_eq!(visitor.come_back(&callback).await.header("location"), Some("/"), "{}", self.app.log());
        visitor
    }

    /// Signs out at the provider, not at the gateway.
    async fn sign_out(&self, browser: &mut Browser) {
        let end_session = format!("{}/session/end", self.peer_issuer().unwrap());
        let place = browser.fill_in(&end_session, &[("logout", "yes")]).await;
        assert!(matches!(place, Place::Page(_, text) if text.contains("Signed out")));
        self.peer.settle().await;
    }
}

async fn are_signed_in<const N: usize>(visitors: [&mut Visitor; N]) -> [bool; N] {
    let mut found = [false; N];
    for (found, visitor) in found.iter_mut().zip(visitors) {
        *found = visitor.fetch("GET", "/auth/session").await.json()["authenticated"] == true;
    }
    found
}

#[tokio::test]
async fn a_sign_out_at_the_provider_ends_the_sessions_of_that_browser() {
    for reach in every_reach() {
        let (stage, _redis) = stage(&[], reach).await;
        let (mut browser, mut other) = (stage.peer.browser(), stage.peer.browser());
        let mut first = stage.signed_in(&mut browser, "ada").await;
        let mut second = stage.signed_in(&mut browser, "ada").await;
        let mut elsewhere = stage.signed_in(&mut other, "ada").await;
        assert_eq!(first.fetch("GET", "/api/notes/me").await.status, 200, "{reach:?}");
        let before = first.jar.clone();

        stage.sign_out(&mut browser).await;
        let [sid] = &stage.peer.lines_after("logged out ")[..] else {
            panic!("{reach:?}: {:?}\n{}", stage.peer.lines_after("not logged out"), stage.app.log())
        };
        assert!(!stage.app.log().contains(sid.as_str()), "{reach:?}");
        let call = first.fetch("GET", "/api/notes/me").await;
        assert_eq!((call.status, call.code()), (401, "session_expired"), "{reach:?}");
        assert_eq!(first.jar, before, "{reach:?}: contract 4.20");
        assert_eq!(are_signed_in([&mut first, &mut second, &mut elsewhere]).await, [false, false, true], "{reach:?}");
        assert_eq!(first.fetch("POST", "/auth/refresh").await.code(), "session_expired", "{reach:?}");
        assert!(first.jar.is_empty(), "{reach:?}");

        // The user signs in again with the same browser.
        let mut again = stage.signed_in(&mut browser, "ada").await;
        assert_eq!(are_signed_in([&mut again]).await, [true], "{reach:?}");
    }
}

#[tokio::test]
async fn a_logout_token_of_the_provider_without_sid_ends_all_sessions_of_the_user() {
    let (stage, _redis) = stage(&[("LOGOUT_TOKENS_HAVE_SID", "0")], Reach::Direct).await;
    let (mut browser, mut other, mut third) = (stage.peer.browser(), stage.peer.browser(), stage.peer.browser());
    let mut ada = stage.signed_in(&mut browser, "ada").await;
    let mut elsewhere = stage.signed_in(&mut other, "ada").await;
    let mut grace = stage.signed_in(&mut third, "grace").await;
    stage.sign_out(&mut browser).await;
    assert_eq!(stage.peer.lines_after("logged out ").len(), 1, "{:?}", stage.peer.lines_after("not logged out"));
    assert_eq!(are_signed_in([&mut ada, &mut elsewhere, &mut grace]).await, [false, false, true]);
}

/// Without a store the route does not exist, and the provider sees that.
#[tokio::test]
async fn with_cookies_as_the_store_the_provider_is_answered_404() {
    let stage = Stage::set(Reach::Direct).await;
    let mut browser = stage.peer.browser();
    let mut ada = stage.signed_in(&mut browser, "ada").await;
    stage.sign_out(&mut browser).await;
    let [reason] = &stage.peer.lines_after("not logged out: ")[..] else { panic!("one logout") };
    assert!(reason.contains("404"), "{reason}");
    assert_eq!(are_signed_in([&mut ada]).await, [true]);
}
