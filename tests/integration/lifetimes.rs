//! Every time limit, a second before and a second after, and clocks that go back: the gateway as a library, whose
//! entry points take the time.

use std::time::Duration;

use cloakroom::clock;
use cloakroom::error::Error;
use devkit::provider::Options;

use crate::lab::{Jar, Lab, ORIGIN};

const HOUR: u64 = 3_600;

/// A provider whose access tokens live for a day, unless a test sets less.
fn long_lived() -> Options {
    Options { access_token_life: Duration::from_secs(24 * HOUR), ..Options::new(ORIGIN) }
}

async fn usual() -> Lab {
    Lab::new(long_lived(), &[]).await
}

#[tokio::test]
async fn a_session_expires_after_its_idle_time() {
    let lab = usual().await;
    let started = clock::now();
    let mut jar = lab.signed_in(started).await;
    let session = lab.session(&jar, started + 1_799).await;
    assert_eq!(
        (session["authenticated"].as_bool(), session["session"]["idle_expires_in"].as_u64()),
        (Some(true), Some(1))
    );
    assert!(!lab.is_signed_in(&jar, started + 1_800).await);
    assert_eq!(lab.call(&mut jar, started + 1_800).await, Err(Error::SessionExpired));
    assert!(lab.is_signed_in(&jar, started + 1_799).await, "`GET /auth/session` is no activity");
    assert_eq!(lab.call(&mut jar, started + 1_799).await, Ok(true));
    assert!(lab.is_signed_in(&jar, started + 1_799 + 1_799).await);
    assert!(!lab.is_signed_in(&jar, started + 1_799 + 1_800).await);
}

#[tokio::test]
async fn a_session_expires_at_its_absolute_limit_despite_activity() {
    let lab = usual().await;
    let started = clock::now();
    let mut jar = lab.signed_in(started).await;
    for step in 1..=19 {
        assert_eq!(lab.call(&mut jar, started + step * 1_500).await, Ok(true), "{step}");
    }
    assert_eq!(lab.call(&mut jar, started + 8 * HOUR - 1).await, Ok(true));
    let session = lab.session(&jar, started + 8 * HOUR - 1).await;
    assert_eq!(session["session"]["expires_in"], 1);
    assert_eq!(session["session"]["idle_expires_in"], 1, "the idle time is capped by the absolute limit");
    assert!(!lab.is_signed_in(&jar, started + 8 * HOUR).await);
    assert_eq!(lab.call(&mut jar, started + 8 * HOUR).await, Err(Error::SessionExpired));
}

#[tokio::test]
async fn activity_is_written_when_the_written_one_is_old_enough() {
    // Bytes of an access token, cookies with the companion, idle time, and the write interval: a minute or a tenth, for
    // several cookies five minutes or a quarter. The largest token does not fit, which must not cause a write with each
    // call.
    for (size, cookies, idle, pause) in [
        (1_600, 2, "30m", 60),
        (1_600, 2, "100s", 10),
        (4_500, 3, "30m", 300),
        (4_500, 3, "400s", 100),
        (12_000, 2, "30m", 60),
    ] {
        let options = Options { access_token_size: size, ..long_lived() };
        let lab = Lab::new(options, &[("SESSION_IDLE", idle)]).await;
        let started = clock::now();
        let mut jar = lab.signed_in(started).await;
        assert_eq!(jar.len(), cookies, "{size}");
        assert_eq!(lab.call(&mut jar, started + pause - 1).await, Ok(false), "{size} {idle}");
        assert_eq!(lab.call(&mut jar, started + pause).await, Ok(true), "{size} {idle}");
        assert_eq!(lab.call(&mut jar, started + 2 * pause - 1).await, Ok(false), "{size} {idle}");
        assert_eq!(lab.call(&mut jar, started + 2 * pause).await, Ok(true), "{size} {idle}");
    }
}

