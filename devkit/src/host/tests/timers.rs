//! Timer functions, with the recorder as the handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Project, Recorder, body, get, has_line, json_ok, payload, send, started, status, until, values};
use crate::host::{Host, Level, Mode, Options};

/// Midnight of a day that is not near.
const RARE: &str = "0 0 0 29 2 *";

async fn succeeding() -> Recorder {
    let response = json_ok(r#"{"Outputs": {}, "Logs": ["one key was made", {"n": 1}], "ReturnValue": null}"#);
    Recorder::start(move |_, _| response.clone()).await
}

#[tokio::test]
async fn a_timer_is_invoked_whenever_it_is_due() {
    let (project, recorder) = (Project::new(), succeeding().await);
    project.timer("Tick", "* * * * * *", &json!({}));
    let host = project.start(&recorder, Mode::Proxy).await;
    until("the second invocation", || recorder.requests().len() >= 2).await;
    let request = recorder.last();
    assert!(request.starts_with("POST /Tick HTTP/1.1\r\n"), "{request}");
    let handler = format!("127.0.0.1:{}", recorder.port);
    for (name, expected) in [
        ("host", handler.as_str()),
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", "Azure-Functions-Host/4.1037.0.0"),
        ("x-azure-functions-hostversion", "4.1037.0.0"),
    ] {
        assert_eq!(values(&request, name), [expected], "{name}");
    }
    assert_eq!(values(&request, "x-azure-functions-invocationid")[0].len(), 36);
    assert!(values(&request, "x-forwarded-host").is_empty());
    let payload = payload(&request);
    let clock = json!({"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false});
    assert_eq!(payload["Data"], json!({"clock": clock}));
    assert_eq!(payload["Metadata"]["sys"]["MethodName"], "Tick");
    until("the end of an invocation", || has_line(&host, "Executed 'Functions.Tick' (Succeeded, ")).await;
    assert!(has_line(&host, "one key was made") && has_line(&host, r#"{"n":1}"#));
}

#[tokio::test]
async fn the_next_five_occurrences_are_printed() {
    let (project, recorder) = (Project::new(), succeeding().await);
    project.timer("rare", RARE, &json!({}));
    let host = project.start(&recorder, Mode::Proxy).await;
    let lines: Vec<_> = host.logs().into_iter().map(|line| line.text).collect();
    let title = "The next 5 occurrences of the 'rare' schedule (Cron: '0 0 0 29 2 *') will be:";
    let at = lines.iter().position(|line| line == title).unwrap();
    let printed: Vec<_> = lines[at + 1..].iter().take_while(|line| line.ends_with(" 00:00:00Z")).collect();
    assert_eq!(printed.len(), 5, "{lines:?}");
    assert!(printed.iter().all(|line| line.starts_with("02/29/")), "{printed:?}");
}

#[tokio::test]
async fn a_timer_may_run_on_startup() {
    let (project, recorder) = (Project::new(), succeeding().await);
    project.timer("early", RARE, &json!({"runOnStartup": true}));
    project.timer("late", RARE, &json!({"runOnStartup": false}));
    let host = project.start(&recorder, Mode::Forward).await;
    until("the invocation", || has_line(&host, "Executed 'Functions.early' (Succeeded, ")).await;
    assert_eq!(recorder.requests().len(), 1);
    let status = &payload(&recorder.last())["Data"]["clock"]["ScheduleStatus"];
    assert_eq!(
        (&status["Last"], &status["LastUpdated"]),
        (&json!("0001-01-01T00:00:00"), &json!("0001-01-01T00:00:00"))
    );
    assert!(status["Next"].as_str().unwrap().ends_with("-02-29T00:00:00.000+00:00"), "{status}");
}

#[tokio::test]
async fn a_timer_can_be_run_by_hand() {
    let (project, recorder) = (Project::new(), succeeding().await);
    project.timer("nightly", RARE, &json!({"useMonitor": false}));
    project.function("page", &json!({}));
    let host = project.start(&recorder, Mode::Proxy).await;
    let accepted = send(&host, "POST /admin/functions/NIGHTLY", "", r#"{"input": null}"#).await;
    assert_eq!((status(&accepted), body(&accepted)), ("202", ""));
    until("the invocation", || recorder.requests().len() == 1).await;
    assert!(recorder.last().starts_with("POST /nightly "));
    assert_eq!(payload(&recorder.last())["Data"]["clock"]["ScheduleStatus"], Value::Null);
    for (name, text, expected) in
        [("nightly", "", "400"), ("nightly", "[]", "400"), ("page", "{}", "404"), ("other", "{}", "404")]
    {
        let response = send(&host, &format!("POST /admin/functions/{name}"), "", text).await;
        assert_eq!(status(&response), expected, "{name} {text}");
    }
    assert_eq!(status(&get(&host, "/admin/functions/nightly").await), "401");
    assert_eq!(recorder.requests().len(), 1);
    let locked = Options { key: Some("K".to_owned()), ..project.options(Mode::Proxy) };
    let host = started(locked, recorder.port).await;
    for (lines, expected) in [("", "401"), ("x-functions-key: K\r\n", "202")] {
        assert_eq!(status(&send(&host, "POST /admin/functions/nightly", lines, "{}").await), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_timer_never_overlaps_itself() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let highest = Arc::clone(&most);
    let slow = move |number: usize, _: &str| {
        if number != usize::MAX {
            highest.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1500));
            running.fetch_sub(1, Ordering::SeqCst);
        }
        json_ok("{}")
    };
    let (project, recorder) = (Project::new(), Recorder::start(slow).await);
    project.timer("slow", "00:00:00.5", &json!({}));
    let _host = project.start(&recorder, Mode::Proxy).await;
    until("the third invocation", || recorder.requests().len() >= 3).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_setting_may_hold_the_schedule() {
    let (project, recorder) = (Project::new(), succeeding().await);
    project.timer("known", "%SCHEDULE%", &json!({}));
    project.timer("unknown", "%OTHER%", &json!({}));
    project.timer("wrong", "every day", &json!({}));
    let host = started(project.options_with(Mode::Proxy, &[("SCHEDULE", "00:00:01")]), recorder.port).await;
    for line in [
        "the 'known' schedule (Constant: 00:00:01)",
        "The 'unknown' function is in error: '%OTHER%' does not resolve to a value.",
        "The 'wrong' function is in error: The schedule expression 'every day' was not",
    ] {
        assert!(has_line(&host, line), "{line}");
    }
    until("an invocation", || !recorder.requests().is_empty()).await;
    assert_eq!(payload(&recorder.last())["Data"]["clock"]["Schedule"]["AdjustForDST"], false);
}

#[tokio::test]
async fn a_timer_without_storage_causes_a_warning() {
    let warned = |host: &Host| {
        let start = "Missing value for AzureWebJobsStorage in local.settings.json. This is required for all triggers";
        host.logs().iter().any(|line| line.level == Level::Warning && line.text.starts_with(start))
    };
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    assert!(!warned(&project.start(&recorder, Mode::Proxy).await), "an HTTP function needs no storage");
    project.timer("rare", RARE, &json!({}));
    assert!(warned(&project.start(&recorder, Mode::Proxy).await));
    let storage = [("AzureWebJobsStorage", "UseDevelopmentStorage=true")];
    assert!(!warned(&started(project.options_with(Mode::Proxy, &storage), recorder.port).await));
}
