//! How soon the ring is well again after its source is.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_list_that_failed_is_asked_for_again_soon_whoever_asked() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    let ring = Arc::new(ring);
    let kept = Arc::clone(&ring);
    let keeper = tokio::spawn(async move { kept.keep_fresh().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(ring.was_ready());
    *source.down.lock().unwrap() = true;
    assert!(matches!(ring.opening(KeyId([9; 8]), 10_000).await, Opening::Unavailable));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(ring.source_is_down());
    *source.down.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!ring.source_is_down(), "well before the next refresh is due");
    let (lists, _) = source.asked();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(source.asked().0, lists, "then at the usual pace");
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_does_not_hold_the_other_up() {
    let attempts = Mutex::new(0);
    let begun = Instant::now();
    let ask = |hanging: u32| {
        *attempts.lock().unwrap() += 1;
        let hangs = *attempts.lock().unwrap() <= hanging;
        let answer: Answer<'_, u32> = Box::pin(async move { if hangs { std::future::pending().await } else { Ok(1) } });
        answer
    };
    assert_eq!(hedged(|| ask(1)).await, Ok(1));
    assert_eq!(begun.elapsed().as_secs(), 2, "the second begins after two seconds");
    *attempts.lock().unwrap() = 0;
    let begun = Instant::now();
    assert!(hedged(|| ask(9)).await.is_err());
    assert_eq!((begun.elapsed().as_secs(), *attempts.lock().unwrap()), (5, 2), "one deadline for both");
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_is_slow_still_counts() {
    let attempts = Mutex::new(0);
    let ask = || {
        *attempts.lock().unwrap() += 1;
        let answer: Answer<'_, u32> = Box::pin(async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(1)
        });
        answer
    };
    assert_eq!(hedged(ask).await, Ok(1));
}
