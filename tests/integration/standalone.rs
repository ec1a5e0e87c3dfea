//! Outside Azure Functions: the real binary as a server of its own (contract section 17).
//!
//! The journeys run in this mode too: `cargo dev test` repeats them with [`crate::app::STANDALONE`].

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use devkit::commands::stack::free_port;
use devkit::provider::{Endpoint, Fault, Options};
use futures_util::future::join_all;

use crate::app::{BINARY, Gateway, PATIENCE, TestApp};
use crate::cloud::ADA;
use crate::key_vault::Setup;
use crate::raw;
use crate::visitor::Visitor;

const GRACE: &str = "grace.hopper@contoso.example";

/// Runs a command with settings; returns its exit code and output.
fn run(arguments: &[&str], settings: &BTreeMap<String, String>) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(arguments).env_clear().envs(settings).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// The same without a setting, or with another value of it.
fn with(settings: &BTreeMap<String, String>, name: &str, value: &str) -> BTreeMap<String, String> {
    let mut settings = settings.clone();
    settings.insert(name.to_owned(), value.to_owned());
    settings
}

/// Contract 17.1.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_serves_where_listen_says() {
    let app = TestApp::builder().standalone().start().await;
    let mut ada = app.signed_in(ADA).await;
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200);
    for address in ["[::1]", "[::]", "0.0.0.0"] {
        let port = free_port().unwrap();
        let settings = with(&app.settings, "CLOAKROOM_LISTEN", &format!("{address}:{port}"));
        let _gateway = Gateway::at(&settings, &format!("{address}:{port}"));
        assert_eq!(run(&["health"], &settings).0, Some(0), "{address}");
    }
}

/// Contract 17.1, 12.2.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_or_with_two_the_start_fails() {
    let app = TestApp::builder().standalone().start().await;
    let mut settings = app.settings.clone();
    settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), "7071".to_owned());
    for command in [&[][..], &["check"], &["health"]] {
        let (code, text) = run(command, &settings);
        assert_eq!(code, Some(64), "{command:?}: {text}");
        assert!(text.contains("CLOAKROOM_LISTEN conflicts with FUNCTIONS_CUSTOMHANDLER_PORT"), "{text}");
    }
    settings.remove("CLOAKROOM_LISTEN");
    settings.remove("FUNCTIONS_CUSTOMHANDLER_PORT");
    for command in [&[][..], &["health"]] {
        let (code, text) = run(command, &settings);
        assert_eq!(code, Some(64), "{command:?}: {text}");
        assert!(text.contains("CLOAKROOM_LISTEN is required outside Azure Functions"), "{text}");
    }
    assert_eq!(run(&["check"], &settings).0, Some(0), "the host sets the port, so the settings lack nothing");
    for (name, value) in [
        ("LISTEN", "7999"),
        ("LISTEN", "localhost:7999"),
        ("THREADS", "0"),
        ("MAX_IN_FLIGHT", "9"),
        ("DRAIN_DELAY", "soon"),
        ("KEY_ROTATE", "yes"),
    ] {
        let name = format!("CLOAKROOM_{name}");
        let (code, text) = run(&[], &with(&app.settings, &name, value));
        assert_eq!(code, Some(64), "{name}={value}");
        assert!(text.contains(&format!("{name} must be")) && !text.contains(value), "{text}");
    }
}

/// Contract 17.2.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_the_hosts_own() {
    let app = TestApp::builder().standalone().start().await;
    let host = format!("Host: 127.0.0.1:{}\r\n", app.port);
    let get = raw::exchange(app.port, &format!("GET / HTTP/1.1\r\n{host}\r\n"));
    assert!(raw::status(&get) == 200 && get.contains("<!doctype html>"), "not the response to the probe: {get}");
    let payload = r#"{"Data": {"timer": {}}, "Metadata": {"sys": {}}}"#;
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{payload}\r\n0\r\n\r\n", payload.len());
    for invocation in ["", "X-Azure-Functions-InvocationId: 1\r\n"] {
        let post = |path| raw::exchange(app.port, &format!("POST {path} HTTP/1.1\r\n{host}{invocation}{chunked}"));
        assert_eq!(raw::status(&post("/rotate_keys")), 404);
        assert_eq!(raw::status(&post("/graph-proxy")), 405, "a path of the SPA");
    }
    let forwarded = [("x-azure-functions-invocationid", "1"), ("x-forwarded-host", "evil.example")];
    app.visitor().send("GET", "/auth/session", &forwarded, "").await;
    assert_eq!(app.visitor().get("/health/ready").await.json()["host"], "none");
    assert!(!app.log().contains("host mode detected"), "{}", app.log());
}

