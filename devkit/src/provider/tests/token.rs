use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_code_is_exchanged_for_tokens() {
    let provider = provider().await;
    let response = tokens(&provider, &code_form(&fresh_code(&provider))).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["cache-control"].to_str().unwrap().contains("no-store"));
    let body = parsed(&response);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "openid profile email https://graph.microsoft.com/User.Read");
    assert_eq!((&body["expires_in"], &body["ext_expires_in"]), (&4_500.into(), &4_500.into()));
    assert_eq!(text_of(&body, "refresh_token").len(), 1_100);
    let access = text_of(&body, "access_token");
    assert!((1_600..1_620).contains(&access.len()), "{}", access.len());
    assert!(verifies(&provider, &access).await);
    let claims = part(&access, 1);
    assert_eq!(claims["aud"], "https://graph.microsoft.com");
    assert_eq!(claims["iss"], provider.issuer());
    assert_eq!(claims["scp"], "User.Read");
    assert_eq!(claims["appid"], CLIENT_ID);
    assert_eq!(claims["tid"], TENANT);
    assert_eq!(claims["oid"], "0b1d0000-0000-4000-8000-000000000001");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 4_500);
    assert_eq!(provider.token_requests(), 1);
}

#[tokio::test]
async fn a_secret_can_be_sent_by_basic_authentication() {
    let provider = provider().await;
    let form = set(code_form(&fresh_code(&provider)), "client_secret", None);
    let (name, value) = basic(CLIENT_ID, CLIENT_SECRET);
    let url = endpoint(&provider, "token");
    let response = post_with(&url, encode(&form), &[(&name, &value)]).await;
    assert_eq!(response.status(), 200, "{}", text(&response));
    let form = set(code_form(&fresh_code(&provider)), "client_secret", None);
    let (name, wrong) = basic(CLIENT_ID, "wrong");
    let response = post_with(&url, encode(&form), &[(&name, &wrong)]).await;
    assert_eq!((response.status().as_u16(), parsed(&response)["error"].as_str()), (401, Some("invalid_client")));
    assert!(response.headers().contains_key("www-authenticate"));
    for broken in ["Basic", "Basic !!!", "Bearer abc", "Basic bm9jb2xvbg=="] {
        assert_eq!(post_with(&url, encode(&form), &[(&name, broken)]).await.status(), 401, "{broken}");
    }
    let both = code_form(&fresh_code(&provider));
    assert_eq!(post_with(&url, encode(&both), &[(&name, &value)]).await.status(), 400);
    let (name, other) = basic("other", CLIENT_SECRET);
    assert_eq!(post_with(&url, encode(&form), &[(&name, &other)]).await.status(), 400);
    let kinds: Vec<String> = provider.secrets().into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&"client_secret_basic".to_owned()));
    assert!(provider.secrets().contains(&("client_secret".to_owned(), "wrong".to_owned())));
}

#[tokio::test]
async fn failed_client_authentication_is_invalid_client() {
    let provider = provider().await;
    for (name, value) in [
        ("client_secret", None),
        ("client_secret", Some("wrong")),
        ("client_secret", Some("")),
        ("client_id", Some("77777777-7777-4777-8777-777777777777")),
    ] {
        let form = set(code_form(&fresh_code(&provider)), name, value);
        assert_eq!(rejected(&provider, &form).await, (401, "invalid_client".to_owned(), None), "{name}");
    }
    let form = set(code_form(&fresh_code(&provider)), "client_id", None);
    assert_eq!(rejected(&provider, &form).await.1, "invalid_request");
}

#[tokio::test]
async fn a_public_client_has_no_secret() {
    let provider = with(|options| options.clients[0].secret = None).await;
    let form = code_form(&fresh_code(&provider));
    assert_eq!(rejected(&provider, &form).await.1, "invalid_client");
    granted(&provider, &set(form, "client_secret", None)).await;
}

#[tokio::test]
async fn a_code_exchange_requires_all_that_the_code_is_bound_to() {
    let provider = provider().await;
    let long = "a".repeat(129);
    for (name, value, error) in [
        ("code", Some("1.unknown"), "invalid_grant"),
        ("code", None, "invalid_request"),
        ("code_verifier", None, "invalid_request"),
        ("code_verifier", Some("abcdefghijklmnopqrstuvwxyz0123456789-._~ABCDEFg"), "invalid_grant"),
        ("code_verifier", Some("short"), "invalid_grant"),
        ("code_verifier", Some(long.as_str()), "invalid_grant"),
        ("redirect_uri", None, "invalid_grant"),
        ("redirect_uri", Some("http://localhost:7071/auth/callback/"), "invalid_grant"),
        ("grant_type", None, "invalid_request"),
        ("grant_type", Some("password"), "unsupported_grant_type"),
        ("grant_type", Some("client_credentials"), "unsupported_grant_type"),
        ("scope", Some("https://unknown.example/Read"), "invalid_scope"),
        ("scope", Some("https://graph.microsoft.com/Unknown"), "invalid_scope"),
        ("scope", Some("User.Read api://orders/Orders.Read"), "invalid_request"),
        ("claims", Some("garbage"), "invalid_request"),
        ("resource", Some("api://orders"), "invalid_request"),
    ] {
        let form = set(code_form(&fresh_code(&provider)), name, value);
        assert_eq!(rejected(&provider, &form).await, (400, error.to_owned(), None), "{name} {value:?}");
    }
}

