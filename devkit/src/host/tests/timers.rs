//! Timer functions, with the recorder as the handler that they call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::support::{Project, Recorder, answer, body, exchange, get, has_line, started, status, until, values};
use crate::host::{Host, Level, Mode, Options};

/// Midnight of a day that is not near.
const SELDOM: &str = "0 0 0 29 2 *";
const DONE: &str = r#"{"Outputs": {}, "Logs": ["one key was made", {"n": 1}], "ReturnValue": null}"#;

fn payload(request: &str) -> Value {
    serde_json::from_str(body(request)).unwrap()
}

async fn run_now(host: &Host, name: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("POST /admin/functions/{name} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}");
    exchange(host.addr(), &format!("{head}\r\n\r\n{body}")).await
}

#[tokio::test]
async fn a_timer_is_called_whenever_it_is_due() {
    let (project, recorder) = (Project::new(), Recorder::start(|_, _| answer(DONE)).await);
    project.timer("Tick", "* * * * * *", &json!({}));
    let host = project.before(&recorder, Mode::Proxy).await;
    until("the second call", || recorder.requests().len() >= 2).await;
    let request = recorder.last();
    assert!(request.starts_with("POST /Tick HTTP/1.1\r\n"), "{request}");
    let handler = format!("127.0.0.1:{}", recorder.port);
    for (name, expected) in [
        ("host", handler.as_str()),
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", "Azure-Functions-Host/4.1037.0"),
        ("x-azure-functions-hostversion", "4.1037.0"),
    ] {
        assert_eq!(values(&request, name), [expected], "{name}");
    }
    assert_eq!(values(&request, "x-azure-functions-invocationid")[0].len(), 36);
    assert!(values(&request, "x-forwarded-host").is_empty());
    let told = payload(&request);
    let clock = json!({"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false});
    assert_eq!(told["Data"], json!({"clock": clock}));
    assert_eq!(told["Metadata"]["sys"]["MethodName"], "Tick");
    until("the end of a call", || has_line(&host, "Executed 'Functions.Tick' (Succeeded, ")).await;
    assert!(has_line(&host, "one key was made") && has_line(&host, r#"{"n":1}"#));
}

#[tokio::test]
async fn the_next_five_occurrences_are_printed() {
    let (project, recorder) = (Project::new(), Recorder::ok().await);
    project.timer("seldom", SELDOM, &json!({}));
    let host = project.before(&recorder, Mode::Proxy).await;
    let lines: Vec<_> = host.logs().into_iter().map(|line| line.text).collect();
    let title = "The next 5 occurrences of the 'seldom' schedule (Cron: '0 0 0 29 2 *') will be:";
    let at = lines.iter().position(|line| line == title).unwrap();
    let printed: Vec<_> = lines[at + 1..].iter().take_while(|line| line.ends_with(" 00:00:00Z")).collect();
    assert_eq!(printed.len(), 5, "{lines:?}");
    assert!(printed.iter().all(|line| line.starts_with("02/29/")), "{printed:?}");
}

#[tokio::test]
async fn a_timer_may_run_on_startup() {
    let (project, recorder) = (Project::new(), Recorder::start(|_, _| answer(DONE)).await);
    project.timer("early", SELDOM, &json!({"runOnStartup": true}));
    project.timer("late", SELDOM, &json!({"runOnStartup": false}));
    let host = project.before(&recorder, Mode::Forward).await;
    until("the call", || has_line(&host, "Executed 'Functions.early' (Succeeded, ")).await;
    assert_eq!(recorder.requests().len(), 1);
    let status = &payload(&recorder.last())["Data"]["clock"]["ScheduleStatus"];
    assert_eq!(status["Last"], "0001-01-01T00:00:00");
    assert!(status["Next"].as_str().unwrap().ends_with("-02-29T00:00:00.000+00:00"), "{status}");
}

#[tokio::test]
async fn a_timer_can_be_run_by_hand() {
    let (project, recorder) = (Project::new(), Recorder::start(|_, _| answer(DONE)).await);
    project.timer("nightly", SELDOM, &json!({"useMonitor": false}));
    project.function("page", &json!({}));
    let host = project.before(&recorder, Mode::Proxy).await;
    let accepted = run_now(&host, "NIGHTLY", "", r#"{"input": null}"#).await;
    assert_eq!((status(&accepted), body(&accepted)), ("202", ""));
    until("the call", || recorder.requests().len() == 1).await;
    assert!(recorder.last().starts_with("POST /nightly "));
    assert_eq!(payload(&recorder.last())["Data"]["clock"]["ScheduleStatus"], Value::Null);
    for (name, text, expected) in
        [("nightly", "", "400"), ("nightly", "[]", "400"), ("page", "{}", "404"), ("other", "{}", "404")]
    {
        assert_eq!(status(&run_now(&host, name, "", text).await), expected, "{name} {text}");
    }
    assert_eq!(status(&get(host.addr(), "/admin/functions/nightly").await), "404");
    assert_eq!(recorder.requests().len(), 1);
    let locked = Options { key: Some("K".to_owned()), ..project.options(Mode::Proxy) };
    let host = started(locked, recorder.port).await;
    assert_eq!(status(&run_now(&host, "nightly", "", "{}").await), "401");
    assert_eq!(status(&run_now(&host, "nightly", "x-functions-key: K\r\n", "{}").await), "202");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_timer_never_overlaps_itself() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, highest) = (Arc::clone(&running), Arc::clone(&most));
    let slow = move |number: usize, _: &str| {
        if number != usize::MAX {
            highest.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1500));
            inside.fetch_sub(1, Ordering::SeqCst);
        }
        answer(DONE)
    };
    let (project, recorder) = (Project::new(), Recorder::start(slow).await);
    project.timer("slow", "00:00:00.5", &json!({}));
    let _host = project.before(&recorder, Mode::Proxy).await;
    until("the third call", || recorder.requests().len() >= 3).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_setting_may_hold_the_schedule() {
    let (project, recorder) = (Project::new(), Recorder::start(|_, _| answer(DONE)).await);
    project.timer("known", "%SCHEDULE%", &json!({}));
    project.timer("unknown", "%OTHER%", &json!({}));
    project.timer("wrong", "every day", &json!({}));
    let mut options = project.options(Mode::Proxy);
    options.env.insert("SCHEDULE".to_owned(), "00:00:01".to_owned());
    let host = started(options, recorder.port).await;
    assert!(has_line(&host, "the 'known' schedule (Constant: 00:00:01)"));
    assert!(has_line(&host, "The 'unknown' function is in error: '%OTHER%' does not resolve to a value."));
    assert!(has_line(&host, "The 'wrong' function is in error: The schedule expression 'every day' was not"));
    until("a call", || !recorder.requests().is_empty()).await;
    assert_eq!(payload(&recorder.last())["Data"]["clock"]["Schedule"]["AdjustForDST"], false);
}

#[tokio::test]
async fn a_timer_without_storage_is_warned_of() {
    let warned = |host: &Host| {
        let start = "Missing value for AzureWebJobsStorage in local.settings.json. This is required for all triggers";
        host.logs().iter().any(|line| line.level == Level::Warning && line.text.starts_with(start))
    };
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    assert!(!warned(&project.before(&recorder, Mode::Proxy).await), "an HTTP function needs no storage");
    project.timer("seldom", SELDOM, &json!({}));
    assert!(warned(&project.before(&recorder, Mode::Proxy).await));
    let mut options = project.options(Mode::Proxy);
    options.env.insert("AzureWebJobsStorage".to_owned(), "UseDevelopmentStorage=true".to_owned());
    assert!(!warned(&started(options, recorder.port).await));
}
