//! The log: every line of a request has its trace id and route (contract 20.4), and writing it delays no request.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use devkit::commands::stack::free_port;
use devkit::provider::{Endpoint, Fault, Options};
use serde_json::{Value, json};

use crate::app::{BINARY, KillOnDrop, PATIENCE, ROOT, TestApp};
use crate::raw;
use crate::visitor::{CALL, NAVIGATION, Response, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";
/// What a browser sends on the way back from the provider.
const RETURN: [(&str, &str); 3] =
    [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")];

/// A browser whose requests each have a trace of their own.
struct Journey<'a> {
    app: &'a TestApp,
    visitor: Visitor,
    steps: u32,
    /// How many lines the gateway had logged before the current request.
    lines: usize,
}

/// A request, and what it must log: the route on each line, and a part of the text of some.
struct Step<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    route: &'a str,
    logs: &'a [&'a str],
    /// The browser closes the connection after so long.
    gives_up: Option<Duration>,
}

impl<'a> Step<'a> {
    fn new(method: &'a str, path: &'a str, headers: &'a [(&'a str, &'a str)], route: &'a str) -> Self {
        Self { method, path, headers, route, logs: &[], gives_up: None }
    }

    fn logs(self, logs: &'a [&'a str]) -> Self {
        Self { logs, ..self }
    }
}

