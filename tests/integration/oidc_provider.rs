//! The main journey with an independent provider: npm `oidc-provider`, see `tests/peers/oidc-provider`.
//!
//! Unlike Entra it requires `resource` (RFC 8707), sends `iss` (RFC 9207), supports revocation (RFC 7009), uses
//! `client_secret_basic`, and issues one-time refresh tokens.

mod logout;
mod peer;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::commands::stack::free_port;
use devkit::graph::{Graph, GraphOptions};
use serde_json::{Value, json};
use url::Url;

use crate::app::{Reach, TestApp, every_reach};
use crate::visitor::{Response, Visitor};
use peer::{Peer, RESOURCE, SCOPE, issuer};

/// A gateway for the peer, with an API that accepts the peer's tokens.
struct Stage {
    app: TestApp,
    peer: Peer,
    api: Graph,
}

impl Stage {
    /// Starts the gateway first, because the peer needs its address. The gateway retries until the peer responds.
    async fn set(reach: Reach) -> Self {
        Self::with(&[], &[], reach).await
    }

    /// The same with variables of the peer and settings of the gateway.
    async fn with(variables: &[(&str, &str)], settings: &[(&str, &str)], reach: Reach) -> Self {
        let port = free_port().unwrap();
        let audience = RESOURCE.to_owned();
        let api = Graph::start(GraphOptions { audience, ..GraphOptions::new(&issuer(port)) }).await.unwrap();
        let apis = json!({"notes": {
            "base": api.base(), "resource": RESOURCE, "scopes": [SCOPE], "allow": ["GET /me"],
        }});
        let builder = TestApp::builder().reach(reach).impatient();
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, *value));
        let app = builder.set("AUTHORITY", issuer(port)).set("APIS", apis.to_string()).start().await;
        let peer = Peer::start(port, &app.origin, variables);
        app.wait_until_ready(200).await;
        Self { app, peer, api }
    }

    /// Signs in and returns the gateway's response to the callback.
    async fn sign_in(&self, visitor: &mut Visitor, login: &str) -> Response {
        let callback = self.callback(visitor, &[("login", login)]).await;
        visitor.come_back(callback.as_str()).await
    }

    /// Starts a sign-in, fills in the peer's form, and returns the callback's address.
    async fn callback(&self, visitor: &mut Visitor, fields: &[(&str, &str)]) -> Url {
        let address = visitor.begin("/notes?page=2#end").await;
        let callback = Url::parse(&self.peer.browser().fill_in(&address, fields).await.away()).unwrap();
        assert_eq!(parameter(&callback, "iss"), self.peer_issuer(), "RFC 9207");
        callback
    }

    fn peer_issuer(&self) -> Option<String> {
        self.app.settings.get("CLOAKROOM_AUTHORITY").cloned()
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(have, _)| have == name).map(|(_, value)| value.into_owned())
}

