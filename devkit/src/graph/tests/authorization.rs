use std::time::Duration;

use super::*;
use crate::provider::Signing;

impl Pair {
    /// The status for a token with changed claims.
    async fn status_of(&self, signing: Signing, change: impl FnOnce(&mut Value)) -> u16 {
        let payload = self.token.split('.').nth(1).unwrap();
        let mut claims = serde_json::from_slice(&crate::web::from_base64url(payload).unwrap()).unwrap();
        change(&mut claims);
        self.status_with(&format!("Bearer {}", self.provider.jwt(&claims, signing))).await
    }

    async fn status_with(&self, authorization: &str) -> u16 {
        let response = self.bare("GET", "/me", &[("authorization", authorization)], "").await.unwrap();
        if response.status() == 401 {
            assert_eq!(json(&response)["error"]["code"], "InvalidAuthenticationToken");
            assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
        }
        response.status().as_u16()
    }
}

#[tokio::test]
async fn only_valid_tokens_are_accepted() {
    let pair = Pair::start().await;
    let now = pair.provider.now();
    assert_eq!(pair.status_of(Signing::Active, |_| {}).await, 200);
    let set = |name: &'static str, value: Value| move |claims: &mut Value| claims[name] = value;
    assert_eq!(pair.status_of(Signing::Active, set("iss", "https://other.example/v2.0".into())).await, 401);
    assert_eq!(pair.status_of(Signing::Active, set("aud", "api://orders".into())).await, 401);
    assert_eq!(pair.status_of(Signing::Active, set("exp", now.into())).await, 401);
    assert_eq!(pair.status_of(Signing::Active, set("exp", Value::Null)).await, 401);
    assert_eq!(pair.status_of(Signing::Active, set("nbf", (now + 1_000).into())).await, 401);
    for signing in [Signing::Unpublished, Signing::Broken, Signing::ClientSecret, Signing::None] {
        assert_eq!(pair.status_of(signing, |_| {}).await, 401, "{signing:?}");
    }
}

#[tokio::test]
async fn only_bearer_tokens_are_accepted() {
    let pair = Pair::start().await;
    for authorization in ["", "Bearer", "Bearer ", "Bearer a.b.c", "Basic YTpi"] {
        assert_eq!(pair.status_with(authorization).await, 401, "{authorization:?}");
    }
    assert_eq!(pair.status_with(&pair.token).await, 401);
    assert_eq!(pair.status_with(&format!("Bearer {}", pair.token)).await, 200);
    assert_eq!(pair.bare("GET", "/me", &[], "").await.unwrap().status(), 401);
    let bearer = format!("Bearer {}", pair.token);
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(pair.bare("GET", "/me", &twice, "").await.unwrap().status(), 401);
    assert_eq!(pair.bare("GET", "/unknown", &[], "").await.unwrap().status(), 401);
    assert_eq!(pair.graph.count(), 10);
}

#[tokio::test]
async fn an_access_token_expires() {
    let pair = Pair::start().await;
    assert_eq!(pair.get("/me").await.status(), 200);
    pair.graph.advance(Duration::from_secs(75 * 60));
    assert_eq!(pair.get("/me").await.status(), 401);
}

#[tokio::test]
async fn fetching_a_rotated_key_is_not_recorded() {
    let pair = Pair::start().await;
    assert_eq!(pair.get("/me").await.status(), 200);
    pair.provider.rotate_keys();
    let after = pair.provider.access_token(ADA, "User.Read").unwrap();
    assert_eq!(pair.status_with(&format!("Bearer {after}")).await, 200);
    assert_eq!(pair.provider.count(), 0, "only the gateway's requests are recorded");
}

#[tokio::test]
async fn a_claims_challenge_requires_a_context() {
    let pair = Pair::start().await;
    pair.graph.require_context(Some("c1"));
    let response = pair.get("/me").await;
    assert_eq!(response.status(), 401);
    let line = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(line.contains("error=\"insufficient_claims\""));
    let claims = line.split("claims=\"").nth(1).unwrap().trim_end_matches('"');
    let claims = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, claims).unwrap();
    assert_eq!(claims, b"{\"access_token\":{\"acrs\":{\"essential\":true,\"value\":\"c1\"}}}");
    let with = |claims: &mut Value| claims["acrs"] = serde_json::json!(["c1"]);
    assert_eq!(pair.status_of(Signing::Active, with).await, 200);
    pair.graph.require_context(None);
    assert_eq!(pair.get("/me").await.status(), 200);
}
