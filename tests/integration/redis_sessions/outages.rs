//! Redis does not respond (contract 15.11, 15.12).

use std::time::Duration;

use devkit::chaos::Chaos;
use devkit::provider::{Alteration, Endpoint, Fault, Options};
use devkit::redis_server::RedisServer;
use devkit::vault::Operation;

use super::journeys::requests;
use super::{ADA, COOKIE, Instance, builder, is_signed_in, keys, redis};
use crate::app::{PATIENCE, TestApp};
use crate::key_vault::Setup;
use crate::visitor::Visitor;

/// Waits until a condition holds.
pub async fn eventually(what: &str, app: &TestApp, holds: impl AsyncFn() -> bool) {
    let started = std::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "{what}\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_until_used_again(app: &TestApp, visitor: &Visitor) {
    let works = async || visitor.clone().fetch("GET", "/graph/me").await.status == 200;
    eventually("calls succeed again", app, works).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_sessions_are_unavailable_and_kept() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    redis.stop();
    for (method, path) in [("GET", "/graph/me"), ("GET", "/auth/session"), ("POST", "/auth/refresh")] {
        let response = ada.fetch(method, path).await;
        assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{path}");
        assert!(response.header("retry-after").is_some(), "{path}");
        assert_eq!(response.headers_named("set-cookie").count(), 0, "{path}");
    }
    assert_eq!(ada.clone().navigate("/").await.status, 200, "the SPA needs no session");
    assert_eq!(ada.clone().navigate("/auth/login").await.status, 302, "nor does the start of a sign-in");
    let mut other = app.visitor();
    let response = other.sign_in(&app.provider, ADA, "/here").await;
    assert_eq!(response.header("location"), Some("/here?auth_error=store_unavailable"));
    assert!(!other.jar.contains_key(COOKIE));
    redis.start_again().unwrap();
    wait_until_used_again(&app, &ada).await;
    assert_eq!(other.sign_in(&app.provider, ADA, "/here").await.header("location"), Some("/here"));
}

/// Contract 7.18: the provider has consumed the refresh token that is stored.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_redis_did_not_take_are_used_and_stored_later() {
    for outage in ["no server", "no permission"] {
        let redis = redis();
        let options = Options { one_time_refresh: true, ..Options::new("http://x") };
        let app = builder(&redis).provider(options).start().await;
        let instance = Instance::start(&app, &[]);
        // Only the first access token expires soon.
        let short = Alteration::json(|tokens| tokens["expires_in"] = 1.into());
        app.provider.set_alteration(Endpoint::Token, Some(short));
        let ada = app.signed_in(ADA).await;
        app.provider.set_alteration(Endpoint::Token, None);
        tokio::time::sleep(Duration::from_secs(2)).await;
        app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(300)));
        let mut waiting = ada.clone();
        let call = tokio::spawn(async move { waiting.fetch("GET", "/graph/me").await });
        eventually("the refresh is sent", &app, async || requests(&app)[0] == 1).await;
        match outage {
            "no server" => redis.stop(),
            _ => drop(redis.command(&["ACL", "SETUSER", "default", "-hset"]).unwrap()),
        }
        let response = call.await.unwrap();
        assert_eq!(response.status, 200, "{outage}: {}\n{}", response.text(), app.log());
        match outage {
            "no server" => redis.start_again().unwrap(),
            _ => {
                let again = ada.clone().fetch("GET", "/graph/me").await;
                assert_eq!(again.status, 200, "the tokens are not stored, but known here: {}", again.text());
                redis.command(&["ACL", "SETUSER", "default", "+hset"]).unwrap();
            }
        }
        let generation = || redis.command(&["HGET", &super::only_record(&redis), "g"]).unwrap().text();
        eventually("the tokens are stored", &app, async || generation() == "2").await;
        let mut there = instance.visitor(&ada);
        assert_eq!(there.fetch("GET", "/graph/me").await.status, 200, "{outage}: {}", instance.gateway.log());
        assert_eq!(requests(&app)[0], 1, "{outage}: another instance has them, too");
        assert_eq!(there.fetch("POST", "/auth/refresh").await.status, 204, "{outage}: {}", instance.gateway.log());
        assert_eq!(requests(&app)[0], 2, "{outage}: the newest refresh token is stored");
    }
}

