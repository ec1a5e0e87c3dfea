use std::time::Duration;

use super::*;

async fn first_refresh_token(provider: &Provider) -> String {
    text_of(&granted(provider, &code_form(&fresh_code(provider))).await, "refresh_token")
}

#[tokio::test]
async fn refresh_tokens_rotate_and_used_ones_keep_working() {
    let provider = provider().await;
    let first = first_refresh_token(&provider).await;
    let body = granted(&provider, &refresh_form(&first, None)).await;
    let second = text_of(&body, "refresh_token");
    assert_ne!(first, second);
    let claims = part(body["id_token"].as_str().unwrap(), 1);
    assert_eq!(claims.get("nonce"), None);
    assert_eq!(claims["sub"], "ada-lovelace-subject-1");
    granted(&provider, &refresh_form(&first, None)).await;
    granted(&provider, &refresh_form(&second, None)).await;
    let without_openid = granted(&provider, &refresh_form(&second, Some("User.Read offline_access"))).await;
    assert_eq!(without_openid.get("id_token"), None);
}

#[tokio::test]
async fn reuse_of_a_one_time_refresh_token_revokes_the_grant() {
    let provider = with(|options| options.one_time_refresh = true).await;
    let first = first_refresh_token(&provider).await;
    let second = text_of(&granted(&provider, &refresh_form(&first, None)).await, "refresh_token");
    let third = text_of(&granted(&provider, &refresh_form(&second, None)).await, "refresh_token");
    assert_eq!(rejected(&provider, &refresh_form(&first, None)).await, (400, "invalid_grant".to_owned(), None));
    assert_eq!(rejected(&provider, &refresh_form(&third, None)).await.1, "invalid_grant");
    let other = first_refresh_token(&provider).await;
    granted(&provider, &refresh_form(&other, None)).await;
}

#[tokio::test]
async fn one_refresh_token_works_for_every_consented_resource() {
    let provider = provider().await;
    let token = first_refresh_token(&provider).await;
    let orders = granted(&provider, &refresh_form(&token, Some("openid api://orders/Orders.Read"))).await;
    assert_eq!(part(orders["access_token"].as_str().unwrap(), 1)["aud"], "api://orders");
    assert_eq!(orders["scope"], "openid api://orders/Orders.Read");
    let all = granted(&provider, &refresh_form(&token, Some("api://orders/.default"))).await;
    assert_eq!(part(all["access_token"].as_str().unwrap(), 1)["scp"], "Orders.Read Orders.Write");
    let no_consent = (400, "invalid_grant".to_owned(), Some("consent_required".to_owned()));
    for scope in ["api://ledger/Ledger.Read", "api://ledger/.default", "Mail.Read", "User.Read Mail.Read"] {
        assert_eq!(rejected(&provider, &refresh_form(&token, Some(scope))).await, no_consent, "{scope}");
    }
    code_of(&provider, &changed("scope", Some("openid api://ledger/Ledger.Read")));
    granted(&provider, &refresh_form(&token, Some("api://ledger/Ledger.Read"))).await;
    granted(&provider, &refresh_form(&token, Some("api://ledger/.default"))).await;
}

#[tokio::test]
async fn invalid_refreshes_are_rejected() {
    let provider = provider().await;
    let token = first_refresh_token(&provider).await;
    for (form, error) in [
        (refresh_form("1.unknown", None), "invalid_grant"),
        (set(refresh_form(&token, None), "refresh_token", None), "invalid_request"),
        (refresh_form(&token, Some("api://orders/Orders.Read User.Read")), "invalid_request"),
        (refresh_form(&token, Some("https://unknown.example/Read")), "invalid_scope"),
        (set(refresh_form(&token, None), "resource", Some("api://orders")), "invalid_request"),
        (set(refresh_form(&token, None), "client_secret", Some("wrong")), "invalid_client"),
    ] {
        assert_eq!(rejected(&provider, &form).await.1, error, "{form:?}");
    }
    granted(&provider, &refresh_form(&token, None)).await;
}

#[tokio::test]
async fn refresh_tokens_expire_and_can_be_revoked() {
    let provider = provider().await;
    let token = first_refresh_token(&provider).await;
    provider.advance(Duration::from_secs(90 * 24 * 3_600 - 10));
    let younger = text_of(&granted(&provider, &refresh_form(&token, None)).await, "refresh_token");
    provider.advance(Duration::from_secs(20));
    assert_eq!(rejected(&provider, &refresh_form(&token, None)).await.1, "invalid_grant");
    granted(&provider, &refresh_form(&younger, None)).await;
    provider.revoke_grants();
    assert_eq!(rejected(&provider, &refresh_form(&younger, None)).await.1, "invalid_grant");
}

#[tokio::test]
async fn revocation_is_an_option() {
    let entra = provider().await;
    assert_eq!(post(&endpoint(&entra, "revoke"), String::new()).await.status(), 404);
    let provider = with(|options| options.revocation = true).await;
    let document = json(&format!("{}/.well-known/openid-configuration", provider.issuer())).await;
    let url = document["revocation_endpoint"].as_str().unwrap();
    let token = first_refresh_token(&provider).await;
    let form = |secret: &str, token: &str| {
        let owned = |text: &str| text.to_owned();
        encode(&vec![("client_id", owned(CLIENT_ID)), ("client_secret", owned(secret)), ("token", owned(token))])
    };
    assert_eq!(post(url, form("wrong", &token)).await.status(), 401);
    assert_eq!(post(url, form(CLIENT_SECRET, "unknown")).await.status(), 200);
    granted(&provider, &refresh_form(&token, None)).await;
    assert_eq!(post(url, form(CLIENT_SECRET, &token)).await.status(), 200);
    assert_eq!(rejected(&provider, &refresh_form(&token, None)).await.1, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_of_an_earlier_run_works_once_its_grant_is_restored() {
    let provider = provider().await;
    let form = refresh_form("1.of-an-earlier-run", Some("openid User.Read"));
    assert_eq!(rejected(&provider, &form).await.1, "invalid_grant");
    let restore = |scope| provider.restore_grant("ada.lovelace@contoso.example", scope, "1.of-an-earlier-run");
    assert_eq!(restore("https://unknown.example/Read"), None);
    assert_eq!(restore("openid offline_access User.Read"), Some(()));
    let body = granted(&provider, &form).await;
    assert_eq!(part(body["id_token"].as_str().unwrap(), 1)["sub"], "ada-lovelace-subject-1");
    let other = refresh_form("1.of-an-earlier-run", Some("Mail.Read"));
    assert_eq!(rejected(&provider, &other).await.2.as_deref(), Some("consent_required"));
}
