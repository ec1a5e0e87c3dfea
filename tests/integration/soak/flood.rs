//! Thousands of invented key ids per second at one instance: they cause almost no vault requests, and valid calls stay
//! fast (contract 6.18, 6.19).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::commands::stack::free_port;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{call, figure, sign_in};
use crate::app::{BINARY, Gateway, PATIENCE};
use crate::key_vault::Setup;
use crate::raw::Connection;

/// Connections of the flood, and of the valid calls.
const FLOODERS: u32 = 16;
const CALLERS: u32 = 4;
/// Valid calls per second.
const GOOD: u32 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn invented_kids_rarely_reach_the_vault() {
    let seen = run(500, Duration::from_secs(2)).await;
    assert!(seen.lists <= 2 && seen.gets == 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo dev soak flood"]
async fn long() {
    let seen = run(5_000, Duration::from_secs(30)).await;
    assert!(seen.lists <= 3 && seen.gets == 0, "{seen:?}");
    assert!(seen.rate >= 4_500.0, "the load is too low for a result: {seen:?}");
    assert!(seen.ratio < 2.0, "valid calls are slow: {seen:?}");
}

/// The results.
#[derive(Debug)]
struct Seen {
    lists: u64,
    gets: u64,
    rate: f64,
    ratio: f64,
}

/// The binary of `SOAK_BINARY`, which `cargo dev soak` sets to the release, or that of the tests.
fn binary() -> String {
    std::env::var("SOAK_BINARY").unwrap_or_else(|_| BINARY.to_owned())
}

async fn run(rate: u32, time: Duration) -> Seen {
    let Setup { cloud, vault } = Setup::empty().await;
    assert_eq!(cloud.keys(&["rotate"]).0, Some(0));
    let usual = cloud
        .gateway()
        .set("KEY_REFRESH", "5m")
        .set("KEY_PROPAGATION", "15m")
        .set("KEY_LIFE", "30d")
        .set("CLOCK_SKEW", "5m");
    let app = usual.set("LOG", "warn,json").start().await;
    let port = free_port().unwrap();
    let gateway = Gateway::start_binary(&binary(), &app.settings, port);
    let mut connections = [Connection::to(port), Connection::to(app.port)];
    let started = Instant::now();
    while connections[0].get("/health/ready", &[]).await.unwrap().status != 200 {
        assert!(started.elapsed() < PATIENCE, "{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [there, back] = &mut connections;
    let cookie: Arc<str> = sign_in(&app.provider, &app.origin, there, back).await.into();
    let base = good_calls(port, Arc::clone(&cookie), GOOD, time / 2);
    let mut base = join(base).await;
    vault.clear_requests();
    let flood = std::thread::spawn(move || own_runtime(flood(port, rate, time)));
    let flooded = join(good_calls(port, Arc::clone(&cookie), GOOD, time)).await;
    let sent = tokio::task::spawn_blocking(move || flood.join().unwrap()).await.unwrap();
    let (lists, gets) = (vault.count_lists(), vault.count_gets());
    base.extend(join(good_calls(port, cookie, GOOD, time / 2)).await);
    let (base_p99, flooded_p99) = (p99(base), p99(flooded));
    let rate = sent as f64 / time.as_secs_f64();
    let ratio = flooded_p99.as_secs_f64() / base_p99.as_secs_f64();
    figure("invented kids per second", format!("{rate:.0}"), "5000");
    figure("lists at the vault", lists, "3");
    figure("gets at the vault", gets, "0");
    figure("p99 of valid calls without the flood, before and after", format!("{base_p99:.2?}"), "-");
    figure("p99 of valid calls during the flood", format!("{flooded_p99:.2?}"), "-");
    figure("ratio of the two (the load shares the cores)", format!("{ratio:.2}"), "2.00");
    Seen { lists, gets, rate, ratio }
}

/// Runs the load in its own thread, so that stand-ins do not delay it.
fn own_runtime<T>(load: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(load)
}

pub(super) type Times = std::thread::JoinHandle<Vec<Duration>>;

/// Valid calls at a constant rate; returns their durations.
pub(super) fn good_calls(port: u16, cookie: Arc<str>, rate: u32, time: Duration) -> Times {
    std::thread::spawn(move || {
        own_runtime(async move {
            let mut callers = JoinSet::new();
            for _ in 0..CALLERS {
                let cookie = Arc::clone(&cookie);
                callers.spawn(async move {
                    let mut connection = Connection::to(port);
                    let mut times = Vec::new();
                    let mut pace = Pace::of(rate / CALLERS, time);
                    while pace.next().await {
                        let started = Instant::now();
                        let response = call(&mut connection, &cookie).await.unwrap();
                        times.push(started.elapsed());
                        assert_eq!(response.status, 200, "{}", response.text());
                    }
                    times
                });
            }
            callers.join_all().await.concat()
        })
    })
}

pub(super) async fn join(times: Times) -> Vec<Duration> {
    tokio::task::spawn_blocking(move || times.join().unwrap()).await.unwrap()
}

/// Cookies with invented kids at a constant rate; returns how many were rejected as expected.
async fn flood(port: u16, rate: u32, time: Duration) -> u64 {
    let rejected = Arc::new(AtomicU64::new(0));
    let mut flooders = JoinSet::new();
    for _ in 0..FLOODERS {
        let rejected = Arc::clone(&rejected);
        flooders.spawn(async move {
            let mut connection = Connection::to(port);
            let mut pace = Pace::of(rate / FLOODERS, time);
            while pace.next().await {
                let response = call(&mut connection, &made_up()).await.unwrap();
                assert_eq!((response.status, response.code()), (401, "session_expired"), "{}", response.text());
                rejected.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    flooders.join_all().await;
    rejected.load(Ordering::Relaxed)
}

/// A well-formed cookie with an unknown kid.
fn made_up() -> String {
    let mut sealed = [1; 100];
    sealed[1..].copy_from_slice(&rand::random::<[u8; 99]>());
    format!("__Host-Http-cloakroom={}", URL_SAFE_NO_PAD.encode(sealed))
}

/// A constant rate; delays are caught up.
pub(super) struct Pace {
    until: Instant,
    ticks: Interval,
}

impl Pace {
    pub(super) fn of(rate: u32, time: Duration) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self { until: Instant::now() + time, ticks }
    }

    /// Waits for the next tick; `false` at the end.
    pub(super) async fn next(&mut self) -> bool {
        self.ticks.tick().await;
        Instant::now() < self.until
    }
}

pub(super) fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}