#[tokio::test]
async fn scopes_of_several_resources_have_entras_error_code() {
    let provider = provider().await;
    let form = set(code_form(&fresh_code(&provider)), "scope", Some("User.Read api://orders/Orders.Read"));
    let body = parsed(&tokens(&provider, &form).await);
    assert!(text_of(&body, "error_description").starts_with("AADSTS28000:"));
    assert_eq!(body["error_codes"], serde_json::json!([28_000]));
    granted(&provider, &set(form, "scope", Some("openid User.Read"))).await;
}

#[tokio::test]
async fn a_code_of_another_client_is_rejected() {
    let provider = with(|options| {
        let mut other = options.clients[0].clone();
        "other".clone_into(&mut other.id);
        options.clients.push(other);
    })
    .await;
    let code = fresh_code(&provider);
    let form = set(code_form(&code), "client_id", Some("other"));
    assert_eq!(rejected(&provider, &form).await.1, "invalid_grant");
    let refresh = text_of(&granted(&provider, &code_form(&code)).await, "refresh_token");
    let form = set(refresh_form(&refresh, None), "client_id", Some("other"));
    assert_eq!(rejected(&provider, &form).await.1, "invalid_grant");
    granted(&provider, &refresh_form(&refresh, None)).await;
}

#[tokio::test]
async fn reuse_of_a_code_revokes_the_grant() {
    let provider = provider().await;
    let code = fresh_code(&provider);
    let refresh = text_of(&granted(&provider, &code_form(&code)).await, "refresh_token");
    granted(&provider, &refresh_form(&refresh, None)).await;
    assert_eq!(rejected(&provider, &code_form(&code)).await.1, "invalid_grant");
    assert_eq!(rejected(&provider, &refresh_form(&refresh, None)).await.1, "invalid_grant");
}

#[tokio::test]
async fn a_code_expires_after_a_minute() {
    let provider = provider().await;
    let (in_time, late) = (fresh_code(&provider), fresh_code(&provider));
    provider.advance(Duration::from_secs(57));
    granted(&provider, &code_form(&in_time)).await;
    provider.advance(Duration::from_secs(3));
    assert_eq!(rejected(&provider, &code_form(&late)).await.1, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_requires_offline_access() {
    let provider = provider().await;
    let code = code_of(&provider, &changed("scope", Some("openid User.Read")));
    let body = granted(&provider, &code_form(&code)).await;
    assert_eq!(body.get("refresh_token"), None);
    assert!(body.get("id_token").is_some());
}

#[tokio::test]
async fn the_format_of_the_request_is_checked() {
    let provider = provider().await;
    let url = endpoint(&provider, "token");
    let form = encode(&code_form(&fresh_code(&provider)));
    let twice = post(&url, format!("{form}&scope=openid&scope=openid")).await;
    assert_eq!((twice.status().as_u16(), parsed(&twice)["error"].as_str()), (400, Some("invalid_request")));
    assert_eq!(post(&format!("{url}?x=1"), form.clone()).await.status(), 400);
    assert_eq!(post_with(&url, form.clone(), &[("origin", ORIGIN)]).await.status(), 400);
    let with_type = async |media_type: &str| {
        client::send("POST", &url, &[("content-type", media_type)], form.clone()).await.unwrap().status().as_u16()
    };
    for media_type in ["application/json", "text/plain", "multipart/form-data"] {
        assert_eq!(with_type(media_type).await, 400, "{media_type}");
    }
    assert_eq!(client::send("POST", &url, &[], form.clone()).await.unwrap().status(), 400);
    assert_eq!(get(&url, None).await.status(), 405);
    let media_type = "application/x-www-form-urlencoded; charset=UTF-8";
    assert_eq!(with_type(media_type).await, 200, "none of these has used the code");
}

#[tokio::test]
async fn requested_claims_are_in_the_access_token() {
    let provider = provider().await;
    let asked = "{\"access_token\":{\"xms_cc\":{\"values\":[\"cp1\"]},\"acrs\":{\"essential\":true,\"value\":\"c1\"}}}";
    let code = code_of(&provider, &changed("claims", Some(asked)));
    let body = granted(&provider, &code_form(&code)).await;
    let claims = part(body["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["xms_cc"], serde_json::json!(["cp1"]));
    assert_eq!(claims["acrs"], serde_json::json!(["c1"]));
    let plain = granted(&provider, &code_form(&fresh_code(&provider))).await;
    assert_eq!(part(plain["access_token"].as_str().unwrap(), 1).get("acrs"), None);
}
