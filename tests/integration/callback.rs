//! The callback, whatever the browser or the provider sends (contract 3.5 to 3.9, 7.5, 7.6).

use std::time::Duration;

use devkit::commands::stack::make_key_file;
use devkit::provider::{Endpoint, Fault, Flaw, Mutation, OAuthError, Options, Provider};

use crate::app::{TestApp, every_reach};
use crate::raw;
use crate::visitor::{Response, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";

/// No session, and the login transaction is deleted.
fn assert_nothing_left(visitor: &Visitor) {
    assert_eq!(visitor.jar.keys().collect::<Vec<_>>(), [""; 0]);
}

/// Contract 3.9a: a page at the callback's address is another origin, and cut off from its opener.
pub fn assert_isolated(response: &Response) {
    let policy = response.header("content-security-policy").unwrap();
    assert!(policy.ends_with("; sandbox"), "{policy}");
    assert_eq!(response.header("cross-origin-opener-policy"), Some("same-origin"));
}

#[tokio::test]
async fn without_its_transaction_a_callback_changes_nothing() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut attacker = app.visitor();
        let address = attacker.begin("/").await;
        let stolen = app.provider.sign_in(&address, ADA).unwrap().location();
        let mut victim = app.visitor();
        let response = victim.come_back(&stolen).await;
        assert_eq!(
            (response.status, response.header("location")),
            (302, Some("/?auth_error=login_expired")),
            "{reach:?}"
        );
        assert_eq!(response.headers_named("set-cookie").count(), 0);
        assert_eq!(app.provider.token_requests(), 0);
    }
}

#[tokio::test]
async fn malformed_callbacks_end_in_a_redirect_without_a_token_request() {
    let app = TestApp::start().await;
    for query in [
        "",
        "?",
        "?&&&",
        "?code=x",
        "?state=x",
        "?state=a&state=b",
        "?state=%00",
        "?error=access_denied",
        "?code=x&state=",
    ] {
        let response = app.visitor().navigate(&format!("/auth/callback{query}")).await;
        assert_eq!(
            (response.status, response.header("location")),
            (302, Some("/?auth_error=login_expired")),
            "{query}"
        );
        assert_eq!(response.headers_named("set-cookie").count(), 0, "{query}");
    }
    assert_eq!(app.provider.token_requests(), 0);
}

/// The first characters of a state name the transaction's cookie; the others must be equal too (contract 3.7).
#[tokio::test]
async fn a_state_that_differs_after_the_transactions_id_counts_as_absent() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/here").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    let state =
        url::Url::parse(&address).unwrap().query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let last = if state.ends_with('A') { "Q" } else { "A" };
    let forged = location.replace(&state, &format!("{}{last}", &state[..state.len() - 1]));
    assert_ne!(forged, location);
    let response = visitor.come_back(&forged).await;
    assert_eq!(response.header("location"), Some("/?auth_error=login_expired"));
    assert_eq!(response.headers_named("set-cookie").count(), 0);
    assert_eq!(app.provider.token_requests(), 0);
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/here"), "the transaction is unchanged");
}

/// The callback of a sign-in in progress with a custom query, in which `STATE` is replaced by its state.
async fn come_back_with(app: &TestApp, query: &str) -> (Visitor, Response) {
    let mut visitor = app.visitor();
    let address = url::Url::parse(&visitor.begin("/deep?a=b#c").await).unwrap();
    let state = address.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let response = visitor.navigate(&format!("/auth/callback?{}", query.replace("STATE", &state))).await;
    (visitor, response)
}

/// Contract 3.9b: neither the transaction nor the code is used up.
#[tokio::test]
async fn more_than_32_parameters_get_a_page_and_change_nothing() {
    for (mode, method) in [("query", "GET"), ("form_post", "POST")] {
        let app = TestApp::builder().set("RESPONSE_MODE", mode).start().await;
        let mut visitor = app.visitor();
        let address = visitor.begin("/here").await;
        let callback = app.provider.sign_in(&address, ADA).unwrap();
        let many = format!("{}{}", callback.form(), "&".repeat(32));
        let send = async |visitor: &mut Visitor, params: &str| match method {
            "GET" => visitor.navigate(&format!("/auth/callback?{params}")).await,
            _ => {
                let form = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-mode", "navigate")];
                visitor.send("POST", "/auth/callback", &form, params).await
            }
        };
        let response = send(&mut visitor, &many).await;
        assert_eq!((response.status, response.code()), (400, "bad_request"));
        assert_eq!(response.headers_named("set-cookie").count(), 0);
        assert_isolated(&response);
        let by_script =
            visitor.send("GET", &format!("/auth/callback?{}", "&".repeat(32)), &[("accept", "*/*")], "").await;
        assert_eq!((by_script.status, by_script.header("content-type")), (400, Some("text/html; charset=utf-8")));
        assert_isolated(&by_script);
        assert_eq!(app.provider.token_requests(), 0);
        assert_eq!(send(&mut visitor, &callback.form()).await.header("location"), Some("/here"));
    }
}

