//! Sources that are slow, hang or fail, and concurrent callers.

use futures_util::future::join_all;

use super::*;
use crate::clock;
use crate::keyring::static_key::StaticKey;
use crate::secret::Key32;

const SLOW: Duration = Duration::from_millis(50);
const HANGING: Duration = Duration::from_secs(3_600);

fn count(keys: &[KeyForOpening], matches: impl Fn(&KeyForOpening) -> bool) -> usize {
    keys.iter().filter(|key| matches(key)).count()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_concurrent_values_with_one_new_kid_cause_one_list_and_one_get() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    let late = source.add(2, 9_000);
    *source.delay.lock().unwrap() = SLOW;
    // Some arrive during the list; a list that was young before must not decide for them.
    let open = |number: u64| {
        let ring = &ring;
        async move {
            tokio::time::sleep(Duration::from_micros(100 * number)).await;
            ring.key_for_opening(late, 10_000).await
        }
    };
    let keys = join_all((0..1_000).map(open)).await;
    assert_eq!(count(&keys, |key| matches!(key, KeyForOpening::Found(_))), 1_000);
    assert_eq!(source.requests(), (2, 2), "one list and one get after those of the start");
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_to_a_hanging_source_share_one_failure() {
    let (source, ring) = ring();
    let old = source.add(1, 1_000);
    let new = source.add(2, 2_000);
    ring.refresh(10_000).await;
    *source.delay.lock().unwrap() = HANGING;
    let started = Instant::now();
    let keys = join_all((0..1_000).map(|_| ring.key_for_opening(old, 10_000))).await;
    assert_eq!(count(&keys, |key| matches!(key, KeyForOpening::Unavailable)), 1_000);
    assert!(started.elapsed() <= SOURCE_DEADLINE * 2, "one request for all, not one after the other: {started:?}");
    assert_eq!(source.requests(), (1, 3));
    assert!(matches!(ring.key_for_opening(new, 10_000).await, KeyForOpening::Found(_)), "keys in memory do not wait");
}

/// Whoever can present a well-formed cookie under a key that was not fetched would otherwise hold a place for 5 s.
#[tokio::test(start_paused = true)]
async fn while_a_source_hangs_one_value_at_a_time_waits_for_it() {
    let (source, ring) = ring();
    let old = source.add(1, 1_000);
    source.add(2, 2_000);
    ring.refresh(10_000).await;
    *source.delay.lock().unwrap() = HANGING;
    assert!(matches!(ring.key_for_opening(old, 10_000).await, KeyForOpening::Unavailable));
    tokio::time::advance(Duration::from_millis(1)).await;
    let probe = ring.key_for_opening(old, 10_000);
    let others = async {
        let started = Instant::now();
        let keys = join_all((0..100).map(|_| ring.key_for_opening(old, 10_000))).await;
        assert_eq!(count(&keys, |key| matches!(key, KeyForOpening::Unavailable)), 100);
        assert_eq!(started.elapsed(), Duration::ZERO);
        *source.delay.lock().unwrap() = Duration::ZERO;
    };
    tokio::join!(biased; probe, others);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(matches!(ring.key_for_opening(old, 10_000).await, KeyForOpening::Found(_)), "the next one may try");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hung_is_usable_again_within_five_seconds() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    let ring = Ring::new(Arc::clone(&ring.source), ring.parameters, Duration::from_secs(1));
    let refreshed = Arc::clone(&ring);
    let task = tokio::spawn(async move { refreshed.keep_fresh(&clock::now).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(ring.was_ready());
    *source.delay.lock().unwrap() = HANGING;
    // The second refresh starts after 0.8 to 1 s, and gives up 5 s later.
    for waited in [7, 8, 9, 10, 11, 12] {
        tokio::time::sleep(Duration::from_secs(waited)).await;
        assert!(ring.source_is_down());
        *source.delay.lock().unwrap() = Duration::ZERO;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!ring.source_is_down(), "after {waited} s");
        *source.delay.lock().unwrap() = HANGING;
    }
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn unknown_kids_do_not_wait_for_a_source_that_is_unavailable() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    *source.delay.lock().unwrap() = HANGING;
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), 10_000).await, KeyForOpening::Unavailable));
    let guard = ring.source_lock.lock().await;
    let at_once = timeout(Duration::ZERO, ring.key_for_opening(KeyId([8; 8]), 10_000)).await;
    assert!(matches!(at_once, Ok(KeyForOpening::Unavailable)));
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_list_for_an_unknown_kid_completes_although_its_request_is_cancelled() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let late = source.add(2, 9_000);
    *source.delay.lock().unwrap() = Duration::from_secs(1);
    let cancelled = timeout(Duration::from_millis(100), ring.key_for_opening(late, 10_000)).await;
    assert!(cancelled.is_err());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(matches!(ring.key_for_opening(late, 10_000).await, KeyForOpening::Found(_)), "the list was not lost");
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), 10_000).await, KeyForOpening::Unknown));
    assert_eq!(source.requests(), (2, 2), "and was the only one in 15 s");
}

