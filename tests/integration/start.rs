//! Startup, unavailable dependencies at startup, and shutdown (contract 11.6, 11.7, 12.2).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use devkit::commands::stack::{free_port, make_key_file};
use devkit::os::set_mode;
use devkit::provider::{Endpoint, Fault};

use crate::app::{BINARY, Gateway, PATIENCE, ROOT, TestApp};
use crate::raw;

fn run(arguments: &[&str], settings: &BTreeMap<String, String>) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(arguments).env_clear().envs(settings).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Contract 13.6.
#[cfg(unix)]
#[test]
fn an_argument_that_is_not_unicode_is_a_usage_error() {
    use std::os::unix::ffi::OsStrExt;
    let user = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let output = Command::new(BINARY).args(["sessions", "end", "--user"]).arg(user).env_clear().output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.contains("not Unicode")), (Some(64), true), "{text}");
}

#[test]
fn check_on_an_empty_environment_lists_every_required_setting_at_once() {
    let (code, text) = run(&["check"], &BTreeMap::new());
    assert_eq!(code, Some(64));
    for name in ["PUBLIC_ORIGIN", "KEY_FILE", "ENC_KEY", "TENANT_ID", "AUTHORITY", "CLIENT_ID", "CLIENT_SECRET"] {
        assert!(text.contains(&format!("CLOAKROOM_{name}")), "{name} in {text}");
    }
    assert_eq!(run(&[], &BTreeMap::new()).0, Some(64), "serving fails in the same way");
    assert_eq!(run(&["unknown-command"], &BTreeMap::new()).0, Some(64));
}

/// It has only what a reader fills in, and no empty value: `docs/configuration.md` lists the other settings.
#[test]
fn the_sample_of_local_settings_is_valid_once_it_is_filled_in() {
    let text = fs::read_to_string(Path::new(ROOT).join("local.settings.json.sample")).unwrap();
    let sample: serde_json::Value = serde_json::from_str(&text).unwrap();
    let values = sample["Values"].as_object().unwrap();
    let settings: BTreeMap<String, String> = values.iter().map(fill).collect();
    let (code, text) = run(&["check"], &settings);
    assert_eq!((code, text.as_str()), (Some(0), "the configuration is valid\n"));
    for name in settings.keys().filter(|name| name.starts_with("CLOAKROOM_")) {
        let mut others = settings.clone();
        others.remove(name);
        assert_eq!(run(&["check"], &others).0, Some(64), "{name} is optional: remove it from the sample");
    }
}

/// Replaces a value in angle brackets.
fn fill((name, value): (&String, &serde_json::Value)) -> (String, String) {
    let filled = match (name.as_str(), value.as_str().unwrap()) {
        ("CLOAKROOM_KEY_VAULT_URL", _) => "https://some-vault.vault.azure.net",
        (_, blank) if blank.starts_with('<') => "11111111-2222-3333-4444-555555555555",
        (_, value) => value,
    };
    (name.clone(), filled.to_owned())
}

/// By default jemalloc keeps the memory of closed connections; `cargo dev bench --memory` measures what is given back,
/// by a thread of its own. `confirm_conf` makes it print its settings.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_allocators_settings_are_compiled_in() {
    let confirm = BTreeMap::from([("_RJEM_MALLOC_CONF".to_owned(), "confirm_conf:true".to_owned())]);
    let (_, text) = run(&["unknown-command"], &confirm);
    for setting in ["background_thread:true", "dirty_decay_ms:200", "muzzy_decay_ms:0"] {
        assert!(text.contains(&format!("Set conf value: {setting}")), "{setting} in {text}");
    }
    let app = TestApp::start().await;
    let threads = fs::read_dir(format!("/proc/{}/task", app.pid())).unwrap();
    let mut names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default());
    assert!(names.any(|name| name.trim() == "jemalloc_bg_thd"), "the thread that gives memory back runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_a_valid_configuration_without_its_secrets() {
    let app = TestApp::start().await;
    let (code, text) = run(&["check"], &app.settings);
    assert_eq!((code, text.as_str()), (Some(0), "the configuration is valid\n"));
    let secrets = [devkit::provider::CLIENT_SECRET, &app.settings["CLOAKROOM_ENC_KEY"]];
    assert!(secrets.iter().all(|secret| !text.contains(secret)));
}

