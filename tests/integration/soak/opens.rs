//! Cookies sealed and opened by the library on instances with different clocks, refresh times and restarts. Time is
//! simulated, so that the days of many rotations pass in minutes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloakroom::keyring::states::Parameters;
use cloakroom::keyring::{
    KeyId, KeySource, NewVersion, Purpose, Ring, SourceFuture, SourceUnavailable, Value, Version, rotate::rotate,
};
use cloakroom::secret::{ExposeSecret, Key32, SecretString};
use cloakroom::session::sealer::Sealer;

use super::figure;

const INSTANCES: usize = 8;
const NAME: &str = "__Host-Http-cloakroom";
/// Defaults of the settings, in seconds.
const REFRESH: u64 = 300;
const PROPAGATION: u64 = 900;
const SKEW: u64 = 300;
const SESSION: u64 = 28_800;
const DAY: u64 = 86_400;
/// Seconds per step.
const STEP: u64 = 60;

#[tokio::test(start_paused = true)]
async fn cookies_open_on_every_instance() {
    assert!(run(1, 3 * 3_600, 2).await >= 1_500);
}

#[tokio::test(start_paused = true)]
#[ignore = "minutes: cargo dev soak opens"]
async fn long() {
    assert!(run(21, DAY, 35).await >= 1_000_000);
}

/// A vault's versions in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<(Version, SecretString)>>);

impl KeySource for Memory {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        let versions = self.0.lock().unwrap().iter().map(|(version, _)| version.clone()).collect();
        Box::pin(async move { Ok(versions) })
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        let versions = self.0.lock().unwrap();
        let found = versions.iter().find(|(version, _)| version.id == id && version.enabled);
        let value = found.map(|(_, text)| Value { text: text.clone(), content_type: None });
        Box::pin(async move { value.ok_or_else(|| SourceUnavailable("there is no such version".to_owned())) })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, new: &'a NewVersion, now: u64) -> SourceFuture<'a, String> {
        let id = format!("{:032x}", rand::random::<u128>());
        let kid = KeyId::from_version(&id).unwrap();
        let version = Version {
            id: id.clone(),
            kid,
            enabled: true,
            created: now,
            not_before: None,
            expires: Some(new.expires),
            activate_now: new.activate_now,
        };
        self.0.lock().unwrap().push((version, new.text.expose_secret().into()));
        Box::pin(async move { Ok(id) })
    }

    fn disable<'a>(&'a self, id: &'a str) -> SourceFuture<'a, ()> {
        self.0.lock().unwrap().iter_mut().filter(|(of, _)| of.id == id).for_each(|(of, _)| of.enabled = false);
        Box::pin(async { Ok(()) })
    }
}

const fn parameters(life: u64) -> Parameters {
    Parameters {
        propagation: Duration::from_secs(PROPAGATION),
        life: Duration::from_secs(life),
        retention: Duration::from_secs(SESSION + SKEW),
    }
}

/// A gateway's key ring with its own clock.
struct Instance {
    ring: Arc<Ring>,
    sealer: Sealer,
    /// Seconds that its clock is ahead of the slowest allowed clock.
    ahead: u64,
    refresh_at: u64,
}

impl Instance {
    fn new(source: &Arc<Memory>, life: u64) -> Self {
        let ring = Ring::new(Arc::clone(source) as Arc<dyn KeySource>, parameters(life), Duration::from_secs(REFRESH));
        let sealer = Sealer::new(Arc::clone(&ring), "a client".to_owned(), SKEW);
        Self { ring, sealer, ahead: rand::random_range(0..=SKEW), refresh_at: 0 }
    }

    async fn refresh(&mut self, time: u64) {
        if time >= self.refresh_at {
            self.ring.refresh(time + self.ahead).await;
            self.refresh_at = time + rand::random_range(REFRESH * 4 / 5..=REFRESH);
        }
    }

    /// A sealed value, and when it expires by this clock.
    async fn seal(&self, time: u64) -> (String, u64) {
        let now = time + self.ahead;
        let payload = [0x5A; 64];
        let sealed = self.sealer.seal(Purpose::Session, NAME, now + SESSION, now, &payload).await;
        (sealed.expect("a key seals"), now + SESSION)
    }

    async fn opens(&self, sealed: &str, now: u64) -> Result<(), String> {
        let opened = self.sealer.unseal(Purpose::Session, NAME, sealed.as_bytes(), now).await;
        opened.map(|_| ()).map_err(|closed| format!("{closed:?} at {now}"))
    }
}

/// Seals so many cookies per step for so many days, under keys of this life, and opens each on some instance before it
/// expires. Returns how many it opened.
async fn run(days: u64, life: u64, cookies_a_step: usize) -> u32 {
    let source = Arc::new(Memory::default());
    let mut instances: Vec<Instance> = (0..INSTANCES).map(|_| Instance::new(&source, life)).collect();
    let mut later: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let (mut opened, mut problems) = (0, Vec::new());
    let started = Instant::now();
    for time in (1_000 * DAY..(1_000 + days) * DAY).step_by(STEP as usize) {
        if time % 3_600 < STEP {
            // The timer fires on one of them, whatever its clock.
            rotate(source.as_ref(), &Key32::random(), time + any(&instances).ahead, &parameters(life)).await.unwrap();
        }
        if rand::random_ratio(1, 200) {
            instances[rand::random_range(0..INSTANCES)] = Instance::new(&source, life);
        }
        for instance in &mut instances {
            instance.refresh(time).await;
        }
        for _ in 0..cookies_a_step {
            // To be opened at once, in the last second, or in between.
            let steps = match rand::random_range(0..4) {
                0 => 0,
                1 => SESSION / STEP - 1,
                _ => rand::random_range(1..SESSION / STEP),
            };
            later.entry(time + steps * STEP).or_default().push(any(&instances).seal(time).await);
        }
        for (cookie, over_at) in later.remove(&time).unwrap_or_default() {
            let instance = any(&instances);
            let (now, last) = (time + instance.ahead, over_at - 1);
            // In the last second of its life, if that is close.
            let now = if last.abs_diff(now) <= SKEW { last } else { now.min(last) };
            problems.extend(instance.opens(&cookie, now).await.err());
            opened += 1;
        }
        tokio::time::advance(Duration::from_secs(STEP)).await;
    }
    let versions = source.0.lock().unwrap();
    let disabled = versions.iter().filter(|(version, _)| !version.enabled).count();
    figure("rotations", versions.len() - 1, "20");
    figure("versions disabled on time", disabled, "-");
    figure("cookies sealed and opened on eight instances", opened, "1000000");
    figure("of them per second", format!("{:.0}", f64::from(opened) / started.elapsed().as_secs_f64()), "-");
    figure("cookies that did not open", problems.len(), "0");
    assert!(problems.is_empty(), "{:?}", problems.iter().take(20).collect::<Vec<_>>());
    opened
}

fn any(instances: &[Instance]) -> &Instance {
    &instances[rand::random_range(0..instances.len())]
}
