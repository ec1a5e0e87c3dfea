use super::*;

const RETURN: &str = "http://localhost:7071/auth/logout";

fn url(provider: &Provider, pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    format!("{}?{}", endpoint(provider, "logout"), encode(&pairs))
}

#[tokio::test]
async fn sign_out_ends_the_session_and_returns_with_the_state() {
    let provider = provider().await;
    let cookie = cookie_of(&sign_in(&provider, &good_request()).await);
    let silent = authorize_url(&provider, &changed("prompt", Some("none")));
    assert!(field(&location(&get(&silent, Some(&cookie)).await), "code").is_some());
    let out = [("client_id", CLIENT_ID), ("post_logout_redirect_uri", RETURN), ("state", "s &1"), ("logout_hint", ADA)];
    let response = get(&url(&provider, &out), Some(&cookie)).await;
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()[LOCATION], "http://localhost:7071/auth/logout?state=s+%261");
    assert!(response.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(field(&location(&get(&silent, Some(&cookie)).await), "error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn sign_out_returns_to_registered_uris_only() {
    let provider = provider().await;
    let cookie = cookie_of(&sign_in(&provider, &good_request()).await);
    for pairs in [
        &[("client_id", CLIENT_ID), ("post_logout_redirect_uri", "http://localhost:7071/auth/logout/")][..],
        &[("client_id", CLIENT_ID), ("post_logout_redirect_uri", "https://evil.example/")],
        &[("client_id", CLIENT_ID), ("post_logout_redirect_uri", CALLBACK)],
        &[("post_logout_redirect_uri", RETURN)],
        &[("client_id", "unknown"), ("post_logout_redirect_uri", RETURN)],
        &[("client_id", CLIENT_ID), ("post_logout_redirect_uri", RETURN), ("state", "1"), ("state", "2")],
    ] {
        let response = get(&url(&provider, pairs), Some(&cookie)).await;
        assert_eq!(response.status(), 400, "{pairs:?}");
        assert!(!response.headers().contains_key(LOCATION));
    }
    let silent = authorize_url(&provider, &changed("prompt", Some("none")));
    assert!(field(&location(&get(&silent, Some(&cookie)).await), "code").is_some(), "still signed in");
}

#[tokio::test]
async fn sign_out_without_a_return_is_a_page() {
    let provider = provider().await;
    let response = get(&url(&provider, &[]), None).await;
    assert_eq!(response.status(), 200);
    assert!(text(&response).contains("You are signed out"));
    let without_state = url(&provider, &[("client_id", CLIENT_ID), ("post_logout_redirect_uri", RETURN)]);
    assert_eq!(get(&without_state, None).await.headers()[LOCATION], RETURN);
}