/// Contract 11.4, 17.2.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_an_ingress_do_not_change_the_origin() {
    let app = TestApp::builder().standalone().start().await;
    let spoofed = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=evil.example;proto=https"),
        ("disguised-host", "evil.example"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let login = app.visitor().send("GET", "/auth/login", &spoofed, "").await;
    let location = login.header("location").unwrap();
    assert!(login.status == 302 && !location.contains("evil.example"), "{location}");
    assert!(location.contains(&format!("redirect_uri=http%3A%2F%2Flocalhost%3A{}", app.port)), "{location}");
}

/// Contract 17.3, 6.26: both instances find an empty vault.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_start_at_once_create_the_first_key() {
    let setup = Setup::empty().await;
    let app = setup.cloud.gateway().standalone().set("KEY_ROTATE", "on").impatient().start().await;
    let second = free_port().unwrap();
    let gateway = Gateway::start(&app.settings, second);
    app.wait_until_ready(200).await;
    let started = Instant::now();
    while app.visitor().at(second).get("/health/ready").await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let versions = setup.vault.versions(crate::cloud::SECRET).len();
    assert!((1..=2).contains(&versions), "at most one surplus version: {versions}");
    let ada = app.signed_in(ADA).await;
    assert_eq!(ada.at(second).fetch("GET", "/graph/me").await.status, 200, "{}", gateway.log());
    let rotated = || app.log().matches("keys_rotated").count() + gateway.log().matches("keys_rotated").count();
    until(|| rotated() > 0, &gateway);
    assert!(rotated() <= 2, "{}", app.log());
}

/// Contract 17.3.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_created_where_rotation_is_off_or_the_hosts_task() {
    let setup = Setup::empty().await;
    let off = setup.cloud.gateway().standalone().set("KEY_ROTATE", "off").impatient().start().await;
    let hosted = setup.cloud.gateway().impatient().start().await;
    for app in [&off, &hosted] {
        app.wait_for_log("the ring has no key").await;
    }
    // Each has listed the vault several times by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(setup.vault.versions(crate::cloud::SECRET).len(), 0);
    off.wait_until_ready(503).await;
}

/// A missing key file is created, readable by its owner only (contract 17.3, 6.4).
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_file_is_created_at_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let builder = TestApp::builder().standalone().set("ENC_KEY", "").set("KEY_FILE", path.display().to_string());
    let mut app = builder.start().await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut ada = app.signed_in(ADA).await;
    app.restart();
    app.wait_until_ready(200).await;
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "the same key");
}

