//! Overload: calls are rejected below the host's limit, sign-ins and health still work (contract 10.19, 10.20).

use std::io::Write;
use std::time::{Duration, Instant};

use devkit::provider::{Endpoint, Fault};
use futures_util::future::join_all;
use serde_json::json;

use crate::app::{PATIENCE, Reach, TestApp, every_reach};
use crate::callback::assert_isolated;
use crate::raw;
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace@contoso.example";
const GRACE: &str = "grace.hopper@contoso.example";
/// A call that takes longer than the test.
const STUCK: &str = "/graph/slow?first=8000&total=8000&chunks=1";

/// Starts slow calls, and waits until the API has received them.
async fn stuck(app: &TestApp, visitor: &Visitor, count: usize) -> Vec<tokio::task::JoinHandle<(u16, String)>> {
    let before = app.graph.count();
    let call = |mut tab: Visitor| async move {
        let response = tab.fetch("GET", STUCK).await;
        (response.status, response.code().to_owned())
    };
    let calls: Vec<_> = (0..count).map(|_| tokio::spawn(call(visitor.clone()))).collect();
    let started = Instant::now();
    while app.graph.count() < before + count as u64 {
        assert!(started.elapsed() < PATIENCE, "only {} calls arrive: {}", app.graph.count() - before, app.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_calls_leave_capacity_for_sign_ins_and_health() {
    let app = TestApp::start().await;
    let ada = app.signed_in(ADA).await;
    let grace = app.signed_in(GRACE).await;
    let mut calls = stuck(&app, &ada, 48).await;
    let mut tab = ada.clone();
    let rejected = tab.fetch("GET", "/graph/me").await;
    assert_eq!((rejected.status, rejected.code()), (503, "overloaded"), "48 of one user");
    assert_eq!(rejected.header("retry-after"), Some("1"));
    assert_eq!(grace.clone().fetch("GET", "/graph/me").await.status, 200, "other users have their own");
    calls.extend(stuck(&app, &grace, 32).await);
    for path in ["/graph/me", "/", "/index.html"] {
        assert_eq!(grace.clone().fetch("GET", path).await.code(), "overloaded", "{path}: 80 of all");
    }
    let form = grace.clone().fetch("GET", "/graph/a%2Fb").await;
    assert_eq!(form.code(), "bad_request", "the form of a request is checked first");
    assert_eq!(app.visitor().get("/health/live").await.status, 200);
    assert_eq!(app.visitor().get("/health/ready").await.status, 200);
    let mut third = app.visitor();
    let back = third.sign_in(&app.provider, "alan.turing@contoso.example", "/").await;
    assert_eq!(back.header("location"), Some("/"), "a sign-in still works");
    for call in calls {
        assert_eq!(call.await.unwrap().0, 200);
    }
    assert_eq!(ada.clone().fetch("GET", "/graph/me").await.status, 200, "and then calls are accepted again");
}

/// Contract 10.20: two sessions of one user have one share.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_48_places_over_all_sessions() {
    let app = TestApp::start().await;
    let sessions = [app.signed_in(ADA).await, app.signed_in(ADA).await];
    let grace = app.signed_in(GRACE).await;
    let mut calls = stuck(&app, &sessions[0], 24).await;
    calls.extend(stuck(&app, &sessions[1], 24).await);
    for session in &sessions {
        let rejected = session.clone().fetch("GET", "/graph/me").await;
        assert_eq!((rejected.status, rejected.code()), (503, "overloaded"));
    }
    assert_eq!(grace.clone().fetch("GET", "/graph/me").await.status, 200);
    let [mut leaving, mut other] = sessions;
    assert_eq!(leaving.fetch("POST", "/auth/logout").await.status, 200, "a sign-out does not wait for calls");
    assert_eq!(other.fetch("GET", "/auth/session").await.json()["authenticated"], true);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Contract 10.20, 3.9b: a form takes its place once it has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn forms_that_arrive_take_no_places_and_their_number_is_bounded() {
    let app = TestApp::start().await;
    let mut ada = app.signed_in(ADA).await;
    let head = "POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
        Content-Length: 10\r\n\r\na";
    let begin = |_| {
        let mut stream = raw::open(app.port);
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut forms: Vec<_> = (0..128).map(begin).collect();
    // The last one is rejected at once, so all others have arrived at the limit.
    let further = raw::exchange(app.port, head);
    assert!(raw::status(&further) == 503 && further.contains("overloaded"), "{further}");
    for _ in 0..20 {
        assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200);
    }
    let back = app.visitor().sign_in(&app.provider, GRACE, "/").await;
    assert_eq!(back.header("location"), Some("/"));
    let (late, ended) = raw::read_response(&mut forms[0], |_| false);
    let late = String::from_utf8_lossy(&late).into_owned();
    assert!(ended && raw::status(&late) == 400 && late.contains("bad_request"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_calls_end_no_connection() {
    let app = TestApp::start().await;
    let ada = app.signed_in(ADA).await;
    let grace = app.signed_in(GRACE).await;
    let pid = app.pid();
    let calls = join_all((0..200).map(|number| {
        let mut tab = if number % 2 == 0 { ada.clone() } else { grace.clone() };
        async move { tab.fetch("GET", "/graph/slow?first=3000&total=3000&chunks=1").await.status }
    }));
    let signing_in = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        app.visitor().sign_in(&app.provider, ADA, "/").await.header("location").map(str::to_owned)
    };
    let (statuses, location) = tokio::join!(calls, signing_in);
    assert_eq!(location.as_deref(), Some("/"));
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((40..=80).contains(&served), "{served}");
    assert_eq!(app.pid(), pid);
}

#[tokio::test]
async fn the_host_mode_is_reported() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let ready = app.visitor().get("/health/ready").await.json();
        let expected = match reach {
            Reach::Direct => "unknown",
            Reach::Host(devkit::host::Mode::Forward) => "forwarding",
            Reach::Host(devkit::host::Mode::Proxy) => "proxying",
            Reach::Host(devkit::host::Mode::Payload) => "payload",
        };
        assert_eq!(ready["host"], expected, "{ready}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_gets_an_error_that_says_how_to_fix_it() {
    let app = TestApp::start().await;
    let body = json!({"Data": {"req": {"Url": "http://x/graph/me", "Method": "GET"}}, "Metadata": {}}).to_string();
    let post = |host: &str, body: &str| {
        let request = format!(
            "POST /graph-proxy HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n",
            body.len()
        );
        raw::exchange(app.port, &(request + body))
    };
    let ours = format!("127.0.0.1:{}", app.port);
    let response = post(&ours, &body);
    assert_eq!(raw::status(&response), 200);
    let payload: serde_json::Value = serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(payload["Outputs"]["res"]["statusCode"], 500);
    assert!(payload["Logs"][0].as_str().unwrap().contains("enableProxyingHttpRequest"), "{payload}");
    assert_eq!(app.visitor().get("/health/ready").await.json()["host"], "payload");
    assert_eq!(raw::status(&post("app.example.org", &body)), 405, "a client's request is none");
    assert_eq!(raw::status(&post(&ours, "{}")), 404);
}

/// Contract 3.9b: callbacks that wait for the provider leave all places to others.
#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_wait_take_no_places_and_their_number_is_bounded() {
    let app = TestApp::start().await;
    let mut ada = app.signed_in(ADA).await;
    app.provider.fault(&[Endpoint::Token], Fault::Delay(Duration::from_secs(4)));
    let mut callbacks = Vec::new();
    for _ in 0..81 {
        let mut visitor = app.visitor();
        let address = visitor.begin("/").await;
        let location = app.provider.sign_in(&address, GRACE).unwrap().location();
        callbacks.push((visitor, location));
    }
    let callbacks = callbacks.into_iter().map(|(mut visitor, location)| {
        tokio::spawn(async move {
            let response = visitor.come_back(&location).await;
            if response.status == 503 {
                assert_isolated(&response);
            }
            (response.status, visitor.jar.keys().any(|name| name.contains("-login-")))
        })
    });
    let callbacks: Vec<_> = callbacks.collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(app.provider.token_requests(), 1 + 16, "16 exchanges run");
    let calls = join_all((0..40).map(|_| {
        let mut tab = ada.clone();
        async move { tab.fetch("GET", "/graph/me").await.status }
    }));
    assert_eq!(calls.await, [200; 40], "and others have their places");
    assert_eq!(ada.navigate("/auth/login").await.status, 302);
    let outcomes: Vec<_> = join_all(callbacks).await.into_iter().map(Result::unwrap).collect();
    let rejected: Vec<_> = outcomes.iter().filter(|(status, _)| *status == 503).collect();
    assert_eq!(rejected, [&(503, true)], "64 wait; a further one keeps its transaction");
    assert!(outcomes.iter().filter(|(status, _)| *status == 302).count() == 80);
}

/// Contract 3.9b: the provider's own limit holds exchanges back.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_429_code_exchanges_wait_as_long_as_the_provider_says() {
    let app = TestApp::start().await;
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::status(429));
    let back = app.visitor().sign_in(&app.provider, ADA, "/").await;
    assert_eq!(back.header("location"), Some("/?auth_error=provider_unavailable"));
    let started = Instant::now();
    let back = app.visitor().sign_in(&app.provider, ADA, "/").await;
    assert_eq!(back.header("location"), Some("/"));
    assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
}
