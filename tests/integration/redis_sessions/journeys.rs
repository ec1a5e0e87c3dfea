//! The real binary with `STORE=redis://…`.

use std::time::Duration;

use devkit::provider::{Endpoint, Fault, Options};
use futures_util::future::join_all;
use serde_json::json;

use super::monitor::Monitor;
use super::outages::eventually;
use super::{ADA, COOKIE, Instance, builder, hash, is_signed_in, keys, only_record, redis};
use crate::app::{Reach, TestApp, every_reach};
use crate::visitor::{NAVIGATION, Visitor};

/// Refreshes and revocations that the provider was sent.
pub fn requests(app: &TestApp) -> [usize; 2] {
    let requests = app.provider.requests();
    let refreshes = requests.iter().filter(|it| it.form_field("grant_type").is_some_and(|of| of == "refresh_token"));
    let revocations = requests.iter().filter(|request| request.path().ends_with("/revoke"));
    [refreshes.count(), revocations.count()]
}

/// Contract 15.1, 15.4, 15.11, 3.11: sign-in, calls, refresh and sign-out as with sessions in cookies.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_redis_is_used_as_one_in_a_cookie() {
    for reach in every_reach() {
        let redis = redis();
        let options = Options { revocation: true, ..Options::new("http://x") };
        let app = builder(&redis).reach(reach).provider(options).start().await;
        let mut ada = app.signed_in(ADA).await;
        let parts: Vec<_> = ada.jar.keys().filter(|name| name.starts_with(COOKIE) && !name.ends_with("-id")).collect();
        assert_eq!(parts, [COOKIE]);
        assert!(COOKIE.len() + 1 + ada.jar[COOKIE].len() < 400, "{}", ada.jar[COOKIE]);
        assert_eq!(only_record(&redis), format!("cloakroom:s:{{{}}}", hash(&ada)));
        for index in ["sub", "oid", "sid"] {
            let [key] = keys(&redis, index).try_into().unwrap();
            assert_eq!(redis.command(&["ZRANGE", &key, "0", "-1"]).unwrap().texts(), [hash(&ada)], "{index}");
        }
        assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
        assert!(is_signed_in(&mut ada).await);
        let refreshed = ada.fetch("POST", "/auth/refresh").await;
        let written: Vec<_> = refreshed.headers_named("set-cookie").collect();
        assert_eq!(refreshed.status, 204, "{}", refreshed.text());
        assert!(written.iter().any(|line| line.starts_with(&format!("{COOKIE}="))), "{written:?}");
        assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200);
        let copy = ada.clone();
        let signed_out = ada.fetch("POST", "/auth/logout").await;
        assert!(signed_out.json()["logout_url"].as_str().unwrap().contains("logout_hint="), "{}", signed_out.text());
        assert!(ada.jar.is_empty());
        let marks = [format!("cloakroom:mv:{{{}}}", hash(&copy))];
        assert_eq!(keys(&redis, "*"), marks, "record and index entries are deleted, and nothing writes them again");
        assert_eq!(requests(&app)[1], 1, "the refresh token is revoked");
        assert_eq!(copy.clone().fetch("GET", "/graph/me").await.code(), "session_expired");
        let gone = copy.clone().fetch("POST", "/auth/refresh").await;
        assert_eq!((gone.status, gone.code()), (401, "session_expired"));
    }
}

/// Contract 15.9.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_one_round_trip_and_what_needs_no_session_for_none() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    let read = format!("\"HMGET\" \"{}\" \"g\" \"v\" \"m\"", only_record(&redis));
    let mut monitor = Monitor::start(&redis);
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(monitor.commands(), [read.as_str()]);
    assert!(is_signed_in(&mut ada).await);
    assert_eq!(monitor.commands(), [read.as_str()]);
    for path in ["/", "/cloakroom.js", "/health/live", "/auth/login"] {
        ada.clone().navigate(path).await;
        assert_eq!(monitor.commands(), [""; 0], "{path}");
    }
    let mut anonymous = app.visitor();
    assert_eq!(anonymous.fetch("GET", "/graph/me").await.code(), "session_missing");
    assert!(!is_signed_in(&mut anonymous).await);
    anonymous.fetch("POST", "/auth/logout").await;
    assert_eq!(monitor.commands(), [""; 0]);
}

