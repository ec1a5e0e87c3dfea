mod outage;
mod recovery;
mod unusual_rings;

use std::collections::HashMap;
use std::sync::Mutex;

use super::super::{NewVersion, SourceFuture, Value, Version};
use super::*;

/// A key source whose versions, faults and delays a test sets.
#[derive(Debug, Default)]
struct Scripted {
    versions: Mutex<Vec<Version>>,
    /// Values that are not valid keys without a content type, by ID.
    values: Mutex<HashMap<String, (String, Option<String>)>>,
    down: Mutex<bool>,
    /// A version whose value cannot be fetched, by its number.
    failing: Mutex<Option<u8>>,
    /// Delay of every response.
    delay: Mutex<Duration>,
    lists: Mutex<u32>,
    gets: Mutex<u32>,
}

impl KeySource for Scripted {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        *self.lists.lock().unwrap() += 1;
        self.respond(self.versions.lock().unwrap().clone())
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        *self.gets.lock().unwrap() += 1;
        if self.failing.lock().unwrap().is_some_and(|number| id == format!("{number:02x}").repeat(16)) {
            return Box::pin(async { Err(SourceUnavailable("scripted".to_owned())) });
        }
        let (text, content_type) =
            self.values.lock().unwrap().get(id).cloned().unwrap_or_else(|| ("A".repeat(43), None));
        self.respond(Value { text: text.into(), content_type })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, _now: UnixSeconds) -> SourceFuture<'a, String> {
        Box::pin(async { Err(SourceUnavailable("read only".to_owned())) })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(async { Err(SourceUnavailable("read only".to_owned())) })
    }
}

impl Scripted {
    fn respond<T: Send + 'static>(&self, good: T) -> SourceFuture<'static, T> {
        let delay = *self.delay.lock().unwrap();
        let down = *self.down.lock().unwrap();
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            if down { Err(SourceUnavailable("scripted".to_owned())) } else { Ok(good) }
        })
    }

    fn set_value(&self, number: u8, text: &str, content_type: Option<&str>) {
        let value = (text.to_owned(), content_type.map(str::to_owned));
        self.values.lock().unwrap().insert(format!("{number:02x}").repeat(16), value);
    }

    fn edit(&self, number: u8, edit: impl FnOnce(&mut Version)) {
        let id = format!("{number:02x}").repeat(16);
        edit(self.versions.lock().unwrap().iter_mut().find(|version| version.id == id).unwrap());
    }

    fn add(&self, number: u8, created: UnixSeconds) -> KeyId {
        let id = format!("{number:02x}").repeat(16);
        let kid = KeyId::from_version(&id).unwrap();
        let version = Version { id, kid, enabled: true, created, not_before: None, expires: None, activate_now: false };
        self.versions.lock().unwrap().push(version);
        kid
    }

    /// Lists and gets so far.
    fn requests(&self) -> (u32, u32) {
        (*self.lists.lock().unwrap(), *self.gets.lock().unwrap())
    }
}

fn ring() -> (Arc<Scripted>, Arc<Ring>) {
    let source = Arc::new(Scripted::default());
    let parameters = Parameters {
        propagation: Duration::from_secs(900),
        life: Duration::from_secs(30 * 86_400),
        retention: Duration::from_secs(30_000),
    };
    let ring = Ring::new(Arc::clone(&source) as Arc<dyn KeySource>, parameters, Duration::from_secs(300));
    (source, ring)
}

