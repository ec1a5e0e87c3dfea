//! 100 MB up and down through the gateway, which buffers none of it.

use super::figure;
use crate::streams::{GROWTH, MEGABYTE, growth};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "100 MB: cargo dev soak streams"]
async fn long() {
    let growth = growth(100 * MEGABYTE).await;
    figure("memory growth by 100 MB up and down, KiB", growth, &format!("≤ {GROWTH}"));
    assert!(growth <= GROWTH, "{growth} KiB");
}
