//! The life of the handler process. The handler is this test program, run again with its one ignored test.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(not(target_os = "linux"))]
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::{PATIENCE, Project, body, get, has_line, restarts, status, until};
use crate::host::{Host, Level, Mode, Options};

/// Serves until `/exit/CODE`. `TEST_HANDLER` decides how it starts.
#[test]
#[ignore = "the handler that the other tests start"]
fn handler() {
    let Ok(port) = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT") else {
        return;
    };
    match std::env::var("TEST_HANDLER").unwrap_or_default().as_str() {
        "never-listens" => std::thread::sleep(Duration::from_secs(600)),
        "crash" => std::process::exit(7),
        _ => {}
    }
    // The test runner has begun a line of its own.
    println!("\nlistening on {port}");
    eprintln!("a warning\nsomething else");
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || respond(&stream));
    }
}

fn respond(mut stream: &TcpStream) {
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
fn project(settings: &Value) -> Project {
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

async fn running(options: Options) -> Host {
    let host = Host::start(options).await.unwrap();
    timeout(PATIENCE, host.wait_ready()).await.unwrap().unwrap();
    host
}

/// A host with the handler of [`project`].
async fn running_project() -> (Project, Host) {
    let project = project(&json!({}));
    let host = running(project.options(Mode::Forward)).await;
    (project, host)
}

/// Whether a process runs, zombies excluded.
#[cfg(target_os = "linux")]
fn alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn alive(pid: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap().stdout;
    !state.trim_ascii().is_empty() && !state.trim_ascii().starts_with(b"Z")
}

#[cfg(windows)]
fn alive(pid: u32) -> bool {
    let listed = Command::new("tasklist").args(["/NH", "/FO", "CSV"]).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).contains(&format!("\"{pid}\""))
}

async fn until_status(host: &Host, expected: &str) {
    let reached = async {
        while status(&get(host, "/x").await) != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
}

#[tokio::test]
async fn the_handler_gets_its_environment() {
    let project = project(&json!({}));
    let local = r#"{"Values": {"LOCAL": "file", "OWN": "file"}}"#;
    std::fs::write(project.root().join("local.settings.json"), local).unwrap();
    let host = running(project.options_with(Mode::Forward, &[("OWN", "option")])).await;
    let port = host.app().handler().port.to_string();
    let root = project.root().canonicalize().unwrap().display().to_string();
    let id = body(&get(&host, "/env/FUNCTIONS_CUSTOMHANDLER_WORKER_ID").await).to_owned();
    assert_eq!(id.len(), 36);
    for (target, expected) in [
        ("/env/FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
        ("/env/FUNCTIONS_HTTPWORKER_PORT", &port),
        ("/env/FUNCTIONS_HTTPWORKER_ID", &id),
        ("/env/FUNCTIONS_APP_ROOT_PATH", &root),
        ("/env/LOCAL", "file"),
        ("/env/OWN", "option"),
        ("/env/CARGO_MANIFEST_DIR", ""),
        ("/cwd", &root),
    ] {
        assert_eq!(body(&get(&host, target).await), expected, "{target}");
    }
}

#[tokio::test]
async fn the_handlers_lines_are_collected() {
    let (_project, host) = running_project().await;
    let level = |text: &str| host.logs().into_iter().find(|line| line.text == text).map(|line| line.level);
    until("the last line", || level("something else").is_some()).await;
    let listening = format!("listening on {}", host.app().handler().port);
    until("the first line", || level(&listening) == Some(Level::Information)).await;
    assert_eq!(level("a warning"), Some(Level::Warning));
    assert_eq!(level("something else"), Some(Level::Error));
}

#[tokio::test]
async fn the_third_crash_shuts_the_host_down() {
    let (_project, host) = running_project().await;
    let (port, first) = (host.app().handler().port, host.handler_pid().unwrap());
    for (target, count) in [("/exit/1", 1), ("/abort", 2)] {
        assert_eq!(status(&get(&host, target).await), "500");
        until("the restart", || restarts(&host) == count).await;
        host.wait_ready().await.unwrap();
        assert_eq!(status(&get(&host, "/").await), "200");
    }
    assert_ne!(host.handler_pid(), Some(first));
    assert_eq!(host.app().handler().port, port);
    get(&host, "/exit/2").await;
    timeout(PATIENCE, host.wait_shut_down()).await.unwrap();
    assert!(has_line(&host, "Exceeded http worker restart retry count. Shutting down Functions Host"));
    assert!(host.wait_ready().await.is_err());
    until("the end of the listener", || TcpStream::connect(host.addr()).is_err()).await;
}

#[tokio::test]
async fn a_handler_that_exits_with_0_is_not_restarted() {
    let (_project, host) = running_project().await;
    let pid = host.handler_pid().unwrap();
    assert_eq!(status(&get(&host, "/exit/0").await), "500");
    until("the end of the process", || !alive(pid)).await;
    assert_eq!(status(&get(&host, "/").await), "500");
    assert_eq!(restarts(&host), 0);
    host.stop().await;
}

#[tokio::test]
async fn an_exit_with_200_is_restarted_and_not_counted() {
    let (_project, host) = running_project().await;
    for count in 1..=4 {
        get(&host, "/exit/200").await;
        until("the restart", || restarts(&host) == count).await;
        host.wait_ready().await.unwrap();
    }
    assert_eq!(status(&get(&host, "/").await), "200");
}

#[tokio::test]
async fn a_handler_that_never_starts_shuts_the_host_down() {
    let project = project(&json!({"initializationTimeout": "00:00:00.2"}));
    let executable = "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath";
    for (env, line) in [
        (("TEST_HANDLER", "crash"), "The handler process ended: exit status: 7"),
        ((executable, "nope"), "Failed to start the handler: nope"),
        (("TEST_HANDLER", "never-listens"), "did not listen within the initialization timeout"),
    ] {
        let host = Host::start(project.options_with(Mode::Forward, &[env])).await.unwrap();
        if env.1 == "never-listens" {
            // The request is held while the host starts the handler again and again.
            assert_eq!(status(&get(&host, "/x").await), "500");
        }
        timeout(PATIENCE, host.wait_shut_down()).await.unwrap();
        assert_eq!(restarts(&host), 2, "{line}");
        assert!(has_line(&host, line), "{line}");
    }
}

#[tokio::test]
async fn a_request_that_waits_too_long_ends_the_host() {
    let project = project(&json!({"initializationTimeout": "00:00:00.1"}));
    let cold = Options { cold_start: Some(PATIENCE), ..project.options(Mode::Forward) };
    let host = Host::start(cold).await.unwrap();
    let start = Instant::now();
    assert_eq!(status(&get(&host, "/x").await), "500");
    assert!(start.elapsed() >= Duration::from_millis(400));
    timeout(PATIENCE, host.wait_shut_down()).await.unwrap();
    assert!(has_line(&host, "Initialization timed out and host is shutting down"));
    assert_eq!(host.handler_pid(), None);
}

#[tokio::test]
async fn requests_wait_for_a_cold_start() {
    let project = project(&json!({}));
    let cold = Options { cold_start: Some(Duration::from_millis(200)), ..project.options(Mode::Forward) };
    let host = Host::start(cold).await.unwrap();
    let start = Instant::now();
    assert_eq!(status(&get(&host, "/x").await), "200");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_function_that_takes_too_long_ends_the_handler() {
    let project = project(&json!({}));
    // In proxying mode the response has begun, and only breaks off.
    for (mode, target, expected) in [(Mode::Forward, "/slow", "500"), (Mode::Proxy, "/trickle", "none")] {
        let limit = [("AzureFunctionsJobHost__functionTimeout", "00:00:00.5")];
        let host = running(project.options_with(mode, &limit)).await;
        let pid = host.handler_pid().unwrap();
        assert_eq!(status(&get(&host, target).await), expected);
        until("the restart", || restarts(&host) == 1 && !alive(pid)).await;
        host.wait_ready().await.unwrap();
        assert_eq!(status(&get(&host, "/x").await), "200");
    }
}

#[tokio::test]
async fn stopping_and_dropping_kill_the_handler() {
    let (project, host) = running_project().await;
    let first = host.handler_pid().unwrap();
    assert!(alive(first));
    host.stop().await;
    assert!(!alive(first));
    let host = running(project.options(Mode::Forward)).await;
    let second = host.handler_pid().unwrap();
    drop(host);
    until("the end of the process", || !alive(second)).await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_platform_may_send_sigterm_first() {
    let project = Project::with_all();
    let script = "trap 'echo terminated; exit 143' TERM; echo up; while :; do sleep 0.05; done";
    std::fs::write(project.root().join("handler.sh"), script).unwrap();
    let description = json!({"defaultExecutablePath": "/bin/sh", "arguments": ["handler.sh"]});
    project.configure(&json!({"description": description}), &json!({}));
    for (patience, terminated) in [(Some(PATIENCE), true), (None, false)] {
        let options = Options { platform_sigterm: patience, ..project.options(Mode::Forward) };
        let host = Host::start(options).await.unwrap();
        until("the trap", || has_line(&host, "up")).await;
        let log = host.log.clone();
        host.stop().await;
        assert_eq!(log.lines().iter().any(|line| line.text == "terminated"), terminated);
    }
}

#[tokio::test]
async fn a_changed_function_restarts_everything_on_another_port() {
    let (project, host) = running_project().await;
    let (port, first) = (host.app().handler().port, host.handler_pid().unwrap());
    project.function("all", &json!({"route": "only"}));
    until("the end of the old handler", || !alive(first)).await;
    assert!(has_line(&host, "host.json or a function.json has changed. Restarting the host."));
    assert_ne!(host.app().handler().port, port);
    // The request waits until the new handler listens.
    assert_eq!(status(&get(&host, "/only").await), "200");
    assert_eq!(status(&get(&host, "/other").await), "404");
    let second = host.handler_pid().unwrap();
    project.function("more", &json!({"route": "more"}));
    until("the end of the second handler", || !alive(second)).await;
    assert_eq!(status(&get(&host, "/more").await), "200");
    let third = host.handler_pid().unwrap();
    host.stop().await;
    assert!(!alive(third));
}

#[tokio::test]
async fn a_host_with_invalid_files_serves_again_when_they_are_fixed() {
    let (project, host) = running_project().await;
    let file = project.root().join("host.json");
    let good = std::fs::read_to_string(&file).unwrap();
    let first = host.handler_pid().unwrap();
    std::fs::write(&file, "{").unwrap();
    until("the end of the handler", || !alive(first)).await;
    until_status(&host, "503").await;
    assert!(has_line(&host, "A host error has occurred during startup operation: host.json is not valid JSON"));
    std::fs::write(&file, good.replace("\"2.0\"", " \"2.0\"")).unwrap();
    until_status(&host, "200").await;
    assert_ne!(host.handler_pid(), Some(first));
}