#[tokio::test]
async fn values_sealed_by_a_clock_ahead_are_valid_within_the_skew() {
    let lab = usual().await;
    let now = clock::now();
    for (ahead, counts) in [(299, true), (300, true), (301, false)] {
        let mut jar = lab.signed_in(now + ahead).await;
        assert_eq!(lab.is_signed_in(&jar, now).await, counts, "{ahead}");
        let mut login = Jar::new();
        let away = lab.begin(&mut login, "", now + ahead).await.unwrap();
        let state = parameter(&away, "state");
        let back = lab.come_back(&mut login, &format!("error=access_denied&state={state}"), now).await;
        assert_eq!(back.ends_with("access_denied"), counts, "{ahead}: {back}");
        if counts {
            assert_eq!(lab.call(&mut jar, now).await, Ok(false), "nothing to write");
        }
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_signs_no_user_out_and_extends_no_session() {
    let lab = usual().await;
    let started = clock::now();
    let mut jar = lab.signed_in(started).await;
    assert_eq!(lab.call(&mut jar, started + 100).await, Ok(true));
    for back in [1, 100, 299, 300] {
        assert_eq!(lab.call(&mut jar, started + 100 - back).await, Ok(false), "{back}");
    }
    assert!(!lab.is_signed_in(&jar, started + 100 - 301).await, "more than the clock skew");
    assert!(lab.is_signed_in(&jar, started + 100 + 1_799).await, "the last written activity counts");
    assert!(!lab.is_signed_in(&jar, started + 100 + 1_800).await);
    // A write by the clock that went back keeps the newest activity and the absolute expiry.
    lab.refresh(&mut jar, started - 100).await.unwrap();
    assert!(lab.is_signed_in(&jar, started + 100 + 1_799).await);
    assert!(!lab.is_signed_in(&jar, started + 100 + 1_800).await);
    assert_eq!(lab.session(&jar, started).await["session"]["expires_in"], 8 * HOUR);
}

fn parameter(url: &str, name: &str) -> String {
    let url = url::Url::parse(ORIGIN).unwrap().join(url).unwrap();
    let found = url.query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned());
    found.unwrap_or_else(|| panic!("no {name} in {url}"))
}

#[tokio::test]
async fn a_sign_in_may_take_ten_minutes() {
    let lab = usual().await;
    let started = clock::now();
    for (after, expected) in [(599, "/?auth_error=access_denied"), (600, "/?auth_error=login_expired")] {
        let mut jar = Jar::new();
        let away = lab.begin(&mut jar, "", started).await.unwrap();
        let params = format!("error=access_denied&state={}", parameter(&away, "state"));
        assert_eq!(lab.come_back(&mut jar, &params, started + after).await, expected);
    }
}

#[tokio::test]
async fn a_challenge_is_valid_for_ten_minutes() {
    let lab = usual().await;
    let started = clock::now();
    let mut jar = lab.signed_in(started).await;
    lab.graph.require_context(Some("c1"));
    let Err(Error::StepUpRequired(url)) = lab.call(&mut jar, started).await else { panic!("no claims challenge") };
    let query = url.split_once('?').unwrap().1;
    let away = lab.begin(&mut jar.clone(), query, started + 599).await.unwrap();
    assert!(parameter(&away, "claims").contains("c1"));
    assert!(matches!(lab.begin(&mut jar, query, started + 600).await, Err(Error::BadRequest(_))));
}

#[tokio::test]
async fn a_logout_token_expires_with_its_session() {
    let lab = usual().await;
    let started = clock::now();
    let jar = lab.signed_in(started).await;
    let link = lab.session(&jar, started).await["links"]["logout"].as_str().unwrap().to_owned();
    let query = link.split_once('?').unwrap().1;
    assert_eq!(lab.logout_page(&jar, query, started + 1_800).await, (200, String::new()), "the confirmation page");
    let (status, location) = lab.logout_page(&jar, query, started + 1_799).await;
    assert_eq!(status, 302);
    // The state that the provider returns is valid for ten minutes.
    let state = format!("state={}", parameter(&location, "state"));
    assert_eq!(lab.logout_page(&jar, &state, started + 1_799 + 599).await, (302, "/".to_owned()));
    assert_eq!(lab.logout_page(&jar, &state, started + 1_799 + 600).await.0, 200);
    // A logout token from the first minute stays valid as long as its session, and no longer.
    let mut jar = lab.signed_in(started).await;
    let link = lab.session(&jar, started).await["links"]["logout"].as_str().unwrap().to_owned();
    let query = link.split_once('?').unwrap().1;
    for step in 1..=19 {
        lab.call(&mut jar, started + step * 1_500).await.unwrap();
    }
    assert_eq!(lab.logout_page(&jar, query, started + 8 * HOUR).await.0, 200);
    assert_eq!(lab.logout_page(&jar, query, started + 8 * HOUR - 1).await.0, 302);
}

#[tokio::test]
async fn a_token_is_refreshed_at_the_skew_or_at_half_its_life() {
    // Lifetime of the access token, the skew, and the last second in which it is used.
    for (life, skew, last) in [(86_400, "60s", 86_340), (86_400, "1h", 82_800), (100, "60s", 50), (7, "60s", 4)] {
        let options = Options { access_token_life: Duration::from_secs(life), ..long_lived() };
        let changes = [("REFRESH_SKEW", skew), ("SESSION_MAX", "48h"), ("SESSION_IDLE", "48h")];
        let lab = Lab::new(options, &changes).await;
        let started = clock::now();
        let mut jar = lab.signed_in(started).await;
        let before = lab.provider.token_requests();
        lab.call(&mut jar, started + last).await.unwrap();
        assert_eq!(lab.provider.token_requests(), before, "{life} {skew}");
        lab.call(&mut jar, started + last + 1).await.unwrap();
        assert_eq!(lab.provider.token_requests(), before + 1, "{life} {skew}");
    }
}

#[tokio::test]
async fn an_old_cookie_gets_the_new_token_for_a_minute() {
    let lab = Lab::new(long_lived(), &[("SESSION_MAX", "72h"), ("SESSION_IDLE", "72h")]).await;
    // Signed in so long ago that the access token has expired.
    let jar = lab.signed_in(clock::now() - 25 * HOUR).await;
    let before = clock::now();
    assert_eq!(lab.call(&mut jar.clone(), before).await, Ok(true));
    let after = clock::now();
    let token_requests = lab.provider.token_requests();
    assert_eq!(lab.call(&mut jar.clone(), before + 59).await, Ok(true), "the old cookie is written again");
    assert_eq!(lab.provider.token_requests(), token_requests);
    assert_eq!(lab.call(&mut jar.clone(), after + 60).await, Ok(true));
    assert_eq!(lab.provider.token_requests(), token_requests + 1);
}
