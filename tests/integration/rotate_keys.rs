//! The timer function: the host's payload rotates the keys; for others the path does not exist (contract 3.38, 11.5).

use std::path::Path;

use devkit::host::Mode;
use devkit::os::set_mode;
use serde_json::{Value, json};

use crate::app::{Reach, TestApp, every_reach};
use crate::raw;

const ADA: &str = "ada.lovelace@contoso.example";

/// The host's payload for a timer.
fn payload(past_due: bool) -> String {
    json!({
        "Data": {"timer": {
            "Schedule": {"AdjustForDST": true},
            "ScheduleStatus": {"Last": "0001-01-01T00:00:00", "Next": "2026-11-24T01:17:00", "LastUpdated": null},
            "IsPastDue": past_due,
        }},
        "Metadata": {"sys": {"MethodName": "rotate_keys", "UtcNow": "2026-11-24T00:17:00Z", "RandGuid": "x"}},
    })
    .to_string()
}

/// Posts a body as the host does, with additional header lines.
fn post(app: &TestApp, body: &str, more: &str) -> (u16, Value) {
    let head = format!(
        "POST /rotate_keys HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUser-Agent: Azure-Functions-Host/4.1037.0\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n{more}\r\n",
        app.port,
        body.len()
    );
    let response = raw::exchange(app.port, &(head + body));
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (raw::status(&response), serde_json::from_str(body).unwrap_or_default())
}

async fn app_with(path: &Path) -> TestApp {
    TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path.display().to_string()).impatient().start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timer_creates_the_first_key_and_a_repeat_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let app = app_with(&path).await;
    app.wait_until_ready(503).await;
    let (status, response) = post(&app, &payload(false), "");
    assert_eq!((status, &response["Outputs"], &response["ReturnValue"]), (200, &json!({}), &Value::Null), "{response}");
    assert!(response["Logs"][0].as_str().unwrap().starts_with("published "), "{response}");
    app.wait_until_ready(200).await;
    let ring = std::fs::read_to_string(&path).unwrap();
    app.signed_in(ADA).await;
    for past_due in [false, true] {
        let (status, response) = post(&app, &payload(past_due), "");
        assert_eq!(status, 200);
        assert!(response["Logs"][0].as_str().unwrap().starts_with("nothing done"), "{response}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), ring);
    let key = serde_json::from_str::<Value>(&ring).unwrap()["keys"][0]["value"].as_str().unwrap().to_owned();
    assert!(!app.log().contains(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rotation_is_answered_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, r#"{"keys": []}"#).unwrap();
    set_mode(&path, 0o644).unwrap();
    let app = app_with(&path).await;
    app.wait_until_ready(503).await;
    let (status, response) = post(&app, &payload(false), "");
    assert_eq!((status, &response["ReturnValue"]), (200, &Value::Null));
    assert!(response["Logs"][0].as_str().unwrap().starts_with("not rotated: "), "{response}");
    app.wait_for_log(r#""event":"key_rotation_failed""#).await;
}

/// Contract 3.36: even if the front end passes any `Host`, and the path leaves the function that it was sent to.
#[tokio::test(flavor = "multi_thread")]
async fn behind_the_host_no_client_can_pass_for_it() {
    for mode in [Mode::Forward, Mode::Proxy] {
        let app = TestApp::builder().reach(Reach::Host(mode)).start().await;
        let port = app.handler_port();
        let send = |line: &str, more: &str, body: &str| {
            let head = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n");
            raw::exchange(app.port, &format!("{head}{more}\r\n{body}"))
        };
        let body = payload(false);
        let length = format!("Content-Length: {}\r\n", body.len());
        let spoofed = format!("{length}X-Azure-Functions-InvocationId: 1\r\nUser-Agent: Azure-Functions-Host/4\r\n");
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        for (more, body) in [(&*length, &*body), (&*spoofed, &*body), ("Transfer-Encoding: chunked\r\n", &*chunked)] {
            for name in ["rotate_keys", "graph-proxy"] {
                let response = send(&format!("POST /graph/%252e%252e/{name}"), more, body);
                assert!(!response.contains("Outputs") && raw::status(&response) >= 400, "{mode:?} {name}: {response}");
            }
        }
        assert!(!app.log().contains("key_rotation_failed") && !app.log().contains("keys_rotated"), "{}", app.log());
        assert_ne!(app.visitor().get("/health/ready").await.json()["host"], "payload", "{mode:?}");
        let page = send("GET /", "", "");
        assert!(page.contains("<!doctype html>"), "{mode:?}: not the response of the probe: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_host_can_rotate_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let app = app_with(&path).await;
    for more in ["X-Forwarded-Host: x\r\n", "Cookie: a=b\r\n", "Origin: http://x\r\n", "Sec-Fetch-Site: none\r\n"] {
        assert_eq!(post(&app, &payload(false), more).0, 404, "{more}");
    }
    for body in ["", "null", "{}", r#"{"Data": {}}"#, "not json"] {
        assert_eq!(post(&app, body, "").0, 404, "{body}");
    }
    let get = format!("GET /rotate_keys HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", app.port);
    assert_eq!(raw::status(&raw::exchange(app.port, &get)), 404);
    assert!(!path.exists());
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let response = app.visitor().send("POST", "/rotate_keys", &[("content-type", "application/json")], "{}").await;
        assert_eq!(response.status, 404, "{reach:?}");
        let body = payload(false);
        let response =
            app.visitor().send("POST", "/rotate_keys", &[("content-type", "application/json")], body.as_str()).await;
        assert_eq!(response.status, 404, "{reach:?}");
        assert!(!app.log().contains("rotated"), "{reach:?}: {}", app.log());
    }
}
