//! Unusual rings: long, empty, with disabled or invalid versions, or seen by clocks that are wrong.

use super::*;
use crate::keyring::CONTENT_TYPE;

const NOW: UnixSeconds = 100_000;

/// A ring whose only key is active.
async fn settled() -> (Arc<Scripted>, Arc<Ring>, KeyId) {
    let (source, ring) = ring();
    let kid = source.add(1, 1_000);
    ring.refresh(NOW).await;
    (source, ring, kid)
}

async fn opens(ring: &Arc<Ring>, kid: KeyId, now: UnixSeconds) -> bool {
    matches!(ring.key_for_opening(kid, now).await, KeyForOpening::Found(_))
}

#[tokio::test(start_paused = true)]
async fn of_26_and_of_60_versions_the_newest_seals_and_the_others_open() {
    for count in [26, 60] {
        let (source, ring) = ring();
        let kids: Vec<KeyId> = (1..=count).map(|number| source.add(number, NOW + u64::from(number))).collect();
        let now = NOW + 1_000;
        ring.refresh(now).await;
        assert_eq!(ring.sealing_key(now).await.unwrap().id, KeyId([count; 8]));
        assert_eq!(source.requests(), (1, 1), "the start needs one get, however long the ring is");
        for kid in kids {
            assert!(opens(&ring, kid, now).await, "{kid}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_only_future_versions_the_oldest_seals_and_all_open() {
    let (source, ring) = ring();
    let (first, second) = (source.add(1, NOW), source.add(2, NOW));
    source.edit(1, |version| version.not_before = Some(NOW + 5_000));
    source.edit(2, |version| version.not_before = Some(NOW + 4_000));
    ring.refresh(NOW).await;
    assert_eq!(ring.sealing_key(NOW).await.unwrap().id, second);
    assert!(opens(&ring, first, NOW).await && opens(&ring, second, NOW).await);
    assert_eq!(ring.sealing_key(NOW + 5_000).await.unwrap().id, first);
}

#[tokio::test(start_paused = true)]
async fn without_any_version_nothing_seals_and_every_kid_is_unavailable() {
    let (_source, ring) = ring();
    ring.refresh(NOW).await;
    assert!(ring.sealing_key(NOW).await.is_err() && !ring.was_ready());
    assert!(matches!(ring.key_for_opening(KeyId([1; 8]), NOW).await, KeyForOpening::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn with_all_versions_disabled_nothing_seals_and_nothing_opens() {
    let (source, ring, kid) = settled().await;
    source.edit(1, |version| version.enabled = false);
    ring.refresh(NOW).await;
    assert!(ring.sealing_key(NOW).await.is_err());
    assert!(matches!(ring.key_for_opening(kid, NOW).await, KeyForOpening::Closed), "revoked means revoked");
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), NOW).await, KeyForOpening::Unavailable));
    assert!(ring.source_is_down(), "a list without a valid key");
}

#[tokio::test(start_paused = true)]
async fn when_the_active_version_is_disabled_the_one_before_is_active_again() {
    let (source, ring, first) = settled().await;
    let second = source.add(2, 2_000);
    ring.refresh(NOW).await;
    assert_eq!(ring.sealing_key(NOW).await.unwrap().id, second);
    source.edit(2, |version| version.enabled = false);
    ring.refresh(NOW).await;
    assert_eq!(ring.sealing_key(NOW).await.unwrap().id, first);
    assert!(matches!(ring.key_for_opening(second, NOW).await, KeyForOpening::Closed));
    assert!(opens(&ring, first, NOW).await);
}

#[tokio::test(start_paused = true)]
async fn of_two_created_in_one_second_the_greater_id_seals_and_both_open() {
    let (source, ring) = ring();
    let (greater, lesser) = (source.add(9, NOW - 2_000), source.add(8, NOW - 2_000));
    ring.refresh(NOW).await;
    assert_eq!(ring.sealing_key(NOW).await.unwrap().id, greater);
    let (source, other) = super::ring();
    source.add(8, NOW - 2_000);
    source.add(9, NOW - 2_000);
    other.refresh(NOW).await;
    assert_eq!(other.sealing_key(NOW).await.unwrap().id, greater, "in whatever order they are listed");
    assert!(opens(&other, lesser, NOW).await);
}

#[tokio::test(start_paused = true)]
async fn clocks_5_minutes_ahead_and_behind_open_what_the_others_seal() {
    let (source, ring, first) = settled().await;
    let second = source.add(2, NOW);
    ring.refresh(NOW).await;
    // The instance that is ahead seals under the new key while the one behind seals under the old.
    let (ahead, behind) = (NOW + 900, NOW + 900 - 600);
    assert_eq!(ring.sealing_key(ahead).await.unwrap().id, second);
    assert_eq!(ring.sealing_key(behind).await.unwrap().id, first);
    for now in [ahead, behind] {
        assert!(opens(&ring, first, now).await && opens(&ring, second, now).await);
    }
    // The one ahead retires the old key only when every session that the one behind sealed has expired.
    let sealed_last = NOW + 899;
    let session_max = 30_000 - 300;
    assert!(opens(&ring, first, sealed_last + session_max).await);
    assert!(!opens(&ring, first, NOW + 900 + 30_000).await);
}

/// The newest version is not a key, so that the one before seals.
async fn assert_ignored(text: &str, content_type: Option<&str>) {
    let (source, ring, good) = settled().await;
    let bad = source.add(2, 2_000);
    source.set_value(2, text, content_type);
    ring.refresh(NOW).await;
    assert_eq!(ring.sealing_key(NOW).await.unwrap().id, good);
    assert!(opens(&ring, good, NOW + 10_000_000).await, "an ignored version retires nothing");
    assert!(matches!(ring.key_for_opening(bad, NOW).await, KeyForOpening::Closed));
    assert!(!ring.source_is_down());
    let requests = source.requests();
    ring.refresh(NOW).await;
    assert_eq!(source.requests(), (requests.0 + 1, requests.1), "it is not fetched again");
}

#[tokio::test(start_paused = true)]
async fn a_newest_version_that_is_not_base64url_is_ignored() {
    assert_ignored("not base64url at all!", None).await;
    assert_ignored("", Some(CONTENT_TYPE)).await;
}

#[tokio::test(start_paused = true)]
async fn a_newest_version_of_the_wrong_length_is_ignored() {
    for length in [1, 42, 44, 64] {
        assert_ignored(&"A".repeat(length), Some(CONTENT_TYPE)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_newest_version_of_another_content_type_is_ignored() {
    assert_ignored(&"A".repeat(43), Some("application/x-pkcs12")).await;
}

#[tokio::test(start_paused = true)]
async fn versions_with_the_content_type_or_without_one_are_keys() {
    for content_type in [Some(CONTENT_TYPE), Some(""), None] {
        let (source, ring, _) = settled().await;
        let kid = source.add(2, 2_000);
        source.set_value(2, &"A".repeat(43), content_type);
        ring.refresh(NOW).await;
        assert_eq!(ring.sealing_key(NOW).await.unwrap().id, kid, "{content_type:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_in_the_past_neither_ends_an_active_key_nor_shortens_retention() {
    let (source, ring, first) = settled().await;
    source.edit(1, |version| version.expires = Some(5));
    ring.refresh(NOW).await;
    assert_eq!(ring.sealing_key(NOW).await.unwrap().id, first);
    let second = source.add(2, NOW);
    ring.refresh(NOW + 900).await;
    assert_eq!(ring.sealing_key(NOW + 900).await.unwrap().id, second);
    assert!(opens(&ring, first, NOW + 900 + 29_999).await);
}

/// Contract 6.15: of three keys without expiry, the oldest is past its retention, which its successor proves.
#[tokio::test(start_paused = true)]
async fn a_key_past_its_retention_opens_only_while_its_successor_cannot_be_fetched() {
    let (source, ring) = ring();
    let oldest = source.add(1, 1_000);
    source.add(2, 2_000);
    source.add(3, 3_000);
    ring.refresh(NOW).await;
    assert_eq!(source.requests(), (1, 1), "the active key");
    assert!(matches!(ring.key_for_opening(oldest, NOW).await, KeyForOpening::Closed));
    assert_eq!(source.requests(), (1, 2), "of the other two only the successor");

    // The value of the successor alone cannot be fetched: the older key is.
    let (source, ring) = self::ring();
    let oldest = source.add(1, 1_000);
    source.add(2, 2_000);
    source.add(3, 3_000);
    *source.failing.lock().unwrap() = Some(2);
    ring.refresh(NOW).await;
    assert!(opens(&ring, oldest, NOW).await);
    // A source that hangs is waited for once.
    let (source, ring) = self::ring();
    let oldest = source.add(1, 1_000);
    source.add(2, 2_000);
    source.add(3, 3_000);
    ring.refresh(NOW).await;
    *source.delay.lock().unwrap() = Duration::from_secs(60);
    let begun = Instant::now();
    assert!(matches!(ring.key_for_opening(oldest, NOW).await, KeyForOpening::Unavailable));
    assert_eq!(begun.elapsed(), SOURCE_DEADLINE);

    let (source, ring) = self::ring();
    let oldest = source.add(1, 1_000);
    source.add(2, 2_000);
    source.add(3, 3_000);
    ring.refresh(20_000).await;
    assert!(opens(&ring, oldest, 20_000).await, "within its retention");
    *source.down.lock().unwrap() = true;
    assert!(opens(&ring, oldest, NOW).await);
    assert!(ring.is_retiring(oldest, NOW), "so that its sessions are sealed again");
    let requests = source.requests();
    assert!(opens(&ring, oldest, NOW).await);
    assert_eq!(source.requests(), requests, "not for each request");
    *source.down.lock().unwrap() = false;
    tokio::time::advance(Duration::from_secs(15)).await;
    assert!(matches!(ring.key_for_opening(oldest, NOW).await, KeyForOpening::Closed));
}

/// Contract 20.4.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_disabled_while_it_opens_is_logged_as_revoked_once() {
    let capture = crate::telemetry::captured_log::Capture::start();
    let (source, ring, _) = settled().await;
    source.add(2, 2_000);
    ring.refresh(NOW).await;
    source.edit(2, |version| version.enabled = false);
    for _ in 0..2 {
        ring.refresh(NOW).await;
    }
    assert_eq!(capture.text().matches("event=\"key_revoked\" kid=0202020202020202").count(), 1, "{}", capture.text());
    // The oldest one is retired by now, and its rotation disables it.
    source.edit(2, |version| version.enabled = true);
    ring.refresh(NOW).await;
    assert!(matches!(ring.key_for_opening(KeyId([1; 8]), NOW).await, KeyForOpening::Closed));
    source.edit(1, |version| version.enabled = false);
    ring.refresh(NOW).await;
    assert_eq!(capture.text().matches("key_revoked").count(), 1, "{}", capture.text());
}
