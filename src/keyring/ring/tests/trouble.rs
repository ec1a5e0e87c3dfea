//! Sources that are slow, hang or fail, and many callers at once.

use futures_util::future::join_all;

use super::*;

const SLOW: Duration = Duration::from_millis(50);
const HANGING: Duration = Duration::from_secs(3_600);

fn count(openings: &[Opening], what: impl Fn(&Opening) -> bool) -> usize {
    openings.iter().filter(|opening| what(opening)).count()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_at_once_with_one_new_real_kid_are_one_list_and_one_get_and_all_open() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    let late = source.add(2, 9_000);
    *source.delay.lock().unwrap() = SLOW;
    // Some come while the list is under way; one that was young before they came must not decide for them.
    let ask = |number: u64| {
        let ring = &ring;
        async move {
            tokio::time::sleep(Duration::from_micros(100 * number)).await;
            ring.opening(late, 10_000).await
        }
    };
    let openings = join_all((0..1_000).map(ask)).await;
    assert_eq!(count(&openings, |opening| matches!(opening, Opening::Key(_))), 1_000);
    assert_eq!(source.asked(), (2, 2), "one list and one get beside those of the start");
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_source_that_hangs_shares_the_failure() {
    let (source, ring) = ring();
    let old = source.add(1, 1_000);
    let new = source.add(2, 2_000);
    ring.refresh(10_000).await;
    *source.delay.lock().unwrap() = HANGING;
    let begun = Instant::now();
    let openings = join_all((0..1_000).map(|_| ring.opening(old, 10_000))).await;
    assert_eq!(count(&openings, |opening| matches!(opening, Opening::Unavailable)), 1_000);
    assert!(begun.elapsed() <= SOURCE_DEADLINE * 2, "one flight for all, not one after the other: {begun:?}");
    assert_eq!(source.asked(), (1, 3));
    assert!(matches!(ring.opening(new, 10_000).await, Opening::Key(_)), "the others do not even wait");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hung_is_well_again_within_five_seconds() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    let ring = Arc::new(Ring { refresh: Duration::from_secs(1), ..ring });
    let fresh = Arc::clone(&ring);
    let task = tokio::spawn(async move { fresh.keep_fresh().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(ring.was_ready());
    *source.delay.lock().unwrap() = HANGING;
    // The second refresh begins after 0.8 to 1 s, and gives up 5 s later.
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
async fn made_up_kids_do_not_wait_for_a_source_that_is_known_to_be_down() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    *source.delay.lock().unwrap() = HANGING;
    assert!(matches!(ring.opening(KeyId([9; 8]), 10_000).await, Opening::Unavailable));
    let flight = ring.asking.lock().await;
    let at_once = timeout(Duration::ZERO, ring.opening(KeyId([8; 8]), 10_000)).await;
    assert!(matches!(at_once, Ok(Opening::Unavailable)));
    drop(flight);
}

#[tokio::test(start_paused = true)]
async fn the_next_key_is_in_memory_before_it_seals() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    ring.refresh(10_000).await;
    let next = source.add(2, 10_000);
    source.add(3, 10_100);
    ring.refresh(10_200).await;
    assert_eq!(source.asked(), (2, 2), "the next only, not all that are published");
    *source.delay.lock().unwrap() = HANGING;
    let begun = Instant::now();
    assert_eq!(ring.sealing(10_900).await.unwrap().id, next);
    assert_eq!(begun.elapsed(), Duration::ZERO, "a source that hangs at that moment delays nobody");
}

#[tokio::test(start_paused = true)]
async fn while_the_new_key_cannot_be_fetched_the_newest_before_it_stands_in_at_once() {
    let (source, ring) = ring();
    for number in 1..=4 {
        source.add(number, 1_000 * u64::from(number));
        ring.refresh(1_000 * u64::from(number) + 900).await;
    }
    let newest_fetched = KeyId([4; 8]);
    assert_eq!(ring.sealing(5_000).await.unwrap().id, newest_fetched);
    source.add(5, 6_000);
    let (_, gets) = source.asked();
    *source.delay.lock().unwrap() = HANGING;
    *source.down.lock().unwrap() = true;
    ring.write(|inner| {
        inner.take_list(source.versions.lock().unwrap().clone());
        inner.rebuild(7_000, &ring.parameters);
    });
    let begun = Instant::now();
    let waited = join_all((0..100).map(|_| ring.sealing(7_000))).await;
    assert!(waited.iter().all(|key| key.as_ref().unwrap().id == newest_fetched));
    let first = begun.elapsed();
    assert!(first <= SOURCE_DEADLINE * 2, "{first:?}");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ring.sealing(7_000).await.unwrap().id, newest_fetched);
    assert_eq!(begun.elapsed(), first + Duration::from_secs(1), "it is not asked for again so soon");
    assert_eq!(source.asked().1, gets + 2);
    assert!(ring.source_is_down(), "a key that should seal and cannot be had is told");
    *source.down.lock().unwrap() = false;
    *source.delay.lock().unwrap() = Duration::ZERO;
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(ring.sealing(7_000).await.unwrap().id, KeyId([5; 8]));
}

#[tokio::test(start_paused = true)]
async fn a_list_without_any_version_is_a_source_that_is_down() {
    let (source, ring) = ring();
    let kid = source.add(1, 1_000);
    ring.refresh(10_000).await;
    source.versions.lock().unwrap().clear();
    ring.refresh(10_300).await;
    assert!(ring.source_is_down());
    assert_eq!(ring.sealing(10_300).await.unwrap().id, kid, "the ring in memory goes on");
    assert!(matches!(ring.opening(kid, 10_300).await, Opening::Key(_)), "a deleted secret signs nobody out");
    assert!(matches!(ring.opening(KeyId([9; 8]), 10_300).await, Opening::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_key_past_its_life_is_told_until_another_seals() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    let end = 1_900 + 30 * 86_400 + 3_600;
    ring.refresh(end).await;
    assert!(!ring.is_overdue(), "an hourly rotation may be so late");
    *source.down.lock().unwrap() = true;
    ring.refresh(end + 1).await;
    assert!(ring.is_overdue());
    assert!(ring.sealing(end + 1).await.is_ok(), "it seals all the same");
    *source.down.lock().unwrap() = false;
    source.add(2, end);
    ring.refresh(end + 2).await;
    assert!(ring.is_overdue(), "its successor does not seal yet");
    ring.refresh(end + 900).await;
    assert!(!ring.is_overdue());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_rotate_is_never_past_its_life() {
    let (_, Ring { parameters, refresh, .. }) = ring();
    let key = crate::secret::Key32::new([7; 32]);
    let ring = Ring::new(Arc::new(crate::keyring::static_key::StaticKey::new(&key)), parameters, refresh);
    ring.refresh(1_800_000_000).await;
    assert!(ring.was_ready() && !ring.is_overdue());
}
