//! Odd metadata, key sets, token responses and ID tokens of the provider: what is legal signs in, what is not is
//! rejected with a line of the log that names the member (contract 7.4a, 7.4b, 7.5b, 12.7).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use devkit::commands::stack::free_port;
use devkit::provider::{Alteration, Endpoint, Flaw, Mutation, Options, Recorded};
use serde_json::{Value, json};

use crate::app::{PATIENCE, TestApp};

const ADA: &str = "ada.lovelace@contoso.example";

/// Sets members of a document; `ABSENT` removes one.
fn with(members: Value) -> Alteration {
    Alteration::json(move |document| set(document, &members))
}

fn set(document: &mut Value, members: &Value) {
    for (name, value) in members.as_object().unwrap() {
        match value.as_str() {
            Some("ABSENT") => _ = document.as_object_mut().unwrap().remove(name),
            _ => document[name] = value.clone(),
        }
    }
}

fn claims(members: Value) -> Mutation {
    Mutation::new(move |draft| set(&mut draft.claims, &members))
}

/// Replaces the body and the content type.
fn body(content_type: &'static str, change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Alteration {
    Alteration::new(move |response| {
        *response.body_mut() = Bytes::from(change(response.body()));
        response.headers_mut().insert("content-type", content_type.parse().unwrap());
    })
}

fn token_requests(app: &TestApp) -> Vec<Recorded> {
    app.provider.requests().into_iter().filter(|request| request.path().ends_with("/token")).collect()
}

