//! What the host responds itself, and which function gets the rest, over real sockets.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::support::{Project, Recorder, body, exchange, get, has_line, ok, send, stage, started, status, values};
use crate::host::{CodeLookup, Host, Mode, Options};

#[tokio::test]
async fn functions_are_matched_in_the_order_of_their_names() {
    let (project, recorder) = (Project::new(), Recorder::ok().await);
    project.function("b-all", &json!({"route": "graph/{*path}", "methods": ["get"]}));
    project.function("c-me", &json!({"route": "graph/me", "methods": ["post"]}));
    let host = project.start(&recorder, Mode::Proxy).await;
    assert!(has_line(&host, &format!("b-all: [GET] http://{}/graph/{{*path}}", host.addr())));
    assert_eq!(status(&get(&host, "/GRAPH/me").await), "200");
    assert!(recorder.last().starts_with("GET /GRAPH/me "));
    assert_eq!(status(&send(&host, "POST /graph/me", "", "").await), "200");
    let count = recorder.requests().len();
    for (request, expected) in
        [("PUT /graph/me", "404"), ("GET /other", "404"), ("GET /graph/%00", "400"), ("CONNECT h:443", "400")]
    {
        let response = send(&host, request, "", "").await;
        assert_eq!((status(&response), body(&response)), (expected, ""), "{request}");
    }
    assert_eq!(recorder.requests().len(), count);
}

#[tokio::test]
async fn the_host_has_pages_of_its_own() {
    let (project, recorder) = (Project::new(), Recorder::ok().await);
    project.function("f", &json!({}));
    let host = project.start(&recorder, Mode::Proxy).await;
    assert_eq!(body(&get(&host, "/admin/host/status").await), r#"{"state":"Running"}"#);
    for (target, probes) in [("/admin/host/ping", 1), ("/admin/host/ping?checkHealth=1", 2)] {
        assert_eq!(status(&get(&host, target).await), "200");
        assert_eq!(recorder.probes().len(), probes, "{target}");
    }
    let homepage = get(&host, "/").await;
    assert_eq!((status(&homepage), values(&homepage, "content-type")), ("200", vec!["text/html"]));
    let host =
        started(project.options_with(Mode::Proxy, &[("AzureWebJobsDisableHomepage", "TRUE")]), recorder.port).await;
    assert_eq!(status(&get(&host, "/").await), "204");
}

#[tokio::test]
async fn a_catch_all_replaces_the_homepage() {
    let (_project, recorder, host) = stage(Mode::Proxy, Recorder::ok().await).await;
    get(&host, "/").await;
    get(&host, "/admin/other").await;
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn settings_choose_the_mode_and_proxying_wins() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let flags = json!({"description": {"defaultExecutablePath": "h"}, "enableForwardingHttpRequest": true,
        "enableProxyingHttpRequest": true});
    project.configure(&flags, &json!({"routePrefix": ""}));
    let off = ("AzureFunctionsJobHost__customHandler__enableProxyingHttpRequest".to_owned(), "false".to_owned());
    for (env, proxied) in [(vec![], true), (vec![off], false)] {
        let options = Options { env: env.into_iter().collect(), ..Options::new(project.root()) };
        let host = started(options, recorder.port).await;
        get(&host, "/x").await;
        assert_eq!(values(&recorder.last(), "x-forwarded-host") == ["app.example"], proxied);
    }
}

#[tokio::test]
async fn keys_are_required_only_by_option() {
    let (project, recorder) = (Project::new(), Recorder::ok().await);
    project.function("open", &json!({}));
    project.function("closed", &json!({"authLevel": "function"}));
    let host = project.start(&recorder, Mode::Proxy).await;
    assert_eq!(status(&get(&host, "/closed").await), "200");
    let host = started(Options { key: Some("K".to_owned()), ..project.options(Mode::Proxy) }, recorder.port).await;
    for (target, lines, expected) in [
        ("GET /closed", "", "401"),
        ("GET /closed?code=K", "", "200"),
        ("GET /closed", "X-Functions-Key: K\r\n", "200"),
        ("GET /open?code=other", "", "200"),
    ] {
        assert_eq!(status(&send(&host, target, lines, "").await), expected, "{target} {lines}");
    }
}

#[tokio::test]
async fn the_lookup_of_a_code_can_fail_or_take_long() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let with = |lookup| Options { code_lookup: Some(lookup), ..project.options(Mode::Proxy) };
    let failing = started(with(CodeLookup::Fail), recorder.port).await;
    assert_eq!(status(&get(&failing, "/auth/callback?CODE=1").await), "500");
    assert_eq!(status(&get(&failing, "/auth/callback").await), "200");
    let slow = started(with(CodeLookup::Delay(Duration::from_millis(200))), recorder.port).await;
    let start = Instant::now();
    assert_eq!(status(&get(&slow, "/auth/callback?code=1").await), "200");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_at_a_time_are_429() {
    // The handler responds to a request only when the test says so: no time decides what is in flight.
    let (arrived, mut arrivals) = unbounded_channel();
    let (release, waits) = channel();
    let waits = Mutex::new(waits);
    let slow = Recorder::start(move |number, _| {
        if number != usize::MAX {
            arrived.send(()).unwrap();
            // The worker gives its other tasks away first: they include what lets this one go.
            tokio::task::block_in_place(|| waits.lock().unwrap().recv().unwrap());
        }
        ok("")
    });
    let (project, recorder) = (Project::with_all(), slow.await);
    let host = started(Options { max_outstanding: Some(1), ..project.options(Mode::Forward) }, recorder.port).await;
    let later = async {
        arrivals.recv().await.unwrap();
        let second = get(&host, "/x").await;
        for _request in ["the first", "the last"] {
            release.send(()).unwrap();
        }
        second
    };
    let (first, second) = tokio::join!(get(&host, "/x"), later);
    assert_eq!((status(&first), status(&second)), ("200", "429"));
    assert_eq!(values(&second, "x-function-scaleout"), ["1"]);
    assert_eq!(status(&exchange(&host, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await), "200");
}

#[tokio::test]
async fn a_host_without_functions_runs_without_a_handler() {
    let project = Project::new();
    let host = Host::start(project.options(Mode::Proxy)).await.unwrap();
    host.wait_ready().await.unwrap();
    assert_eq!(host.handler_pid(), None);
    assert_eq!(status(&get(&host, "/x").await), "404");
    host.stop().await;
}

#[tokio::test]
async fn invalid_projects_do_not_start() {
    let project = Project::new();
    std::fs::write(project.root().join("host.json"), r#"{"version": "2.0"}"#).unwrap();
    let error = Host::start(Options::new(project.root())).await.err().unwrap();
    assert_eq!(error.to_string(), "Missing worker Description.");
    std::fs::remove_file(project.root().join("host.json")).unwrap();
    let error = Host::start(Options::new(project.root())).await.err().unwrap();
    assert!(error.to_string().contains("host.json"));
}
