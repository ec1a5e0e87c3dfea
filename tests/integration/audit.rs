//! The audit events of the log (contract 20.4), and `docs/events.schema.json`.

use std::collections::BTreeSet;

use devkit::provider::{Endpoint, Fault};
use serde_json::Value;

use crate::app::{ROOT, Reach, TestApp, every_reach};

const ADA: &str = "ada.lovelace@contoso.example";
/// Events of the log that are for operators, and no audit.
const OPERATIONAL: [&str; 2] = ["token_endpoint_paused", "token_endpoint_resumed"];

fn schema() -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{ROOT}/docs/events.schema.json")).unwrap()).unwrap()
}

/// The audit events that a gateway has logged so far, each checked by the schema.
pub fn events(log: &str) -> Vec<Value> {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_audit = |line: &Value| line["event"].as_str().is_some_and(|event| !OPERATIONAL.contains(&event));
    let events: Vec<Value> = lines.filter(is_audit).collect();
    for event in &events {
        let problems: Vec<String> = validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{event}: {problems:?}");
    }
    events
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["event"].as_str()).collect()
}

/// What the sources log, and what the schema says.
#[test]
fn the_schema_has_every_audit_event() {
    let mut found = BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from(format!("{ROOT}/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let after = text.split("event = \"").skip(1);
            found.extend(after.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    found.retain(|event| !OPERATIONAL.contains(&event.as_str()));
    let schema = schema();
    let listed = schema["properties"]["event"]["enum"].as_array().unwrap();
    let listed: BTreeSet<String> = listed.iter().map(|event| event.as_str().unwrap().to_owned()).collect();
    assert_eq!(found, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_name_the_session_and_the_user_as_the_setting_says() {
    for setting in ["", "hash", "id", "none"] {
        let app = TestApp::builder().set("LOG", "info,json").set("LOG_USER", setting).start().await;
        let mut visitor = app.visitor();
        app.provider.fault_next(&[Endpoint::Token], 1, Fault::status(503));
        visitor.sign_in(&app.provider, ADA, "/").await;
        let mut visitor = app.signed_in(ADA).await;
        let user = visitor.fetch("GET", "/auth/session").await.json()["user"].clone();
        app.provider.fault_next(&[Endpoint::Token], 1, Fault::status(503));
        assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 503);
        assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
        app.wait_for_log("\"signed_out\"").await;
        let mut other = app.signed_in(ADA).await;
        assert_eq!(other.fetch("POST", "/auth/logout").await.status, 200);
        let grace = app.signed_in("grace.hopper@contoso.example").await;
        drop(grace);
        app.wait_for_log_count("\"signed_in\"", 3).await;
        let events = events(&app.log());
        let expected = [
            "sign_in_failed",
            "signed_in",
            "token_refresh_failed",
            "signed_out",
            "signed_in",
            "signed_out",
            "signed_in",
        ];
        assert_eq!(names(&events), expected, "{setting}: {events:#?}");
        let of = |member: &str| events.iter().map(|event| event[member].clone()).collect::<Vec<Value>>();
        let (sessions, users) = (of("session"), of("user"));
        assert_eq!((&sessions[0], &users[0]), (&Value::Null, &Value::Null), "no user is known then");
        assert!(sessions[1] == sessions[2] && sessions[2] == sessions[3], "{sessions:?}");
        assert!(sessions[4] == sessions[5] && sessions[1] != sessions[4], "{sessions:?}");
        assert!(users[1..6].iter().all(|of| *of == users[1]), "{users:?}");
        match setting {
            "id" => assert_eq!(users[1], user["oid"]),
            "none" => assert!(users.iter().all(Value::is_null), "{users:?}"),
            _ => {
                assert_eq!(users[1].as_str().map(str::len), Some(24));
                assert_ne!(users[1], users[6]);
                assert!(!app.log().contains(user["oid"].as_str().unwrap()), "{}", app.log());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_functions_lines_have_the_invocation_that_the_host_names() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).set("LOG", "info,json").start().await;
        let spoofed = [("x-azure-functions-invocationid", "spoofed")];
        app.visitor().send("GET", "/auth/callback?state=x", &spoofed, "").await;
        app.signed_in(ADA).await;
        app.wait_for_log("\"signed_in\"").await;
        let events = events(&app.log());
        let signed_in = events.iter().find(|event| event["event"] == "signed_in").unwrap();
        let is_there = signed_in["invocation_id"].is_string();
        assert_eq!(is_there, reach != Reach::Direct, "{reach:?}: {signed_in}");
        assert!(!app.log().contains("spoofed"), "{reach:?}: {}", app.log());
    }
}
