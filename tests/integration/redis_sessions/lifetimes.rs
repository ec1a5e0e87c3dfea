//! How long sessions last, by the times in their records (contract 15.6).

use std::time::Duration;

use cloakroom::clock::now;
use cloakroom::error::Error;
use devkit::provider::Options;

use super::{keys, redis};
use crate::lab::{Lab, ORIGIN};

/// The record is still in Redis then, whose own expiry is later by `CLOCK_SKEW` and by its own clock.
#[tokio::test]
async fn the_times_in_the_record_end_a_session() {
    let redis = redis();
    let options = Options { access_token_life: Duration::from_secs(86_400), ..Options::new(ORIGIN) };
    let lab = Lab::new(options, &[("STORE", &redis.url())]).await;
    let start = now();
    let mut ada = lab.signed_in(start).await;
    assert!(lab.is_signed_in(&ada, start + 1_799).await);
    assert!(!lab.is_signed_in(&ada, start + 1_800).await, "idle");
    let mut active = start;
    while active + 1_700 < start + 28_800 {
        active += 1_700;
        assert!(!lab.call(&mut ada, active).await.unwrap(), "the cookie stays as it is");
        lab.app.flush().await;
    }
    assert!(active + 1_800 > start + 28_800);
    assert!(lab.is_signed_in(&ada, start + 28_799).await);
    assert_eq!(lab.call(&mut ada, start + 28_800).await, Err(Error::SessionExpired), "absolute");
    assert_eq!(keys(&redis, "s").len(), 1);
}

/// Contract 7.9: the rule for activity is that of sessions in cookies.
#[tokio::test]
async fn activity_is_written_once_a_minute_and_never_by_looking_at_the_session() {
    let redis = redis();
    let lab = Lab::new(Options::new(ORIGIN), &[("STORE", &redis.url())]).await;
    let start = now();
    let mut ada = lab.signed_in(start).await;
    let metadata = async || {
        lab.app.flush().await;
        redis.command(&["HGET", &super::only_record(&redis), "m"]).unwrap()
    };
    let before = metadata().await;
    lab.call(&mut ada, start + 59).await.unwrap();
    lab.session(&ada, start + 61).await;
    assert_eq!(metadata().await, before);
    lab.call(&mut ada, start + 60).await.unwrap();
    assert_ne!(metadata().await, before);
}
