//! `cloakroom sessions` with sessions in Redis (contract 16.4).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use devkit::commands::stack::free_port;
use devkit::redis_server::RedisServer;
use serde_json::Value;

use super::{GRACE, UNKNOWN, another_instance, is_alive, own_id, redis, stored};
use crate::app::{BINARY, Gateway, TestApp};
use crate::cloud::ADA;

const ADAS_SUB: &str = "ada-lovelace-subject-1";
const ADAS_OID: &str = "0b1d0000-0000-4000-8000-000000000001";

/// What a command printed.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// Exit code and result.
    fn result(&self) -> (Option<i32>, &str) {
        (self.code, self.out.trim_end())
    }
}

type Settings = BTreeMap<String, String>;

fn sessions(settings: &Settings, arguments: &[&str]) -> Said {
    let output = Command::new(BINARY).arg("sessions").args(arguments).env_clear().envs(settings).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn with(settings: &Settings, name: &str, value: &str) -> Settings {
    let mut settings = settings.clone();
    settings.insert(format!("CLOAKROOM_{name}"), value.to_owned());
    settings
}

/// An app with sessions in Redis and keys in a file of this folder.
async fn with_key_file(redis: &RedisServer, folder: &Path) -> TestApp {
    let builder = stored(redis).set("ENC_KEY", "").set("KEY_FILE", folder.join("keys.json").display().to_string());
    let app = builder.set("KEY_REFRESH", "5m").impatient().start().await;
    let rotated = Command::new(BINARY).args(["keys", "rotate"]).env_clear().envs(&app.settings).output().unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    app.wait_until_ready(200).await;
    app
}

/// The revocation list in the key file.
fn revocations(folder: &Path) -> Value {
    let contents: Value = serde_json::from_slice(&std::fs::read(folder.join("keys.json")).unwrap()).unwrap();
    contents["revocations"].clone()
}

fn ids(said: &Said) -> Vec<String> {
    assert_eq!(said.code, Some(0), "{said:?}");
    let listed: Value = serde_json::from_str(&said.out).unwrap();
    let id = |session: &Value| session["id"].as_str().unwrap().to_owned();
    listed["sessions"].as_array().unwrap().iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_lists_and_ends_sessions_on_every_instance_at_once() {
    let (redis, folder) = (redis(), tempfile::tempdir().unwrap());
    let app = with_key_file(&redis, folder.path()).await;
    let (_second, port) = another_instance(&app).await;
    let run = |arguments: &[&str]| sessions(&app.settings, arguments);
    assert_eq!(run(&["end", "--user", ADAS_OID]).result(), (Some(0), "0 ended"));
    assert_eq!(run(&["list", "--user", ADAS_OID]).result(), (Some(0), &*format!("{ADAS_OID} has no session")));
    assert_eq!(run(&["list", "--user", ADAS_OID, "--json"]).result(), (Some(0), r#"{"sessions":[]}"#));

    // The list that was just written has the second before.
    let (mut first, mut second) = (app.signed_in(ADA).await, app.signed_in(ADA).await.at(port));
    let mut grace = app.signed_in(GRACE).await.at(port);
    let own = [own_id(&mut first).await, own_id(&mut second).await];
    for user in [ADAS_OID, ADAS_SUB] {
        let mut listed = ids(&run(&["list", "--user", user, "--json"]));
        listed.sort();
        let mut expected = own.clone();
        expected.sort();
        assert_eq!(listed, expected, "{user}");
    }
    let text = run(&["list", "--user", ADAS_SUB]).out;
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(&own[0]) && text.contains("  signed in 20") && text.contains("  expires 20"), "{text}");

    assert_eq!(run(&["end", "--id", &own[0]]).result(), (Some(0), "1 ended"));
    assert!(!is_alive(&mut first).await && is_alive(&mut second).await);
    for id in [own[0].as_str(), UNKNOWN] {
        let said = run(&["end", "--id", id]);
        assert_eq!(said.result(), (Some(69), ""), "{said:?}");
        assert!(said.err.contains(&format!("there is no session {id}")), "{said:?}");
    }

    assert_eq!(run(&["end", "--user", ADAS_SUB]).result(), (Some(0), "1 ended"));
    assert!(!is_alive(&mut second).await && is_alive(&mut grace).await);
    let listed = revocations(folder.path());
    assert!(listed["users"][ADAS_SUB].is_u64() && listed["users"].get(&own[0]).is_none(), "{listed}");
    let mut again = app.signed_in(ADA).await;
    let mut again_there = again.at(port);
    assert!(is_alive(&mut again).await && is_alive(&mut again_there).await, "who signs in again is not affected");

    assert_eq!(run(&["end", "--all"]).result(), (Some(0), "2 ended"));
    assert!(!is_alive(&mut again_there).await && !is_alive(&mut grace).await);
    assert!(revocations(folder.path())["all"].is_u64());
    assert!(is_alive(&mut app.signed_in(ADA).await).await);
}

/// The app may authenticate by its managed identity, which no operator's machine has.
#[tokio::test(flavor = "multi_thread")]
async fn commands_need_no_client_secret() {
    let redis = redis();
    let app = stored(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    let mut settings = app.settings.clone();
    assert!(settings.remove("CLOAKROOM_CLIENT_SECRET").is_some());
    assert_eq!(ids(&sessions(&settings, &["list", "--user", ADAS_SUB, "--json"])), [own_id(&mut ada).await]);
    assert_eq!(sessions(&settings, &["end", "--user", ADAS_SUB]).result(), (Some(0), "1 ended"));
    assert!(!is_alive(&mut ada).await);
}

/// Contract 16.4: the revocation list ends what the store does not find: a session that was not moved yet, and one
/// whose index entries were lost.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_the_store_does_not_find_end_by_the_revocation_list() {
    let (redis, folder) = (redis(), tempfile::tempdir().unwrap());
    let file = folder.path().join("keys.json").display().to_string();
    let builder = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", file).set("KEY_REFRESH", "5m");
    let app = builder.impatient().start().await;
    let rotated = Command::new(BINARY).args(["keys", "rotate"]).env_clear().envs(&app.settings).output().unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    app.wait_until_ready(200).await;
    let settings = with(&app.settings, "STORE", &redis.url());
    let start = || {
        let port = free_port().unwrap();
        (Gateway::start(&settings, port), port)
    };
    let (not_moved, moved) = (app.signed_in(ADA).await, app.signed_in(ADA).await);
    let (_first, port) = start();
    let mut there = moved.at(port);
    assert!(is_alive(&mut there).await);
    let indexes = ["sub", "oid", "sid"].map(|kind| format!("cloakroom:{kind}:*"));
    for index in indexes.iter().flat_map(|pattern| redis.command(&["KEYS", pattern]).unwrap().texts()) {
        redis.command(&["DEL", &index]).unwrap();
    }
    // Entries of the list are of whole seconds, and of the one before.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(sessions(&settings, &["end", "--user", ADAS_OID]).result(), (Some(0), "0 ended"));
    let (_later, port) = start();
    for browser in [&not_moved, &moved, &there] {
        assert_eq!(browser.at(port).fetch("GET", "/graph/me").await.code(), "session_expired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_static_key_sessions_end_and_a_warning_says_what_does_not() {
    let redis = redis();
    let app = stored(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    for (arguments, expected) in [(&["end", "--user", ADAS_OID][..], "1 ended"), (&["end", "--all"], "0 ended")] {
        let said = sessions(&app.settings, arguments);
        assert_eq!(said.result(), (Some(0), expected), "{said:?}");
        assert!(said.err.contains("warning: with CLOAKROOM_ENC_KEY there is no revocation list"), "{said:?}");
    }
    assert!(!is_alive(&mut ada).await);
}

/// What can be done is done, and the rest is said.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_provider_or_the_store_the_revocation_list_is_written_all_the_same() {
    let (redis, folder) = (redis(), tempfile::tempdir().unwrap());
    let app = with_key_file(&redis, folder.path()).await;
    let mut ada = app.signed_in(ADA).await;
    let closed = free_port().unwrap();
    let without_provider = with(&app.settings, "AUTHORITY", &format!("http://127.0.0.1:{closed}"));
    let without_store = with(&app.settings, "STORE", &format!("redis://127.0.0.1:{closed}"));
    for (settings, user, problem) in [
        (&without_provider, "of-the-provider", "the provider's metadata cannot be loaded"),
        (&without_store, "of-the-store", "the session store does not respond"),
    ] {
        let said = sessions(settings, &["end", "--user", user]);
        assert_eq!(said.result(), (Some(69), ""), "{said:?}");
        let written = "the revocation list was written: no instance accepts those that began before 20";
        assert!(said.err.contains(problem) && said.err.contains(written), "{said:?}");
        assert!(revocations(folder.path())["users"][user].is_u64());
        let said = sessions(settings, &["list", "--user", user]);
        assert_eq!(said.result(), (Some(69), ""), "{said:?}");
        assert!(said.err.contains(problem), "{said:?}");
    }
    let said = sessions(&without_store, &["end", "--id", UNKNOWN]);
    assert_eq!(said.result(), (Some(69), ""), "{said:?}");
    assert!(said.err.contains("the session store does not respond"), "{said:?}");
    assert!(is_alive(&mut ada).await);
    let said = sessions(&without_provider, &["end", "--all"]);
    assert_eq!(said.result(), (Some(0), "1 ended"), "all sessions are ended without the issuer: {said:?}");
    assert!(!is_alive(&mut ada).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_list_that_cannot_be_written_is_reported_and_sessions_end_all_the_same() {
    let (redis, folder) = (redis(), tempfile::tempdir().unwrap());
    let app = with_key_file(&redis, folder.path()).await;
    let mut ada = app.signed_in(ADA).await;
    let keys = folder.path().join("keys.json");
    let text = std::fs::read_to_string(&keys).unwrap();
    let mut contents: Value = serde_json::from_str(&text).unwrap();
    contents["revocations"] = "garbage".into();
    std::fs::write(&keys, contents.to_string()).unwrap();
    let said = sessions(&app.settings, &["end", "--user", ADAS_OID]);
    assert_eq!(said.result(), (Some(69), "1 ended"), "{said:?}");
    assert!(said.err.contains("the revocation list was not written: "), "{said:?}");
    assert!(!is_alive(&mut ada).await);
}

#[test]
fn the_command_line_and_all_settings_are_checked() {
    let store = ("CLOAKROOM_STORE".to_owned(), "redis://127.0.0.1:9".to_owned());
    let settings = BTreeMap::from([store]);
    for (arguments, text) in [
        (&["list", "--user", ""][..], "the claim oid or sub"),
        (&["end", "--user", "a\nb"], "the claim oid or sub"),
        (&["end", "--id", "x"], "the 43 characters"),
        (&["end", "--id", &format!("{UNKNOWN}A")], "the 43 characters"),
        (&["end", "--id"], "usage: "),
        (&["list"], "usage: "),
        (&["list", "--user", "ada"], "CLOAKROOM_CLIENT_ID is required"),
        (&["end", "--all"], "CLOAKROOM_CLIENT_ID is required"),
        (&["end", "--id", UNKNOWN], "CLOAKROOM_CLIENT_ID is required"),
    ] {
        let said = sessions(&settings, arguments);
        assert_eq!(said.result(), (Some(64), ""), "{arguments:?}: {said:?}");
        assert!(said.err.contains(text), "{arguments:?}: {said:?}");
    }
}