impl Journey<'_> {
    /// Sends a request, waits for its lines, and checks the trace id and route of every line that appeared. The status
    /// is 0 if the browser gave up.
    async fn take(&mut self, step: Step<'_>) -> Response {
        let Step { method, path, headers, route, logs, gives_up } = step;
        self.steps += 1;
        let trace_id = self.trace_id();
        let traceparent = format!("00-{trace_id}-00f067aa0ba902b7-00");
        let headers = [headers, &[("traceparent", &traceparent)]].concat();
        let nothing = Response { status: 0, headers: Vec::new(), body: Vec::new() };
        let response =
            tokio::time::timeout(gives_up.unwrap_or(PATIENCE), self.visitor.send(method, path, &headers, ""));
        let response = response.await.unwrap_or(nothing);
        let start = Instant::now();
        while !logs.iter().all(|text| self.new_lines().iter().any(|line| line.to_string().contains(text))) {
            let lines = self.new_lines();
            assert!(start.elapsed() < PATIENCE, "{method} {path}, {} must log {logs:?}: {lines:#?}", response.status);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Waits for unexpected lines before the check.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let lines = self.new_lines();
        for line in &lines {
            assert_eq!(line["trace_id"], trace_id.as_str(), "{method} {path}: {line}");
            assert_eq!(line["route"], route, "{method} {path}: {line}");
        }
        self.lines += lines.len();
        response
    }

    /// That of the current request.
    fn trace_id(&self) -> String {
        format!("{:032x}", 0xabc0_0000 + self.steps)
    }

    fn new_lines(&self) -> Vec<Value> {
        let log = self.app.log();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        log.lines().skip(self.lines).map(line).collect()
    }

    /// Goes to the provider; gives the path and query of the way back.
    async fn begin_sign_in(&mut self) -> String {
        let response = self.take(Step::new("GET", "/auth/login?return_to=%2F", &NAVIGATION, "/auth/login")).await;
        let callback = self.app.provider.sign_in(response.header("location").unwrap(), ADA).unwrap();
        callback.location().strip_prefix(&self.app.origin).unwrap().to_owned()
    }

    async fn sign_in(&mut self) {
        let path = self.begin_sign_in().await;
        let response = self.take(Step::new("GET", &path, &RETURN, "/auth/callback").logs(&["signed_in"])).await;
        assert_eq!(response.header("location"), Some("/"));
    }

    async fn call(&mut self, path: &str, logs: &[&str]) -> u16 {
        self.take(Step::new("GET", path, &CALL, "/graph/{*path}").logs(logs)).await.status
    }

    async fn refresh(&mut self, logs: &[&str]) -> u16 {
        self.take(Step::new("POST", "/auth/refresh", &CALL, "/auth/refresh").logs(logs)).await.status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_log_line_of_a_journey_has_the_trace_id_of_its_request() {
    let life = Duration::from_secs(2);
    let options = Options { access_token_life: life, revocation: true, ..Options::new("http://unused") };
    let scopes = ["api://orders/Orders.Read"];
    let away = json!({"away": {"base": "http://127.0.0.1:9", "scopes": scopes, "allow": ["GET /**"]}});
    let app = TestApp::builder().provider(options).other_apis(away).set("LOG", "debug,json").start().await;
    let lines = app.log().lines().count();
    let mut journey = Journey { app: &app, visitor: app.visitor(), steps: 0, lines };

    // A failed sign-in, one that the browser does not wait for, and a good one.
    let path = journey.begin_sign_in().await;
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::status(503));
    journey.take(Step::new("GET", &path, &RETURN, "/auth/callback").logs(&["sign_in_failed"])).await;
    let path = journey.begin_sign_in().await.replace("code=", "code=x");
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(700)));
    let step = Step::new("GET", &path, &RETURN, "/auth/callback").logs(&["rejected the code"]);
    let response = journey.take(Step { gives_up: Some(Duration::from_millis(300)), ..step }).await;
    assert_eq!(response.status, 0, "the exchange runs to its end all the same");
    journey.sign_in().await;

    app.graph.clear_requests();
    assert_eq!(journey.call("/graph/me", &[]).await, 200);
    let sent = app.graph.requests().pop().unwrap().header("traceparent").unwrap().to_owned();
    assert!(sent.starts_with(&format!("00-{}-", journey.trace_id())) && sent.ends_with("-00"), "not sampled: {sent}");

    // Failures before the API, at the API, and on the way to it; and of other routes.
    assert_eq!(journey.call("/graph/a%2Fb", &["bad_request"]).await, 400);
    assert_eq!(journey.call("/graph/nope", &["route_denied"]).await, 404);
    assert_eq!(journey.call("/graph/status/401", &[]).await, 401);
    for (path, route, logs) in [
        ("/api/away/x", "/api/away/{*path}", &["cannot reach the API", "upstream_unavailable"][..]),
        ("/api/nope", "/api/{*path}", &["route_denied"]),
        ("/nope.js", "/{*path}", &["route_denied"]),
        ("/auth/nope", "/auth/{*path}", &["route_denied"]),
    ] {
        journey.take(Step::new("GET", path, &CALL, route).logs(logs)).await;
    }

    app.provider.fault_next(&[Endpoint::Token], 1, Fault::status(503));
    assert_eq!(journey.refresh(&["could not be refreshed", "provider_unavailable"]).await, 503);
    assert_eq!(journey.refresh(&[]).await, 204);

    // A refresh that outlasts the call that started it.
    tokio::time::sleep(life + Duration::from_millis(1_100)).await;
    app.provider.revoke_grants();
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(700)));
    let step = Step::new("GET", "/graph/me", &CALL, "/graph/{*path}").logs(&["token refresh rejected"]);
    let response = journey.take(Step { gives_up: Some(Duration::from_millis(300)), ..step }).await;
    assert_eq!(response.status, 0);
    assert_eq!(journey.refresh(&["session_expired"]).await, 401);

    // A revocation runs in a task of its own.
    journey.sign_in().await;
    app.provider.stop().await;
    let step = Step::new("POST", "/auth/logout", &CALL, "/auth/logout");
    assert_eq!(journey.take(step.logs(&["signed_out", "could not be revoked"])).await.status, 200);
}

/// A gateway whose stdout and stderr are not read.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_log_delays_no_request_and_no_shutdown() {
    let app = TestApp::start().await;
    let port = free_port().unwrap();
    let child = Command::new(BINARY)
        .env_clear()
        .envs(&app.settings)
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
        .current_dir(ROOT)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = KillOnDrop(child.unwrap());
    let mut visitor = app.visitor().at(port);
    let live = "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < PATIENCE, "the gateway does not listen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Each logs a line. A pipe takes 64 KiB, and the gateway queues 2,048 lines.
    for _ in 0..4_000 {
        let response = tokio::time::timeout(PATIENCE, visitor.get("/auth/nope")).await;
        assert_eq!(response.expect("a response although the log is not read").status, 404);
    }
    assert_eq!(raw::status(&raw::exchange(port, live)), 200);
    let start = Instant::now();
    assert!(Command::new("kill").arg(child.0.id().to_string()).status().unwrap().success());
    let code = child.0.wait().unwrap().code();
    assert_eq!(code, Some(143));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let mut errors = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.contains("log lines were dropped"), "{errors}");
}
