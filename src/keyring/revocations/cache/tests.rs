use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt;

use super::*;
use crate::keyring::{NewVersion, SourceFuture, Value, Version};

const NOW: UnixSeconds = 1_000;
const REFRESH: Duration = Duration::from_secs(300);

/// A source whose list a test sets; an error is an outage.
#[derive(Debug)]
struct Scripted {
    list: Mutex<Result<Option<&'static str>, &'static str>>,
    delay: Mutex<Duration>,
    reads: AtomicU32,
}

impl KeySource for Scripted {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn get<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, Value> {
        Box::pin(async { Err(SourceUnavailable("no keys".to_owned())) })
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

    fn revocations(&self) -> SourceFuture<'_, Option<String>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let (list, delay) = (*self.list.lock().unwrap(), *self.delay.lock().unwrap());
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            list.map(|list| list.map(str::to_owned)).map_err(|problem| SourceUnavailable(problem.to_owned()))
        })
    }
}

impl Scripted {
    fn set(&self, list: Result<Option<&'static str>, &'static str>) {
        *self.list.lock().unwrap() = list;
    }
}

fn cache(list: Result<Option<&'static str>, &'static str>) -> (Arc<Scripted>, Arc<RevocationCache>) {
    let (list, delay, reads) = (Mutex::new(list), Mutex::default(), AtomicU32::default());
    let source = Arc::new(Scripted { list, delay, reads });
    let cache = RevocationCache::new(Arc::clone(&source) as Arc<dyn KeySource>, 300, REFRESH);
    (source, cache)
}

async fn is_revoked(cache: &RevocationCache, signed_in_at: UnixSeconds) -> Result<bool, NotRead> {
    cache.is_revoked(signed_in_at, None, "ada").await
}

