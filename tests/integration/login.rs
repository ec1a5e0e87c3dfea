//! Starting a sign-in: parameters, the authorization request and login transaction cookies (contract 3.1 to 3.4, 4.8).

use std::collections::BTreeSet;

use crate::app::TestApp;
use crate::visitor::NAVIGATION;

#[tokio::test]
async fn the_authorization_request_has_everything_and_nothing_else() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let response = visitor
        .navigate("/auth/login?prompt=select_account&login_hint=a%40b&domain_hint=d&scope=evil&redirect_uri=evil")
        .await;
    let url = url::Url::parse(response.header("location").unwrap()).unwrap();
    let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    let expected = [
        "client_id",
        "response_type",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "login_hint",
        "domain_hint",
        "claims",
    ];
    assert_eq!(names, expected);
    let value = |name: &str| url.query_pairs().find(|(of, _)| of == name).unwrap().1.into_owned();
    assert_eq!(value("redirect_uri"), format!("{}/auth/callback", app.origin));
    assert_eq!(value("scope"), "openid profile email offline_access https://graph.microsoft.com/User.Read");
    assert_eq!(value("code_challenge_method"), "S256");
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

/// Contract 7.5a, as the provider sees it.
#[tokio::test]
async fn random_values_are_new_and_long_and_the_response_mode_is_sent_for_form_post_only() {
    for (mode, expected) in [("query", None), ("form_post", Some("form_post"))] {
        let app = TestApp::builder().set("RESPONSE_MODE", mode).start().await;
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let url = url::Url::parse(&app.visitor().begin("/").await).unwrap();
            let value = |name: &str| url.query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned());
            assert_eq!(value("response_mode").as_deref(), expected);
            for name in ["state", "nonce", "code_challenge"] {
                let value = value(name).unwrap();
                assert!(value.len() >= 22, "128 bits as base64url: {name}={value}");
                assert!(seen.insert(value), "{name}");
            }
        }
        if mode == "query" {
            drop(app.signed_in("ada.lovelace@contoso.example").await);
            let verifier = app.provider.secrets().into_iter().find(|(kind, _)| kind == "code_verifier").unwrap().1;
            assert!(verifier.len() >= 43, "256 bits as base64url");
        }
    }
}

/// Contract 12.22: what Auth0 and Google need; a request's own parameters replace the defaults.
#[tokio::test]
async fn more_parameters_are_added_to_the_authorization_request() {
    let app = TestApp::builder().set("LOGIN_PARAMS", "audience=a%26b&prompt=consent&max_age=60").start().await;
    let prompts = async |path: &str| {
        let response = app.visitor().navigate(path).await;
        let url = url::Url::parse(response.header("location").unwrap()).unwrap();
        let values = |name: &str| -> Vec<String> {
            url.query_pairs().filter(|(of, _)| of == name).map(|(_, value)| value.into_owned()).collect()
        };
        assert_eq!((values("audience"), values("max_age")), (vec!["a&b".to_owned()], vec!["60".to_owned()]));
        values("prompt")
    };
    assert_eq!(prompts("/auth/login").await, ["consent"]);
    assert_eq!(prompts("/auth/login?prompt=create").await, ["create"]);
}

#[tokio::test]
async fn only_navigations_start_a_sign_in() {
    let app = TestApp::start().await;
    for (name, value) in [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "iframe")] {
        let response = app.visitor().send("GET", "/auth/login", &[(name, value)], "").await;
        assert_eq!((response.status, response.code()), (400, "navigation_required"), "{name}");
    }
    let mut prefetch = NAVIGATION.to_vec();
    prefetch.push(("sec-purpose", "prefetch"));
    for path in ["/auth/login", "/auth/callback", "/auth/logout"] {
        let response = app.visitor().send("GET", path, &prefetch, "").await;
        assert_eq!((response.status, response.code()), (400, "bad_request"), "{path}");
        assert_eq!(response.headers_named("set-cookie").count(), 0);
    }
    let prerendered = app.visitor().send("GET", "/auth/session", &prefetch, "").await;
    assert_eq!(prerendered.json()["authenticated"], false, "a prerendered page learns its session (contract 3.33)");
    let service_worker =
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", "same-origin")];
    assert_eq!(app.visitor().send("GET", "/auth/login", &service_worker, "").await.status, 302, "contract 3.1");
    assert_eq!(app.visitor().send("GET", "/auth/login", &[], "").await.status, 302, "absent headers pass");
    assert_eq!(app.visitor().send("POST", "/auth/login", &[], "").await.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn invalid_parameters_are_rejected_without_a_cookie() {
    let app = TestApp::start().await;
    for query in [
        "return_to=//evil",
        "return_to=https://evil",
        "return_to=/auth/logout",
        "return_to=/.auth/logout",
        "return_to=/..//evil",
        "return_to=%2Fgraph%2Fme",
        "return_to=",
        "return_to=/a&return_to=/b",
        "prompt=evil",
        "prompt=login&prompt=none",
        "prompt=login,none",
        "api=nope",
        "login_hint=",
        "login_hint=a%0Ab",
        "persist=",
        "persist",
        "persist=1",
        "persist=True",
        "persist=true%2Cfalse",
        "persist=true&persist=true",
    ] {
        let response = app.visitor().navigate(&format!("/auth/login?{query}")).await;
        assert_eq!((response.status, response.code()), (400, "bad_request"), "{query}");
        assert_eq!(response.headers_named("set-cookie").count(), 0, "{query}");
        assert!(response.text().contains("<h1>"), "a navigation gets a page");
        assert!(response.header("content-security-policy").unwrap().contains("default-src 'none'"));
    }
}

/// Contract 4.8: ten restored tabs, each with a return path of 200 bytes.
#[tokio::test]
async fn ten_concurrent_logins_succeed_and_more_remove_the_oldest() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let path = |tab: usize| format!("/tab/{tab:0>195}");
    let mut addresses = Vec::new();
    for tab in 0..12 {
        addresses.push(visitor.begin(&path(tab)).await);
        let bytes = visitor.cookie_header().len();
        assert!(visitor.jar.len() <= 10 && bytes <= 5_000, "{} cookies, {bytes} bytes", visitor.jar.len());
    }
    for (tab, address) in addresses.iter().enumerate().skip(2) {
        let location = app.provider.sign_in(address, "grace.hopper@contoso.example").unwrap().location();
        let response = visitor.come_back(&location).await;
        assert_eq!(response.header("location"), Some(path(tab).as_str()));
    }
    let location = app.provider.sign_in(&addresses[0], "grace.hopper@contoso.example").unwrap().location();
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/?auth_error=login_expired"));
    assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["authenticated"], true, "the session is kept");
}
