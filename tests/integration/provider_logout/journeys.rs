//! The same with the real binary, and sessions in a real Redis.

use std::time::Instant;

use devkit::commands::stack::free_port;
use devkit::redis_server::{Options as RedisOptions, RedisServer, Reply};

use super::*;
use crate::app::{Gateway, PATIENCE};
use crate::cloud::eventually;
use crate::streams::{assert_cut_off, read_until, streams};

async fn is_signed_in(visitor: &mut Visitor) -> bool {
    visitor.fetch("GET", "/auth/session").await.json()["authenticated"] == true
}

/// Sends a logout token as a provider does, to the instance at this port.
async fn send(port: u16, token: &str) -> Response {
    Visitor::new(&format!("http://127.0.0.1:{port}")).send("POST", BACK, &FORM, form(&[("logout_token", token)])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_token_ends_sessions_on_all_instances_and_cuts_off_streams() {
    let redis = RedisServer::start(&RedisOptions::default()).unwrap();
    let events = json!({"allow": ["GET /events", "GET /me"], "timeouts": {"total": null}});
    let app = TestApp::builder().set("STORE", redis.url()).graph_entry(events).start().await;
    let port = free_port().unwrap();
    let second = Gateway::start(&app.settings, port);
    let ada = app.signed_in(ADA).await;
    let grace = app.signed_in(GRACE).await;
    let [(sub, sid), _] = &app.provider.sign_ins()[..] else { panic!("two sign-ins") };
    assert_eq!(ada.at(port).fetch("GET", "/graph/me").await.status, 200, "{}", second.log());
    let (mut of_ada, mut of_grace) = (streams(&app, &ada, 1).await, streams(&app, &grace, 1).await);

    let token = app.provider.logout_token(claim("sid", sid.as_str()));
    assert_ended(&send(app.port, &token).await);
    assert_cut_off(&mut of_ada[0]);
    eventually(&app, "ended at the API", async || (app.graph.send_event("continues") == 1).then_some(())).await;
    read_until(&mut of_grace[0], "data: continues\n\n");
    let elsewhere = ada.at(port).fetch("GET", "/graph/me").await;
    assert_eq!((elsewhere.status, elsewhere.code()), (401, "session_expired"));
    assert!(is_signed_in(&mut grace.at(port)).await);

    // Once, whichever instance gets it.
    let again = app.signed_in(ADA).await;
    let of_user = app.provider.logout_token(claim("sub", sub.as_str()));
    assert_ended(&send(app.port, &of_user).await);
    let mut later = app.signed_in(ADA).await;
    assert_ended(&send(port, &of_user).await);
    assert!(is_signed_in(&mut later).await && !is_signed_in(&mut again.clone()).await);

    // Until it is too old: `iat` and the tolerances of contract 16.8, and those of other clocks.
    let keys = redis.command(&["KEYS", "cloakroom:jti:*"]).unwrap().texts();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        let Reply::Int(life) = redis.command(&["PTTL", key]).unwrap() else { panic!("{key} has a life") };
        assert!((420_000..=1_021_000).contains(&life), "{life}");
    }
    app.wait_for_log("\"event\":\"session_ended\"").await;
    for log in [app.log(), second.log()] {
        assert!(log.contains("listening"), "{log}");
        for secret in [sid, &token, &of_user] {
            assert!(!log.contains(secret.as_str()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_token_that_redis_does_not_get_can_be_sent_again() {
    let redis = RedisServer::start(&RedisOptions::default()).unwrap();
    let app = TestApp::builder().set("STORE", redis.url()).start().await;
    let mut ada = app.signed_in(ADA).await;
    let [(_, sid)] = &app.provider.sign_ins()[..] else { panic!("one sign-in") };
    let token = app.provider.logout_token(claim("sid", sid.as_str()));
    redis.pause();
    assert_unavailable(&send(app.port, &token).await, "store_unavailable");
    let frame = app.visitor().get(&format!("{FRONT}?sid={sid}")).await;
    assert_unavailable(&frame, "store_unavailable");
    redis.resume();
    let started = Instant::now();
    while send(app.port, &token).await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "{}", app.log());
    }
    assert!(!is_signed_in(&mut ada).await);
}
