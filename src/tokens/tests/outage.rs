//! A provider that is down, slow or overloaded (contract section 22).

use super::*;
use crate::oidc::refresh::Availability;

const SECOND: Duration = Duration::from_secs(1);

/// A provider that holds its responses back.
fn holding() -> Double {
    Double { held: Some(Semaphore::new(0)), ..Double::new(HOUR) }
}

/// Calls of this many users, each in a task of its own.
fn calls(service: &Arc<TokenService>, count: usize) -> Vec<tokio::task::JoinHandle<Result<(String, bool), Error>>> {
    let call_of = |number: usize| {
        let service = Arc::clone(service);
        tokio::spawn(async move { call(&service, &signed_in(&format!("user-{number}")), NOW).await })
    };
    (0..count).map(call_of).collect()
}

/// Lets every task run as far as it gets: the provider takes some milliseconds for a response.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Makes a provider fail this way until [`recover`].
fn fail(double: &Double, availability: Availability) {
    *double.failure.lock().unwrap() = Some(RefreshError::Unavailable);
    *double.availability.lock().unwrap() = availability;
}

fn recover(double: &Double) {
    *double.failure.lock().unwrap() = None;
    *double.availability.lock().unwrap() = Availability::Up;
}

/// A service whose circuit three failures have opened.
async fn opened() -> (Arc<TokenService>, Arc<Double>) {
    let (service, double) = service(Double::new(HOUR));
    fail(&double, Availability::Down);
    for number in 0..3 {
        let open = signed_in(&format!("first-{number}"));
        assert_eq!(call(&service, &open, NOW).await, Err(Error::ProviderUnavailable));
    }
    (service, double)
}

/// Contract 22.1.
#[tokio::test(start_paused = true)]
async fn sixteen_token_requests_run_and_45_requests_wait_for_one() {
    let (service, double) = service(holding());
    let waiting = calls(&service, 45);
    settle().await;
    assert_eq!(double.requests(), 16);
    let (further, begun) = (signed_in("further"), Instant::now());
    assert_eq!(call(&service, &further, NOW).await, Err(Error::ProviderUnavailable));
    assert_eq!(service.refresh_all(&further, NOW).await, Err(Error::ProviderUnavailable));
    assert_eq!(begun.elapsed(), Duration::ZERO, "at once");
    double.held.as_ref().unwrap().add_permits(1);
    settle().await;
    assert_eq!(double.requests(), 17, "the next one runs");
    double.held.as_ref().unwrap().add_permits(1_000);
    for (number, call) in waiting.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), new(&format!("a.user-{number}.one.0")));
    }
    assert_eq!(call(&service, &further, NOW).await, new("a.further.one.0"));
}

/// Contract 22.1, 7.16.
#[tokio::test(start_paused = true)]
async fn while_many_wait_a_call_with_a_valid_token_loses_nothing() {
    let (service, double) = service(holding());
    let _waiting = calls(&service, 45);
    settle().await;
    let (requests, begun) = (double.requests(), Instant::now());
    let valid = Ok(("a.first".to_owned(), false));
    assert_eq!(call(&service, &with_token("fresh", HOUR), NOW).await, valid);
    assert_eq!(call(&service, &with_token("due", 100), NOW + 99).await, valid, "not fresh any more");
    assert_eq!((begun.elapsed(), double.requests()), (Duration::ZERO, requests));
}

/// Contract 7.18: only a request that was sent has to run to its end.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_no_caller_waits_for_is_not_sent() {
    let (service, double) = service(holding());
    let _running = calls(&service, 16);
    settle().await;
    let open = signed_in("leaving");
    let left = tokio::time::timeout(SECOND, call(&service, &open, NOW)).await;
    assert!(left.is_err());
    settle().await;
    assert_eq!(service.limits.may_wait().map(|permit| permit.num_permits()), Some(1));
    double.held.as_ref().unwrap().add_permits(16);
    settle().await;
    assert_eq!(double.requests(), 16);
    assert!(service.in_flight.is_empty());
    double.held.as_ref().unwrap().add_permits(1);
    assert_eq!(call(&service, &open, NOW).await, new("a.leaving.one.0"));
}

/// Contract 22.1: a session that ends while its refresh waits for a turn gets no token.
#[tokio::test(start_paused = true)]
async fn a_session_that_ends_before_its_turn_gets_no_token() {
    let (service, double) = service(holding());
    let _running = calls(&service, 16);
    settle().await;
    let open = signed_in("ada");
    let ends = async {
        settle().await;
        service.sessions.end(&open.key(), NOW).await;
        double.held.as_ref().unwrap().add_permits(16);
    };
    let (called, ()) = tokio::join!(call(&service, &open, NOW), ends);
    assert_eq!((called, double.requests()), (Err(Error::SessionExpired), 16));
}

/// Contract 22.2.
#[tokio::test(start_paused = true)]
async fn after_three_failures_refreshes_fail_at_once_and_one_probes() {
    let (service, double) = opened().await;
    let open = signed_in("ada");
    for left in [2, 1] {
        assert_eq!(call(&service, &open, NOW).await, Err(Error::ProviderUnavailableFor(left)));
        assert_eq!(service.refresh_all(&open, NOW).await, Err(Error::ProviderUnavailableFor(left)));
        tokio::time::advance(SECOND).await;
    }
    assert_eq!(double.requests(), 3);
    assert_eq!(call(&service, &open, NOW).await, Err(Error::ProviderUnavailable), "the probe");
    assert_eq!(call(&service, &open, NOW).await, Err(Error::ProviderUnavailableFor(4)));
    assert_eq!(double.requests(), 4);
    recover(&double);
    *double.delay.lock().unwrap() = SECOND;
    tokio::time::advance(4 * SECOND).await;
    let other = async {
        settle().await;
        call(&service, &signed_in("grace"), NOW).await
    };
    // A call that needs the same token joins the probe.
    let (probe, joined, other) = tokio::join!(call(&service, &open, NOW), call(&service, &open, NOW), other);
    assert_eq!((probe, joined), (new("a.ada.one.0"), new("a.ada.one.0")));
    assert_eq!(other, Err(Error::ProviderUnavailableFor(1)), "one probes at a time");
    assert_eq!(call(&service, &signed_in("grace"), NOW).await, new("a.grace.one.0"));
}

