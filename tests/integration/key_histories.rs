//! Random histories of a key ring with several instances: no user is signed out, whatever each instance has read so far
//! (contract 6.29).
//!
//! Any two clocks differ by at most the skew, and a list is at most a refresh old. Sessions are never
//! re-sealed, which is the hardest case, and no instance may need a lookup of an unknown key id.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::keyring::rotate::rotate;
use cloakroom::keyring::states::Parameters;
use cloakroom::keyring::{
    KeyForOpening, KeyId, KeySource, NewVersion, Ring, SourceFuture, SourceUnavailable, Value, Version,
};
use cloakroom::secret::{ExposeSecret, Key32, SecretString};
use proptest::prelude::*;

const REFRESH: u64 = 300;
const SKEW: u64 = 300;
const PROPAGATION: u64 = 2 * REFRESH + SKEW;
const LIFE: u64 = 2 * PROPAGATION;
const SESSION_MAX: u64 = 3_600;
/// Unix time at the start.
const BEGIN: u64 = 1_800_000_000;
/// Maximum number of seconds between two events.
const STEP: u64 = 60;

const PARAMETERS: Parameters = Parameters {
    propagation: Duration::from_secs(PROPAGATION),
    life: Duration::from_secs(LIFE),
    retention: Duration::from_secs(SESSION_MAX + SKEW),
};

/// Versions in memory. Every call yields to other tasks first.
#[derive(Debug, Default)]
struct Memory {
    versions: Mutex<Vec<(Version, SecretString)>>,
    clock: AtomicU64,
    lists: AtomicU32,
    /// Calls that still succeed before the caller crashes.
    left: AtomicU32,
}

impl Memory {
    /// One call, unless the caller crashes. The rings call too, but never during a crash.
    async fn call<T>(&self, work: impl FnOnce(&mut Vec<(Version, SecretString)>) -> T) -> Result<T, SourceUnavailable> {
        tokio::task::yield_now().await;
        let left = |left: u32| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .map_err(|_| SourceUnavailable("crash".into()))?;
        Ok(work(&mut self.versions.lock().unwrap()))
    }
}

fn attributes(versions: &[(Version, SecretString)]) -> Vec<Version> {
    versions.iter().map(|(version, _)| version.clone()).collect()
}

impl KeySource for Memory {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        Box::pin(self.call(|versions| attributes(versions)))
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        Box::pin(self.call(move |versions| {
            let (version, text) = versions.iter().find(|(version, _)| version.id == id).unwrap();
            assert!(version.enabled, "Key Vault would reject this");
            Value { text: text.clone(), content_type: None }
        }))
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        Box::pin(self.call(|versions| attributes(versions)))
    }

    fn publish<'a>(&'a self, new: &'a NewVersion, _now: u64) -> SourceFuture<'a, String> {
        Box::pin(self.call(|versions| {
            let id = format!("{:032x}", rand::random::<u128>());
            let version = Version {
                kid: KeyId::from_version(&id).unwrap(),
                id: id.clone(),
                enabled: true,
                created: self.clock.load(Ordering::Relaxed),
                not_before: None,
                expires: Some(new.expires),
                activate_now: new.activate_now,
            };
            versions.push((version, new.text.expose_secret().into()));
            id
        }))
    }

    fn disable<'a>(&'a self, id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(self.call(move |versions| {
            versions.iter_mut().find(|(version, _)| version.id == id).unwrap().0.enabled = false;
        }))
    }
}

/// An event.
#[derive(Debug, Clone)]
struct Moment {
    /// Seconds since the previous event.
    after: u64,
    /// The instance that signs a user in.
    sign_in: usize,
    rotation: Rotation,
}

#[derive(Debug, Clone)]
enum Rotation {
    None,
    /// Rotation by a clock that is so far ahead of the slowest.
    One(u64),
    /// Two concurrent rotations.
    Two(u64, u64),
    /// A rotation that crashes after so many calls to the source.
    Crash(u64, u32),
    /// A rotation by a clock that went back by so much.
    GoneBack(u64),
}

#[derive(Debug, Clone)]
struct History {
    /// How far each instance's clock is ahead of the slowest, and how often it refreshes.
    instances: Vec<(u64, u64)>,
    vault_ahead: u64,
    moments: Vec<Moment>,
}

/// Histories with frequent rotations, and with late ones.
fn histories() -> impl Strategy<Value = History> {
    prop_oneof![Just(12), Just(300)].prop_flat_map(histories_with)
}