/// Contract 3.8 and 3.9a.
#[tokio::test(flavor = "multi_thread")]
async fn a_503_at_the_callback_is_isolated() {
    let folder = tempfile::tempdir().unwrap();
    let [path, elsewhere] = ["keys.json", "elsewhere.json"].map(|name| folder.path().join(name));
    make_key_file(&path).unwrap();
    let builder = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path.display().to_string());
    let mut app = builder.start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/here").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    std::fs::rename(&path, &elsewhere).unwrap();
    app.restart();
    app.wait_until_ready(503).await;
    let response = visitor.come_back(&location).await;
    assert_eq!((response.status, response.code()), (503, "keys_unavailable"));
    assert_isolated(&response);
    assert_eq!(response.headers_named("set-cookie").count(), 0);
    assert_eq!(app.provider.token_requests(), 0);
    std::fs::rename(&elsewhere, &path).unwrap();
    app.wait_until_ready(200).await;
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/here"), "reloading works");
}

/// What is rejected before any route is a page at the address that has the code, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_for_the_callback_gets_an_isolated_page() {
    let app = TestApp::start().await;
    for (target, lines) in [
        ("/auth/callback", "Host: x\r\nHost: y\r\n"),
        ("/auth/callback", ""),
        ("http://evil/auth/callback", "Host: x\r\n"),
        ("/auth/callback", "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n"),
    ] {
        let request = format!("GET {target}?code=x&state=y HTTP/1.1\r\n{lines}Sec-Fetch-Mode: navigate\r\n\r\n");
        let response = raw::exchange(app.port, &request).to_lowercase();
        assert!(response.starts_with("http/1.1 400 ") && response.contains("<!doctype html>"), "{request}: {response}");
        let policy = response.split_once("\r\ncontent-security-policy: ").unwrap().1.split("\r\n").next().unwrap();
        assert!(policy.ends_with("; sandbox") && policy.contains("; frame-ancestors 'none'"), "{request}: {policy}");
        assert!(response.contains("\r\ncross-origin-opener-policy: same-origin\r\n"), "{request}: {response}");
    }
}

/// Contract 7.5.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_began_at_another_issuer_is_login_expired() {
    let mut app = TestApp::start().await;
    let second = Provider::start(Options::new(&app.origin)).await.unwrap();
    let mut visitor = app.visitor();
    let address = visitor.begin("/here").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    let first = app.settings.insert("CLOAKROOM_AUTHORITY".to_owned(), second.issuer()).unwrap();
    app.restart();
    app.wait_until_ready(200).await;
    let response = visitor.come_back(&location).await;
    assert_eq!((response.status, response.header("location")), (302, Some("/?auth_error=login_expired")));
    assert_eq!(response.headers_named("set-cookie").count(), 0);
    assert_eq!((app.provider.token_requests(), second.token_requests()), (0, 0), "no provider gets the other's code");
    let other = app.visitor().sign_in(&second, ADA, "/").await;
    assert_eq!(other.header("location"), Some("/"), "a sign-in at the second one works");
    app.settings.insert("CLOAKROOM_AUTHORITY".to_owned(), first);
    app.restart();
    app.wait_until_ready(200).await;
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/here"), "it was only the issuer");
}

/// Contract 3.9b.
#[tokio::test]
async fn a_form_over_64_kib_is_too_large_and_one_that_stalls_closes_the_connection() {
    let app = TestApp::builder().set("RESPONSE_MODE", "form_post").start().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let response = app.visitor().send("POST", "/auth/callback", &form, "x".repeat(65_537)).await;
    assert_eq!((response.status, response.code()), (413, "body_too_large"));
    for path in ["/auth/callback", "/auth/logout"] {
        let started = std::time::Instant::now();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 100\r\n\r\nlt=x"
        );
        let address = ("127.0.0.1", app.port);
        let received = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut received = String::new();
            stream.read_to_string(&mut received).map(|_| received)
        });
        let received = received.await.unwrap().unwrap();
        assert!(received.starts_with("HTTP/1.1 400") && received.contains("bad_request"), "{path}: {received}");
        assert!(received.to_lowercase().contains("connection: close"), "{path}: {received}");
        let elapsed = started.elapsed().as_secs();
        assert!((4..8).contains(&elapsed), "{path}: {elapsed} s");
    }
}

