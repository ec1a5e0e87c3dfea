use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::UnixSeconds;
use crate::keyring::rotate::tests::{DAY, PARAMETERS};
use crate::keyring::{KeySource, NewVersion, SourceFuture, SourceUnavailable, Value, Version};

/// A key source in memory, which records when it is asked for a rotation.
#[derive(Debug)]
struct InMemory {
    versions: Mutex<Vec<Version>>,
    rotations: Mutex<Vec<Instant>>,
    is_writable: bool,
}

impl InMemory {
    fn new(is_writable: bool) -> Arc<Self> {
        Arc::new(Self { versions: Mutex::default(), rotations: Mutex::default(), is_writable })
    }

    fn count(&self) -> usize {
        self.versions.lock().unwrap().len()
    }
}

impl KeySource for InMemory {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        Box::pin(async { Ok(self.versions.lock().unwrap().clone()) })
    }

    fn get<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, Value> {
        Box::pin(async { Ok(Value { text: "A".repeat(43).into(), content_type: None }) })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.rotations.lock().unwrap().push(Instant::now());
        self.list()
    }

    fn publish<'a>(&'a self, new: &'a NewVersion, now: UnixSeconds) -> SourceFuture<'a, String> {
        Box::pin(async move {
            if !self.is_writable {
                return Err(SourceUnavailable("read only".to_owned()));
            }
            let id = format!("{:032x}", rand::random::<u128>());
            self.versions.lock().unwrap().push(Version {
                id: id.clone(),
                kid: crate::keyring::KeyId::from_version(&id).unwrap(),
                enabled: true,
                created: now,
                not_before: None,
                expires: Some(new.expires),
                activate_now: new.activate_now,
            });
            Ok(id)
        })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Starts an instance over a source. Its clock follows tokio's, and can be put forward.
fn start(source: &Arc<InMemory>) -> (Arc<Ring>, Arc<AtomicU64>) {
    let ring = Ring::new(Arc::<InMemory>::clone(source), PARAMETERS, Duration::from_secs(300));
    let (running, started, offset) = (Arc::clone(&ring), Instant::now(), Arc::new(AtomicU64::new(1_000_000)));
    let of_clock = Arc::clone(&offset);
    tokio::spawn(async move {
        let clock = move || of_clock.load(Ordering::Relaxed) + started.elapsed().as_secs();
        tokio::join!(rotate_hourly(&running, &clock), running.keep_fresh(&clock));
    });
    (ring, offset)
}

/// Contract 17.3.
#[tokio::test(start_paused = true)]
async fn an_empty_ring_gets_its_first_key_at_the_start_and_the_next_when_it_is_due() {
    let source = InMemory::new(true);
    let (ring, clock) = start(&source);
    sleep(Duration::from_secs(3)).await;
    assert!(source.count() == 1 && ring.was_ready());
    sleep(3 * INTERVAL).await;
    assert_eq!(source.count(), 1, "the key is young");
    clock.fetch_add(30 * DAY, Ordering::Relaxed);
    sleep(INTERVAL).await;
    assert_eq!(source.count(), 2, "within an hour");
    sleep(3 * INTERVAL).await;
    assert_eq!(source.count(), 2);
}

/// Contract 17.3, 6.26.
#[tokio::test(start_paused = true)]
async fn instances_that_start_together_rotate_once_an_hour_each_at_its_own_time() {
    let source = InMemory::new(true);
    start(&source);
    sleep(EMPTY_PAUSE).await;
    let begun = Instant::now();
    source.rotations.lock().unwrap().clear();
    for _ in 0..49 {
        start(&source);
    }
    sleep(INTERVAL - Duration::from_secs(1)).await;
    let minutes: std::collections::BTreeSet<u64> = {
        let rotations = source.rotations.lock().unwrap();
        // Whoever publishes lists again.
        assert!((45..=52).contains(&rotations.len()), "once each: {}", rotations.len());
        rotations.iter().map(|at| at.duration_since(begun).as_secs() / 60).collect()
    };
    assert!(minutes.len() > 15 && minutes.first() < Some(&20) && minutes.last() > Some(&40), "{minutes:?}");
    assert_eq!(source.count(), 1);
}

/// The identity may get its permission later than the first instance starts.
#[tokio::test(start_paused = true)]
async fn an_empty_ring_that_cannot_be_written_to_is_tried_again_each_minute() {
    let source = InMemory::new(false);
    let (ring, _) = start(&source);
    sleep(9 * EMPTY_PAUSE + Duration::from_secs(30)).await;
    let rotations = source.rotations.lock().unwrap().len();
    // Each looks at the ring before it rotates, and again before it publishes; the hourly one may be among them.
    assert!((27..=36).contains(&rotations), "{rotations}");
    assert!(!ring.was_ready());
}
