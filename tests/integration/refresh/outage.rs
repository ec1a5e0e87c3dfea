//! The provider is down, slow or overloaded: what that costs, and whom (contract section 22).

use std::time::{Duration, Instant};

use devkit::provider::{Endpoint, Fault};
use futures_util::future::join_all;

use super::{ADA, refreshes};
use crate::app::{PATIENCE, TestApp};
use crate::visitor::{Response, Visitor};

const GRACE: &str = "grace.hopper@contoso.example";

async fn refresh(visitor: &Visitor) -> Response {
    visitor.clone().fetch("POST", "/auth/refresh").await
}

fn retry_after(response: &Response) -> u64 {
    assert_eq!((response.status, response.code()), (503, "provider_unavailable"), "{}", response.text());
    response.header("retry-after").unwrap().parse().unwrap()
}

/// Waits until the provider has received so many refreshes, and a while longer for one too many.
async fn received(app: &TestApp, count: usize) {
    let started = Instant::now();
    while refreshes(app) < count {
        assert!(started.elapsed() < PATIENCE, "{} refreshes: {}", refreshes(app), app.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(refreshes(app), count);
}

/// Contract 22.2.
#[tokio::test(flavor = "multi_thread")]
async fn after_three_failures_further_refreshes_fail_at_once_until_a_sign_in_succeeds() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    app.provider.fault(&[Endpoint::Token], Fault::status(500));
    for _ in 0..3 {
        assert_eq!(retry_after(&refresh(&visitor).await), 5);
    }
    // Anybody can send a code: a sign-in that fails opens nothing, prolongs nothing, and is never refused.
    let failed = app.visitor().sign_in(&app.provider, GRACE, "/").await;
    assert_eq!(failed.header("location"), Some("/?auth_error=provider_unavailable"));
    for _ in 0..5 {
        assert!((1..=2).contains(&retry_after(&refresh(&visitor).await)));
    }
    assert_eq!(refreshes(&app), 3, "{}", app.log());
    assert_eq!(visitor.clone().fetch("GET", "/graph/me").await.status, 200, "its token is valid");
    app.provider.clear_faults();
    app.signed_in(GRACE).await;
    assert_eq!(refresh(&visitor).await.status, 204, "{}", app.log());
    for event in ["token_endpoint_paused", "token_endpoint_resumed"] {
        app.wait_for_log_count(event, 1).await;
    }
}

/// Contract 22.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_429_to_a_refresh_pauses_refreshes_for_its_retry_after() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(ADA).await;
    let first_pause = |retry_after| Fault::Status { status: 429, retry_after };
    app.provider.fault_next(&[Endpoint::Token], 1, first_pause(Some(3_600)));
    assert_eq!(retry_after(&refresh(&visitor).await), 5);
    assert!((29..=30).contains(&retry_after(&refresh(&visitor).await)));
    assert_eq!(refreshes(&app), 1);
    app.signed_in(GRACE).await;
    app.provider.fault_next(&[Endpoint::Token], 1, first_pause(None));
    assert_eq!(retry_after(&refresh(&visitor).await), 5);
    let started = Instant::now();
    while refresh(&visitor).await.status != 204 {
        assert!(started.elapsed() < PATIENCE, "it lasts a second: {}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(refreshes(&app), 3, "and no refresh was sent during it");
}

/// Contract 22.1.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_provider_takes_half_of_the_places_and_sixteen_requests() {
    let app = TestApp::builder().set("MAX_IN_FLIGHT", "90").start().await;
    let mut visitors = Vec::new();
    for _ in 0..20 {
        visitors.push(app.signed_in(ADA).await);
    }
    let valid = app.signed_in(GRACE).await;
    app.provider.fault(&[Endpoint::Token], Fault::Hang);
    // 45 requests of 20 sessions: those of one session wait for the same token.
    let waiting: Vec<_> = (0..45)
        .map(|number| {
            let visitor = visitors[number % visitors.len()].clone();
            tokio::spawn(async move { refresh(&visitor).await })
        })
        .collect();
    received(&app, 16).await;
    let started = Instant::now();
    let further = join_all((0..10).map(|_| refresh(&valid))).await;
    assert!(further.iter().all(|response| retry_after(response) == 5));
    let calls = join_all((0..20).map(|_| {
        let mut tab = valid.clone();
        async move { tab.fetch("GET", "/graph/me").await.status }
    }))
    .await;
    assert_eq!(calls, [200; 20], "{}", app.log());
    assert!(started.elapsed() < Duration::from_secs(5), "nothing waited for the provider");
    assert!(waiting.iter().all(|refresh| !refresh.is_finished()));
}