/// Contract 15.11: the sign-out is answered, counts here at once, and elsewhere as soon as Redis responds.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_without_redis_is_completed_later() {
    for how in ["fetch", "link"] {
        let redis = redis();
        let app = builder(&redis).start().await;
        let instance = Instance::start(&app, &[]);
        let mut ada = app.signed_in(ADA).await;
        let session = ada.fetch("GET", "/auth/session").await.json();
        let copy = ada.clone();
        redis.stop();
        let location = match how {
            "fetch" => {
                let response = ada.fetch("POST", "/auth/logout").await;
                assert_eq!(response.status, 200, "{}", response.text());
                response.json()["logout_url"].as_str().unwrap().to_owned()
            }
            _ => {
                let response = ada.navigate(session["links"]["logout"].as_str().unwrap()).await;
                assert_eq!(response.status, 302, "{}", response.text());
                response.header("location").unwrap().to_owned()
            }
        };
        assert!(location.contains("/logout?") && !location.contains("logout_hint"), "{how}: {location}");
        assert!(ada.jar.is_empty(), "{how}: {:?}", ada.jar);
        app.wait_for_log("sign_out_incomplete").await;
        let events = crate::audit::events(&app.log());
        let incomplete = events.iter().find(|event| event["event"] == "sign_out_incomplete").unwrap();
        assert_eq!(incomplete["session"], events[0]["session"]);
        assert_eq!(copy.clone().fetch("GET", "/graph/me").await.code(), "session_expired", "{how}: it is over here");
        redis.start_again().unwrap();
        eventually("the session is deleted", &app, async || keys(&redis, "s").is_empty()).await;
        let mut there = instance.visitor(&copy);
        eventually("it is over elsewhere", &app, async || {
            there.clone().fetch("GET", "/graph/me").await.code() == "session_expired"
        })
        .await;
        assert!(!is_signed_in(&mut there).await);
    }
}

/// Contract 3.14: the cookie says which session it is, whether the instance has read the revocation list or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_on_an_instance_without_the_revocation_list_counts_everywhere() {
    let (redis, setup) = (redis(), Setup::with_key(60).await);
    let app = setup.cloud.gateway().set("STORE", redis.url()).start().await;
    let ada = app.signed_in(ADA).await;
    setup.vault.fault(&[Operation::GetNewest], Fault::ForbiddenByRbac);
    let instance = Instance::start(&app, &[]);
    let mut there = instance.visitor(&ada);
    let rejected = async || there.clone().fetch("GET", "/graph/me").await.code() == "keys_unavailable";
    eventually("the instance has keys but no list", &app, rejected).await;
    let response = there.fetch("POST", "/auth/logout").await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(there.jar.is_empty(), "{:?}", there.jar);
    assert_eq!(keys(&redis, "s"), [""; 0], "{}", instance.gateway.log());
    assert_eq!(ada.clone().fetch("GET", "/graph/me").await.code(), "session_expired", "a copy of the cookie");
}

/// Contract 15.4: a session that could not be found without its cookie must not begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_whose_indexes_cannot_be_written_fails() {
    let redis = redis();
    let app = builder(&redis).start().await;
    redis.command(&["ACL", "SETUSER", "default", "-zadd"]).unwrap();
    let mut visitor = app.visitor();
    let response = visitor.sign_in(&app.provider, ADA, "/here").await;
    assert_eq!(response.header("location"), Some("/here?auth_error=store_unavailable"));
    assert!(!visitor.jar.contains_key(COOKIE) && keys(&redis, "s").is_empty());
    app.wait_for_log("+zadd").await;
    redis.command(&["ACL", "SETUSER", "default", "+zadd"]).unwrap();
    assert_eq!(visitor.sign_in(&app.provider, ADA, "/here").await.header("location"), Some("/here"));
}