fn histories_with(quiet: u32) -> impl Strategy<Value = History> {
    let rotation = prop_oneof![
        quiet => Just(Rotation::None),
        3 => (0..=SKEW).prop_map(Rotation::One),
        2 => (0..=SKEW, 0..=SKEW).prop_map(|(one, other)| Rotation::Two(one, other)),
        2 => (0..=SKEW, 0..12_u32).prop_map(|(ahead, calls)| Rotation::Crash(ahead, calls)),
        1 => (SKEW..BEGIN).prop_map(Rotation::GoneBack),
    ];
    let moment = (1..=STEP, 0..4_usize, rotation);
    let moment = moment.prop_map(|(after, sign_in, rotation)| Moment { after, sign_in, rotation });
    let instance = (0..=SKEW, STEP..=REFRESH - STEP);
    let all = (proptest::collection::vec(instance, 4), 0..=SKEW, proptest::collection::vec(moment, 300..600));
    all.prop_map(|(instances, vault_ahead, moments)| History { instances, vault_ahead, moments })
}

struct Instance {
    ring: Arc<Ring>,
    ahead: u64,
    every: u64,
    refreshed: u64,
}

/// A session: the key that sealed it, and its expiry by the reader's clock.
type Session = (KeyId, u64);

async fn live_through(history: &History) {
    let source = Arc::new(Memory::default());
    source.clock.store(BEGIN + history.vault_ahead, Ordering::Relaxed);
    source.left.store(u32::MAX, Ordering::Relaxed);
    let mut time = BEGIN;
    rotate(source.as_ref(), &Key32::random(), time, &PARAMETERS).await.unwrap();
    let mut instances = Vec::new();
    for (ahead, every) in history.instances.iter().copied() {
        let ring = Ring::new(Arc::clone(&source) as Arc<dyn KeySource>, PARAMETERS, Duration::from_secs(every));
        ring.refresh(time + ahead).await;
        instances.push(Instance { ring, ahead, every, refreshed: time });
    }
    let mut refreshes = instances.len();
    let mut sessions: Vec<Session> = Vec::new();
    for moment in &history.moments {
        time += moment.after;
        tokio::time::advance(Duration::from_secs(moment.after)).await;
        source.clock.store(time + history.vault_ahead, Ordering::Relaxed);
        rotate_at(&source, time, &moment.rotation).await;
        for instance in instances.iter_mut().filter(|instance| time >= instance.refreshed + instance.every) {
            instance.ring.refresh(time + instance.ahead).await;
            instance.refreshed = time;
            refreshes += 1;
        }
        let here = &instances[moment.sign_in];
        let key = here.ring.sealing_key(time + here.ahead).await.expect("one key seals whenever a version is usable");
        sessions.push((key.id, time + here.ahead + SESSION_MAX));
        sessions.retain(|(_, over)| time < *over);
        for instance in &instances {
            let now = time + instance.ahead;
            for (kid, _) in sessions.iter().filter(|(_, over)| now < *over) {
                let opening = instance.ring.key_for_opening(*kid, now).await;
                assert!(matches!(&opening, KeyForOpening::Found(key) if key.id == *kid), "{kid} at {now}: {opening:?}");
            }
        }
    }
    let lists = usize::try_from(source.lists.load(Ordering::Relaxed)).unwrap();
    assert_eq!(lists, refreshes, "an instance did not know a key id");
    assert_no_more_than_one_surplus(&source.versions.lock().unwrap());
}

async fn rotate_at(source: &Memory, time: u64, rotation: &Rotation) {
    let count = || source.versions.lock().unwrap().iter().filter(|(version, _)| version.enabled).count();
    match rotation {
        Rotation::None => {}
        Rotation::One(ahead) => {
            rotate(source, &Key32::random(), time + ahead, &PARAMETERS).await.unwrap();
            let again = rotate(source, &Key32::random(), time + ahead, &PARAMETERS).await.unwrap();
            assert_eq!((again.published, again.disabled), (None, Vec::new()), "a repeated rotation does nothing");
        }
        Rotation::Two(one, other) => {
            let keys = [Key32::random(), Key32::random()];
            let both = tokio::join!(
                rotate(source, &keys[0], time + one, &PARAMETERS),
                rotate(source, &keys[1], time + other, &PARAMETERS)
            );
            both.0.unwrap();
            both.1.unwrap();
        }
        Rotation::Crash(ahead, calls) => {
            source.left.store(*calls, Ordering::Relaxed);
            let _crashed = rotate(source, &Key32::random(), time + ahead, &PARAMETERS).await;
            source.left.store(u32::MAX, Ordering::Relaxed);
        }
        Rotation::GoneBack(by) => {
            let before = count();
            let outcome = rotate(source, &Key32::random(), time - by, &PARAMETERS).await.unwrap();
            assert_eq!((outcome.published, count()), (None, before), "a clock that went back causes no rotation");
        }
    }
}

/// Of three consecutive versions, the third is created at the earliest when the first is due to be replaced.
fn assert_no_more_than_one_surplus(versions: &[(Version, SecretString)]) {
    let mut created: Vec<u64> = versions.iter().map(|(version, _)| version.created).collect();
    created.sort_unstable();
    for three in created.windows(3) {
        assert!(three[2] - three[0] >= LIFE - PROPAGATION - SKEW, "{created:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_session_opens_on_every_instance_until_it_expires(history in histories()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live_through(&history));
    }
}
