//! Refreshes of tokens that have expired: the gateway as a library, with the time passed in.

use std::time::{Duration, Instant};

use cloakroom::clock;
use cloakroom::error::Error;
use devkit::provider::{Endpoint, Fault, OAuthError, Options};
use futures_util::future::join_all;
use http::header::SET_COOKIE;

use crate::app::PATIENCE;
use crate::lab::{ADA, Jar, Lab, ORIGIN, json};

const GRACE: &str = "grace.hopper@contoso.example";
/// Lifetime of access tokens in seconds; they are due for refresh when half of it is left.
const LIFE: u64 = 60;

fn options() -> Options {
    Options { access_token_life: Duration::from_secs(LIFE), ..Options::new(ORIGIN) }
}

async fn with_one_time_tokens() -> Lab {
    Lab::new(Options { one_time_refresh: true, revocation: true, ..options() }, &[]).await
}

fn refreshes(lab: &Lab) -> usize {
    let requests = lab.provider.requests();
    requests.iter().filter(|request| request.form_field("grant_type").as_deref() == Some("refresh_token")).count()
}

/// As many calls with the same cookies as may wait for a token at a time (contract 22.1).
async fn many(lab: &Lab, jar: &Jar, now: u64) -> Vec<Result<bool, Error>> {
    join_all((0..45).map(|_| {
        let mut tab = jar.clone();
        async move { lab.call(&mut tab, now).await }
    }))
    .await
}

#[tokio::test]
async fn many_calls_with_an_expired_token_cause_one_refresh() {
    let lab = with_one_time_tokens().await;
    let now = clock::now();
    let old_tab = lab.signed_in(now).await;
    assert_eq!(many(&lab, &old_tab, now + LIFE).await, vec![Ok(true); 45], "each response writes the new tokens");
    assert_eq!(refreshes(&lab), 1);
    // The same old cookie from a second tab: the provider would revoke everything if its token were used twice.
    assert_eq!(many(&lab, &old_tab, now + LIFE + 1).await, vec![Ok(true); 45]);
    assert_eq!(refreshes(&lab), 1);
    let mut jar = old_tab.clone();
    assert_eq!(lab.refresh(&mut jar, now + LIFE + 2).await, Ok(()));
    assert_eq!(lab.call(&mut jar, now + 2 * LIFE + 3).await, Ok(true), "still signed in");
    assert_eq!(refreshes(&lab), 3);
}

#[tokio::test]
async fn two_instances_refresh_in_parallel_with_reusable_refresh_tokens() {
    let mut here = Lab::new(options(), &[]).await;
    let now = clock::now();
    let jar = here.signed_in(now).await;
    let other = here.replace_instance().await;
    let mut jars = Vec::new();
    for instance in [std::sync::Arc::clone(&here.app), other] {
        here.app = instance;
        let mut tab = jar.clone();
        assert_eq!(many(&here, &jar, now + LIFE).await, vec![Ok(true); 45]);
        assert_eq!(here.call(&mut tab, now + LIFE).await, Ok(true));
        jars.push(tab);
    }
    assert_eq!(refreshes(&here), 2, "one per instance");
    // The last response decides the cookie; each of them works on both instances.
    for mut tab in jars {
        assert!(here.call(&mut tab, now + LIFE).await.is_ok());
        here.replace_instance().await;
        assert!(here.call(&mut tab, now + LIFE).await.is_ok());
    }
}

