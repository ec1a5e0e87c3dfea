//! Every vault fault at startup, during operation, and while a key id is unknown: sessions continue, undecidable cases
//! are 503 and keep the cookie, and the gateway recovers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use devkit::commands::stack::free_port;
use devkit::vault::{AcceptMode, Fault, Vault};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{SECRET, call, figure, sign_in};
use crate::app::{Gateway, PATIENCE, TestApp};
use crate::cloud::Cloud;
use crate::key_vault::Setup;
use crate::raw::Connection;

/// The limit for recovery.
const BAR: Duration = Duration::from_secs(5);

/// The faults.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    AcceptMode(AcceptMode),
    Fault(Fault),
}

const TROUBLES: [(&str, Trouble); 9] = [
    ("refused", Trouble::AcceptMode(AcceptMode::Refused)),
    ("silent", Trouble::AcceptMode(AcceptMode::Silent)),
    ("hanging", Trouble::Fault(Fault::Hang)),
    ("429, Retry-After 3600", Trouble::Fault(Fault::Status { status: 429, retry_after: Some(3_600) })),
    ("500", Trouble::Fault(Fault::status(500))),
    ("garbage", Trouble::Fault(Fault::Garbage)),
    ("truncated", Trouble::Fault(Fault::Truncated)),
    ("slow, 3 s a call", Trouble::Fault(Fault::Delay(Duration::from_secs(3)))),
    ("403", Trouble::Fault(Fault::ForbiddenByRbac)),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: cargo dev soak faults"]
async fn long() {
    let stage = Arc::new(Stage::set().await);
    let mut worst = Duration::ZERO;
    for five in TROUBLES.chunks(5) {
        worst = worst.max(run(&stage, five, Duration::from_secs(60)).await);
    }
    assert!(worst <= BAR, "recovery takes {worst:?}");
}

/// Sessions sealed under two keys, each created in a separate key file and then added to the vaults.
struct Stage {
    app: TestApp,
    old: Sealed,
    new: Sealed,
    _folder: TempDir,
}

/// A key and the cookie of a session sealed under it.
struct Sealed {
    id: String,
    value: String,
    cookie: String,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["old", "new"] {
            devkit::commands::stack::make_key_file(path(name).as_ref()).unwrap();
        }
        let app = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path("old")).start().await;
        let old = Sealed::of(&app, app.port, &path("old")).await;
        let mut settings = app.settings.clone();
        settings.insert("CLOAKROOM_KEY_FILE".to_owned(), path("new"));
        let port = free_port().unwrap();
        let _gateway = Gateway::start(&settings, port);
        until_ready(port).await;
        let new = Sealed::of(&app, port, &path("new")).await;
        Self { app, old, new, _folder: folder }
    }

    /// The settings of a gateway with this vault.
    fn settings(&self, cloud: &Cloud, refresh: &str) -> BTreeMap<String, String> {
        let mut settings = self.app.settings.clone();
        settings.remove("CLOAKROOM_KEY_FILE");
        settings.extend(cloud.variables());
        for (name, value) in [("REFRESH", refresh), ("PROPAGATION", "15m"), ("LIFE", "30d")] {
            settings.insert(format!("CLOAKROOM_KEY_{name}"), value.to_owned());
        }
        settings.insert("CLOAKROOM_CLOCK_SKEW".to_owned(), "5m".to_owned());
        settings
    }
}

impl Sealed {
    async fn of(app: &TestApp, port: u16, path: &str) -> Self {
        let mut connection = Connection::to(port);
        let mut other = Connection::to(port);
        let cookie = sign_in(&app.provider, &app.origin, &mut connection, &mut other).await;
        let ring: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let text = |name: &str| ring["keys"][0][name].as_str().unwrap().to_owned();
        Self { id: text("id"), value: text("value"), cookie }
    }

    fn put_into(&self, vault: &Vault) {
        vault.put_with(SECRET, &self.value, |version| version.id.clone_from(&self.id));
    }
}