/// Contract 11.9: a signal without a handler would end the process at once.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn signals_have_their_handlers_before_the_process_listens() {
    use crate::app::{KillOnDrop, LISTEN};
    const SIGINT: u64 = 1 << (2 - 1);
    const SIGTERM: u64 = 1 << (15 - 1);
    let TestApp { mut settings, .. } = TestApp::start().await;
    settings.remove(LISTEN);
    for _ in 0..20 {
        let port = free_port().unwrap();
        settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), port.to_string());
        let mut command = Command::new(BINARY);
        let gateway = command.env_clear().envs(&settings).stdout(std::process::Stdio::null()).spawn().unwrap();
        let gateway = KillOnDrop(gateway);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "the gateway does not listen");
        }
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.0.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        let expected = SIGINT | SIGTERM;
        assert_eq!(u64::from_str_radix(caught, 16).unwrap() & expected, expected, "SigCgt {caught}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_ends_with_exit_code_71() {
    let app = TestApp::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = app.settings;
    settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), taken.local_addr().unwrap().port().to_string());
    let (code, text) = run(&[], &settings);
    assert_eq!(code, Some(71), "{text}");
    assert!(text.contains("another process has the port"), "{text}");
}

/// The runtime needs two files beyond the three that every process has open.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_may_open_no_files_says_why_it_ends_with_exit_code_71() {
    let app = TestApp::builder().standalone().start().await;
    for arguments in [&[][..], &["keys", "list"]] {
        let limited = r#"ulimit -n 4 && exec "$0" "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", limited, BINARY]).args(arguments).env_clear().envs(&app.settings);
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(71), "{arguments:?}: {text}");
        assert!(text.contains("cannot create the async runtime: "), "{arguments:?}: {text}");
    }
}