#[tokio::test]
async fn during_a_provider_outage_a_valid_token_is_used_then_503_until_it_recovers() {
    let mut lab = Lab::new(options(), &[]).await;
    let now = clock::now();
    let mut jar = lab.signed_in(now).await;
    let signed_in = jar.clone();
    lab.provider.fault(&[Endpoint::Token], Fault::Status { status: 503, retry_after: Some(7) });
    assert_eq!(lab.call(&mut jar, now + LIFE - 1).await, Ok(false), "due for refresh, but valid");
    assert_eq!(lab.refresh(&mut jar, now + LIFE - 1).await, Err(Error::ProviderUnavailable));
    // Which of them open the circuit (contract 22.2): no whole response, or a status of 500 or above.
    for (fault, opens) in [
        (Fault::status(500), true),
        (Fault::HangUp, true),
        (Fault::Truncated, true),
        (Fault::Html, false),
        (Fault::Garbage, false),
        (Fault::status(400), false),
    ] {
        let case = format!("{fault:?}");
        lab.replace_instance().await;
        lab.provider.fault(&[Endpoint::Token], fault);
        for _ in 0..3 {
            assert_eq!(lab.call(&mut jar, now + LIFE).await, Err(Error::ProviderUnavailable), "{case}");
        }
        let fourth = lab.call(&mut jar, now + LIFE).await;
        assert_eq!(matches!(fourth, Err(Error::ProviderUnavailableFor(_))), opens, "{case}: {fourth:?}");
    }
    assert_eq!(jar, signed_in, "an outage signs no user out");
    lab.provider.clear_faults();
    assert_eq!(lab.call(&mut jar, now + LIFE).await, Ok(true));
}

#[tokio::test]
async fn an_invalid_refresh_token_ends_the_session_and_only_refresh_deletes_the_cookie() {
    let lab = Lab::new(options(), &[]).await;
    let now = clock::now();
    let mut jar = lab.signed_in(now).await;
    let signed_in = jar.clone();
    lab.provider.revoke_grants();
    for _ in 0..3 {
        assert_eq!(lab.call(&mut jar, now + LIFE).await, Err(Error::SessionExpired));
    }
    assert_eq!(jar, signed_in, "another instance may have set a newer cookie");
    assert_eq!(refreshes(&lab), 1, "the provider's rejection is cached");
    let session = lab.session(&jar, now + LIFE).await;
    assert_eq!(session["apis"]["graph"]["status"], "expired");
    assert_eq!(session["apis"]["graph"]["login_url"], "/auth/login?api=graph");
    assert_eq!(lab.refresh(&mut jar, now + LIFE).await, Err(Error::SessionGone), "its response deletes the cookie");
    assert_eq!(refreshes(&lab), 1);
}

#[tokio::test]
async fn refresh_errors_of_the_provider_are_distinguished() {
    let lab = Lab::new(options(), &[]).await;
    let now = clock::now();
    let mut jar = lab.signed_in(now).await;
    let error = |error: &'static str, suberror: &'static str| OAuthError {
        suberror: Some(suberror).filter(|text| !text.is_empty()),
        ..OAuthError::new(error)
    };
    let consent = Error::ConsentRequired("/auth/login?api=graph".into());
    let step_up = Error::StepUpRequired("/auth/login?api=graph".into());
    let invalid_client = OAuthError { status: 401, ..error("invalid_client", "") };
    for (body, expected, status) in [
        (error("invalid_grant", "consent_required"), &consent, "needs_consent"),
        (error("interaction_required", ""), &step_up, "needs_step_up"),
        (error("invalid_grant", "basic_action"), &step_up, "needs_step_up"),
        (error("temporarily_unavailable", ""), &Error::ProviderUnavailable, "needs_step_up"),
        (invalid_client, &Error::ProviderUnavailable, "needs_step_up"),
    ] {
        let case = format!("{body:?}");
        lab.provider.fault_next(&[Endpoint::Token], 1, Fault::Error(body));
        assert_eq!(lab.call(&mut jar, now + LIFE).await.as_ref(), Err(expected), "{case}");
        let session = lab.session(&jar, now + LIFE).await;
        assert_eq!(session["authenticated"], true, "{case}");
        assert_eq!(session["apis"]["graph"]["status"], status, "{case}");
    }
    assert_eq!(lab.call(&mut jar, now + LIFE).await, Ok(true), "none of them ended the session");
    assert_eq!(lab.session(&jar, now + LIFE).await["apis"]["graph"]["status"], "ok");
}

