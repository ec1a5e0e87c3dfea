//! Memory of a gateway as it is shipped: with many idle connections and after they have closed, and with many sessions
//! whose tokens were refreshed and after they have expired.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::super::{Result, build_release, package};
use super::stage::{Server, Stage, machine};
use super::{binary_or, verdict};

const IDLE_CONNECTIONS: usize = 1_000;
/// The bars in kB: with idle connections, and for what stays when these have closed.
const IDLE_BAR: u64 = 12_000;
const KEPT_BAR: u64 = 2_000;

const SESSIONS: usize = 10_000;
/// Sign-ins and refreshes at a time: fewer than an instance admits.
const AT_ONCE: usize = 12;
/// The life of a session, longer than it takes to sign in and to refresh all.
const LIFE: Duration = Duration::from_secs(360);
/// How long an instance caches new access tokens for requests with an older cookie (contract 7.12), and the time
/// between two sweeps.
const CACHED: Duration = Duration::from_secs(66);
/// The bars in kB: after the refreshes, and when the sessions have expired.
const REFRESHED_BAR: u64 = 40_000;
const EXPIRED_BAR: u64 = 20_000;

/// Longest wait for memory that does not change, and the readings that must be equal but for so many kB.
const STEADY: Duration = Duration::from_secs(5);
const READINGS: usize = 5;
const BETWEEN_READINGS: Duration = Duration::from_millis(250);
const DIFFERENCE: u64 = 100;

/// Measures this binary, or the one that is built now.
pub(super) async fn run(binary: Option<&Path>) -> Result<()> {
    let stage = Stage::of(binary_or(binary, || build_release(Some(package::TARGET)))?).await?;
    println!("memory (PSS)");
    let idle = idle(&stage.gateway(1, 1, &[]).await?).await?;
    let sessions = sessions(&stage).await?;
    println!("{}", json!({"machine": machine(), "idle": idle, "sessions": sessions}));
    Ok(())
}

/// Without connections, with many idle ones, each after one call, and after they have closed.
async fn idle(server: &Server) -> Result<Value> {
    let before = steady(server).await?;
    line("before any connection", before, None);
    let mut open = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        open.push(server.call_once()?);
    }
    let with = steady(server).await?;
    line("with 1,000 idle connections", with, Some(IDLE_BAR));
    drop(open);
    let after = steady(server).await?;
    line("when they have closed", after, Some(before + KEPT_BAR));
    Ok(json!({"connections": IDLE_CONNECTIONS, "before_kb": before, "with_kb": with, "after_kb": after}))
}

/// After many sessions were refreshed, when access tokens are not cached any more, and when the sessions have expired.
async fn sessions(stage: &Stage) -> Result<Value> {
    let life = format!("{}s", LIFE.as_secs());
    let settings = [("CLOAKROOM_SESSION_MAX", life.clone()), ("CLOAKROOM_SESSION_IDLE", life)];
    let server = stage.gateway(1, 1, &settings).await?;
    let before = steady(&server).await?;
    line("before any session", before, None);
    let users = stream::iter(0..SESSIONS).map(|number| stage.sign_in(&server, number));
    let cookies: Vec<String> = users.buffer_unordered(AT_ONCE).try_collect().await?;
    let signed_in = Instant::now();
    line("after 10,000 sign-ins", memory(&server)?, None);
    // For a minute the results of callbacks are kept, too (contract 10.18).
    wait_until(signed_in + CACHED).await;
    let refreshes = stream::iter(&cookies).map(|cookie| server.refresh(cookie));
    refreshes.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let refreshed = Instant::now();
    let with = memory(&server)?;
    line("after 10,000 refreshes", with, Some(REFRESHED_BAR));
    wait_until(refreshed + CACHED).await;
    let swept = steady(&server).await?;
    line("when access tokens are not cached any more", swept, None);
    wait_until(signed_in + LIFE + Duration::from_secs(1)).await;
    // An instance removes what has expired when it writes a cookie.
    let last = stage.sign_in(&server, SESSIONS).await?;
    server.refresh(&last).await?;
    let expired = steady(&server).await?;
    line("when the sessions have expired", expired, Some(EXPIRED_BAR));
    Ok(json!({"sessions": SESSIONS, "before_kb": before, "refreshed_kb": with, "not_cached_kb": swept,
        "expired_kb": expired}))
}

async fn wait_until(time: Instant) {
    tokio::time::sleep_until(time.into()).await;
}

fn line(what: &str, measured: u64, bar: Option<u64>) {
    let verdict = bar.map(|bar| format!("   the bar is {bar}: {}", verdict(measured <= bar))).unwrap_or_default();
    println!("  {what:<46}{measured:>8} kB{verdict}");
}

/// The memory when it does not change any more, or after [`STEADY`].
async fn steady(server: &Server) -> Result<u64> {
    let begun = Instant::now();
    let mut readings = Vec::new();
    loop {
        readings.push(memory(server)?);
        let newest = readings.iter().rev().take(READINGS);
        let (least, most) = (newest.clone().min(), newest.max());
        if let (Some(least), Some(most)) = (least, most)
            && (begun.elapsed() > STEADY || (readings.len() >= READINGS && most - least <= DIFFERENCE))
        {
            return memory(server);
        }
        tokio::time::sleep(BETWEEN_READINGS).await;
    }
}

/// Proportional set size in kB.
fn memory(server: &Server) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", server.process_id()))?;
    Ok(pss(&text).ok_or("smaps_rollup has no Pss")?)
}

fn pss(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportional_set_size_is_read() {
        let text = "7ffc-7ffd ---p 00000000 00:00 0    [rollup]\nRss:  5012 kB\nPss:  1234 kB\nPss_Dirty:   532 kB\n";
        assert_eq!(pss(text), Some(1_234));
        assert_eq!(pss(&text.replace("kB", "MB")), None);
        assert_eq!(pss("Rss:  5012 kB\nPss_Dirty:  532 kB\n"), None);
    }

    #[test]
    fn the_system_writes_it_like_that() {
        let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        assert_eq!(pss(&text).is_some(), std::env::consts::OS == "linux");
    }
}
