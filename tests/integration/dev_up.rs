//! The local stack of `cargo dev up`: keys from the vault, the first created by the timer, the second on the page;
//! sessions in cookies or in Redis.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use devkit::commands::ring::RingPage;
use devkit::commands::stack::{Backends, Keys, LocalStack, Options, Store, free_port};
use devkit::host::{Host, Options as HostOptions};

use crate::app::{BINARY, ROOT};
use crate::raw;
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace@contoso.example";
/// A version with `activate` = `now` seals after 30 s, and the gateway refreshes every 2 s.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_session_continues_while_keys_are_rotated_from_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let stack = LocalStack::start(options(folder.path(), Store::Cookie)).await.unwrap();
    let vault = stack.backends.vault.clone().unwrap();
    assert_eq!(vault.key_count(), 1, "the timer has created the first key");
    let logs = stack.host.logs();
    let is_rotation = |text: &str| text.contains("published ") && text.contains("keys_rotated");
    assert!(logs.iter().any(|line| is_rotation(&line.text)), "the gateway logs the rotation: {logs:?}");
    let mut visitor = Visitor::new(&stack.backends.origin);
    visitor.sign_in(&stack.backends.provider, ADA, "/").await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);

    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let page = RingPage::start(address, BINARY.into(), stack.backends.settings.clone(), vault).await.unwrap();
    let port = page.url().rsplit(':').next().unwrap().parse().unwrap();
    let request = |line: &str| {
        let head =
            format!("{line} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        raw::exchange(port, &head)
    };
    assert_eq!(request("GET /").matches("<tr class=").count(), 1);
    wait("the first key seals by its age", || !request("GET /").contains(", in ")).await;
    assert_eq!(raw::status(&request("POST /rotate")), 303);
    let shown = request("GET /");
    assert!(shown.contains("<tr class=\"active\">") && shown.contains("<tr class=\"published\">"), "{shown}");

    let started = Instant::now();
    loop {
        let response = visitor.fetch("GET", "/graph/me").await;
        assert_eq!(response.status, 200, "{}", response.text());
        if response.header("set-cookie").is_some() && request("GET /").contains("<tr class=\"retiring\">") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the new key does not become active: {}", request("GET /"));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "the session is sealed under the new key");
}

/// `cargo dev up --store redis`: sessions are in Redis, which ends with the stack.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_store_sessions_are_in_a_redis_that_ends_with_the_stack() {
    let folder = tempfile::tempdir().unwrap();
    let stack = LocalStack::start(options(folder.path(), Store::Redis)).await.unwrap();
    let redis = stack.backends.redis.as_ref().unwrap();
    let mut visitor = Visitor::new(&stack.backends.origin);
    visitor.sign_in(&stack.backends.provider, ADA, "/").await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(redis.command(&["KEYS", "cloakroom:s:*"]).unwrap().texts().len(), 1);
    redis.command(&["FLUSHALL"]).unwrap();
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 401, "the session was there and nowhere else");
    let address = redis.addr();
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(stack);
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// `cargo dev up --stand-ins`: another host, which has only the settings file.
#[tokio::test(flavor = "multi_thread")]
async fn the_stand_ins_serve_another_host_by_its_local_settings() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let keys = Keys::File(folder.path().join("keys.json"));
    let options = Options { keys, ports: [port, 0, 0], ..options(folder.path(), Store::Cookie) };
    let backends = Backends::start(&options).await.unwrap();
    for name in ["host.json", "local.settings.json", "auth-login", "auth-callback", "graph-proxy"] {
        let to = folder.path().join(name);
        match name {
            "local.settings.json" => std::fs::write(to, backends.local_settings(port)).unwrap(),
            "host.json" => _ = std::fs::copy(Path::new(ROOT).join(name), to).unwrap(),
            function => {
                std::fs::create_dir(to).unwrap();
                let file = Path::new(function).join("function.json");
                std::fs::copy(Path::new(ROOT).join(&file), folder.path().join(file)).unwrap();
            }
        }
    }
    let host = Host::start(HostOptions { port, ..HostOptions::new(folder.path()) }).await.unwrap();
    host.wait_ready().await.unwrap();
    let mut visitor = Visitor::new(&backends.origin);
    visitor.sign_in(&backends.provider, ADA, "/").await;
    let response = visitor.fetch("GET", "/graph/me").await;
    assert_eq!(response.status, 200, "{}: {:?}", response.text(), host.logs());
}

/// Any ports, and keys from a vault, the certificate of whose authority is in this folder.
fn options(folder: &Path, store: Store) -> Options {
    let keys = Keys::Vault(folder.join("ca.pem"));
    Options { root: ROOT.into(), binary: Some(BINARY.into()), keys, store, mode: None, ports: [0; 3], print: false }
}

async fn wait(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