/// The host's own readiness probe.
fn probe(port: u16) -> String {
    raw::exchange(port, &format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_hangs_the_process_listens_and_answers_the_probe() {
    let app = TestApp::start().await;
    app.provider.fault(&[Endpoint::Discovery], Fault::Delay(Duration::from_secs(5)));
    app.provider.clear_requests();
    let port = free_port().unwrap();
    let gateway = Gateway::start(&app.settings, port);
    let started = Instant::now();
    while app.provider.count() == 0 {
        assert!(started.elapsed() < PATIENCE, "discovery is not requested: {}", gateway.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let response = probe(port);
    assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("\r\n\r\n"), "{response}");
    assert!(!response.to_lowercase().contains("location"), "never a redirect");
    let ready = raw::exchange(port, "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains(r#""missing":["provider"]"#), "{ready}");
    let live = raw::exchange(port, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_unavailable_at_startup_is_reported_and_recovers() {
    for fault in [Fault::Status { status: 503, retry_after: Some(7) }, Fault::Html, Fault::HangUp] {
        let case = format!("{fault:?}");
        let app = TestApp::start().await;
        app.provider.fault(&[Endpoint::Discovery], fault);
        let port = free_port().unwrap();
        let gateway = Gateway::start(&app.settings, port);
        let page = raw::exchange(port, "GET /auth/login HTTP/1.1\r\nHost: x\r\nSec-Fetch-Mode: navigate\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 503 "), "{case}: {page}");
        assert!(page.contains("retry-after: ") && page.contains("provider_unavailable"), "{case}: {page}");
        assert!(!page.contains("set-cookie"), "{case}");
        app.provider.clear_faults();
        until(
            || raw::exchange(port, "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "),
            &gateway,
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_missing_at_startup_is_reported_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let app =
        TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path.display().to_string()).impatient().start().await;
    app.wait_until_ready(503).await;
    let ready = app.visitor().get("/health/ready").await;
    assert_eq!(ready.json()["missing"][0], "keys", "{}", ready.text());
    let mut visitor = app.visitor();
    let login = visitor.navigate("/auth/login").await;
    assert_eq!((login.status, login.code()), (503, "keys_unavailable"));
    assert!(login.header("retry-after").is_some() && login.header("set-cookie").is_none());
    visitor.jar.insert("__Host-Http-cloakroom".to_owned(), sealed_under_an_unknown_key());
    let call = visitor.fetch("GET", "/graph/me").await;
    assert_eq!((call.status, call.code()), (503, "keys_unavailable"), "an outage is not an invalid session");
    assert!(call.header("retry-after").is_some() && call.header("set-cookie").is_none());
    assert_eq!(visitor.fetch("GET", "/auth/session").await.status, 503);
    // Contract 5.12: whether the token is valid is not known.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let token = format!("lt={}", sealed_under_an_unknown_key());
    let signs_out = visitor.send("POST", "/auth/logout", &form, token).await;
    assert_eq!((signs_out.status, signs_out.code()), (503, "keys_unavailable"));
    assert!(signs_out.header("retry-after").is_some() && signs_out.header("set-cookie").is_none());
    make_key_file(&path).unwrap();
    app.wait_until_ready(200).await;
    app.signed_in("ada.lovelace@contoso.example").await;
}

/// The value of a session cookie under a key that no ring has.
pub fn sealed_under_an_unknown_key() -> String {
    use base64::Engine;
    let bytes = [&[1][..], &[0xEE; 8], &[0; 60]].concat();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_others_can_read_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    make_key_file(&path).unwrap();
    set_mode(&path, 0o644).unwrap();
    let app =
        TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path.display().to_string()).impatient().start().await;
    app.wait_until_ready(503).await;
    app.wait_for_log("chmod 600").await;
    set_mode(&path, 0o600).unwrap();
    app.wait_until_ready(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_requests_in_flight_finish_and_the_exit_code_is_143() {
    let app = TestApp::start().await;
    let visitor = app.signed_in("ada.lovelace@contoso.example").await;
    let port = free_port().unwrap();
    let mut gateway = Gateway::start(&app.settings, port);
    let cookie = visitor.cookie_header();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "GET /graph/slow?first=100&total=1500&chunks=3 HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\r\n"
    );
    app.graph.clear_requests();
    stream.write_all(request.as_bytes()).unwrap();
    until(|| app.graph.count() > 0, &gateway);
    let reader = std::thread::spawn(move || {
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    });
    assert_eq!(gateway.end_by("-TERM"), Some(143));
    let response = reader.join().unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.ends_with("0\r\n\r\n") || response.contains("content-length"), "the body is complete: {response}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is closed");
}

fn until(condition: impl Fn() -> bool, gateway: &Gateway) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "the condition is not met: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Contract 5.4, 6.14 (once per process and version, not at every list) and 7.33.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_key_versions_are_logged_once_and_one_time_refresh_tokens_are_mentioned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let key = |id: &str, value: &str, created: u64| {
        serde_json::json!({"id": id, "value": value, "enabled": true, "created": created, "not_before": null,
            "expires": null, "tags": {}})
    };
    let good = "A".repeat(43);
    let keys = [
        key("aaaaaaaaaaaaaaaa0000000000000001", &good, 1_700_000_000),
        key("aaaaaaaaaaaaaaaa0000000000000002", &good, 1_700_000_001),
        key("bbbbbbbbbbbbbbbb0000000000000003", "not a key", 1_700_000_002),
    ];
    fs::write(&path, serde_json::json!({"keys": keys}).to_string()).unwrap();
    set_mode(&path, 0o600).unwrap();
    let builder = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path.display().to_string());
    let builder = builder.set("KEY_REFRESH", "1s").set("KEY_PROPAGATION", "3s").set("CLOCK_SKEW", "1s");
    let app = builder.start().await;
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    for text in
        ["an earlier one has the same kid", "its value is not base64url of 32 bytes", "refresh tokens can be used"]
    {
        app.wait_for_log_count(text, 1).await;
    }
    // The kid is named.
    app.wait_for_log("aaaaaaaaaaaaaaaa").await;
}
