use super::*;

#[tokio::test]
async fn the_page_signs_in_with_code_and_state() {
    let provider = provider().await;
    let page = get(&authorize_url(&provider, &good_request()), None).await;
    assert_eq!(page.status(), 200);
    for stable in [
        "<button name=\"user\" value=\"ada.lovelace@contoso.example\">",
        "id=\"username\"",
        "<label for=\"username\">",
        "id=\"sign-in\"",
        "id=\"cancel\"",
    ] {
        assert!(text(&page).contains(stable), "{stable}");
    }
    assert!(!text(&page).contains("http://") && !text(&page).contains("<script"));
    let response = submit(&provider, &page, "user", ADA).await;
    assert_eq!(response.status(), 303);
    let url = location(&response);
    assert!(url.as_str().starts_with("http://localhost:7071/auth/callback?"));
    assert_eq!(field(&url, "state").as_deref(), Some("the state&="));
    assert_eq!(field(&url, "iss"), None);
    assert!(field(&url, "session_state").is_some());
    granted(&provider, &code_form(&field(&url, "code").unwrap())).await;
    assert_eq!(submit(&provider, &page, "user", ADA).await.status(), 400, "a page signs in once");
}

#[tokio::test]
async fn form_post_returns_a_form_that_submits_itself() {
    let provider = provider().await;
    let response = sign_in(&provider, &changed("response_mode", Some("form_post"))).await;
    assert_eq!(response.status(), 200);
    assert!(text(&response).contains("<form method=\"post\" action=\"http://localhost:7071/auth/callback\">"));
    assert!(text(&response).contains("name=\"state\" value=\"the state&amp;=\""));
    assert!(text(&response).contains("name=\"code\" value=\"1."));
    assert!(text(&response).contains("document.forms[0].submit()"));
}

#[tokio::test]
async fn any_user_name_can_be_typed() {
    let provider = provider().await;
    let page = get(&authorize_url(&provider, &good_request()), None).await;
    let response = submit(&provider, &page, "username", "mallory <b>").await;
    let body = granted(&provider, &code_form(&field(&location(&response), "code").unwrap())).await;
    assert_eq!(part(body["id_token"].as_str().unwrap(), 1)["preferred_username"], "mallory <b>");
    let page = get(&authorize_url(&provider, &good_request()), None).await;
    let again = submit(&provider, &page, "username", " ").await;
    assert_eq!(again.status(), 200);
    assert!(text(&again).contains("The user name is missing."));
    assert_eq!(submit(&provider, &page, "username", &ADA.to_uppercase()).await.status(), 303);
}

#[tokio::test]
async fn cancel_is_access_denied() {
    let provider = provider().await;
    let page = get(&authorize_url(&provider, &good_request()), None).await;
    let url = location(&submit(&provider, &page, "action", "cancel").await);
    assert_eq!(field(&url, "error").as_deref(), Some("access_denied"));
    assert_eq!(field(&url, "state").as_deref(), Some("the state&="));
    assert_eq!(field(&url, "code"), None);
}

#[tokio::test]
async fn errors_without_a_registered_uri_are_a_page() {
    let provider = provider().await;
    for pairs in [
        changed("client_id", Some("66666666-6666-4666-8666-666666666666")),
        changed("client_id", None),
        changed("redirect_uri", None),
        changed("redirect_uri", Some("http://localhost:7071/auth/callback/")),
        changed("redirect_uri", Some("http://localhost:7072/auth/callback")),
        changed("redirect_uri", Some("http://localhost:7071/auth/callback?x=1")),
        changed("scope", Some("openid https://unknown.example/Read")),
        changed("scope", Some("openid https://graph.microsoft.com/Unknown.Scope")),
        [good_request(), vec![("state", "second".to_owned())]].concat(),
        [good_request(), vec![("anything", "1".to_owned()), ("anything", "1".to_owned())]].concat(),
    ] {
        let response = get(&authorize_url(&provider, &pairs), None).await;
        assert_eq!(response.status(), 400, "{pairs:?}");
        assert!(!response.headers().contains_key(LOCATION));
        assert!(provider.sign_in(&authorize_url(&provider, &pairs), ADA).is_err());
    }
}

#[tokio::test]
async fn other_errors_are_sent_to_the_client() {
    let provider = provider().await;
    for (pairs, error) in [
        (changed("response_type", None), "invalid_request"),
        (changed("response_type", Some("id_token")), "unsupported_response_type"),
        (changed("response_type", Some("code id_token")), "unsupported_response_type"),
        (changed("response_mode", Some("fragment")), "invalid_request"),
        (changed("scope", None), "invalid_request"),
        (changed("scope", Some("profile")), "invalid_request"),
        (changed("state", None), "invalid_request"),
        (changed("nonce", None), "invalid_request"),
        (changed("nonce", Some("")), "invalid_request"),
        (changed("code_challenge", None), "invalid_request"),
        (changed("code_challenge", Some("short")), "invalid_request"),
        (changed("code_challenge_method", None), "invalid_request"),
        (changed("code_challenge_method", Some("plain")), "invalid_request"),
        (changed("prompt", Some("never")), "invalid_request"),
        (changed("prompt", Some("none login")), "invalid_request"),
        (changed("claims", Some("[1]")), "invalid_request"),
        (changed("resource", Some("api://orders")), "invalid_request"),
    ] {
        let response = get(&authorize_url(&provider, &pairs), None).await;
        assert_eq!(response.status(), 302, "{pairs:?}");
        let url = location(&response);
        assert!(url.as_str().starts_with(CALLBACK));
        assert_eq!(field(&url, "error").as_deref(), Some(error), "{pairs:?}");
        assert_eq!(field(&url, "code"), None);
        let has_state = pairs.iter().any(|(name, _)| *name == "state");
        assert_eq!(field(&url, "state").is_some(), has_state);
    }
    assert_eq!(post(&endpoint(&provider, "authorize"), String::new()).await.status(), 405);
}