/// Waits until the log contains a text after its first bytes.
async fn wait_for_log_after(app: &TestApp, bytes: usize, text: &str, case: &str) {
    let started = Instant::now();
    while !app.log()[bytes..].contains(text) {
        assert!(started.elapsed() < PATIENCE, "{case}: {}", &app.log()[bytes..]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The `scope` of the last token request.
fn scope(app: &TestApp) -> String {
    token_requests(app).pop().unwrap().form_field("scope").unwrap_or_default()
}

/// Name, endpoint, change of its responses, and the member that is ignored with a warning.
type Case = (&'static str, Endpoint, Alteration, Option<&'static str>);

fn odd_metadata_and_key_sets(issuer: &str) -> Vec<Case> {
    let bom = |text: &[u8]| [b"\xEF\xBB\xBF", text].concat();
    let stripped = with(json!({"issuer": format!("{}/", issuer)}));
    let keys = Alteration::json(|set| {
        set["keys"][0]["x5c"] = "not a list".into();
        set["keys"][0]["x5t"] = 7.into();
        set["keys"][0]["alg"] = "".into();
        set["keys"].as_array_mut().unwrap().extend([json!(7), json!({"kty": "new"}), json!({"kty": "RSA", "n": 1})]);
    });
    vec![
        ("an empty end_session_endpoint", Endpoint::Discovery, with(json!({"end_session_endpoint": ""})), None),
        (
            "a relative end_session_endpoint",
            Endpoint::Discovery,
            with(json!({"end_session_endpoint": "/logout"})),
            Some("end_session_endpoint"),
        ),
        (
            "a list of revocation endpoints",
            Endpoint::Discovery,
            with(json!({"revocation_endpoint": ["https://a.example"]})),
            Some("revocation_endpoint"),
        ),
        ("null for what is missing", Endpoint::Discovery, with(json!({"revocation_endpoint": null})), None),
        (
            "one method of client authentication",
            Endpoint::Discovery,
            with(json!({"token_endpoint_auth_methods_supported": "client_secret_post"})),
            None,
        ),
        (
            "a number for the methods",
            Endpoint::Discovery,
            with(json!({"token_endpoint_auth_methods_supported": 7})),
            Some("token_endpoint_auth_methods_supported"),
        ),
        (
            "a text for a truth value",
            Endpoint::Discovery,
            with(json!({"authorization_response_iss_parameter_supported": "true"})),
            Some("authorization_response_iss_parameter_supported"),
        ),
        (
            "a number for the cloud",
            Endpoint::Discovery,
            with(json!({"cloud_instance_name": 7})),
            Some("cloud_instance_name"),
        ),
        ("unknown members", Endpoint::Discovery, with(json!({"x_endpoint": {"a": []}, "y": null, "z": 1e99})), None),
        ("an issuer with a slash at its end", Endpoint::Discovery, stripped, None),
        ("a byte order mark, as plain text", Endpoint::Discovery, body("text/plain", bom), None),
        ("unusual keys", Endpoint::Keys, keys, None),
        ("a key set by its own media type", Endpoint::Keys, body("application/jwk-set+json", <[u8]>::to_vec), None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_legal_metadata_and_key_sets_sign_in() {
    let mut app = TestApp::start().await;
    for (case, endpoint, alteration, ignored) in odd_metadata_and_key_sets(&app.provider.issuer()) {
        app.provider.set_alteration(endpoint, Some(alteration));
        if case.starts_with("an issuer") {
            app.provider.set_mutation(Some(claims(json!({"iss": format!("{}/", app.provider.issuer())}))));
        }
        app.restart();
        app.wait_until_ready(200).await;
        let mut visitor = app.visitor();
        let response = visitor.sign_in(&app.provider, ADA, "/").await;
        assert_eq!((response.status, response.header("location")), (302, Some("/")), "{case}: {}", app.log());
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{case}");
        if let Some(member) = ignored {
            let line = format!("\"member\":\"{member}\"");
            // One warning names it.
            app.wait_for_log_count(&line, 1).await;
        }
        app.provider.set_alteration(endpoint, None);
        app.provider.set_mutation(None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_legal_token_responses_and_id_tokens_sign_in() {
    let app = TestApp::start().await;
    let cases = [
        ("a lifetime in a text", json!({"expires_in": "3599"}), None),
        ("no lifetime", json!({"expires_in": "ABSENT"}), None),
        ("a lifetime in words", json!({"expires_in": "an hour"}), Some("expires_in")),
        ("a lifetime with a fraction", json!({"expires_in": 3599.5}), None),
        ("a list of scopes", json!({"scope": ["openid", "User.Read"]}), None),
        ("an empty scope", json!({"scope": ""}), None),
        ("a number for the scope", json!({"scope": 7}), Some("scope")),
        ("an empty refresh token", json!({"refresh_token": ""}), None),
        ("false for no refresh token", json!({"refresh_token": false}), Some("refresh_token")),
        ("a token type in lower case", json!({"token_type": "bearer"}), None),
        ("a token type in upper case", json!({"token_type": "BEARER"}), None),
        ("unknown members", json!({"x": {"y": [1, null]}, "session_state": 7, "not_before": "soon"}), None),
    ];
    for (case, members, ignored) in cases {
        app.provider.set_alteration(Endpoint::Token, Some(with(members)));
        let mut visitor = app.visitor();
        for _ in 0..2 {
            let response = visitor.sign_in(&app.provider, ADA, "/").await;
            assert_eq!((response.status, response.header("location")), (302, Some("/")), "{case}: {}", app.log());
        }
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{case}");
        if let Some(member) = ignored {
            let line = format!("\"member\":\"{member}\"");
            // One warning names it.
            app.wait_for_log_count(&line, 1).await;
        }
    }
    app.provider.set_alteration(Endpoint::Token, None);
    let client = devkit::provider::CLIENT_ID;
    for (case, members, ignored) in [
        (
            "claims to display of other types",
            json!({"name": 7, "email": ["a"], "preferred_username": {}, "roles": 7}),
            &["name", "email", "preferred_username", "roles"][..],
        ),
        ("one role", json!({"roles": "Reader"}), &[]),
        ("empty claims", json!({"email": "", "azp": "", "at_hash": "", "sid": "", "tid": null}), &[]),
        ("several audiences", json!({"aud": ["https://other.example", client], "azp": client}), &[]),
        ("a list of one audience", json!({"aud": [client]}), &[]),
        ("an nbf that is a text", json!({"nbf": "soon"}), &["nbf"]),
        ("an oid that is a number", json!({"oid": 7, "login_hint": 7}), &["oid", "login_hint"]),
        (
            "how the user authenticated, in other types",
            json!({"auth_time": "soon", "acr": 7, "amr": {}}),
            &["auth_time", "acr", "amr"],
        ),
        ("empty and unknown claims", json!({"acr": "", "amr": [], "name": "", "x": {"y": [null]}}), &[]),
    ] {
        app.provider.set_mutation(Some(claims(members)));
        let response = app.visitor().sign_in(&app.provider, ADA, "/").await;
        assert_eq!((response.status, response.header("location")), (302, Some("/")), "{case}: {}", app.log());
        for member in ignored {
            app.wait_for_log(&format!("\"member\":\"{member}\"")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_metadata_and_key_sets_are_rejected_by_the_name_of_the_member() {
    let mut app = TestApp::start().await;
    for (case, endpoint, members, line) in [
        ("no issuer", Endpoint::Discovery, json!({"issuer": "ABSENT"}), "issuer: "),
        ("another issuer", Endpoint::Discovery, json!({"issuer": "https://evil.example"}), "issuer: "),
        (
            "a relative URL",
            Endpoint::Discovery,
            json!({"authorization_endpoint": "/authorize"}),
            "authorization_endpoint: ",
        ),
        ("an empty URL", Endpoint::Discovery, json!({"token_endpoint": ""}), "token_endpoint: "),
        ("a number for a URL", Endpoint::Discovery, json!({"jwks_uri": 7}), "jwks_uri: "),
        (
            "plain http",
            Endpoint::Discovery,
            json!({"token_endpoint": "http://login.example/token"}),
            "token_endpoint: ",
        ),
        (
            "plain http where it is not used",
            Endpoint::Discovery,
            json!({"userinfo_endpoint": "http://login.example/me"}),
            "userinfo_endpoint: ",
        ),
        (
            "plain http at the sign-out",
            Endpoint::Discovery,
            json!({"end_session_endpoint": "http://login.example/out"}),
            "end_session_endpoint: ",
        ),
    ] {
        app.provider.set_alteration(endpoint, Some(with(members)));
        app.restart();
        app.wait_for_log(&format!("\"problem\":\"{line}")).await;
        let response = app.visitor().navigate("/auth/login").await;
        assert_eq!((response.status, response.code()), (503, "provider_unavailable"), "{case}");
    }
    app.provider.set_alteration(Endpoint::Discovery, None);
    app.provider.set_alteration(Endpoint::Keys, Some(with(json!({"keys": {"kty": "RSA"}}))));
    app.restart();
    app.wait_for_log("\"problem\":\"keys: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_token_responses_are_rejected_by_the_name_of_the_member_and_nothing_of_them_is_kept() {
    let app = TestApp::start().await;
    for (case, members, code, line) in [
        ("no access token", json!({"access_token": "ABSENT"}), "provider_unavailable", "access_token: "),
        ("an empty one", json!({"access_token": ""}), "provider_unavailable", "access_token: "),
        ("one with a line break", json!({"access_token": "a\r\nX: 1"}), "provider_unavailable", "access_token: "),
        ("one beyond ASCII", json!({"access_token": "t\u{e9}"}), "provider_unavailable", "access_token: "),
        ("a refresh token with a tab", json!({"refresh_token": "a\tb"}), "provider_unavailable", "refresh_token: "),
        ("another kind of token", json!({"token_type": "DPoP"}), "provider_unavailable", "token_type: "),
        ("no kind of token", json!({"token_type": "ABSENT"}), "provider_unavailable", "token_type: "),
        ("no ID token", json!({"id_token": "ABSENT"}), "login_failed", "id_token: "),
        ("an empty ID token", json!({"id_token": ""}), "login_failed", "id_token: "),
        (
            "too many bytes",
            json!({"padding": "x".repeat(512 * 1_024)}),
            "provider_unavailable",
            "more than 524288 bytes",
        ),
    ] {
        let before = app.log().len();
        app.provider.set_alteration(Endpoint::Token, Some(with(members)));
        let mut visitor = app.visitor();
        let response = visitor.sign_in(&app.provider, ADA, "/").await;
        let expected = format!("/?auth_error={code}");
        assert!(response.header("location").is_some_and(|to| to.starts_with(&expected)), "{case}: {response:?}");
        assert!(visitor.jar.is_empty(), "{case}");
        wait_for_log_after(&app, before, line, case).await;
    }
    app.provider.set_alteration(Endpoint::Token, None);
    for (case, members, line) in [
        ("an empty sub", json!({"sub": ""}), "sub: "),
        ("a sub that is a number", json!({"sub": 7}), "sub: "),
        ("an exp that is a text", json!({"exp": "2099"}), "exp: "),
        ("no iat", json!({"iat": "ABSENT"}), "iat: "),
        ("other audiences without azp", json!({"aud": [devkit::provider::CLIENT_ID, "x"]}), "azp: "),
        ("a nonce that is a list", json!({"nonce": ["x"]}), "nonce: "),
    ] {
        let before = app.log().len();
        app.provider.set_mutation(Some(claims(members)));
        let mut visitor = app.visitor();
        let response = visitor.sign_in(&app.provider, ADA, "/").await;
        let location = response.header("location").unwrap();
        assert!(location.starts_with("/?auth_error=login_failed"), "{case}: {location}");
        assert!(visitor.jar.is_empty(), "{case}");
        wait_for_log_after(&app, before, &format!("\"reason\":\"{line}"), case).await;
    }
}

/// Contract 7.4a and 7.5b at a refresh: the session is unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_token_of_a_refresh_is_the_providers_fault() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let before = visitor.jar.clone();
    for (members, member) in [
        (json!({"access_token": "a\r\nX: 1"}), "access_token"),
        (json!({"access_token": ""}), "access_token"),
        (json!({"refresh_token": "a\tb"}), "refresh_token"),
        (json!({"token_type": "DPoP"}), "token_type"),
        (json!({"token_type": "ABSENT"}), "token_type"),
    ] {
        let logged = app.log().len();
        app.provider.set_alteration(Endpoint::Token, Some(with(members)));
        let response = visitor.fetch("POST", "/auth/refresh").await;
        assert_eq!((response.status, response.code()), (503, "provider_unavailable"), "{member}");
        assert_eq!(visitor.jar, before, "{member}");
        wait_for_log_after(&app, logged, &format!("{member}: "), member).await;
        app.provider.set_alteration(Endpoint::Token, None);
    }
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
}

/// Contract 7.4: a newer key set may have the key, so that this says nothing about the session. With one-time refresh
/// tokens the next refresh works only if the new one was kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_signing_key_at_a_refresh_ends_no_session_and_the_new_refresh_token_is_kept() {
    let app = TestApp::builder().provider(Options { one_time_refresh: true, ..Options::new("http://unused") });
    let app = app.start().await;
    let mut visitor = app.signed_in(ADA).await;
    app.provider.set_mutation(Some(Flaw::UnknownKid.into()));
    for _ in 0..2 {
        let response = visitor.fetch("POST", "/auth/refresh").await;
        assert_eq!((response.status, response.code()), (503, "provider_unavailable"), "{}", app.log());
    }
    app.provider.set_mutation(None);
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
}

/// Contract 7.4 (OpenID Connect Core 12.2).
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_a_refreshed_id_token_must_be_that_of_the_sign_in() {
    let app = TestApp::start().await;
    let seen = Arc::new(Mutex::new(Value::Null));
    let store = Arc::clone(&seen);
    app.provider.set_mutation(Some(Mutation::new(move |draft| *store.lock().unwrap() = draft.claims["nonce"].clone())));
    let mut visitor = app.signed_in(ADA).await;
    let nonce = seen.lock().unwrap().clone();
    app.provider.set_mutation(Some(claims(json!({"nonce": nonce}))));
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
    app.provider.set_mutation(Some(claims(json!({"nonce": "another"}))));
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.code(), "session_expired");
    app.wait_for_log("\"reason\":\"nonce: ").await;
}

/// Contract 7.7.
#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_sent_as_announced_or_as_configured() {
    let both = ["client_secret_basic", "client_secret_post"];
    for (setting, announced, is_post) in [
        ("auto", &both[..], true),
        ("auto", &both[..1], false),
        ("auto", &both[1..], true),
        ("basic", &both[..], false),
        ("post", &both[..1], true),
    ] {
        let methods = Some(both.map(str::to_owned).to_vec());
        let app = TestApp::builder().provider(Options { secret_methods: methods, ..Options::new("http://unused") });
        let mut app = app.set("CLIENT_AUTH", setting).start().await;
        let announced = with(json!({"token_endpoint_auth_methods_supported": announced}));
        app.provider.set_alteration(Endpoint::Discovery, Some(announced));
        app.restart();
        app.wait_until_ready(200).await;
        drop(app.signed_in(ADA).await);
        let request = token_requests(&app).pop().unwrap();
        let found = (request.header("authorization").is_some(), request.form_field("client_secret").is_some());
        assert_eq!(found, (!is_post, is_post), "{setting}");
    }
}

/// Contract 7.22.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_request_names_no_scope_twice_and_none_that_was_not_granted() {
    let graph = format!("{}/User.Read", devkit::provider::GRAPH);
    let app = TestApp::builder().set("SCOPES", format!("openid profile email offline_access {graph}")).start().await;
    let granted = with(json!({"scope": format!("openid offline_access {graph}")}));
    app.provider.set_alteration(Endpoint::Token, Some(granted));
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(scope(&app), format!("openid profile email offline_access {graph}"), "the code exchange");
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
    assert_eq!(scope(&app), format!("openid offline_access {graph}"));
}

/// Contract 7.22.
#[tokio::test(flavor = "multi_thread")]
async fn one_apis_token_is_not_requested_with_the_scopes_of_another() {
    let graph = format!("{}/User.Read", devkit::provider::GRAPH);
    let orders = json!({"orders": {
        "base": format!("http://127.0.0.1:{}", free_port().unwrap()), "scopes": ["api://orders/Orders.Read"],
        "allow": ["GET /me"],
    }});
    let app = TestApp::builder().other_apis(orders);
    let app = app.set("SCOPES", format!("openid offline_access {graph} api://orders/Orders.Read"));
    let app = app.start().await;
    let mut visitor = app.visitor();
    let mut url = url::Url::parse(&visitor.begin("/").await).unwrap();
    let all: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let requested = &all.iter().find(|(name, _)| name == "scope").unwrap().1;
    assert!(requested.contains("Orders.Read") && requested.contains("User.Read"), "the sign-in requests all");
    // The stand-in, like Entra, gives a code for the scopes of one resource only.
    let narrowed = all.iter().map(|(name, value)| (name, value.replace(" api://orders/Orders.Read", "")));
    url.query_pairs_mut().clear().extend_pairs(narrowed);
    let callback = app.provider.sign_in(url.as_str(), ADA).unwrap();
    assert_eq!(visitor.come_back(&callback.location()).await.header("location"), Some("/"), "{}", app.log());
    assert_eq!(scope(&app), format!("openid offline_access {graph}"), "the code exchange for Graph");
    let response = visitor.fetch("GET", "/api/orders/me").await;
    assert_eq!(response.status, 502, "nothing listens there: {}", app.log());
    let named = scope(&app);
    assert!(named.contains("api://orders/Orders.Read") && !named.contains("User.Read"), "{named}");
}

/// Contract 7.22, last sentence.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_without_any_scope_of_the_api_succeeds_and_the_api_needs_consent() {
    let app = TestApp::start().await;
    app.provider.set_alteration(Endpoint::Token, Some(with(json!({"scope": "openid profile email offline_access"}))));
    let mut visitor = app.signed_in(ADA).await;
    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(
        (&session["authenticated"], &session["apis"]["graph"]["status"]),
        (&json!(true), &json!("needs_consent"))
    );
    assert_eq!(visitor.fetch("GET", "/graph/me").await.code(), "consent_required");
    assert!(app.graph.requests().is_empty(), "the access token is not used");
}

/// Contract 12.7.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_of_the_providers_endpoints_are_not_followed() {
    let options = Options { revocation: true, ..Options::new("http://unused") };
    let mut app = TestApp::builder().provider(options).start().await;
    let target = app.graph.base() + "/me";
    let redirect = Alteration::new(move |response| {
        *response.status_mut() = 307.try_into().unwrap();
        response.headers_mut().insert("location", target.parse().unwrap());
    });
    let mut visitor = app.signed_in(ADA).await;
    app.provider.set_alteration(Endpoint::Revocation, Some(redirect.clone()));
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    app.wait_for_log("\"problem\":\"status 307").await;
    app.provider.set_alteration(Endpoint::Token, Some(redirect.clone()));
    let response = app.visitor().sign_in(&app.provider, ADA, "/").await;
    assert_eq!(response.header("location").map(|to| to.contains("auth_error=provider_unavailable")), Some(true));
    app.provider.set_alteration(Endpoint::Token, None);
    app.provider.set_alteration(Endpoint::Keys, Some(redirect.clone()));
    app.provider.rotate_keys();
    let response = app.visitor().sign_in(&app.provider, ADA, "/").await;
    assert_eq!(response.header("location").map(|to| to.contains("auth_error=provider_unavailable")), Some(true));
    app.provider.set_alteration(Endpoint::Discovery, Some(redirect));
    app.restart();
    app.wait_for_log("status 307").await;
    assert_eq!(app.visitor().navigate("/auth/login").await.code(), "provider_unavailable");
    assert!(app.graph.requests().is_empty());
}

/// Entra's number says more than `invalid_client`, and the identifier finds the request in Entra's logs.
#[tokio::test(flavor = "multi_thread")]
async fn entras_error_number_and_correlation_id_are_logged() {
    let app = TestApp::builder().set("CLIENT_SECRET", "CANARY-wrong").start().await;
    app.visitor().sign_in(&app.provider, ADA, "/").await;
    app.wait_for_log("\"error_codes\":\"[7000215]\"").await;
    let log = app.log();
    let line = log.lines().find(|line| line.contains("7000215")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert!(line.to_string().contains("correlation_id"), "{line}");
    assert!(!log.contains("CANARY"));
}

/// Contract 7.5: `iss` is compared before the response has any effect, its error included.
#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_of_a_callback_is_compared_before_its_code_or_error_counts() {
    let announced = Options { iss_parameter: true, ..Options::new("http://unused") };
    let app = TestApp::builder().provider(announced).start().await;
    for response in [
        "error=access_denied",
        "error=access_denied&iss=https%3A%2F%2Fevil.example",
        "error=access_denied&iss=",
        "code=any",
        "code=any&iss=https%3A%2F%2Fevil.example",
    ] {
        let mut visitor = app.visitor();
        let address = url::Url::parse(&visitor.begin("/").await).unwrap();
        let state = address.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let response = format!("{}/auth/callback?{response}&state={state}", app.origin);
        let location = visitor.come_back(&response).await.header("location").unwrap().to_owned();
        assert!(location.starts_with("/?auth_error=login_failed"), "{response}: {location}");
    }
    assert_eq!(app.provider.token_requests(), 0);
}
