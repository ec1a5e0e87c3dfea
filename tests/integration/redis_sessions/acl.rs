//! The gateway as the user of the docs, with no other permission than those that `docs/store.md` names.

use std::process::Command;

use devkit::redis_server::{Options, RedisServer};

use super::{ADA, is_signed_in};
use crate::app::{BINARY, TestApp};
use crate::session_stores::documented_acl;

/// Runs a command of the gateway with an app's settings; returns the exit code and the output.
fn run(app: &TestApp, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(arguments).env_clear().envs(&app.settings).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Contract 15.12: in a database with a number, where the gateway selects it, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_permissions_in_the_docs_suffice_for_the_gateway_and_its_commands() {
    let line = format!("user gateway on >secret {}", documented_acl());
    let redis = RedisServer::start(&Options::default().line(line)).unwrap();
    let store = format!("redis://gateway:secret@127.0.0.1:{}/1", redis.port());
    let app = TestApp::builder().set("STORE", store).start().await;
    let (mut ada, mut copy) = (app.signed_in(ADA).await, app.signed_in(ADA).await);
    for _ in 0..2 {
        assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
        assert_eq!(ada.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
    }
    assert_eq!(ada.fetch("GET", "/auth/sessions").await.json()["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(ada.fetch("POST", "/auth/logout").await.status, 200, "{}", app.log());
    assert!(!is_signed_in(&mut ada).await && is_signed_in(&mut copy).await);
    let (code, said) = run(&app, &["check", "--online"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&app, &["sessions", "end", "--all"]);
    assert_eq!((code, said.contains("1 ended")), (Some(0), true), "{said}");
    assert_eq!(copy.fetch("GET", "/graph/me").await.code(), "session_expired");
    assert!(!app.log().contains("NOPERM") && !app.log().contains("acl_rule"), "{}", app.log());
    let databases = redis.command(&["INFO", "keyspace"]).unwrap().text();
    assert!(!databases.contains("db0:"), "{databases}");
    redis.command(&["ACL", "SETUSER", "gateway", "-hmget"]).unwrap();
    let mut other = app.signed_in(ADA).await;
    assert_eq!(other.fetch("GET", "/graph/me").await.code(), "store_unavailable");
}
