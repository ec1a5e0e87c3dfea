use super::*;
use crate::keyring::file::FileRing;

pub(super) const DAY: u64 = 86_400;
pub(super) const PARAMETERS: Parameters = Parameters {
    propagation: Duration::from_secs(900),
    life: Duration::from_secs(30 * DAY),
    retention: Duration::from_secs(29_100),
};

fn ring() -> (tempfile::TempDir, FileRing) {
    let folder = tempfile::tempdir().unwrap();
    let ring = FileRing::new(folder.path().join("keys.json"));
    (folder, ring)
}

async fn step(ring: &FileRing, now: UnixSeconds) -> Outcome {
    rotate(ring, &Key32::random(), now, &PARAMETERS).await.unwrap()
}

async fn states_at(ring: &FileRing, now: UnixSeconds) -> Vec<State> {
    list(ring, now, &PARAMETERS).await.unwrap().into_iter().map(|found| found.state).collect()
}

#[tokio::test]
async fn the_first_step_creates_the_ring_and_the_next_does_nothing() {
    let (_folder, ring) = ring();
    assert!(step(&ring, 1_000).await.published.is_some());
    assert_eq!(step(&ring, 1_000).await, Outcome::default());
    assert_eq!(states_at(&ring, 1_000).await, [State::Active]);
}

#[tokio::test]
async fn a_key_is_published_active_retiring_retired_and_disabled_in_time() {
    let (_folder, ring) = ring();
    let start = 1_000_000;
    step(&ring, start).await;
    let due = start + 30 * DAY - 900;
    assert_eq!(step(&ring, due - 1).await, Outcome::default());
    assert!(step(&ring, due).await.published.is_some());
    assert_eq!(states_at(&ring, due).await, [State::Active, State::Published]);
    assert_eq!(states_at(&ring, due + 900).await, [State::Retiring, State::Active]);
    let expires = start + 900 + 30 * DAY + 29_100;
    assert_eq!(states_at(&ring, expires).await, [State::Retired, State::Active]);
    assert_eq!(step(&ring, expires - 1).await, Outcome::default(), "retired, but not expired");
    assert_eq!(step(&ring, expires).await.disabled.len(), 1);
    assert_eq!(step(&ring, expires).await, Outcome::default());
    assert_eq!(states_at(&ring, expires).await, [State::Revoked, State::Active]);
}

#[tokio::test]
async fn concurrent_steps_publish_at_most_one_surplus_version() {
    let (_folder, ring) = ring();
    let (first, second) = tokio::join!(step(&ring, 1_000), step(&ring, 1_000));
    assert!(first.published.is_some() || second.published.is_some());
    let count = ring.list().await.unwrap().len();
    assert!((1..=2).contains(&count), "{count}");
    assert_eq!(step(&ring, 1_001).await, Outcome::default());
    let sealing = states_at(&ring, 1_001).await.iter().filter(|state| **state == State::Active).count();
    assert_eq!(sealing, 1);
}

#[tokio::test]
async fn a_clock_that_went_back_publishes_nothing() {
    let (_folder, ring) = ring();
    step(&ring, 10 * DAY).await;
    assert_eq!(step(&ring, DAY).await, Outcome::default());
}

#[tokio::test]
async fn a_newest_version_that_is_not_a_key_does_not_delay_the_next() {
    let (_folder, ring) = ring();
    let garbage = NewVersion { text: "garbage".into(), expires: u64::MAX, activate_now: false };
    ring.publish(&garbage, 1_000).await.unwrap();
    assert!(step(&ring, 1_000).await.published.is_some());
    assert_eq!(states_at(&ring, 1_000).await.iter().filter(|state| **state == State::Invalid).count(), 1);
}

#[tokio::test]
async fn an_expired_active_key_is_never_disabled() {
    let (_folder, ring) = ring();
    let new = NewVersion { text: "A".repeat(43).into(), expires: 5, activate_now: false };
    ring.publish(&new, 1_000).await.unwrap();
    let outcome = step(&ring, 20 * DAY).await;
    assert_eq!(outcome, Outcome::default(), "expired, but still active");
    assert_eq!(states_at(&ring, 20 * DAY).await, [State::Active]);
}

#[tokio::test(start_paused = true)]
async fn revoking_the_active_key_publishes_a_successor_and_waits_until_it_is_active() {
    let (_folder, ring) = ring();
    let started = tokio::time::Instant::now();
    let clock = move || 1_000_000 + started.elapsed().as_secs();
    let first = step(&ring, 1_000).await.published.unwrap();
    let revocation = revoke(&ring, first, &Key32::random(), &clock, &PARAMETERS).await.unwrap();
    let versions = list(&ring, clock(), &PARAMETERS).await.unwrap();
    let state = |kid| versions.iter().find(|found| found.version.kid == kid).unwrap().state;
    assert_eq!(state(first), State::Revoked);
    assert_eq!(state(revocation.successor.unwrap()), State::Active);
    assert!((30..=60).contains(&started.elapsed().as_secs()), "waits until the successor is active");
}

#[tokio::test]
async fn revoking_another_key_only_disables_it() {
    let (_folder, ring) = ring();
    let first = step(&ring, 1_000).await.published.unwrap();
    let later = 1_000 + 30 * DAY;
    step(&ring, later).await;
    let revocation = revoke(&ring, first, &Key32::random(), &|| later + 900, &PARAMETERS).await.unwrap();
    assert_eq!(revocation, Revocation { successor: None });
    assert_eq!(states_at(&ring, later + 900).await, [State::Revoked, State::Active]);
    assert_eq!(
        revoke(&ring, KeyId([9; 8]), &Key32::random(), &|| later, &PARAMETERS).await,
        Err(RevokeError::UnknownKey)
    );
}