/// The claims of the last bearer token that the API received. The API has verified it.
fn claims(api: &Graph) -> Value {
    let request = api.requests().pop().unwrap();
    let token = request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_user_signs_in_calls_the_api_and_signs_out_in_every_mode() {
    for reach in every_reach() {
        let stage = Stage::set(reach).await;
        let mut visitor = stage.app.visitor();
        let back = stage.sign_in(&mut visitor, "ada.lovelace").await;
        let location = back.header("location");
        assert_eq!((back.status, location), (302, Some("/notes?page=2#end")), "{reach:?}: {}", stage.app.log());
        assert_eq!(visitor.jar.keys().collect::<Vec<_>>(), ["__Host-Http-cloakroom", "__Host-Http-cloakroom-id"]);

        let session = visitor.fetch("GET", "/auth/session").await.json();
        assert_eq!(session["authenticated"], true);
        assert_eq!(session["user"]["sub"], "ada.lovelace");
        assert_eq!(session["user"]["name"], "Ada Lovelace");
        assert_eq!(session["user"]["email"], "ada.lovelace@example.test");
        assert_eq!(session["apis"]["notes"], json!({"path": "/api/notes", "status": "ok"}));

        let response = visitor.fetch("GET", "/api/notes/me").await;
        assert_eq!(response.status, 200, "{reach:?}: {}", response.text());
        let claims = claims(&stage.api);
        assert_eq!((&claims["aud"], &claims["scope"]), (&json!(RESOURCE), &json!(SCOPE)));
        assert_eq!(claims["sub"], "ada.lovelace");

        assert_eq!(stage.peer.count("grant revoked"), 0);
        let out = visitor.fetch("POST", "/auth/logout").await;
        assert_eq!(out.status, 200, "{reach:?}: {}", out.text());
        assert!(visitor.jar.is_empty(), "every gateway cookie is deleted");
        stage.peer.settle().await;
        assert_eq!(stage.peer.count("POST /token/revocation"), 1, "{reach:?}");
        assert_eq!(
            stage.peer.count("grant revoked"),
            1,
            "the refresh token and all tokens derived from it are revoked"
        );
        assert_eq!(stage.peer.count("POST /token"), 1, "one code exchange, and no other token request");
    }
}

#[tokio::test]
async fn a_sign_out_ends_the_providers_session_and_returns() {
    let stage = Stage::set(Reach::Direct).await;
    let (mut visitor, mut browser) = (stage.app.visitor(), stage.peer.browser());
    let address = visitor.begin("/").await;
    let callback = browser.fill_in(&address, &[("login", "ada")]).await.away();
    assert_eq!(visitor.come_back(&callback).await.header("location"), Some("/"));
    // While the provider's session lasts, it does not prompt.
    let address = visitor.begin("/").await;
    browser.visit(&address).await.away();

    let out = visitor.fetch("POST", "/auth/logout").await.json();
    let home = browser.fill_in(out["logout_url"].as_str().unwrap(), &[("logout", "yes")]).await.away();
    let path = home.strip_prefix(&stage.app.origin).unwrap();
    assert!(path.starts_with("/auth/logout?state="), "{path}");
    let back = visitor.navigate(path).await;
    assert_eq!((back.status, back.header("location")), (302, Some("/")));

    // Now it prompts again.
    let address = visitor.begin("/").await;
    let page = browser.visit(&address).await;
    assert!(matches!(page, peer::Place::Page(_, text) if text.contains("id=\"login\"")));
}

#[tokio::test]
async fn cancelling_returns_access_denied_in_every_mode() {
    for reach in every_reach() {
        let stage = Stage::set(reach).await;
        let mut visitor = stage.app.visitor();
        let callback = stage.callback(&mut visitor, &[("cancel", "1")]).await;
        let back = visitor.come_back(callback.as_str()).await;
        assert_eq!(back.header("location"), Some("/notes?page=2&auth_error=access_denied#end"), "{reach:?}");
        assert!(visitor.jar.is_empty(), "the transaction is deleted, and there is no session");
    }
}

#[tokio::test]
async fn another_issuer_is_rejected_before_the_code_exchange() {
    let stage = Stage::set(Reach::Direct).await;
    for iss in [Some("https://attacker.example"), Some(""), None] {
        let mut visitor = stage.app.visitor();
        let mut callback = stage.callback(&mut visitor, &[("login", "ada")]).await;
        let pairs: Vec<(String, String)> =
            callback.query_pairs().into_owned().filter(|(name, _)| name != "iss").collect();
        callback.query_pairs_mut().clear().extend_pairs(pairs).extend_pairs(iss.map(|iss| ("iss", iss)));
        let back = visitor.come_back(callback.as_str()).await;
        assert_eq!(back.header("location"), Some("/notes?page=2&auth_error=login_failed#end"), "{iss:?}");
        assert!(visitor.jar.is_empty());
    }
    stage.peer.settle().await;
    assert_eq!(stage.peer.count("POST /token"), 0, "no token request was sent");

    let back = stage.sign_in(&mut stage.app.visitor(), "ada").await;
    assert_eq!(back.header("location"), Some("/notes?page=2#end"));
    stage.peer.settle().await;
    assert_eq!(stage.peer.count("POST /token"), 1);
}

/// Contract 7.22. The peer ignores `offline_access` without `prompt=consent`, issues a refresh token all the same, and
/// rejects a refresh that names a scope that it did not grant.
#[tokio::test]
async fn a_refresh_names_no_scope_twice_and_none_that_was_not_granted() {
    let scopes = format!("openid profile email offline_access {SCOPE}");
    let stage = Stage::with(&[("STRICT_OFFLINE", "1")], &[("SCOPES", &scopes)], Reach::Direct).await;
    let mut visitor = stage.app.visitor();
    let back = stage.sign_in(&mut visitor, "ada").await;
    assert_eq!(back.header("location"), Some("/notes?page=2#end"), "{}", stage.app.log());
    for _ in 0..2 {
        assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", stage.app.log());
        assert_eq!(visitor.fetch("GET", "/api/notes/me").await.status, 200, "{}", stage.app.log());
    }
    stage.peer.settle().await;
    // Its token responses name the scopes of the resource only.
    assert_eq!(stage.peer.count(&format!("refresh for {SCOPE}")), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_time_refresh_tokens_are_used_once() {
    let mut stage = Stage::with(&[("ACCESS_TOKEN_TTL", "6")], &[], Reach::Direct).await;
    let mut visitor = stage.app.visitor();
    stage.sign_in(&mut visitor, "ada").await;
    let old = visitor.clone();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let before = stage.peer.count("POST /token");
    let calls = (0..45).map(|_| {
        let mut tab = visitor.clone();
        async move {
            let status = tab.fetch("GET", "/api/notes/me").await.status;
            (status, tab)
        }
    });
    for (status, tab) in futures_util::future::join_all(calls).await {
        assert_eq!(status, 200, "{}", stage.app.log());
        visitor = tab;
    }
    stage.peer.settle().await;
    assert_eq!(stage.peer.count("POST /token"), before + 1, "one refresh for all calls");
    assert_eq!(old.clone().fetch("GET", "/api/notes/me").await.status, 200, "a tab with the older cookie");
    for _ in 0..2 {
        assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", stage.app.log());
    }
    stage.peer.settle().await;
    assert_eq!(stage.peer.count("grant revoked"), 0, "no refresh token was used twice");
    // Only that instance knew the newest refresh token: see "One-time refresh tokens" in docs/sessions.md.
    stage.app.restart();
    stage.app.wait_until_ready(200).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let late = old.clone().fetch("GET", "/api/notes/me").await;
    assert_eq!((late.status, late.code()), (401, "session_expired"));
    stage.peer.settle().await;
    assert_eq!(stage.peer.count("grant revoked"), 1, "the provider treats a second use as theft");
}
