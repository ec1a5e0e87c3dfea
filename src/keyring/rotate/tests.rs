use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::keyring::file::FileRing;
use crate::keyring::{SourceFuture, Value};

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

/// A key vault whose list a test sets.
#[derive(Debug, Default)]
struct Listed {
    versions: Mutex<Vec<Version>>,
    /// What another step publishes while this one gets a value.
    late: Mutex<Option<Version>>,
    published: AtomicUsize,
    disabled: Mutex<Vec<String>>,
}

impl KeySource for Listed {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list_or_empty()
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        let versions = self.versions.lock().unwrap().clone();
        Box::pin(async { Ok(versions) })
    }

    fn get<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, Value> {
        self.versions.lock().unwrap().extend(self.late.lock().unwrap().take());
        Box::pin(async { Ok(Value { text: "A".repeat(43).into(), content_type: None }) })
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, now: UnixSeconds) -> SourceFuture<'a, String> {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let version = version(&format!("{number:032x}"), now);
        let id = version.id.clone();
        self.versions.lock().unwrap().push(version);
        Box::pin(async { Ok(id) })
    }

    fn disable<'a>(&'a self, id: &'a str) -> SourceFuture<'a, ()> {
        self.disabled.lock().unwrap().push(id.to_owned());
        Box::pin(async { Ok(()) })
    }
}

fn version(id: &str, created: UnixSeconds) -> Version {
    let kid = KeyId::from_version(id).unwrap();
    let (not_before, expires) = (None, None);
    Version { id: id.to_owned(), kid, enabled: true, created, not_before, expires, activate_now: false }
}

/// Contract 6.26.
#[tokio::test]
async fn a_step_that_sees_the_key_of_another_before_it_publishes_does_nothing() {
    let source = Listed::default();
    let due = 1_000 + 30 * DAY;
    source.versions.lock().unwrap().push(version(&"a".repeat(32), 1_000));
    *source.late.lock().unwrap() = Some(version(&"b".repeat(32), due));
    let outcome = rotate(&source, &Key32::random(), due, &PARAMETERS).await.unwrap();
    assert_eq!((outcome, source.published.load(Ordering::Relaxed)), (Outcome::default(), 0));
}

/// Contract 5.4: gateways seal with the earlier one.
#[tokio::test]
async fn of_two_versions_with_one_kid_the_later_is_ignored_by_every_command() {
    let source = Listed::default();
    let [earlier, later] = ["0", "1"].map(|end| "a".repeat(16) + &end.repeat(16));
    source.versions.lock().unwrap().extend([version(&later, 2_000), version(&earlier, 1_000)]);
    let now = 1_000 + DAY;
    let listed = list(&source, now, &PARAMETERS).await.unwrap();
    assert_eq!(
        listed.iter().map(|of| (of.version.id.as_str(), of.state)).collect::<Vec<_>>(),
        [(earlier.as_str(), State::Active)]
    );
    // Waits until the successor is active, by a clock that jumps.
    let reads = AtomicU64::default();
    let clock = || now + 60 * reads.fetch_add(1, Ordering::Relaxed);
    let revoked = revoke(&source, listed[0].version.kid, &Key32::random(), &clock, &PARAMETERS).await.unwrap();
    assert!(revoked.successor.is_some(), "the key that seals has a successor before it is disabled");
    assert_eq!(*source.disabled.lock().unwrap(), [earlier]);
}