#[tokio::test(start_paused = true)]
async fn the_next_key_is_in_memory_before_it_seals() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    let next = source.add(2, 10_000);
    source.add(3, 10_100);
    ring.refresh(10_200).await;
    assert_eq!(source.requests(), (2, 2), "the next only, not all that are published");
    *source.delay.lock().unwrap() = HANGING;
    let started = Instant::now();
    assert_eq!(ring.sealing_key(10_900).await.unwrap().id, next);
    assert_eq!(started.elapsed(), Duration::ZERO, "a source that hangs at the change delays nothing");
}

#[tokio::test(start_paused = true)]
async fn while_the_active_key_cannot_be_fetched_the_newest_before_it_seals() {
    let (source, ring) = ring();
    for number in 1..=4 {
        source.add(number, 1_000 * u64::from(number));
        ring.refresh(1_000 * u64::from(number) + 900).await;
    }
    let newest_fetched = KeyId([4; 8]);
    assert_eq!(ring.sealing_key(5_000).await.unwrap().id, newest_fetched);
    source.add(5, 6_000);
    let (_, gets) = source.requests();
    *source.delay.lock().unwrap() = HANGING;
    *source.down.lock().unwrap() = true;
    ring.write(|memory| {
        memory.set_list(source.versions.lock().unwrap().clone());
        memory.rebuild_view(7_000, &ring.parameters);
    });
    let started = Instant::now();
    let waited = join_all((0..100).map(|_| ring.sealing_key(7_000))).await;
    assert!(waited.iter().all(|key| key.as_ref().unwrap().id == newest_fetched));
    let first = started.elapsed();
    assert!(first <= SOURCE_DEADLINE * 2, "{first:?}");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ring.sealing_key(7_000).await.unwrap().id, newest_fetched);
    assert_eq!(started.elapsed(), first + Duration::from_secs(1), "it is not requested again so soon");
    assert_eq!(source.requests().1, gets + 2);
    assert!(ring.source_is_down(), "an active key that cannot be fetched is reported");
    *source.down.lock().unwrap() = false;
    *source.delay.lock().unwrap() = Duration::ZERO;
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(ring.sealing_key(7_000).await.unwrap().id, KeyId([5; 8]));
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_an_unavailable_source() {
    let (source, ring) = ring();
    let kid = source.add(1, 1_000);
    ring.refresh(10_000).await;
    source.versions.lock().unwrap().clear();
    ring.refresh(10_300).await;
    assert!(ring.source_is_down());
    assert_eq!(ring.sealing_key(10_300).await.unwrap().id, kid, "the ring in memory stays in use");
    assert!(
        matches!(ring.key_for_opening(kid, 10_300).await, KeyForOpening::Found(_)),
        "a deleted secret ends no session"
    );
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), 10_300).await, KeyForOpening::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn an_active_key_older_than_its_life_is_reported_until_another_is_active() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    let end = 1_900 + 30 * 86_400;
    ring.refresh(end).await;
    assert!(!ring.is_overdue());
    *source.down.lock().unwrap() = true;
    ring.refresh(end + 1).await;
    assert!(ring.is_overdue());
    assert!(ring.sealing_key(end + 1).await.is_ok(), "it seals nevertheless");
    *source.down.lock().unwrap() = false;
    source.add(2, end);
    ring.refresh(end + 2).await;
    assert!(ring.is_overdue(), "its successor is not active yet");
    ring.refresh(end + 900).await;
    assert!(!ring.is_overdue());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_rotate_is_never_reported_as_too_old() {
    let (_, scripted) = ring();
    let key = Key32::new([7; 32]);
    let ring = Ring::new(Arc::new(StaticKey::new(&key)), scripted.parameters, scripted.refresh);
    ring.refresh(1_800_000_000).await;
    assert!(ring.was_ready() && !ring.is_overdue());
}