/// Contract 7.36, 15.11.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_counts_on_every_instance_at_once() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let instance = Instance::start(&app, &[]);
    let mut ada = app.signed_in(ADA).await;
    let mut there = instance.visitor(&ada);
    assert_eq!(there.fetch("GET", "/graph/me").await.status, 200);
    ada.fetch("POST", "/auth/logout").await;
    assert_eq!(there.fetch("GET", "/graph/me").await.code(), "session_expired");
    assert!(there.jar.contains_key(COOKIE), "a proxied call leaves the cookie");
}

/// Contract 4.24a: a sign-in ends the session that the browser had before, on every instance.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_the_session_before_on_every_instance() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let instance = Instance::start(&app, &[]);
    let mut ada = app.signed_in(ADA).await;
    let mut copy = instance.visitor(&ada);
    assert_eq!(copy.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(ada.sign_in(&app.provider, ADA, "/").await.status, 302);
    assert_eq!(copy.fetch("GET", "/graph/me").await.code(), "session_expired");
    assert_eq!(only_record(&redis), format!("cloakroom:s:{{{}}}", hash(&ada)));
    assert!(is_signed_in(&mut instance.visitor(&ada)).await);
}

/// Contract 15.10: also with refresh tokens that can be used once.
#[tokio::test(flavor = "multi_thread")]
async fn instances_send_one_token_request_for_a_session() {
    let redis = redis();
    let life = Duration::from_secs(2);
    let options = Options { access_token_life: life, one_time_refresh: true, ..Options::new("http://x") };
    let app = builder(&redis).provider(options).start().await;
    let instance = Instance::start(&app, &[]);
    let ada = app.signed_in(ADA).await;
    for round in 1..=2 {
        // Expired at the provider's clock, which is this machine's.
        tokio::time::sleep(life).await;
        app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(300)));
        let browsers = [ada.clone(), instance.visitor(&ada)];
        let calls = browsers.iter().cycle().take(12).map(|browser| {
            let mut browser: Visitor = browser.clone();
            async move { browser.fetch("GET", "/graph/me").await.status }
        });
        assert_eq!(join_all(calls).await, [200; 12], "{}\n{}", app.log(), instance.gateway.log());
        assert_eq!(requests(&app)[0], round);
    }
}

/// Contract 15.5: a sign-out on another instance wins over a refresh in flight, and the new tokens are revoked.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_come_after_a_sign_out_elsewhere_are_revoked() {
    let redis = redis();
    let life = Duration::from_secs(2);
    let options =
        Options { access_token_life: life, one_time_refresh: true, revocation: true, ..Options::new("http://x") };
    let app = builder(&redis).provider(options).start().await;
    let instance = Instance::start(&app, &[]);
    let ada = app.signed_in(ADA).await;
    tokio::time::sleep(life).await;
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(1_000)));
    let mut waiting = ada.clone();
    let call = tokio::spawn(async move { waiting.fetch("GET", "/graph/me").await });
    eventually("the refresh is sent", &app, async || requests(&app)[0] == 1).await;
    assert_eq!(instance.visitor(&ada).fetch("POST", "/auth/logout").await.status, 200);
    assert_eq!(requests(&app)[1], 1, "the sign-out revokes the token that the session had");
    assert_eq!(call.await.unwrap().code(), "session_expired");
    eventually("the new token is revoked", &app, async || requests(&app)[1] == 2).await;
    let revoked = app.provider.requests();
    let revoked: Vec<_> = revoked.iter().filter(|request| request.path().ends_with("/revoke")).collect();
    assert_ne!(revoked[0].form_field("token"), revoked[1].form_field("token"));
    assert_eq!(keys(&redis, "s"), [""; 0]);
}

/// Contract 7.28: the challenge and the new sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_up_completes() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    app.graph.require_context(Some("c1"));
    let rejected = ada.fetch("GET", "/graph/me").await;
    assert_eq!(rejected.code(), "step_up_required");
    let away = ada.navigate(rejected.json()["login_url"].as_str().unwrap()).await;
    assert_eq!(away.status, 302, "{}", away.text());
    let callback = app.provider.sign_in(away.header("location").unwrap(), ADA).unwrap();
    assert_eq!(ada.come_back(&callback.location()).await.header("location"), Some("/"));
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    assert_eq!(keys(&redis, "s").len(), 1, "the session before has ended");
}