#[tokio::test]
async fn valid_variants_show_the_page() {
    let provider = provider().await;
    for (name, value) in [
        ("response_mode", "query"),
        ("response_mode", "form_post"),
        ("prompt", "login"),
        ("prompt", "select_account"),
        ("prompt", "consent"),
        ("login_hint", ADA),
        ("domain_hint", "contoso.example"),
        ("claims", "{\"access_token\":{\"xms_cc\":{\"values\":[\"cp1\"]}}}"),
        ("scope", "openid User.Read api://orders/Orders.Read"),
    ] {
        let page = get(&authorize_url(&provider, &changed(name, Some(value))), None).await;
        assert_eq!(page.status(), 200, "{name}");
        assert!(text(&page).contains("id=\"sign-in\""));
    }
}

#[tokio::test]
async fn a_session_makes_the_next_sign_in_silent() {
    let provider = provider().await;
    let silent = authorize_url(&provider, &changed("prompt", Some("none")));
    let before = location(&get(&silent, None).await);
    assert_eq!(field(&before, "error").as_deref(), Some("login_required"));
    assert_eq!(field(&before, "state").as_deref(), Some("the state&="));
    let cookie = cookie_of(&sign_in(&provider, &good_request()).await);
    for pairs in [changed("prompt", Some("none")), good_request()] {
        let url = location(&get(&authorize_url(&provider, &pairs), Some(&cookie)).await);
        assert!(field(&url, "code").is_some(), "{url}");
    }
    let page = get(&authorize_url(&provider, &changed("prompt", Some("select_account"))), Some(&cookie)).await;
    assert_eq!(page.status(), 200);
    let other = [changed("prompt", Some("none")), vec![("login_hint", "grace.hopper@contoso.example".to_owned())]];
    let url = location(&get(&authorize_url(&provider, &other.concat()), Some(&cookie)).await);
    assert_eq!(field(&url, "error").as_deref(), Some("login_required"));
    provider.end_sessions();
    let after = location(&get(&silent, Some(&cookie)).await);
    assert_eq!(field(&after, "error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn a_new_scope_requires_consent() {
    let provider = provider().await;
    let cookie = cookie_of(&sign_in(&provider, &good_request()).await);
    let wider = set(changed("prompt", Some("none")), "scope", Some("openid api://ledger/Ledger.Read"));
    let url = location(&get(&authorize_url(&provider, &wider), Some(&cookie)).await);
    assert_eq!(field(&url, "error").as_deref(), Some("interaction_required"));
    let asking = changed("scope", Some("openid api://ledger/Ledger.Read"));
    assert_eq!(get(&authorize_url(&provider, &asking), Some(&cookie)).await.status(), 200);
    let by_admin = set(changed("prompt", Some("none")), "scope", Some("openid api://orders/Orders.Read"));
    let url = location(&get(&authorize_url(&provider, &by_admin), Some(&cookie)).await);
    assert!(field(&url, "code").is_some());
}

#[tokio::test]
async fn the_iss_parameter_is_sent_if_announced() {
    let provider = with(|options| options.iss_parameter = true).await;
    let document = json(&format!("{}/.well-known/openid-configuration", provider.issuer())).await;
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    let url = location(&sign_in(&provider, &good_request()).await);
    assert_eq!(field(&url, "iss"), Some(provider.issuer()));
    let denied = location(&get(&authorize_url(&provider, &changed("prompt", Some("none"))), None).await);
    assert_eq!(field(&denied, "iss"), Some(provider.issuer()));
}

#[tokio::test]
async fn the_sign_in_without_a_browser_is_as_strict() {
    let provider = provider().await;
    let good = provider.sign_in(&authorize_url(&provider, &good_request()), ADA).unwrap();
    assert_eq!((good.uri.as_str(), good.form_post), (CALLBACK, false));
    assert_eq!(field(&Url::parse(&good.location()).unwrap(), "state").as_deref(), Some("the state&="));
    let plain = provider.sign_in(&authorize_url(&provider, &changed("code_challenge_method", Some("plain"))), ADA);
    assert_eq!(plain.unwrap().field("error"), Some("invalid_request"));
    assert!(provider.sign_in(&endpoint(&provider, "token"), ADA).is_err());
    assert!(provider.sign_in(&authorize_url(&provider, &good_request()).replace(TENANT, "elsewhere"), ADA).is_err());
}
