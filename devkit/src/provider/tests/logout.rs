use super::super::Client;
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

#[tokio::test]
async fn sign_out_frames_the_clients_of_the_session_first() {
    let provider = with(|options| {
        options.clients[0].frontchannel_logout_uri = Some("http://localhost:7071/front?a=1".to_owned());
        let other = Client { id: "other".to_owned(), ..options.clients[0].clone() };
        options.clients.push(other);
    })
    .await;
    let out = url(&provider, &[("client_id", CLIENT_ID), ("post_logout_redirect_uri", RETURN), ("state", "s")]);
    assert_eq!(get(&out, None).await.status(), 302, "without a session nothing is framed");
    let cookie = cookie_of(&sign_in(&provider, &good_request()).await);
    let [(_, sid)] = &provider.sign_ins()[..] else { panic!("one sign-in") };
    let response = get(&out, Some(&cookie)).await;
    let page = text(&response);
    assert_eq!(page.matches("<iframe").count(), 1, "{page}");
    assert!(page.contains(&format!("src=\"http://localhost:7071/front?a=1&amp;sid={sid}\"")), "{page}");
    assert!(page.contains("href=\"http://localhost:7071/auth/logout?state=s\""), "{page}");
    assert_eq!(get(&out, Some(&cookie)).await.status(), 302, "the session has ended");
}

#[tokio::test]
async fn a_logout_token_has_the_claims_of_its_specification() {
    let provider = provider().await;
    let token = provider.logout_token(|draft| draft.claims["sid"] = "a-session".into());
    let parts: Vec<Value> =
        token.split('.').take(2).map(|part| serde_json::from_slice(&from_base64url(part).unwrap()).unwrap()).collect();
    assert_eq!((&parts[0]["typ"], &parts[0]["alg"]), (&"logout+jwt".into(), &"RS256".into()));
    let claims = &parts[1];
    assert_eq!((&claims["iss"], &claims["aud"]), (&provider.issuer().into(), &CLIENT_ID.into()));
    assert!(claims["events"]["http://schemas.openid.net/event/backchannel-logout"].is_object());
    assert!(claims["jti"].is_string() && claims["iat"].is_u64() && claims["exp"].is_u64());
    assert_eq!((claims.get("sid"), claims.get("sub"), claims.get("nonce")), (Some(&"a-session".into()), None, None));
}