/// Starts calls that take longer than the test, and waits until the API has received them.
async fn stuck(app: &TestApp, visitor: &Visitor, count: usize) -> Vec<tokio::task::JoinHandle<u16>> {
    let before = app.graph.count();
    let call =
        |mut tab: Visitor| async move { tab.fetch("GET", "/graph/slow?first=8000&total=8000&chunks=1").await.status };
    let calls = (0..count).map(|_| tokio::spawn(call(visitor.clone()))).collect();
    let started = Instant::now();
    while app.graph.count() < before + count as u64 {
        assert!(started.elapsed() < PATIENCE, "{} arrived: {}", app.graph.count() - before, app.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    calls
}

/// Contract 17.4: more than under Functions, where 48 of one user and 80 of all are in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_may_be_in_flight() {
    let app = TestApp::builder().standalone().start().await;
    let ada = app.signed_in(ADA).await;
    let calls = stuck(&app, &ada, 150).await;
    assert_eq!(ada.clone().fetch("GET", "/graph/me").await.status, 200);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Starts a gateway with the limits of `ulimit`.
#[cfg(target_os = "linux")]
fn start_limited(limits: &str, settings: &BTreeMap<String, String>, port: u16) -> Gateway {
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new("sh");
    command.args(["-c", &format!(r#"ulimit {limits} && exec "$0""#), BINARY]);
    command.env_clear().envs(with(settings, "CLOAKROOM_LISTEN", &address));
    Gateway::start_command(&mut command, &address)
}

/// Contract 17.4: some container runtimes set a soft limit of 1,024 open files.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_of_open_files_limits_no_connections() {
    let app = TestApp::builder().standalone().start().await;
    let port = free_port().unwrap();
    let _gateway = start_limited("-Sn 64", &app.settings, port);
    let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut connections: Vec<TcpStream> = (0..200).map(|_| raw::open(port)).collect();
    let statuses: Vec<u16> =
        connections.iter_mut().map(|stream| raw::status(&raw::exchange_on(stream, request))).collect();
    assert_eq!(statuses, [200; 200]);
}

/// A hard limit that is too low is a warning that says what to do.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn too_few_open_files_are_reported_at_the_start() {
    let app = TestApp::builder().standalone().start().await;
    assert!(!app.log().contains("too few files"), "{}", app.log());
    let gateway = start_limited("-n 1024", &app.settings, free_port().unwrap());
    gateway.wait_for_log("too few files may be open for CLOAKROOM_MAX_IN_FLIGHT").await;
    gateway.wait_for_log(r#""limit":1024,"needed":2100"#).await;
}

fn until(condition: impl Fn() -> bool, gateway: &Gateway) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Contract 10.19: clients that connect and send nothing keep no other client out.
#[tokio::test(flavor = "multi_thread")]
async fn connections_without_requests_keep_no_client_out() {
    cloakroom::os::raise_open_files().unwrap();
    let app = TestApp::builder().standalone().set("MAX_IN_FLIGHT", "20").start().await;
    let mut ada = app.signed_in(ADA).await;
    let silent: Vec<TcpStream> = (0..2_100).map(|_| raw::open(app.port)).collect();
    for _ in 0..20 {
        let health = raw::exchange(app.port, "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(raw::status(&health), 200);
    }
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200);
    app.wait_for_log_count("no more connections may be open", 1).await;
    drop(silent);
}

/// Contract 17.4, 17.5: the limits hold over all threads together.
#[tokio::test(flavor = "multi_thread")]
async fn the_limits_shrink_with_max_in_flight_and_hold_over_all_threads() {
    let app = TestApp::builder().standalone().set("MAX_IN_FLIGHT", "20").set("THREADS", "4").start().await;
    let (ada, grace) = (app.signed_in(ADA).await, app.signed_in(GRACE).await);
    // 20 × 48 ÷ 90 of one user, 20 × 80 ÷ 90 of all.
    let mut calls = stuck(&app, &ada, 10).await;
    assert_eq!(ada.clone().fetch("GET", "/graph/me").await.code(), "overloaded");
    calls.extend(stuck(&app, &grace, 7).await);
    assert_eq!(grace.clone().fetch("GET", "/graph/me").await.code(), "overloaded");
    assert_eq!(app.visitor().navigate("/auth/login").await.status, 302, "a sign-in still works");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Contract 17.5: one refresh for calls on all threads, and one table of sessions that ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_promises_holds_over_all_threads() {
    let options = Options { access_token_life: Duration::from_secs(10), ..Options::new("http://unused") };
    let app = TestApp::builder().standalone().set("THREADS", "4").provider(options).start().await;
    let ada = app.signed_in(ADA).await;
    // The token has less than half of its life left.
    tokio::time::sleep(Duration::from_millis(6_100)).await;
    app.provider.fault(&[Endpoint::Token], Fault::Delay(Duration::from_millis(300)));
    let before = app.provider.token_requests();
    // Each on a connection of its own; the connections are spread over the threads.
    let calls = join_all((0..40).map(|_| {
        let tab = ada.clone();
        async move { tab.at(app.port).fetch("GET", "/graph/me").await.status }
    }));
    assert_eq!(calls.await, [200; 40], "{}", app.log());
    assert_eq!(app.provider.token_requests() - before, 1, "one refresh");
    assert_eq!(ada.clone().fetch("POST", "/auth/logout").await.status, 200);
    let after = join_all((0..40).map(|_| {
        let tab = ada.clone();
        async move { tab.at(app.port).fetch("GET", "/graph/me").await.status }
    }));
    assert_eq!(after.await, [401; 40], "the session has ended on every thread");
}

/// Contract 17.5: the threads exist and are used.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_served_on_as_many_threads_as_set() {
    for (setting, expected) in [("1", 0), ("3", 2)] {
        let app = TestApp::builder().standalone().set("THREADS", setting).start().await;
        let ada = app.signed_in(ADA).await;
        for _ in 0..10 {
            let calls = join_all((0..12).map(|_| {
                let tab = ada.clone();
                async move { tab.at(app.port).fetch("GET", "/graph/me").await.status }
            }));
            assert_eq!(calls.await, [200; 12]);
        }
        let tasks = std::fs::read_dir(format!("/proc/{}/task", app.pid())).unwrap();
        let states = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default());
        let serving: Vec<String> = states.filter(|state| state.starts_with("Name:\tserve-")).collect();
        assert_eq!(serving.len(), expected, "THREADS={setting}");
        for thread in serving {
            let switches = thread.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            let switches: u64 = switches.trim().parse().unwrap();
            assert!(switches > 5, "the thread has waited for requests: {thread}");
        }
    }
}

/// Contract 17.6.
#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_requests_are_accepted_for_the_drain_delay_and_the_exit_code_is_0() {
    let app = TestApp::builder().standalone().set("DRAIN_DELAY", "6s").set("THREADS", "2").start().await;
    let ada = app.signed_in(ADA).await;
    let port = free_port().unwrap();
    let mut gateway = Gateway::start(&app.settings, port);
    let mut kept = raw::open(port);
    let health = "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n";
    let started = Instant::now();
    while raw::status(&raw::exchange_on(&mut kept, health.as_bytes())) != 200 {
        assert!(started.elapsed() < PATIENCE, "{}", gateway.log());
    }
    let slow = {
        let mut tab = ada.at(port);
        tokio::spawn(async move { tab.fetch("GET", "/graph/slow?first=100&total=8000&chunks=3").await })
    };
    until(|| app.graph.count() > 0, &gateway);
    gateway.signal("-TERM");
    let started = Instant::now();
    let stopping = loop {
        let ready = ada.at(port).get("/health/ready").await;
        if ready.status == 503 {
            break ready;
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{}", gateway.log());
    };
    assert_eq!(stopping.json(), serde_json::json!({"status": "stopping"}));
    assert_eq!(ada.at(port).get("/health/live").await.status, 200);
    assert_eq!(ada.at(port).fetch("GET", "/graph/me").await.status, 200, "requests are still accepted");
    let last = raw::exchange_on(&mut kept, health.as_bytes());
    assert!(raw::status(&last) == 503 && last.contains("\r\nconnection: close\r\n"), "{last}");
    assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
    assert!(started.elapsed() >= Duration::from_millis(5_900), "{:?}", started.elapsed());
    let slow = slow.await.unwrap();
    assert!(
        slow.status == 200 && slow.body.len() == 24,
        "a request in flight ends: {} {}",
        slow.status,
        slow.body.len()
    );
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is closed");
}

/// Contract 17.6: the default, and Ctrl-C.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_drain_delay_the_listener_closes_at_once() {
    let app = TestApp::builder().standalone().start().await;
    for signal in ["-TERM", "-INT"] {
        let mut gateway = Gateway::start(&app.settings, free_port().unwrap());
        let started = Instant::now();
        assert_eq!(gateway.end_by(signal), Some(0), "{signal}: {}", gateway.log());
        assert!(started.elapsed() < Duration::from_secs(7), "{signal}: {:?}", started.elapsed());
    }
}

/// Contract 17.6: a second signal ends the delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_drain_delay() {
    let app = TestApp::builder().standalone().set("DRAIN_DELAY", "1h").start().await;
    let mut gateway = Gateway::start(&app.settings, free_port().unwrap());
    until(|| gateway.log().contains("CLOAKROOM_DRAIN_DELAY: what stops the process must wait"), &gateway);
    gateway.signal("-TERM");
    until(|| gateway.log().contains("requests are still accepted"), &gateway);
    assert_eq!(gateway.end_by("-TERM"), Some(0), "{}", gateway.log());
}

/// Contract 17.6: what is still in flight after 8 s is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_have_8_s_on_every_thread() {
    let app = TestApp::builder().standalone().set("THREADS", "3").start().await;
    let ada = app.signed_in(ADA).await;
    let port = free_port().unwrap();
    let mut gateway = Gateway::start(&app.settings, port);
    let cookie = ada.cookie_header();
    let request = format!(
        "GET /graph/slow?first=100&total=30000&chunks=30 HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nX-CSRF: 1\r\n\
         Sec-Fetch-Site: same-origin\r\n\r\n"
    );
    let mut streams: Vec<TcpStream> = (0..6).map(|_| raw::open(port)).collect();
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).unwrap();
    }
    until(|| app.graph.count() == 6, &gateway);
    let started = Instant::now();
    assert_eq!(gateway.end_by("-TERM"), Some(0));
    let took = started.elapsed();
    assert!(took > Duration::from_millis(7_500) && took < Duration::from_secs(12), "{took:?}");
}

