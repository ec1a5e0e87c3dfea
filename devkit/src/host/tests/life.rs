//! The life of the handler process. The handler is this test program, run again with its one ignored test.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::{PATIENCE, Project, body, get, has_line, status, until};
use crate::host::{Host, Level, Mode, Options, Source};

/// Serves until `/exit/CODE`. Its start is ruled by `TEST_HANDLER`.
#[test]
#[ignore = "the handler that the other tests start"]
fn handler() {
    let Ok(port) = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT") else {
        return;
    };
    match std::env::var("TEST_HANDLER").unwrap_or_default().as_str() {
        "deaf" => std::thread::sleep(Duration::from_secs(600)),
        "crash" => std::process::exit(7),
        _ => {}
    }
    // The test runner has begun a line of its own.
    println!("\nlistening on {port}");
    eprintln!("a warning\nan oddity");
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(&stream));
    }
}

fn answer(mut stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let target = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    lines.by_ref().find(String::is_empty);
    let mut body = String::new();
    match target.split('/').collect::<Vec<_>>().as_slice() {
        ["", "exit", code] => std::process::exit(code.parse().unwrap()),
        ["", "abort"] => std::process::abort(),
        ["", "slow"] => std::thread::sleep(Duration::from_secs(600)),
        ["", "trickle"] => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
            std::thread::sleep(Duration::from_secs(600));
        }
        ["", "env", name] => body = std::env::var(name).unwrap_or_default(),
        ["", "cwd"] => body = std::env::current_dir().unwrap().display().to_string(),
        _ => {}
    }
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

/// A project whose handler is this test program.
pub(super) fn project(settings: &Value) -> Project {
    let project = Project::with_all();
    let mut file = json!({
        "initializationTimeout": "00:00:10",
        "description": {
            "defaultExecutablePath": std::env::current_exe().unwrap(),
            "arguments": ["host::tests::life::handler", "--exact", "--ignored", "--nocapture", "--test-threads=1"],
        },
    });
    file.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    project.configure(&file, &json!({"routePrefix": ""}));
    project
}

pub(super) fn options(project: &Project, env: &[(&str, &str)]) -> Options {
    let mut options = project.options(Mode::Forward);
    options.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    options
}

pub(super) async fn running(options: Options) -> Host {
    let host = Host::start(options).await.unwrap();
    timeout(PATIENCE, host.wait_ready()).await.unwrap().unwrap();
    host
}

async fn text(address: SocketAddr, target: &str) -> String {
    body(&get(address, target).await).to_owned()
}

