//! `cloakroom keys rotate`: concurrent, interrupted, and with a clock that went back (contract 6.25, 6.26).

use std::time::Duration;

use devkit::vault::{Fault, Operation};

use crate::cloud::{ADA, SECRET, sealed_by};
use crate::key_vault::{Setup, kid};

const DAY: u64 = 86_400;

/// Exit code: the key source is unavailable.
const UNAVAILABLE: Option<i32> = Some(69);

#[tokio::test(flavor = "multi_thread")]
async fn two_commands_at_once_make_at_most_one_surplus_version() {
    let setup = Setup::empty().await;
    setup.vault.fault(&[Operation::List], Fault::Delay(Duration::from_millis(300)));
    let outcomes = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| setup.cloud.keys(&["rotate"])));
        both.map(|one| one.join().unwrap())
    });
    assert!(outcomes.iter().all(|(code, _)| *code == Some(0)), "{outcomes:?}");
    assert_eq!(setup.vault.versions(SECRET).len(), 2, "both saw an empty ring");
    setup.vault.clear_faults();
    assert_eq!(setup.cloud.rotate(), None, "and no more");
    let states = setup.cloud.states();
    assert_eq!(states.values().filter(|state| *state == "active").count(), 1, "{states:?}");
    let app = setup.app().await;
    assert_eq!(states[&sealed_by(&app.signed_in(ADA).await)], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_response_was_lost_is_found_by_the_next_rotation() {
    let setup = Setup::empty().await;
    setup.vault.fault_next(&[Operation::Set], 1, Fault::LoseResponse);
    assert_eq!(setup.cloud.keys(&["rotate"]).0, UNAVAILABLE);
    assert_eq!(setup.vault.versions(SECRET).len(), 1, "it was published once");
    assert_eq!(setup.cloud.rotate(), None);
    assert_eq!(setup.vault.versions(SECRET).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rotation_is_finished_by_the_next() {
    let setup = Setup::empty().await;
    let past = setup.vault.now() - DAY;
    setup.add_with(1, 9 * DAY, |version| version.expires = Some(past));
    setup.add_with(2, 5 * DAY, |version| version.expires = Some(past));
    // A version past its expiry that may still open sessions: its successor is younger than the retention.
    setup.add_with(3, 60, |version| version.expires = Some(past));
    setup.vault.fault(&[Operation::Update], Fault::HangUp);
    assert_eq!(setup.cloud.keys(&["rotate"]).0, UNAVAILABLE);
    assert_eq!(setup.vault.versions(SECRET).len(), 4, "the new version was published");
    assert!(setup.vault.versions(SECRET).iter().all(|version| version.enabled));
    setup.vault.clear_faults();
    let (code, text) = setup.cloud.keys(&["rotate", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let states = setup.cloud.states();
    let state = |byte: u8| states[&kid(byte)].as_str();
    assert_eq!((state(1), state(2)), ("revoked", "retiring"), "{states:?}");
    assert_ne!(state(3), "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_went_back_causes_no_rotation() {
    let setup = Setup::empty().await;
    // Published by this clock when it was a day ahead.
    setup.vault.advance(Duration::from_secs(DAY));
    setup.add_with(1, 9 * DAY, |version| version.expires = Some(version.created + 30 * DAY));
    setup.add(2, 0);
    assert_eq!(setup.cloud.keys(&["rotate"]), (Some(0), "nothing to do\n".to_owned()));
    let app = setup.app().await;
    assert_eq!(sealed_by(&app.signed_in(ADA).await), kid(1));
}
