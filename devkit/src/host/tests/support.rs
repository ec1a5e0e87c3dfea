//! A project in a temporary folder, a raw client, and a handler that records.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::host::{Host, Mode, Options};

/// No test waits longer for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a `host.json` without route prefix.
pub(super) struct Project(TempDir);

impl Project {
    pub(super) fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        project.configure(&json!({"description": {"defaultExecutablePath": "handler"}}), &json!({"routePrefix": ""}));
        project
    }

    /// A project whose only function takes every path.
    pub(super) fn with_all() -> Self {
        let project = Self::new();
        project.function("all", &json!({"route": "{*path}"}));
        project
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn configure(&self, handler: &Value, http: &Value) {
        let file = json!({"version": "2.0", "customHandler": handler, "extensions": {"http": http}});
        std::fs::write(self.root().join("host.json"), file.to_string()).unwrap();
    }

    /// Adds an anonymous HTTP function whose trigger has these further members.
    pub(super) fn function(&self, name: &str, members: &Value) {
        let mut trigger = json!({"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous"});
        trigger.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.bind(name, &json!([trigger, {"type": "http", "direction": "out", "name": "res"}]));
    }

    /// Adds a timer function whose trigger has these further members.
    pub(super) fn timer(&self, name: &str, schedule: &str, members: &Value) {
        let mut trigger = json!({"type": "timerTrigger", "direction": "in", "name": "clock", "schedule": schedule});
        trigger.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.bind(name, &json!([trigger]));
    }

    pub(super) fn bind(&self, name: &str, bindings: &Value) {
        let directory = self.root().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("function.json"), json!({"bindings": bindings}).to_string()).unwrap();
    }

    pub(super) fn options(&self, mode: Mode) -> Options {
        Options { mode: Some(mode), ..Options::new(self.root()) }
    }

    pub(super) fn options_with(&self, mode: Mode, env: &[(&str, &str)]) -> Options {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options { env, ..self.options(mode) }
    }

    /// A host whose handler is the recorder.
    pub(super) async fn start(&self, recorder: &Recorder, mode: Mode) -> Host {
        started(self.options(mode), recorder.port).await
    }
}

pub(super) async fn started(options: Options, handler: u16) -> Host {
    let host = Host::start_with(options, Some(handler)).await.unwrap();
    timeout(PATIENCE, host.wait_ready()).await.unwrap().unwrap();
    host
}

/// A host whose only function takes every path, with a recorder as the handler.
pub(super) async fn stage(mode: Mode, recorder: Recorder) -> (Project, Recorder, Host) {
    let project = Project::with_all();
    let host = project.start(&recorder, mode).await;
    (project, recorder, host)
}

/// A host whose only function takes every path. `script` serves the handler's first connection after the probe's.
pub(super) async fn scripted<T, F>(
    mode: Mode,
    script: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (Project, Host, JoinHandle<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler = tokio::spawn(async move {
        let mut probe = listener.accept().await.unwrap().0;
        probe.write_all(&ok("")).await.unwrap();
        script(listener.accept().await.unwrap().0).await
    });
    let project = Project::with_all();
    let host = started(project.options(mode), port).await;
    (project, host, handler)
}

pub(super) fn restarts(host: &Host) -> u32 {
    host.app().handler().state().restarts
}

/// Responds what `respond` says, and records all requests but the readiness probes.
pub(super) struct Recorder {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    probes: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// `respond` gets the request's number, from 0, or `usize::MAX` for a probe, and its text. If it returns nothing,
    /// the connection is closed without a response.
    pub(super) async fn start(respond: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let recorder = Self { port, requests: Arc::default(), probes: Arc::default() };
        let (requests, probes) = (Arc::clone(&recorder.requests), Arc::clone(&recorder.probes));
        let respond = Arc::new(respond);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (requests, probes, respond) = (Arc::clone(&requests), Arc::clone(&probes), Arc::clone(&respond));
                tokio::spawn(async move {
                    while let Some(request) = read_message(&mut stream, false).await {
                        let response = if request.contains("x-azure-functions-invocationid: ") {
                            let number = record(&requests, &request);
                            respond(number, &request)
                        } else {
                            record(&probes, &request);
                            respond(usize::MAX, &request)
                        };
                        if response.is_empty() || stream.write_all(&response).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        recorder
    }

    pub(super) async fn ok() -> Self {
        Self::start(|_, _| ok("")).await
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn probes(&self) -> Vec<String> {
        self.probes.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> String {
        self.requests().pop().unwrap()
    }
}

fn record(list: &Mutex<Vec<String>>, request: &str) -> usize {
    let mut list = list.lock().unwrap();
    list.push(request.to_owned());
    list.len() - 1
}

pub(super) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The response of a handler in payload mode.
pub(super) fn json_ok(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length";
    format!("{head}: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The values of a header in a raw message, in order.
pub(super) fn values<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

pub(super) fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or("none")
}

pub(super) fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

/// The JSON of an invocation, which comes in one chunk.
pub(super) fn payload(request: &str) -> Value {
    serde_json::from_str(body(request).split("\r\n").nth(1).unwrap()).unwrap()
}

/// Sends raw bytes and reads one response. It is empty if the connection was closed.
pub(super) async fn exchange(host: &Host, request: &str) -> String {
    let mut stream = TcpStream::connect(host.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let bodiless = request.starts_with("HEAD ");
    timeout(PATIENCE, read_message(&mut stream, bodiless)).await.unwrap().unwrap_or_default()
}

/// A request with `Host` and these header lines, each with its line end.
pub(super) async fn send(host: &Host, method_and_target: &str, lines: &str, body: &str) -> String {
    let chunked = lines.contains("Transfer-Encoding");
    let length = if chunked { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    exchange(host, &format!("{method_and_target} HTTP/1.1\r\nHost: app.example\r\n{lines}{length}\r\n{body}")).await
}

/// A GET without headers but `Host`.
pub(super) async fn get(host: &Host, target: &str) -> String {
    exchange(host, &format!("GET {target} HTTP/1.1\r\nHost: app.example\r\n\r\n")).await
}

/// A client that has sent a GET.
pub(super) async fn open(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client
}

/// Reads one message, raw. `None` when the connection ends first.
pub(super) async fn read_message(stream: &mut TcpStream, bodiless: bool) -> Option<String> {
    let mut message = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&message).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = values(head, "content-length").first().map(|length| length.parse::<usize>().unwrap());
            let chunked = values(head, "transfer-encoding") == ["chunked"];
            let no_body = bodiless || head.starts_with("HTTP/1.1 304") || head.starts_with("HTTP/1.1 204");
            if no_body || (chunked && body.ends_with("0\r\n\r\n")) || (!chunked && body.len() >= length.unwrap_or(0)) {
                return Some(text);
            }
        }
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => message.extend_from_slice(&buffer[..length]),
            _ => return None,
        }
    }
}

pub(super) async fn read_until(stream: &mut TcpStream, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut buffer = [0; 1024];
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 0, "{text} never came");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let reached = timeout(PATIENCE, async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "never came: {what}");
}

pub(super) fn has_line(host: &Host, text: &str) -> bool {
    host.logs().iter().any(|line| line.text.contains(text))
}