/// Contract 17.7.
#[tokio::test(flavor = "multi_thread")]
async fn the_health_command_asks_the_running_gateway() {
    let app = TestApp::builder().standalone().start().await;
    let (code, text) = run(&["health"], &app.settings);
    assert_eq!((code, text.trim()), (Some(0), r#"{"status":"live"}"#));
    let (code, text) = run(&["health", "--ready"], &app.settings);
    assert!(code == Some(0) && text.contains(r#""status":"ready""#) && text.contains(r#""host":"none""#), "{text}");
    assert_eq!(run(&["health", "--unknown"], &app.settings).0, Some(64));
    // Nothing but the address is read, so that a probe does not depend on other settings.
    let address = app.settings.iter().filter(|(name, _)| *name == "CLOAKROOM_LISTEN");
    let address: BTreeMap<_, _> = address.map(|(name, value)| (name.clone(), value.clone())).collect();
    assert_eq!(run(&["health"], &address).0, Some(0));
    let port = free_port().unwrap();
    let (code, text) = run(&["health"], &with(&app.settings, "CLOAKROOM_LISTEN", &format!("0.0.0.0:{port}")));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("does not respond at http://127.0.0.1:{port}/health/live")), "{text}");
}

/// Contract 17.7: a gateway that is live but not ready; the Functions host's port works too.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_not_ready_is_live() {
    let setup = Setup::empty().await;
    for standalone in [true, false] {
        let builder = setup.cloud.gateway().set("KEY_ROTATE", "off").impatient();
        let builder = if standalone { builder.standalone() } else { builder };
        let app = builder.start().await;
        let mut settings = app.settings.clone();
        if !standalone {
            settings.remove("CLOAKROOM_LISTEN");
            settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), app.port.to_string());
        }
        assert_eq!(run(&["health"], &settings).0, Some(0));
        let (code, text) = run(&["health", "--ready"], &settings);
        assert!(code == Some(1) && text.contains("503") && text.contains(r#""missing":["keys""#), "{text}");
    }
}

/// Contract 11.8: a connection that the system has established when the listener closes gets its response.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_arrives_with_the_signal_gets_its_response() {
    let app = TestApp::builder().standalone().start().await;
    for _ in 0..10 {
        let port = free_port().unwrap();
        let mut gateway = Gateway::start(&app.settings, port);
        // Stopped, so that it gets the connection and the signal at the same time.
        gateway.signal("-STOP");
        let mut stream = raw::open(port);
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        gateway.signal("-TERM");
        gateway.signal("-CONT");
        let (response, _) = raw::read_response(&mut stream, |bytes| bytes.ends_with(b"}"));
        let response = String::from_utf8_lossy(&response).into_owned();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}{}", gateway.log());
        assert_eq!(gateway.wait(), Some(0));
    }
}