/// Whether a process runs, zombies excluded.
pub(super) fn alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn the_handler_gets_its_environment() {
    let project = project(&json!({}));
    std::fs::write(project.root().join("local.settings.json"), r#"{"Values": {"LOCAL": "file", "OWN": "file"}}"#)
        .unwrap();
    let host = running(options(&project, &[("OWN", "option")])).await;
    let port = host.handler_port().to_string();
    let root = project.root().canonicalize().unwrap().display().to_string();
    for (name, expected) in [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
        ("FUNCTIONS_HTTPWORKER_PORT", &port),
        ("FUNCTIONS_APP_ROOT_PATH", &root),
        ("LOCAL", "file"),
        ("OWN", "option"),
        ("CARGO_MANIFEST_DIR", ""),
    ] {
        assert_eq!(text(host.addr(), &format!("/env/{name}")).await, expected, "{name}");
    }
    let id = text(host.addr(), "/env/FUNCTIONS_CUSTOMHANDLER_WORKER_ID").await;
    assert_eq!(id.len(), 36);
    assert_eq!(text(host.addr(), "/env/FUNCTIONS_HTTPWORKER_ID").await, id);
    assert_eq!(text(host.addr(), "/cwd").await, root);
}

#[tokio::test]
async fn the_handlers_lines_are_collected() {
    let project = project(&json!({}));
    let host = running(options(&project, &[])).await;
    let line =
        |text: &str| host.logs().into_iter().find(|line| line.text == text).map(|line| (line.level, line.source));
    until("the last line", || line("an oddity").is_some()).await;
    let listening = format!("listening on {}", host.handler_port());
    until("the first line", || line(&listening) == Some((Level::Information, Source::Stdout))).await;
    assert_eq!(line("a warning"), Some((Level::Warning, Source::Stderr)));
    assert_eq!(line("an oddity"), Some((Level::Error, Source::Stderr)));
}

#[tokio::test]
async fn crashes_are_forgiven_twice() {
    let project = project(&json!({}));
    let host = running(options(&project, &[])).await;
    let (port, first) = (host.handler_port(), host.handler_pid().unwrap());
    for (target, restarts) in [("/exit/1", 1), ("/abort", 2)] {
        assert_eq!(status(&get(host.addr(), target).await), "500");
        until("the restart", || host.restarts() == restarts).await;
        host.wait_ready().await.unwrap();
        assert_eq!(status(&get(host.addr(), "/").await), "200");
    }
    assert_ne!(host.handler_pid(), Some(first));
    assert_eq!(host.handler_port(), port);
    get(host.addr(), "/exit/2").await;
    timeout(PATIENCE, host.wait_shut_down()).await.unwrap();
    assert!(has_line(&host, "Exceeded http worker restart retry count. Shutting down Functions Host"));
    assert!(host.wait_ready().await.is_err());
    until("the end of the listener", || TcpStream::connect(host.addr()).is_err()).await;
}

#[tokio::test]
async fn a_handler_that_ends_well_stays_gone() {
    let project = project(&json!({}));
    let host = running(options(&project, &[])).await;
    let pid = host.handler_pid().unwrap();
    assert_eq!(status(&get(host.addr(), "/exit/0").await), "500");
    until("the end of the process", || !alive(pid)).await;
    assert_eq!(status(&get(host.addr(), "/").await), "500");
    assert_eq!(host.restarts(), 0);
    host.stop().await;
}

#[tokio::test]
async fn a_restart_on_purpose_is_not_counted() {
    let project = project(&json!({}));
    let host = running(options(&project, &[])).await;
    for restarts in 1..=4 {
        get(host.addr(), "/exit/200").await;
        until("the restart", || host.restarts() == restarts).await;
        host.wait_ready().await.unwrap();
    }
    assert_eq!(status(&get(host.addr(), "/").await), "200");
}

#[tokio::test]
async fn a_handler_that_never_starts_ends_the_host() {
    let project = project(&json!({}));
    for env in [
        ("TEST_HANDLER", "crash"),
        ("AzureFunctionsJobHost__customHandler__description__defaultExecutablePath", "nope"),
    ] {
        let host = Host::start(options(&project, &[env])).await.unwrap();
        timeout(PATIENCE, host.wait_shut_down()).await.unwrap();
        assert_eq!(host.restarts(), 2);
    }
}

#[tokio::test]
async fn a_deaf_handler_counts_as_an_error() {
    let project = project(&json!({"initializationTimeout": "00:00:00.2"}));
    let host = Host::start(options(&project, &[("TEST_HANDLER", "deaf")])).await.unwrap();
    // The request is held while the host starts the handler again and again.
    assert_eq!(status(&get(host.addr(), "/x").await), "500");
    timeout(PATIENCE, host.wait_shut_down()).await.unwrap();
    assert_eq!(host.restarts(), 2);
    assert!(has_line(&host, "did not listen within the initialization timeout"));
}

#[tokio::test]
async fn a_request_that_waits_too_long_ends_the_host() {
    let project = project(&json!({"initializationTimeout": "00:00:00.1"}));
    let cold = Options { cold_start: Some(PATIENCE), ..options(&project, &[]) };
    let host = Host::start(cold).await.unwrap();
    let start = Instant::now();
    assert_eq!(status(&get(host.addr(), "/x").await), "500");
    assert!(start.elapsed() >= Duration::from_millis(400));
    timeout(PATIENCE, host.wait_shut_down()).await.unwrap();
    assert!(has_line(&host, "Initialization timed out and host is shutting down"));
    assert_eq!(host.handler_pid(), None);
}

#[tokio::test]
async fn requests_wait_for_a_cold_start() {
    let project = project(&json!({}));
    let cold = Options { cold_start: Some(Duration::from_millis(200)), ..options(&project, &[]) };
    let host = Host::start(cold).await.unwrap();
    let start = Instant::now();
    assert_eq!(status(&get(host.addr(), "/x").await), "200");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_function_that_takes_too_long_takes_the_handler_along() {
    let project = project(&json!({}));
    for mode in [Mode::Forward, Mode::Proxy] {
        let own = options(&project, &[("AzureFunctionsJobHost__functionTimeout", "00:00:00.5")]);
        let host = running(Options { mode: Some(mode), ..own }).await;
        let pid = host.handler_pid().unwrap();
        // In proxying mode the response has begun, and only breaks off.
        let (target, expected) = if mode == Mode::Forward { ("/slow", "500") } else { ("/trickle", "none") };
        assert_eq!(status(&get(host.addr(), target).await), expected);
        until("the restart", || host.restarts() == 1 && !alive(pid)).await;
        host.wait_ready().await.unwrap();
        assert_eq!(status(&get(host.addr(), "/x").await), "200");
    }
}

#[tokio::test]
async fn stopping_and_dropping_kill_the_handler() {
    let project = project(&json!({}));
    let host = running(options(&project, &[])).await;
    let pid = host.handler_pid().unwrap();
    assert!(alive(pid));
    host.stop().await;
    assert!(!alive(pid));
    let host = running(options(&project, &[])).await;
    let pid = host.handler_pid().unwrap();
    drop(host);
    until("the end of the process", || !alive(pid)).await;
}

#[tokio::test]
async fn the_platform_may_ask_politely_first() {
    let project = Project::with_all();
    let script = "trap 'echo asked; exit 143' TERM; echo up; while :; do sleep 0.05; done";
    std::fs::write(project.root().join("handler.sh"), script).unwrap();
    let description = json!({"defaultExecutablePath": "/bin/sh", "arguments": ["handler.sh"]});
    project.configure(&json!({"description": description}), &json!({}));
    for (patience, asked) in [(Some(PATIENCE), true), (None, false)] {
        let host = Host::start(Options { platform_sigterm: patience, ..options(&project, &[]) }).await.unwrap();
        until("the trap", || has_line(&host, "up")).await;
        let log = host.log.clone();
        host.stop().await;
        assert_eq!(log.lines().iter().any(|line| line.text == "asked"), asked);
    }
}