async fn until_ready(port: u16) {
    let mut connection = Connection::to(port);
    let started = Instant::now();
    while connection.get("/health/ready", &[]).await.unwrap().status != 200 {
        assert!(started.elapsed() < PATIENCE, "it does not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Several faults in parallel, each with its own vault. Returns the longest time to recover.
async fn run(stage: &Arc<Stage>, troubles: &[(&'static str, Trouble)], time: Duration) -> Duration {
    let mut runs = JoinSet::new();
    for (name, trouble) in troubles.iter().copied() {
        let stage = Arc::clone(stage);
        runs.spawn(async move { (name, endure(&stage, name, trouble, time).await) });
    }
    let outcomes = runs.join_all().await;
    for (name, recovered) in &outcomes {
        for (when, time) in ["during operation", "unknown kid", "at start"].iter().zip(recovered) {
            figure(&format!("{name}, {when}: recovered after"), format!("{:.2} s", time.as_secs_f64()), "5 s");
        }
    }
    outcomes.into_iter().flat_map(|(_, recovered)| recovered).max().unwrap_or_default()
}

/// When the fault ended, if it has.
type End = Arc<Mutex<Option<Instant>>>;

async fn endure(stage: &Arc<Stage>, name: &'static str, trouble: Trouble, time: Duration) -> [Duration; 3] {
    let Setup { cloud, vault } = Setup::empty().await;
    stage.old.put_into(&vault);
    let (often, rarely) = (stage.settings(&cloud, "1s"), stage.settings(&cloud, "5m"));
    let ports = [(); 3].map(|()| free_port().unwrap());
    let [middle, unknown, start] = ports;
    let _running = [Gateway::start(&often, middle), Gateway::start(&rarely, unknown)];
    for port in [middle, unknown] {
        until_ready(port).await;
        let opened = call(&mut Connection::to(port), &stage.old.cookie).await.unwrap();
        assert_eq!(opened.status, 200, "{name}: before: {}", opened.text());
    }
    match trouble {
        Trouble::AcceptMode(door) => vault.set_accept_mode(door).await.unwrap(),
        Trouble::Fault(fault) => vault.fault(&[], fault),
    }
    stage.new.put_into(&vault);
    let _late = Gateway::start(&rarely, start);
    let end = End::default();
    let watch = |port: u16, known: bool, new: bool| {
        let (stage, end) = (Arc::clone(stage), Arc::clone(&end));
        tokio::spawn(async move { watch(&stage, name, port, known, new, &end).await })
    };
    let watched = [watch(middle, true, true), watch(unknown, true, true), watch(start, false, false)];
    tokio::time::sleep(time).await;
    match trouble {
        Trouble::AcceptMode(_) => vault.set_accept_mode(AcceptMode::Normal).await.unwrap(),
        Trouble::Fault(_) => vault.clear_faults(),
    }
    *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    let mut recovered = Vec::new();
    for one in watched {
        recovered.push(one.await.unwrap());
    }
    recovered.try_into().unwrap()
}

/// Calls until the fault has no effect any more: known sessions must open all the time, the others must never be
/// invalid. Returns the time since the end of the fault.
async fn watch(stage: &Stage, name: &str, port: u16, known: bool, new: bool, end: &End) -> Duration {
    let withheld = if new { &stage.new.cookie } else { &stage.old.cookie };
    let mut connection = Connection::to(port);
    loop {
        let ended = *end.lock().unwrap_or_else(PoisonError::into_inner);
        if known {
            let response = call(&mut connection, &stage.old.cookie).await.unwrap();
            assert_eq!(response.status, 200, "{name}: a session ended: {}", response.text());
        }
        let response = call(&mut connection, withheld).await.unwrap();
        match (response.status, ended) {
            (200, Some(ended)) => return ended.elapsed(),
            // A slow vault may respond in time.
            (200, None) => {}
            (503, _) => {
                assert_eq!(response.code(), "keys_unavailable", "{name}");
                assert!(response.header("retry-after").is_some() && response.header("set-cookie").is_none(), "{name}");
            }
            (status, _) => panic!("{name}: {status}: {}", response.text()),
        }
        assert!(ended.is_none_or(|ended| ended.elapsed() < PATIENCE), "{name}: it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