/// Contract 22.2, 7.16.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_costs_a_valid_token_nothing_and_a_session_that_cannot_refresh_still_expires() {
    let (service, double) = opened().await;
    let begun = Instant::now();
    let open = with_token("ada", 100);
    assert_eq!(call(&service, &open, NOW + 99).await, Ok(("a.first".to_owned(), false)));
    let mut alone = signed_in("grace");
    alone.session.refresh_token = None;
    assert_eq!(call(&service, &alone, NOW).await, Err(Error::SessionExpired));
    let refresh_token = open.session.refresh_token.as_deref().cloned().unwrap();
    service.sessions.reject_refresh_token(&open, refresh_token, NOW);
    assert_eq!(service.refresh_all(&open, NOW).await, Err(Error::SessionExpired));
    assert_eq!((begun.elapsed(), double.requests()), (Duration::ZERO, 3));
}

/// Contract 22.2: neither the turn nor the lock of a session, which requests that were sent before may hold for 10 s.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_rejects_at_once_while_earlier_requests_run() {
    let (service, double) = service(holding());
    let running = signed_in("ada");
    let first = {
        let (service, open) = (Arc::clone(&service), running.clone());
        tokio::spawn(async move { call(&service, &open, NOW).await })
    };
    settle().await;
    let _others = calls(&service, 15);
    settle().await;
    service.limits.attempt().unwrap().end(Availability::RateLimited(30 * SECOND));
    let begun = Instant::now();
    for (open, api) in [(signed_in("grace"), "one"), (running, "two")] {
        let rejected = tokio::time::timeout(SECOND, service.for_call(&open, api, NOW)).await;
        assert!(matches!(rejected, Ok(Err(Error::ProviderUnavailableFor(30)))), "{api}: {rejected:?}");
    }
    assert_eq!((begun.elapsed(), double.requests()), (Duration::ZERO, 16));
    assert!(!first.is_finished());
}

/// Contract 22.2.
#[tokio::test(start_paused = true)]
async fn a_429_pauses_refreshes_for_its_retry_after_and_a_sign_in_resumes_them() {
    let (service, double) = service(Double::new(HOUR));
    fail(&double, Availability::RateLimited(30 * SECOND));
    let open = signed_in("ada");
    assert_eq!(call(&service, &open, NOW).await, Err(Error::ProviderUnavailable));
    assert_eq!(call(&service, &open, NOW).await, Err(Error::ProviderUnavailableFor(30)));
    tokio::time::advance(Duration::from_millis(28_500)).await;
    assert_eq!(call(&service, &open, NOW).await, Err(Error::ProviderUnavailableFor(2)), "rounded up");
    recover(&double);
    service.on_sign_in();
    assert_eq!(call(&service, &open, NOW).await, new("a.ada.one.0"));
    assert_eq!(double.requests(), 2);
}

/// Contract 22.2: a rejection shows that the token endpoint responds.
#[tokio::test(start_paused = true)]
async fn rejections_do_not_open_the_circuit() {
    let (service, double) = service(Double::new(HOUR));
    *double.failure.lock().unwrap() = Some(RefreshError::ConsentRequired);
    for number in 0..5 {
        let outcome = call(&service, &signed_in(&number.to_string()), NOW).await;
        assert_eq!(outcome, Err(Error::ConsentRequired("/auth/login?api=one".into())));
    }
    assert_eq!(double.requests(), 5);
}

/// Contract 22.2: one line when the circuit opens and one when it closes, however many refreshes fail.
#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_once() {
    let capture = crate::telemetry::captured_log::Capture::start();
    let (service, double) = opened().await;
    let count = |event: &str| capture.text().matches(event).count();
    for _ in 0..3 {
        tokio::time::advance(16 * SECOND).await;
        for _ in 0..3 {
            let _ = call(&service, &signed_in("ada"), NOW).await;
        }
    }
    assert_eq!((count("token_endpoint_paused"), count("token_endpoint_resumed")), (1, 0));
    recover(&double);
    tokio::time::advance(16 * SECOND).await;
    for user in ["ada", "grace"] {
        assert!(call(&service, &signed_in(user), NOW).await.is_ok());
    }
    assert_eq!((count("token_endpoint_paused"), count("token_endpoint_resumed")), (1, 1));
}

/// Contract 7.28.
#[tokio::test]
async fn a_token_that_waits_to_be_stored_is_not_used_again_once_its_api_has_rejected_it() {
    let (service, _) = service(Double::new(HOUR));
    let (open, newer) = (signed_in("ada"), with_token("ada", HOUR));
    let token = newer.session.access_tokens[0].clone();
    let new = NewTokens { refresh_token: Some("r".into()), access_token: Some(token.clone()), id_token: None };
    service.writer.keep(&open, new);
    let tokens = || {
        let mut session = open.session.clone();
        service.add_unsaved(&mut session);
        (session.access_tokens.len(), session.refresh_token.unwrap().expose_secret().to_owned())
    };
    assert_eq!(tokens(), (1, "r".to_owned()));
    service.sessions.reject_access_token(&open, token, NOW);
    assert_eq!(tokens(), (0, "r".to_owned()), "the new refresh token is the only one that counts");
}
