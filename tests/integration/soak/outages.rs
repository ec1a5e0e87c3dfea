//! The provider is down while a tenth of the calls need a token: calls with a valid token lose nothing (contract
//! section 22).

use std::sync::Arc;
use std::time::{Duration, Instant};

use devkit::vault::{AcceptMode, Fault};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::flood::{Pace, good_calls, join, p99};
use super::{ADA, figure};
use crate::app::TestApp;
use crate::visitor::{Response, Visitor};

const GRACE: &str = "grace.hopper@contoso.example";
/// Calls per second with a valid token, a multiple of the callers of [`good_calls`], and calls per second that need a
/// token.
const VALID: u32 = 44;
const NEEDING: u32 = 5;
/// Sessions that need a token: a call of each every 12 s, so that none joins the refresh of an earlier call (10 s).
const SESSIONS: usize = 60;
/// Most time to recover: the longest time between two probes is 15 s.
const RECOVERY: Duration = Duration::from_secs(20);

/// How the provider is down.
#[derive(Debug, Clone, Copy)]
enum Outage {
    Hangs,
    Refuses,
    Fails,
}

const OUTAGES: [(Outage, &str); 3] = [
    (Outage::Hangs, "the provider does not respond"),
    (Outage::Refuses, "the provider refuses connections"),
    (Outage::Fails, "the provider responds 500"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_provider_costs_calls_with_a_valid_token_nothing() {
    for (outage, what) in OUTAGES {
        run(outage, what, Duration::from_secs(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "five minutes: cargo dev soak outages"]
async fn long() {
    for (outage, what) in OUTAGES {
        let ratio = run(outage, what, Duration::from_secs(60)).await;
        assert!(ratio < 2.0, "{what}: valid calls are slow: {ratio}");
    }
}

/// A gateway, and the cookie of a session with a valid token.
async fn start() -> (TestApp, Arc<str>) {
    // The user consents at the sign-in, but no API gets its token, so that the first call of a session needs one.
    let app = TestApp::builder()
        .graph_entry(json!({"sign_in": false}))
        .set("SCOPES", "openid profile email offline_access https://graph.microsoft.com/User.Read")
        .set("LOG", "warn,json")
        .start()
        .await;
    let mut valid = app.signed_in(GRACE).await;
    assert_eq!(valid.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    let cookie = valid.cookie_header().into();
    (app, cookie)
}

/// Returns the ratio of the 99th percentiles of valid calls: at this instance, and at one whose provider responds, at
/// the same time. What else the machine does affects both.
async fn run(outage: Outage, what: &str, time: Duration) -> f64 {
    let ((app, cookie), (other, other_cookie)) = (start().await, start().await);
    let mut needing = Vec::new();
    for _ in 0..SESSIONS {
        needing.push(app.signed_in(ADA).await);
    }
    let before = join(good_calls(app.port, Arc::clone(&cookie), VALID, time / 2)).await;
    let sent = begin(&app, outage).await;
    let calls =
        [(app.port, cookie), (other.port, other_cookie)].map(|(port, cookie)| good_calls(port, cookie, VALID, time));
    let responses = calls_that_need_a_token(&needing, time).await;
    let [during, at_other] = calls;
    let (during, at_other) = (join(during).await, join(at_other).await);
    let requests = app.provider.token_requests() - sent;
    let rejected = responses.iter().filter(|response| response.code() == "provider_unavailable").count();
    assert_eq!(rejected, responses.len(), "{what}: a call that needs a token gets 503: {}", app.log());
    // Those before the circuit opened, and probes at least 2 s apart.
    let limit = if matches!(outage, Outage::Fails) { 3 } else { 16 } + time.as_secs() / 2;
    assert!(requests <= limit, "{what}: {requests} token requests");
    let recovered = end(&app, outage, &needing[0]).await;
    assert!(recovered < RECOVERY, "{what}: {recovered:?}: {}", app.log());
    let succeeded = during.len();
    let [before, during, at_other] = [before, during, at_other].map(p99);
    let ratio = during.as_secs_f64() / at_other.as_secs_f64();
    let to_before = during.as_secs_f64() / before.as_secs_f64();
    let (rejected, recovered) = (rejected.to_string(), format!("{:.1} s", recovered.as_secs_f64()));
    let figures = [
        ("calls with a valid token that succeed", succeeded.to_string(), "all"),
        ("p99 of them before", format!("{before:.2?}"), "-"),
        ("p99 of them meanwhile", format!("{during:.2?}"), "-"),
        ("p99 meanwhile where the provider responds", format!("{at_other:.2?}"), "-"),
        ("ratio of the last two", format!("{ratio:.2}"), "2.00"),
        ("ratio to before, on a quiet machine", format!("{to_before:.2}"), "2.00"),
        ("calls that need a token, all 503", rejected, "all"),
        ("token requests that arrive", requests.to_string(), &limit.to_string()),
        ("recovered after", recovered, "20 s"),
    ];
    for (of, value, bar) in figures {
        figure(&format!("{what}: {of}"), value, bar);
    }
    ratio
}

/// Begins an outage. Returns how many token requests the provider received before.
async fn begin(app: &TestApp, outage: Outage) -> u64 {
    let sent = app.provider.token_requests();
    match outage {
        Outage::Hangs => app.provider.fault(&[], Fault::Hang),
        Outage::Refuses => app.provider.set_accept_mode(AcceptMode::Refused).await.unwrap(),
        Outage::Fails => app.provider.fault(&[], Fault::status(500)),
    }
    sent
}

/// Ends an outage. Returns how long it takes until a call that needs a token succeeds.
async fn end(app: &TestApp, outage: Outage, needing: &Visitor) -> Duration {
    match outage {
        Outage::Refuses => app.provider.set_accept_mode(AcceptMode::Normal).await.unwrap(),
        Outage::Hangs | Outage::Fails => app.provider.clear_faults(),
    }
    let ended = Instant::now();
    while ended.elapsed() < RECOVERY && needing.clone().fetch("GET", "/graph/me").await.status != 200 {
        sleep(Duration::from_millis(50)).await;
    }
    ended.elapsed()
}

/// Calls of these sessions in turn at a constant rate, each on its own connection. Returns every response, of which the
/// last may come 10 s later.
async fn calls_that_need_a_token(needing: &[Visitor], time: Duration) -> Vec<Response> {
    let mut calls = JoinSet::new();
    let mut pace = Pace::of(NEEDING, time);
    for visitor in needing.iter().cycle() {
        if !pace.next().await {
            break;
        }
        let mut visitor = visitor.clone();
        calls.spawn(async move { visitor.fetch("GET", "/graph/me").await });
    }
    calls.join_all().await
}