#[tokio::test]
async fn the_providers_errors_reach_the_page_as_codes() {
    let app = TestApp::start().await;
    for (query, code) in [
        ("error=access_denied&state=STATE", "access_denied"),
        ("error=login_required&state=STATE", "login_required"),
        ("error=consent_required&state=STATE", "consent_required"),
        ("error=interaction_required&state=STATE", "interaction_required"),
        ("error=server_error&state=STATE", "provider_unavailable"),
        ("error=temporarily_unavailable&state=STATE", "provider_unavailable"),
        ("error=%3Cscript%3E&error_description=%3Cscript%3E&state=STATE", "login_failed"),
        ("state=STATE", "login_failed"),
        ("code=&state=STATE", "login_failed"),
        ("code=a&code=b&state=STATE", "login_failed"),
        ("code=a,b&state=STATE", "login_failed"),
        ("code=a&state=STATE&session_state=x&session_state=y", "login_failed"),
        ("code=a&iss=https%3A%2F%2Fevil.example&state=STATE", "login_failed"),
    ] {
        let (visitor, response) = come_back_with(&app, query).await;
        assert_eq!(response.status, 302, "{query}");
        assert_eq!(response.header("location"), Some(format!("/deep?a=b&auth_error={code}#c").as_str()), "{query}");
        assert_nothing_left(&visitor);
        app.wait_for_log(&format!(r#""event":"sign_in_failed","code":"{code}""#)).await;
    }
    assert_eq!(app.provider.token_requests(), 0);
}

#[tokio::test]
async fn a_code_cannot_smuggle_parameters() {
    let app = TestApp::start().await;
    come_back_with(&app, "code=x%26grant_type%3Drefresh_token&state=STATE").await;
    let requests = app.provider.requests();
    let request = requests.iter().find(|request| request.target.ends_with("/token")).unwrap();
    assert_eq!(request.form_field("code").as_deref(), Some("x&grant_type=refresh_token"));
    assert_eq!(request.form_field("grant_type").as_deref(), Some("authorization_code"));
}

#[tokio::test]
async fn a_repeated_callback_exchanges_the_code_once() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/"));
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/?auth_error=login_expired"));
    assert_eq!(app.provider.token_requests(), 1);
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "still signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_callback_that_has_its_transaction_joins_the_first() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/here").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(700)));
    let mut first = visitor.clone();
    let left = tokio::time::timeout(Duration::from_millis(200), first.come_back(&location)).await;
    assert!(left.is_err(), "this browser does not wait for the response");
    let repeated = futures_util::future::join_all((0..10).map(|_| {
        let (mut again, location) = (visitor.clone(), location.clone());
        async move {
            let response = again.come_back(&location).await;
            (response, again)
        }
    }))
    .await;
    assert_eq!(app.provider.token_requests(), 1, "the code is exchanged once");
    for (response, mut again) in repeated {
        assert_eq!((response.status, response.header("location")), (302, Some("/here")));
        assert_eq!(again.fetch("GET", "/graph/me").await.status, 200, "each of them has the session");
        first = again;
    }
    assert_eq!(first.fetch("POST", "/auth/logout").await.status, 200);
    let late = visitor.come_back(&location).await;
    assert_eq!(late.header("location"), Some("/here?auth_error=login_expired"), "its session has ended");
    assert_eq!(app.provider.token_requests(), 1);
    assert!(visitor.jar.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_change_during_a_sign_in_causes_no_loop() {
    let mut app = TestApp::start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    let other = crate::app::api_map(&app.graph.base())["graph"].clone();
    let other = serde_json::json!({"people": {"base": other["base"], "allow": ["GET /me"], "scopes": other["scopes"]}});
    app.settings.insert("CLOAKROOM_APIS".to_owned(), other.to_string());
    app.settings.insert("CLOAKROOM_RETURN_URI".to_owned(), "/elsewhere".to_owned());
    app.restart();
    app.wait_until_ready(200).await;
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/"));
    assert_eq!(visitor.fetch("GET", "/api/people/me").await.status, 200, "{}", app.log());
    // With another client id the transaction does not open and counts as absent, once.
    let address = visitor.begin("/").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    app.settings.insert("CLOAKROOM_COOKIE_NAME".to_owned(), "other".to_owned());
    app.restart();
    app.wait_until_ready(200).await;
    assert_eq!(visitor.come_back(&location).await.header("location"), Some("/elsewhere?auth_error=login_expired"));
    assert_eq!(visitor.sign_in(&app.provider, ADA, "/").await.header("location"), Some("/"), "the next one works");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_abandoned_sign_ins_leave_room_for_the_next() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    for _ in 0..50 {
        visitor.begin("/somewhere/deep?with=a&query=x").await;
        assert!(visitor.jar.len() <= 10 && visitor.cookie_header().len() <= 5_000);
    }
    assert_eq!(visitor.sign_in(&app.provider, ADA, "/").await.header("location"), Some("/"));
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
}

#[tokio::test]
async fn a_failing_token_endpoint_never_causes_a_500() {
    let app = TestApp::start().await;
    let rejected = |error| Fault::Error(OAuthError::new(error));
    for (fault, code) in [
        (Fault::status(500), "provider_unavailable"),
        (Fault::Html, "provider_unavailable"),
        (Fault::Garbage, "provider_unavailable"),
        (Fault::Truncated, "provider_unavailable"),
        (Fault::HangUp, "provider_unavailable"),
        (rejected("invalid_grant"), "login_failed"),
        (rejected("invalid_client"), "login_failed"),
        (rejected("temporarily_unavailable"), "provider_unavailable"),
    ] {
        let case = format!("{fault:?}");
        app.provider.fault(&[Endpoint::Token], fault);
        let mut visitor = app.visitor();
        let response = visitor.sign_in(&app.provider, ADA, "/").await;
        assert_eq!(response.header("location"), Some(format!("/?auth_error={code}").as_str()), "{case}");
        assert_nothing_left(&visitor);
    }
    app.provider.clear_faults();
    app.signed_in(ADA).await;
}

#[tokio::test]
async fn no_invalid_id_token_signs_a_user_in() {
    let app = TestApp::start().await;
    // Without an issuer template `tid` is an ordinary claim; the next test is about tenants.
    for flaw in Flaw::ALL.into_iter().filter(|flaw| !matches!(flaw, Flaw::WrongTenant)) {
        let case = format!("{flaw:?}");
        app.provider.set_mutation(Some(Mutation::from(flaw)));
        let mut visitor = app.visitor();
        let response = visitor.sign_in(&app.provider, ADA, "/").await;
        assert_eq!(response.header("location"), Some("/?auth_error=login_failed"), "{case}\n{}", app.log());
        assert_nothing_left(&visitor);
    }
}

#[tokio::test]
async fn only_allowed_tenants_sign_in_where_the_issuer_is_a_template() {
    for (allowed, code) in
        [(devkit::provider::TENANT, None), ("99999999-2222-3333-4444-555555555555", Some("tenant_denied")), ("*", None)]
    {
        let app = TestApp::builder().tenants(allowed).start().await;
        let mut visitor = app.visitor();
        let response = visitor.sign_in(&app.provider, ADA, "/").await;
        let expected = code.map_or_else(|| "/".to_owned(), |code| format!("/?auth_error={code}"));
        assert_eq!(response.header("location"), Some(expected.as_str()), "{allowed}\n{}", app.log());
        app.provider.set_mutation(Some(Mutation::from(Flaw::WrongTenant)));
        let response = app.visitor().sign_in(&app.provider, ADA, "/").await;
        assert_eq!(response.header("location"), Some("/?auth_error=login_failed"), "{allowed}");
    }
}

#[tokio::test]
async fn a_rotated_signing_key_is_fetched() {
    let app = TestApp::start().await;
    app.signed_in(ADA).await;
    app.provider.rotate_keys();
    app.signed_in(ADA).await;
}

#[tokio::test]
async fn the_callback_accepts_form_post() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).set("RESPONSE_MODE", "form_post").start().await;
        let mut visitor = app.visitor();
        let address = visitor.begin("/").await;
        let callback = app.provider.sign_in(&address, ADA).unwrap();
        assert!(callback.form_post);
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-site", "cross-site"),
            ("origin", "null"),
        ];
        let response = visitor.send("POST", "/auth/callback", &form, callback.form()).await;
        assert_eq!((response.status, response.header("location")), (303, Some("/")), "{reach:?}: {}", response.text());
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    }
    let app = TestApp::start().await;
    let response = app.visitor().send("POST", "/auth/callback", &[], "x").await;
    assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn a_provider_that_announces_its_issuer_must_send_it() {
    let options = Options { iss_parameter: true, ..Options::new("http://x") };
    let app = TestApp::builder().provider(options).start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    let (honest, iss) = location.split_once("&iss=").unwrap();
    let rest = iss.split_once('&').map(|(_, rest)| format!("&{rest}")).unwrap_or_default();
    let response = visitor.come_back(&format!("{honest}{rest}")).await;
    assert_eq!(response.header("location"), Some("/?auth_error=login_failed"));
    assert_eq!(app.provider.token_requests(), 0);
    app.signed_in(ADA).await;
}