/// Contract 16.6: whatever the jitter, a request that takes its deadline ends within the interval.
#[test]
fn the_pause_leaves_time_for_a_slow_source() {
    for _ in 0..200 {
        for seconds in [10, 30, 300] {
            let refresh = Duration::from_secs(seconds);
            assert!(pause(refresh) + SOURCE_DEADLINE <= refresh, "{seconds}");
            assert!(pause(refresh) >= refresh.mul_f64(0.4));
        }
        assert!(pause(Duration::from_secs(1)) >= Duration::from_millis(400), "never without a pause");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_needs_one_list_and_one_get() {
    let (source, ring) = ring();
    let old = source.add(1, 1_000);
    let new = source.add(2, 2_000);
    assert!(!ring.was_ready());
    ring.refresh(10_000).await;
    assert!(ring.was_ready());
    assert_eq!(ring.sealing_key(10_000).await.unwrap().id, new);
    assert_eq!(source.requests(), (1, 1));
    assert!(matches!(ring.key_for_opening(old, 10_000).await, KeyForOpening::Found(key) if key.id == old));
    assert!(matches!(ring.key_for_opening(old, 10_000).await, KeyForOpening::Found(_)));
    assert_eq!(source.requests(), (1, 2), "the other key is fetched on first use, and once");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_causes_at_most_one_list_in_15_seconds_and_never_a_get() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    for number in 10..60 {
        assert!(matches!(ring.key_for_opening(KeyId([number; 8]), 10_000).await, KeyForOpening::Unknown));
    }
    assert_eq!(source.requests(), (2, 1));
    tokio::time::advance(Duration::from_secs(16)).await;
    let late = source.add(3, 9_000);
    assert!(
        matches!(ring.key_for_opening(late, 10_000).await, KeyForOpening::Found(_)),
        "a key published meanwhile is found"
    );
    assert_eq!(source.requests(), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_is_unavailable_while_no_list_is_allowed_and_none_is_young() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    *source.down.lock().unwrap() = true;
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), 10_000).await, KeyForOpening::Unavailable));
    *source.down.lock().unwrap() = false;
    assert!(
        matches!(ring.key_for_opening(KeyId([9; 8]), 10_000).await, KeyForOpening::Unavailable),
        "until the next good list"
    );
    ring.refresh(10_000).await;
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), 10_000).await, KeyForOpening::Unknown));
}

#[tokio::test(start_paused = true)]
async fn an_empty_ring_and_an_unavailable_source_have_no_keys() {
    let (source, ring) = ring();
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), 10_000).await, KeyForOpening::Unavailable), "an empty list");
    assert!(ring.sealing_key(10_000).await.is_err());
    *source.down.lock().unwrap() = true;
    ring.refresh(10_000).await;
    assert!(ring.source_is_down());
    assert!(ring.sealing_key(10_000).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_outage_changes_nothing_for_keys_in_memory() {
    let (source, ring) = ring();
    let kid = source.add(1, 1_000);
    ring.refresh(10_000).await;
    *source.down.lock().unwrap() = true;
    ring.refresh(900_000_000).await;
    assert_eq!(ring.sealing_key(900_000_000).await.unwrap().id, kid);
    assert!(matches!(ring.key_for_opening(kid, 900_000_000).await, KeyForOpening::Found(_)));
    assert!(ring.was_ready());
}

#[tokio::test(start_paused = true)]
async fn when_the_newest_version_is_not_a_key_the_one_before_is_active() {
    let (source, ring) = ring();
    let good = source.add(1, 1_000);
    let bad = source.add(2, 2_000);
    source.set_value(2, "garbage", None);
    ring.refresh(10_000).await;
    assert_eq!(ring.sealing_key(10_000).await.unwrap().id, good);
    assert!(matches!(ring.key_for_opening(bad, 10_000).await, KeyForOpening::Closed));
}

#[tokio::test(start_paused = true)]
async fn of_two_versions_with_one_kid_the_later_is_ignored() {
    let (source, ring) = ring();
    let kid = source.add(1, 1_000);
    let duplicate = Version {
        id: format!("{}{}", "01".repeat(8), "ff".repeat(8)),
        created: 2_000,
        ..source.versions.lock().unwrap()[0].clone()
    };
    source.versions.lock().unwrap().push(duplicate);
    ring.refresh(10_000).await;
    assert_eq!(ring.sealing_key(10_000).await.unwrap().id, kid);
    assert_eq!(ring.read(|memory| memory.versions.len()), 1);
}
