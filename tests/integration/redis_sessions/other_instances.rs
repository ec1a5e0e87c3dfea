//! What one instance answers while another one replaces or ends the session (contract 4.23, 4.24a, 15.5).

use std::time::Duration;

use devkit::provider::{Endpoint, Fault, Options};

use super::journeys::requests;
use super::outages::eventually;
use super::{ADA, Instance, builder, is_signed_in, redis};

/// A browser holds one cookie of a name: a slow response to a replaced session must not delete that of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_deletes_no_cookie_of_a_sign_in_on_another_instance() {
    let redis = redis();
    let options = Options { one_time_refresh: true, revocation: true, ..Options::new("http://x") };
    let app = builder(&redis).provider(options).start().await;
    let instance = Instance::start(&app, &[]);
    let mut ada = app.signed_in(ADA).await;
    let before = ada.clone();
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_secs(2)));
    let mut slow = instance.visitor(&before);
    let refresh = tokio::spawn(async move { slow.fetch("POST", "/auth/refresh").await });
    eventually("the refresh is sent", &app, async || requests(&app)[0] == 1).await;
    assert_eq!(ada.sign_in(&app.provider, ADA, "/here").await.header("location"), Some("/here"));
    assert!(!refresh.is_finished(), "the session is replaced during the refresh");
    let slow = refresh.await.unwrap();
    let late = instance.visitor(&before).fetch("POST", "/auth/refresh").await;
    let fresh = Instance::start(&app, &[]);
    let elsewhere = fresh.visitor(&before).fetch("POST", "/auth/refresh").await;
    for (response, when) in [(slow, "slow"), (late, "late"), (elsewhere, "elsewhere")] {
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{when}");
        assert_eq!(response.headers_named("set-cookie").count(), 0, "{when}: {}", instance.gateway.log());
    }
    assert_eq!(requests(&app)[1], 0, "its user did not sign out: no token is revoked");
    assert!(is_signed_in(&mut instance.visitor(&ada)).await);
}

/// Contract 4.18: a session that was ended without its cookie leaves it in the browser until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_deletes_the_cookie_of_a_session_that_was_ended_on_another_instance() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let instance = Instance::start(&app, &[]);
    let mut ada = app.signed_in(ADA).await;
    let mut other = app.signed_in(ADA).await;
    assert_eq!(other.fetch("DELETE", "/auth/sessions").await.json()["ended"], 1);
    let mut there = instance.visitor(&ada);
    let refreshed = there.fetch("POST", "/auth/refresh").await;
    assert_eq!((refreshed.status, refreshed.code()), (401, "session_expired"));
    assert!(there.jar.is_empty(), "{:?}", there.jar);
    assert_eq!(ada.fetch("POST", "/auth/refresh").await.code(), "session_expired");
    assert!(ada.jar.is_empty(), "{:?}", ada.jar);
}
