//! What the host answers itself, and which function gets the rest, over real sockets.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Project, Recorder, body, exchange, get, has_line, ok, started, status, values};
use crate::host::{CodeLookup, Host, HostError, Mode, Options};

#[tokio::test]
async fn routes_are_met_in_the_order_of_names() {
    let (project, recorder) = (Project::new(), Recorder::ok().await);
    project.function("b-all", &json!({"route": "graph/{*path}", "methods": ["get"]}));
    project.function("c-me", &json!({"route": "graph/me", "methods": ["post"]}));
    let host = project.before(&recorder, Mode::Proxy).await;
    assert!(has_line(&host, &format!("b-all: [GET] http://{}/graph/{{*path}}", host.addr())));
    assert_eq!(status(&get(host.addr(), "/GRAPH/me").await), "200");
    assert!(recorder.last().starts_with("GET /GRAPH/me "));
    assert_eq!(status(&exchange(host.addr(), "POST /graph/me HTTP/1.1\r\nHost: a\r\n\r\n").await), "200");
    let count = recorder.requests().len();
    let wrong_method = exchange(host.addr(), "PUT /graph/me HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((status(&wrong_method), body(&wrong_method)), ("404", ""));
    assert_eq!(status(&get(host.addr(), "/other").await), "404");
    assert_eq!(status(&get(host.addr(), "/graph/%00").await), "400");
    assert_eq!(status(&exchange(host.addr(), "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n").await), "404");
    assert_eq!(recorder.requests().len(), count);
}

#[tokio::test]
async fn the_host_has_pages_of_its_own() {
    let (project, recorder) = (Project::new(), Recorder::ok().await);
    project.function("f", &json!({}));
    let host = project.before(&recorder, Mode::Proxy).await;
    assert_eq!(body(&get(host.addr(), "/admin/host/status").await), r#"{"state":"Running"}"#);
    assert_eq!(status(&get(host.addr(), "/admin/host/ping").await), "200");
    assert_eq!(recorder.probes().len(), 1);
    get(host.addr(), "/admin/host/ping?checkHealth=1").await;
    assert_eq!(recorder.probes().len(), 2);
    let homepage = get(host.addr(), "/").await;
    assert_eq!((status(&homepage), values(&homepage, "content-type")), ("200", vec!["text/html"]));
    let mut options = project.options(Mode::Proxy);
    options.env.insert("AzureWebJobsDisableHomepage".to_owned(), "TRUE".to_owned());
    let host = started(options, recorder.port).await;
    assert_eq!(status(&get(host.addr(), "/").await), "204");
}

#[tokio::test]
async fn a_catch_all_takes_the_homepage() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Proxy).await;
    get(host.addr(), "/").await;
    get(host.addr(), "/admin/other").await;
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn settings_choose_the_mode_and_proxying_wins() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let flags = |forward: bool, proxy: bool| {
        json!({"description": {"defaultExecutablePath": "h"}, "enableForwardingHttpRequest": forward,
            "enableProxyingHttpRequest": proxy})
    };
    project.configure(&flags(true, true), &json!({"routePrefix": ""}));
    let host = started(Options::new(project.root()), recorder.port).await;
    get(host.addr(), "/x").await;
    assert_eq!(values(&recorder.last(), "x-forwarded-host"), ["app.example"]);
    let mut options = Options::new(project.root());
    let name = "AzureFunctionsJobHost__customHandler__enableProxyingHttpRequest";
    options.env.insert(name.to_owned(), "false".to_owned());
    let host = started(options, recorder.port).await;
    get(host.addr(), "/x").await;
    assert!(values(&recorder.last(), "x-forwarded-host").is_empty());
}

#[tokio::test]
async fn keys_are_asked_for_only_on_request() {
    let (project, recorder) = (Project::new(), Recorder::ok().await);
    project.function("open", &json!({}));
    project.function("closed", &json!({"authLevel": "function"}));
    let host = project.before(&recorder, Mode::Proxy).await;
    assert_eq!(status(&get(host.addr(), "/closed").await), "200");
    let host = started(Options { key: Some("K".to_owned()), ..project.options(Mode::Proxy) }, recorder.port).await;
    assert_eq!(status(&get(host.addr(), "/closed").await), "401");
    assert_eq!(status(&get(host.addr(), "/closed?code=K").await), "200");
    let by_header = "GET /closed HTTP/1.1\r\nHost: a\r\nX-Functions-Key: K\r\n\r\n";
    assert_eq!(status(&exchange(host.addr(), by_header).await), "200");
    assert_eq!(status(&get(host.addr(), "/open?code=other").await), "200");
}

#[tokio::test]
async fn the_lookup_of_a_code_can_fail_or_take_its_time() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let with = |lookup| Options { code_lookup: Some(lookup), ..project.options(Mode::Proxy) };
    let failing = started(with(CodeLookup::Fail), recorder.port).await;
    assert_eq!(status(&get(failing.addr(), "/auth/callback?CODE=1").await), "500");
    assert_eq!(status(&get(failing.addr(), "/auth/callback").await), "200");
    let slow = started(with(CodeLookup::Delay(Duration::from_millis(200))), recorder.port).await;
    let start = Instant::now();
    assert_eq!(status(&get(slow.addr(), "/auth/callback?code=1").await), "200");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn too_many_requests_at_a_time_are_429() {
    let slow = Recorder::start(|number, _| {
        if number != usize::MAX {
            std::thread::sleep(Duration::from_millis(300));
        }
        ok("")
    });
    let (project, recorder) = (Project::with_all(), slow.await);
    let host = started(Options { max_outstanding: Some(1), ..project.options(Mode::Forward) }, recorder.port).await;
    let first = tokio::spawn({
        let address = host.addr();
        async move { get(address, "/x").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = get(host.addr(), "/x").await;
    let statuses = [status(&second).to_owned(), status(&first.await.unwrap()).to_owned()];
    assert_eq!(values(&second, "x-function-scaleout").len(), usize::from(statuses[0] == "429"));
    assert_eq!(status(&get(host.addr(), "/x").await), "200");
    assert!(statuses.contains(&"200".to_owned()));
}

#[tokio::test]
async fn a_host_without_functions_runs_without_a_handler() {
    let project = Project::new();
    let host = Host::start(project.options(Mode::Proxy)).await.unwrap();
    host.wait_ready().await.unwrap();
    assert_eq!(host.handler_pid(), None);
    assert_eq!(status(&get(host.addr(), "/x").await), "404");
    host.stop().await;
}

#[tokio::test]
async fn wrong_projects_do_not_start() {
    let project = Project::new();
    std::fs::write(project.root().join("host.json"), r#"{"version": "2.0"}"#).unwrap();
    let message = |result: Result<Host, HostError>| result.err().unwrap().to_string();
    assert_eq!(message(Host::start(Options::new(project.root())).await), "Missing worker Description.");
    std::fs::remove_file(project.root().join("host.json")).unwrap();
    assert!(message(Host::start(Options::new(project.root())).await).contains("host.json"));
}