/// Contract 16.7.
#[tokio::test(start_paused = true)]
async fn no_session_is_decided_before_the_list_was_read_or_found_missing() {
    for (list, expected) in [
        (Ok(None), Ok(false)),
        (Ok(Some("{}")), Ok(false)),
        (Ok(Some(r#"{"all": 900}"#)), Ok(true)),
        (Ok(Some("garbage")), Err(NotRead)),
        (Ok(Some(r#"{"all": 1301}"#)), Err(NotRead)),
        (Err("down"), Err(NotRead)),
    ] {
        let (_, cache) = cache(list);
        assert_eq!(is_revoked(&cache, 900).await, Err(NotRead), "{list:?}: not read yet");
        assert!(!cache.was_read() && !cache.is_down());
        cache.refresh(NOW).await;
        assert_eq!(is_revoked(&cache, 900).await, expected, "{list:?}");
        assert_eq!((cache.was_read(), cache.is_down()), (expected.is_ok(), expected.is_err()), "{list:?}");
    }
}

/// Contract 16.7: later failures keep the last known list.
#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_known_list_and_a_missing_one_empties_it() {
    let (source, cache) = cache(Ok(Some(r#"{"all": 900}"#)));
    cache.refresh(NOW).await;
    for failure in [Err("down"), Ok(Some("garbage")), Ok(Some(r#"{"all": 1301}"#))] {
        source.set(failure);
        cache.refresh(NOW).await;
        assert_eq!(is_revoked(&cache, 900).await, Ok(true), "{failure:?}");
        assert!(cache.was_read() && cache.is_down(), "{failure:?}");
    }
    source.set(Ok(None));
    cache.refresh(NOW).await;
    assert_eq!(is_revoked(&cache, 900).await, Ok(false));
    assert!(!cache.is_down());
}

#[tokio::test(start_paused = true)]
async fn a_session_waits_for_the_first_reading_in_progress_and_never_later() {
    let (source, cache) = cache(Ok(Some(r#"{"all": 900}"#)));
    *source.delay.lock().unwrap() = Duration::from_secs(1);
    let (_, is_revoked_then) = tokio::join!(cache.refresh(NOW), is_revoked(&cache, 900));
    assert_eq!(is_revoked_then, Ok(true));
    let reading = cache.refresh(NOW);
    tokio::pin!(reading);
    assert!(reading.as_mut().now_or_never().is_none());
    assert_eq!(is_revoked(&cache, 901).now_or_never(), Some(Ok(false)));
    reading.await;
}

#[tokio::test(start_paused = true)]
async fn the_list_is_read_as_often_as_the_ring_and_soon_after_a_failure() {
    let (source, cache) = cache(Ok(None));
    let fresh = Arc::clone(&cache);
    let task = tokio::spawn(async move { fresh.keep_fresh(&|| NOW).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(source.reads.load(Ordering::Relaxed), 1);
    source.set(Ok(Some(r#"{"all": 900}"#)));
    // Contract 16.6: within `KEY_REFRESH`, however long the request takes.
    tokio::time::sleep(REFRESH - Duration::from_secs(6)).await;
    assert_eq!(is_revoked(&cache, 900).await, Ok(true));
    source.set(Err("down"));
    tokio::time::sleep(REFRESH).await;
    assert!(cache.is_down());
    source.set(Ok(None));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!cache.is_down());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_change_is_announced_once() {
    let (source, cache) = cache(Ok(None));
    cache.refresh(NOW).await;
    let mut changes = cache.changes();
    cache.refresh(NOW).await;
    assert!(!changes.has_changed().unwrap(), "nothing is new");
    source.set(Ok(Some(r#"{"all": 900}"#)));
    cache.refresh(NOW).await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    cache.refresh(NOW).await;
    assert!(!changes.has_changed().unwrap());
}

/// The clock of whoever ends sessions may be ahead by `CLOCK_SKEW`; who signs in again is not affected.
#[tokio::test]
async fn a_session_that_begins_after_the_list_was_read_is_later_than_what_it_ends() {
    let (source, cache) = cache(Ok(Some(r#"{"all": 1200, "users": {"ada": 1250}}"#)));
    assert_eq!(cache.known().sign_in_time(NOW, None, "ada"), NOW, "nothing is known yet");
    cache.refresh(NOW).await;
    for (oid, sub, expected) in [(None, "grace", 1_201), (None, "ada", 1_251), (Some("ada"), "x", 1_251)] {
        let signed_in_at = cache.known().sign_in_time(NOW, oid, sub);
        assert_eq!(signed_in_at, expected, "{oid:?} {sub}");
        assert_eq!(cache.look_up(signed_in_at, oid, sub), Some(false));
    }
    source.set(Ok(Some(r#"{"all": 900}"#)));
    cache.refresh(NOW).await;
    assert_eq!(cache.known().sign_in_time(NOW, None, "grace"), NOW);
}

/// While the source hangs, requests that waited for each attempt would hold their places.
#[tokio::test(start_paused = true)]
async fn after_the_first_failure_no_request_waits_for_another_attempt() {
    let (source, cache) = cache(Err("down"));
    cache.refresh(NOW).await;
    *source.delay.lock().unwrap() = Duration::from_secs(3_600);
    let started = tokio::time::Instant::now();
    let asked = async {
        for _ in 0..100 {
            assert_eq!(cache.is_revoked(NOW, None, "ada").await, Err(NotRead));
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    };
    tokio::join!(biased; cache.refresh(NOW), asked);
}

/// Contract 20.4.
#[tokio::test(start_paused = true)]
async fn a_list_that_ends_more_is_logged_and_no_other() {
    let capture = crate::telemetry::captured_log::Capture::start();
    let (source, cache) = cache(Ok(Some(r#"{"users":{"ada":500}}"#)));
    let mut logged = Vec::new();
    for list in [
        Some(r#"{"users":{"ada":500}}"#),
        Some(r#"{"users":{"ada":500,"grace":1}}"#),
        Some(r#"{"users":{"ada":600}}"#),
        Some(r#"{"users":{"ada":500}}"#),
        None,
        Some(r#"{"all":400}"#),
        Some(r#"{"all":400,"users":{"ada":300}}"#),
        Some(r#"{"all":400,"users":{"ada":401}}"#),
    ] {
        cache.refresh(NOW).await;
        source.set(Ok(list));
        cache.refresh(NOW).await;
        logged.push(capture.text().matches("sessions_revoked").count());
    }
    assert_eq!(logged, [0, 1, 2, 2, 2, 3, 3, 4]);
}
