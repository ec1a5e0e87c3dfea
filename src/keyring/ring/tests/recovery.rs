//! How soon the ring recovers after its source does.

use super::*;
use crate::clock;

#[tokio::test(start_paused = true)]
async fn a_failed_list_is_retried_soon_whatever_caused_it() {
    let (source, ring) = ring();
    source.add(1, 1_000);
    let refreshed = Arc::clone(&ring);
    let task = tokio::spawn(async move { refreshed.keep_fresh(&clock::now).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(ring.was_ready());
    *source.down.lock().unwrap() = true;
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), 10_000).await, KeyForOpening::Unavailable));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(ring.source_is_down());
    *source.down.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!ring.source_is_down(), "well before the next refresh is due");
    let (lists, _) = source.requests();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(source.requests().0, lists, "then at the usual interval");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_does_not_delay_the_other() {
    let attempts = Mutex::new(0);
    let started = Instant::now();
    let request = |hanging: u32| {
        *attempts.lock().unwrap() += 1;
        let hangs = *attempts.lock().unwrap() <= hanging;
        let response: SourceFuture<'_, u32> =
            Box::pin(async move { if hangs { std::future::pending().await } else { Ok(1) } });
        response
    };
    assert_eq!(hedged(|| request(1)).await, Ok(1));
    assert_eq!(started.elapsed().as_secs(), 2, "the second starts after two seconds");
    *attempts.lock().unwrap() = 0;
    let started = Instant::now();
    assert!(hedged(|| request(9)).await.is_err());
    assert_eq!((started.elapsed().as_secs(), *attempts.lock().unwrap()), (5, 2), "one deadline for both");
}

#[tokio::test(start_paused = true)]
async fn the_response_of_a_slow_first_attempt_counts() {
    let request = || {
        let response: SourceFuture<'_, u32> = Box::pin(async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(1)
        });
        response
    };
    assert_eq!(hedged(request).await, Ok(1));
}