/// Contract 15.7: `COOKIE_BUDGET` does not apply, and a record has every access token, on every instance.
#[tokio::test(flavor = "multi_thread")]
async fn large_tokens_are_stored() {
    let redis = redis();
    let options = Options { access_token_size: 32_000, refresh_token_size: 16_000, ..Options::new("http://x") };
    let app = builder(&redis).provider(options).start().await;
    let mut ada = app.signed_in(ADA).await;
    assert!(COOKIE.len() + 1 + ada.jar[COOKIE].len() < 400, "contract 15.1: {}", ada.jar[COOKIE]);
    let before = app.provider.token_requests();
    let instance = Instance::start(&app, &[]);
    for browser in [&mut ada.clone(), &mut instance.visitor(&ada)] {
        assert_eq!(browser.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    }
    assert_eq!(app.provider.token_requests(), before);
    assert_eq!(ada.fetch("POST", "/auth/refresh").await.status, 204);
    let sealed = redis.command(&["HGET", &only_record(&redis), "v"]).unwrap().text();
    assert!(sealed.len() > 32_000, "{}", sealed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_over_512_kib_fails_the_sign_in_once() {
    let redis = redis();
    // Of a length that is not base64url's, so that it is not packed.
    let options = Options { refresh_token_size: 450_003, ..Options::new("http://x") };
    let app = builder(&redis).provider(options).start().await;
    let mut visitor = app.visitor();
    let response = visitor.sign_in(&app.provider, ADA, "/").await;
    assert_eq!(response.header("location"), Some("/?auth_error=cookie_too_large"), "{}", app.log());
    assert_eq!((visitor.jar.len(), keys(&redis, "s").len()), (0, 0));
}

/// Contract 10.18, 15.5: a callback that is repeated after its session was ended elsewhere starts none.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_callback_does_not_bring_a_session_back() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let instance = Instance::start(&app, &[]);
    let mut ada = app.visitor();
    let address = ada.begin("/here").await;
    let location = app.provider.sign_in(&address, ADA).unwrap().location();
    let before = ada.clone();
    assert_eq!(ada.come_back(&location).await.header("location"), Some("/here"));
    let repeated = before.clone().come_back(&location).await;
    assert_eq!(repeated.header("location"), Some("/here"), "while the session is there");
    instance.visitor(&ada).fetch("POST", "/auth/logout").await;
    let mut late = before.clone();
    let repeated = late.come_back(&location).await;
    assert_eq!(repeated.header("location"), Some("/here?auth_error=login_expired"), "{}", app.log());
    assert!(!late.jar.contains_key(COOKIE));
    assert_eq!(keys(&redis, "s"), [""; 0]);
}

/// Contract 16.2: the browser of the sign-in, without what the host appends.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_sessions_names_the_browser_of_the_sign_in() {
    for reach in every_reach() {
        let redis = redis();
        let app = builder(&redis).reach(reach).start().await;
        let mut ada = app.visitor();
        let address = ada.begin("/").await;
        let location = app.provider.sign_in(&address, ADA).unwrap().location();
        let path = location.strip_prefix(&app.origin).unwrap();
        // The host itself rejects other characters than ASCII.
        let (sent, kept) = match reach {
            Reach::Direct => ("Browser/1 (Ä)", "Browser/1 (??)"),
            Reach::Host(_) => ("Browser/1 (A)", "Browser/1 (A)"),
        };
        let headers = [NAVIGATION[0], NAVIGATION[1], ("user-agent", sent)];
        assert_eq!(ada.send("GET", path, &headers, "").await.status, 302);
        let listed = ada.fetch("GET", "/auth/sessions").await;
        let sessions = &listed.json()["sessions"];
        assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{}", listed.text());
        let member = |name: &str| sessions[0][name].clone();
        assert_eq!(
            (member("id"), member("current"), member("user_agent")),
            (json!(hash(&ada)), json!(true), json!(kept)),
            "{reach:?}"
        );
        // From another browser's list, the session ends here.
        let mut other = app.signed_in(ADA).await;
        let ended = other.fetch("DELETE", &format!("/auth/sessions/{}", hash(&ada))).await;
        assert_eq!(ended.status, 204, "{}", ended.text());
        assert_eq!(ada.fetch("GET", "/graph/me").await.code(), "session_expired");
    }
}