#[tokio::test]
async fn a_sign_out_wins_over_a_refresh_in_flight() {
    let lab = with_one_time_tokens().await;
    let now = clock::now();
    let mut jar = lab.signed_in(now).await;
    let (mut slow, mut left_behind) = (jar.clone(), jar.clone());
    lab.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(500)));
    let signs_out = async {
        while refreshes(&lab) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab.log_out(&mut jar, now + LIFE).await;
    };
    let (called, ()) = tokio::join!(lab.call(&mut slow, now + LIFE), signs_out);
    assert_eq!(called, Err(Error::SessionExpired));
    assert_eq!(slow, left_behind, "a slow response restores no session");
    assert_eq!(lab.call(&mut left_behind, now + LIFE).await, Err(Error::SessionExpired));
    let revocations = || lab.provider.requests().iter().filter(|request| request.path().ends_with("/revoke")).count();
    let started = Instant::now();
    while revocations() < 2 {
        assert!(started.elapsed() < PATIENCE, "a refresh token received after the sign-out is revoked too");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_slow_response_does_not_restore_a_replaced_session() {
    let lab = Lab::new(Options { access_token_life: Duration::from_secs(3_600), ..options() }, &[]).await;
    let now = clock::now();
    let mut jar = lab.signed_in(now).await;
    let mut slow = jar.clone();
    let calls = lab.graph.count();
    let signs_in = async {
        while lab.graph.count() == calls {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab.sign_in(&mut jar, GRACE, now + 100).await;
    };
    let query = Some("first=700&total=700&chunks=1");
    let (called, ()) = tokio::join!(lab.get(&mut slow, "/graph/slow", query, now + 100), signs_in);
    assert!(!called.unwrap().headers().contains_key(SET_COOKIE), "its activity would be due");
    assert_eq!(lab.session(&jar, now + 100).await["user"]["preferred_username"], GRACE);
}

#[tokio::test]
async fn users_never_get_each_others_tokens() {
    let lab = &with_one_time_tokens().await;
    let now = clock::now();
    let mut users = Vec::new();
    for user in [ADA, GRACE] {
        let mut jar = Jar::new();
        lab.sign_in(&mut jar, user, now).await;
        users.push((user, jar));
    }
    for round in 1..=2 {
        let mut calls = Vec::new();
        for (user, jar) in &users {
            for number in 0..22 {
                let mut tab = jar.clone();
                calls.push(async move {
                    tokio::time::sleep(Duration::from_millis((number * 7 + round * 3) % 40)).await;
                    let reply = lab.get(&mut tab, "/graph/me", None, now + round * (LIFE + 1)).await.unwrap();
                    (*user, json(reply).await["userPrincipalName"].as_str().unwrap_or_default().to_owned(), tab)
                });
            }
        }
        for (user, seen, tab) in join_all(calls).await {
            assert_eq!(user, seen);
            users.iter_mut().find(|(of, _)| *of == user).unwrap().1 = tab;
        }
    }
    assert_eq!(refreshes(lab), 4, "one per user and round");
}

#[tokio::test]
async fn a_slow_rejection_deletes_no_cookie_of_a_new_sign_in() {
    let lab = Lab::new(options(), &[]).await;
    let now = clock::now();
    let mut jar = lab.signed_in(now).await;
    let mut slow = jar.clone();
    lab.provider.revoke_grants();
    lab.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(500)));
    let signs_in = async {
        while refreshes(&lab) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab.sign_in(&mut jar, GRACE, now).await;
    };
    let (refreshed, ()) = tokio::join!(lab.refresh(&mut slow, now), signs_in);
    assert_eq!(refreshed, Err(Error::SessionExpired), "its response keeps the cookie");
    assert_eq!(lab.refresh(&mut jar, now).await, Ok(()));
}

#[tokio::test]
async fn new_tokens_are_written_even_when_the_api_fails() {
    let mut lab = with_one_time_tokens().await;
    let now = clock::now();
    let mut jar = lab.signed_in(now).await;
    let before = jar.clone();
    let failed = lab.get(&mut jar, "/graph/hang-up", None, now + LIFE).await;
    assert_eq!(failed.err(), Some(Error::UpstreamUnavailable));
    assert_ne!(jar, before, "the provider rejects the old refresh token");
    lab.replace_instance().await;
    assert_eq!(lab.call(&mut jar, now + 2 * LIFE).await, Ok(true), "another instance can use it");
}
