//! Four instances with one vault while the keys rotate: sessions created on any of them work on any other.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::commands::stack::free_port;
use devkit::provider::Provider;
use devkit::vault::Vault;
use tokio::task::JoinSet;

use super::{SECRET, call, cookies, figure, kid, sign_in};
use crate::app::{BINARY, Gateway, PATIENCE};
use crate::key_vault::Setup;
use crate::raw::Connection;

/// Twice the refresh, the skew, and a second for a busy machine.
const PROPAGATION: u64 = 4;
/// The number of workers, and of sessions per worker.
const WORKERS: usize = 6;
const SESSIONS: usize = 4;

/// The run ends when all of these are reached.
struct Plan {
    /// Whether versions are added to the vault every second. Otherwise the command adds them, no faster than the
    /// shortest propagation allows.
    by_hand: bool,
    /// Seconds from a sign-in to the absolute expiry.
    session: u64,
    rotations: usize,
    disabled: usize,
    calls: u64,
    /// Deadline of the run.
    patience: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_load_and_no_user_is_signed_out() {
    let patience = PATIENCE * 4;
    run(&Plan { by_hand: true, session: 6, rotations: 8, disabled: 1, calls: 2_000, patience }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: cargo dev soak rotation"]
async fn long() {
    let patience = Duration::from_secs(600);
    run(&Plan { by_hand: false, session: 10, rotations: 20, disabled: 10, calls: 20_000, patience }).await;
}

/// The results of all workers.
#[derive(Default)]
struct Tally {
    done: AtomicBool,
    calls: AtomicU64,
    sessions: AtomicU64,
    kids: Mutex<BTreeSet<[u8; 8]>>,
    problems: Mutex<Vec<String>>,
}

async fn run(plan: &Plan) {
    let Setup { cloud, vault } = Setup::empty().await;
    let seconds = |seconds: u64| format!("{seconds}s");
    let settings = cloud.gateway().set("KEY_PROPAGATION", seconds(PROPAGATION));
    let settings = settings.set("KEY_LIFE", seconds(2 * PROPAGATION)).set("LOG", "warn,json");
    let settings = settings.set("SESSION_MAX", seconds(plan.session)).set("SESSION_IDLE", seconds(plan.session));
    let app = settings.impatient().start().await;
    assert_eq!(rotate(&app.settings).await, (1, 0), "the first key");
    let mut gateways = Vec::new();
    let mut ports = vec![app.port];
    for _ in 0..3 {
        // Started one after another, so that they refresh at different times.
        tokio::time::sleep(Duration::from_millis(270)).await;
        let port = free_port().unwrap();
        gateways.push(Gateway::start(&app.settings, port));
        ports.push(port);
    }
    for port in &ports {
        until_ready(*port).await;
    }
    let tally = Arc::new(Tally::default());
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let (provider, origin, tally) = (app.provider.clone(), app.origin.clone(), Arc::clone(&tally));
        workers.spawn(worker(provider, origin, ports.clone(), plan.session, number, tally));
    }
    let started = Instant::now();
    let (mut rotations, mut disabled) = (0, 0);
    while rotations < plan.rotations || disabled < plan.disabled || tally.calls.load(Ordering::Relaxed) < plan.calls {
        assert!(started.elapsed() < plan.patience, "{rotations} rotations, {disabled} disabled\n{}", app.log());
        if plan.by_hand {
            put(&vault, plan.session);
            rotations += 1;
        }
        let (published, gone) = rotate(&app.settings).await;
        rotations += published;
        disabled += gone;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tally.done.store(true, Ordering::Relaxed);
    workers.join_all().await;
    tell(&tally, rotations, disabled, started.elapsed());
    let problems = tally.problems.lock().unwrap();
    let logs: Vec<String> = gateways.iter().map(Gateway::log).collect();
    assert!(problems.is_empty(), "{}\n{}\n{}", problems.join("\n"), app.log(), logs.join("\n"));
}

fn tell(tally: &Tally, rotations: usize, disabled: usize, time: Duration) {
    let calls = tally.calls.load(Ordering::Relaxed);
    figure("rotations during the run", rotations, "20");
    figure("versions disabled on time", disabled, "-");
    figure("calls on four instances", calls, "20000");
    figure("calls per second", format!("{:.0}", calls as f64 / time.as_secs_f64()), "-");
    figure("sessions", tally.sessions.load(Ordering::Relaxed), "-");
    figure("keys that sealed a session", tally.kids.lock().unwrap().len(), "-");
    figure("unexpected responses, 401 and others", tally.problems.lock().unwrap().len(), "0");
}

/// Adds a version that seals for about a second, and may be disabled once no session needs it.
fn put(vault: &Vault, session: u64) {
    let expires = vault.now() + PROPAGATION + 1 + session + 1;
    let value = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    vault.put_with(SECRET, &value, |version| version.expires = Some(expires));
}

/// `cloakroom keys rotate`: how many it published and disabled.
async fn rotate(settings: &BTreeMap<String, String>) -> (usize, usize) {
    let mut command = Command::new(BINARY);
    command.args(["keys", "rotate", "--json"]).env_clear().envs(settings);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (usize::from(outcome["published"].is_string()), outcome["disabled"].as_array().unwrap().len())
}

async fn until_ready(port: u16) {
    let started = Instant::now();
    while Connection::to(port).get("/health/ready", &[]).await.unwrap().status != 200 {
        assert!(started.elapsed() < PATIENCE, "{port} does not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A session: its cookie, its age, and whether its browser ignores new cookies, as an unused tab does.
struct Held {
    cookie: String,
    since: Instant,
    stale: bool,
}

/// Calls with its own sessions, each call at a random instance.
async fn worker(provider: Provider, origin: String, ports: Vec<u16>, session: u64, number: usize, tally: Arc<Tally>) {
    let mut connections: Vec<Connection> = ports.into_iter().map(Connection::to).collect();
    let mut held: Vec<Held> = Vec::new();
    // Times are whole seconds, so the last second is not tested.
    let good_for = Duration::from_secs(session - 1);
    while !tally.done.load(Ordering::Relaxed) {
        held.retain(|one| one.since.elapsed() + Duration::from_secs(1) < good_for);
        if held.len() < SESSIONS {
            let since = Instant::now();
            let [there, back] = connections.get_disjoint_mut([rand::random_range(0..2), 2 + number % 2]).unwrap();
            let cookie = sign_in(&provider, &origin, there, back).await;
            tally.sessions.fetch_add(1, Ordering::Relaxed);
            held.push(Held { cookie, since, stale: rand::random() });
        }
        let at = rand::random_range(0..held.len());
        let one = &mut held[at];
        let instance = rand::random_range(0..connections.len());
        let response = call(&mut connections[instance], &one.cookie).await.unwrap();
        tally.calls.fetch_add(1, Ordering::Relaxed);
        tally.kids.lock().unwrap().insert(kid(&one.cookie));
        if response.status != 200 && one.since.elapsed() < good_for {
            let age = one.since.elapsed();
            let problem = format!(
                "{} {} at {instance}, {age:?} old, {:02x?}",
                response.status,
                response.code(),
                kid(&one.cookie)
            );
            tally.problems.lock().unwrap().push(problem);
        }
        if let Some(fresh) = cookies(&response).filter(|_| !one.stale) {
            one.cookie = fresh;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