/// Contract 4.24a: a sign-in whose predecessor cannot be deleted succeeds, and the deletion is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_session_is_deleted_later() {
    let redis = redis();
    let acl = |rule: &str| redis.command(&["ACL", "SETUSER", "default", rule]).unwrap();
    let app = builder(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    let before = keys(&redis, "s").remove(0);
    // The script that ends a session cannot delete.
    acl("-del");
    let response = ada.sign_in(&app.provider, ADA, "/here").await;
    assert_eq!(response.header("location"), Some("/here"), "{}", app.log());
    assert!(is_signed_in(&mut ada).await);
    assert!(keys(&redis, "s").contains(&before), "it could not be deleted");
    acl("+del");
    eventually("it is deleted", &app, async || !keys(&redis, "s").contains(&before)).await;
    assert!(is_signed_in(&mut ada).await);
}

/// Contract 15.9: activity delays no response, and what could not be written then is written when Redis continues.
#[tokio::test(flavor = "multi_thread")]
async fn writing_activity_delays_no_response() {
    let redis = redis();
    // Activity is written each second.
    let app = builder(&redis).set("SESSION_IDLE", "10s").start().await;
    let ada = app.signed_in(ADA).await;
    let metadata = |redis: &RedisServer| redis.command(&["HGET", &super::only_record(redis), "m"]).unwrap();
    let before = metadata(&redis);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    redis.command(&["CLIENT", "PAUSE", "100000", "WRITE"]).unwrap();
    assert_eq!(ada.clone().fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    assert!(!app.log().contains("error_class"), "no write has failed yet, so that it waited for none: {}", app.log());
    assert_eq!(metadata(&redis), before);
    redis.command(&["CLIENT", "UNPAUSE"]).unwrap();
    let works = async || {
        assert_eq!(ada.clone().fetch("GET", "/graph/me").await.status, 200);
        metadata(&redis) != before
    };
    eventually("activity is written", &app, works).await;
}

/// Contract 11.9: what is in flight includes what no response waited for.
#[tokio::test(flavor = "multi_thread")]
async fn activity_is_written_before_the_process_ends() {
    let redis = redis();
    let app = builder(&redis).set("SESSION_IDLE", "10s").start().await;
    let mut instance = Instance::start(&app, &[]);
    let ada = app.signed_in(ADA).await;
    let metadata = || redis.command(&["HGET", &super::only_record(&redis), "m"]).unwrap();
    let before = metadata();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    redis.command(&["CLIENT", "PAUSE", "100000", "WRITE"]).unwrap();
    assert_eq!(instance.visitor(&ada).fetch("GET", "/graph/me").await.status, 200);
    let unpause = std::thread::spawn({
        let mut connection = redis.connect().unwrap();
        move || {
            std::thread::sleep(Duration::from_millis(500));
            connection.command(&["CLIENT", "UNPAUSE"]).unwrap();
        }
    });
    assert_eq!(instance.gateway.end_by("-TERM"), Some(143));
    unpause.join().unwrap();
    assert_ne!(metadata(), before, "{}", instance.gateway.log());
}

/// Contract 15.11: a browser that leaves before the store has responded has signed out.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_whose_browser_leaves_is_completed() {
    use std::io::Write;
    let redis = redis();
    let proxy = Chaos::start(redis.addr()).await.unwrap();
    let options = Options { revocation: true, ..Options::new("http://x") };
    let app = TestApp::builder().provider(options).set("STORE", format!("redis://127.0.0.1:{}", proxy.port()));
    let app = app.start().await;
    let ada = app.signed_in(ADA).await;
    proxy.hold(vec!["*7\r\n$7\r\nEVALSHA", "cloakroom:mv:", "cloakroom:s:"]);
    let request = format!(
        "POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Length: 0\r\n\r\n",
        ada.cookie_header()
    );
    let mut browser = crate::raw::open(app.port);
    browser.write_all(request.as_bytes()).unwrap();
    proxy.holds().await;
    drop(browser);
    // The gateway notices that the browser is gone while the store is still silent.
    assert_eq!(app.visitor().get("/health/live").await.status, 200);
    proxy.release();
    app.wait_for_log("\"signed_out\"").await;
    eventually("the session is deleted", &app, async || keys(&redis, "s").is_empty()).await;
    eventually("the refresh token is revoked", &app, async || requests(&app)[1] == 1).await;
}
