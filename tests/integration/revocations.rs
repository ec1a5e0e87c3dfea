//! Ending sessions by command, without a store (contract 16.4 to 16.7): the real binary, several instances, Key Vault
//! and key file.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cloakroom::clock::now;
use cloakroom::keyring::file::FileRing;
use cloakroom::keyring::revocations::{Addition, RevocationCache, Target};
use cloakroom::keyring::rotate::rotate;
use cloakroom::keyring::{KeySource, Ring};
use cloakroom::oidc::discovery::{Authority, Tenants};
use cloakroom::secret::Key32;
use cloakroom::session::configured::Configured;
use cloakroom::session::payload::{Session, User};
use cloakroom::session::sealer::Sealer;
use cloakroom::session::{Limits, OpenError, Sessions};
use cloakroom::store::cookie::CookieStore;
use devkit::commands::stack::free_port;
use devkit::provider::Endpoint;
use devkit::vault::{Fault, Operation};
use serde_json::{Value, json};

use crate::app::{BINARY, Gateway, TestApp};
use crate::cloud::{ADA, eventually, until_ready};
use crate::key_sources::PARAMETERS;
use crate::key_vault::Setup;
use crate::session_stores::cookies;
use crate::visitor::Visitor;

const GRACE: &str = "grace.hopper@contoso.example";
const ADAS_SUB: &str = "ada-lovelace-subject-1";
const ADAS_OID: &str = "0b1d0000-0000-4000-8000-000000000001";
const GRACES_OID: &str = "0b1d0000-0000-4000-8000-000000000002";
/// The secret with the list, for the default `KEY_NAME`.
const SECRET: &str = "cloakroom-keys-revocations";

/// Runs `cloakroom sessions …`; returns the exit code and the output.
fn sessions(settings: &BTreeMap<String, String>, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).arg("sessions").args(arguments).env_clear().envs(settings).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Ends the sessions that began before this second, once there is a second between: times are whole seconds.
async fn end(app: &TestApp, arguments: &[&str]) -> String {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (code, text) = sessions(&app.settings, arguments);
    assert_eq!(code, Some(0), "{text}");
    text
}

/// An app whose keys are in a file.
async fn with_key_file(folder: &tempfile::TempDir) -> TestApp {
    let path = folder.path().join("keys.json").display().to_string();
    let builder = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path).set("KEY_REFRESH", "1s");
    let app = builder.set("CLOCK_SKEW", "1s").set("KEY_PROPAGATION", "1h").impatient().start().await;
    let rotated = Command::new(BINARY).args(["keys", "rotate"]).env_clear().envs(&app.settings).output().unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    app.wait_until_ready(200).await;
    app
}

async fn until_expired(app: &TestApp, visitor: &mut Visitor) {
    eventually(app, "expired", async || {
        let jar = visitor.jar.clone();
        let response = visitor.fetch("GET", "/graph/me").await;
        if response.status == 200 {
            return None;
        }
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{}", app.log());
        assert_eq!(visitor.jar, jar, "a call leaves the cookie (contract 4.20)");
        Some(())
    })
    .await;
}

async fn is_alive(visitor: &mut Visitor) -> bool {
    visitor.fetch("GET", "/graph/me").await.status == 200
}

/// Ends the sessions of one user, of another one, and of all, at two instances.
async fn a_user_is_signed_out_everywhere(app: &TestApp) {
    let port = free_port().unwrap();
    let _second = Gateway::start(&app.settings, port);
    let (mut ada, mut grace) = (app.signed_in(ADA).await, app.signed_in(GRACE).await);
    let mut there = [ada.at(port), grace.at(port)];
    eventually(app, "ready there", async || is_alive(&mut there[0]).await.then_some(())).await;

    let said = end(app, &["end", "--user", ADAS_SUB]).await;
    assert!(said.starts_with(&format!("ended the sessions of {ADAS_SUB} that began before 20")), "{said}");
    assert!(said.contains("; no instance accepts them from 20"), "{said}");
    until_expired(app, &mut there[0]).await;
    until_expired(app, &mut ada).await;
    assert_eq!(ada.fetch("GET", "/auth/session").await.json()["authenticated"], false);
    assert!(is_alive(&mut grace).await && is_alive(&mut there[1]).await, "another user is not affected");
    let refreshed = ada.fetch("POST", "/auth/refresh").await;
    assert_eq!((refreshed.status, refreshed.code()), (401, "session_expired"));
    assert!(ada.jar.is_empty(), "deleted: {:?}", ada.jar);

    let mut again = app.signed_in(ADA).await;
    let mut again_there = again.at(port);
    end(app, &["end", "--user", GRACES_OID]).await;
    until_expired(app, &mut grace).await;
    until_expired(app, &mut there[1]).await;
    assert!(is_alive(&mut again).await && is_alive(&mut again_there).await, "who signed in again is not affected");

    let said = end(app, &["end", "--all"]).await;
    assert!(said.starts_with("ended all sessions that began before 20"), "{said}");
    until_expired(app, &mut again).await;
    until_expired(app, &mut again_there).await;
    assert!(is_alive(&mut app.signed_in(ADA).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_sessions_end_on_every_instance_by_key_vault() {
    let setup = Setup::with_key(60).await;
    let app = setup.app().await;
    a_user_is_signed_out_everywhere(&app).await;
    let versions = setup.vault.versions(SECRET);
    assert_eq!(versions.len(), 3);
    let list: Value = serde_json::from_str(&versions[2].value).unwrap();
    assert_eq!(list.as_object().unwrap().keys().collect::<Vec<_>>(), ["all"], "`all` includes the users");
    let content_type = "application/vnd.cloakroom.revocations+json";
    assert!(versions.iter().all(|version| version.content_type.as_deref() == Some(content_type)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_sessions_end_on_every_instance_by_key_file() {
    let folder = tempfile::tempdir().unwrap();
    a_user_is_signed_out_everywhere(&with_key_file(&folder).await).await;
}

/// Contract 16.4: a sign-in that is in progress when its user's sessions are ended has ended, too, even if the instance
/// reads the list before the provider has responded.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_in_progress_ends_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let app = with_key_file(&folder).await;
    let mut ada = app.visitor();
    let away = ada.navigate("/auth/login").await;
    let callback = app.provider.sign_in(away.header("location").unwrap(), ADA).unwrap();
    app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_secs(4)));
    let in_progress = tokio::spawn(async move {
        let response = ada.come_back(&callback.location()).await;
        assert_eq!(response.header("location"), Some("/"));
        ada
    });
    eventually(&app, "the code is exchanged", async || (app.provider.token_requests() > 0).then_some(())).await;
    end(&app, &["end", "--user", ADAS_OID]).await;
    let mut ada = in_progress.await.unwrap();
    until_expired(&app, &mut ada).await;
    assert!(is_alive(&mut app.signed_in(ADA).await).await, "who signs in again is not affected");
}

/// Contract 6.4: who writes the file holds a lock and reads it again. Commands of two kinds at once lose nothing.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commands_lose_no_entry_of_the_key_file_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let app = with_key_file(&folder).await;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(arguments).env_clear().envs(&app.settings).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let users: Vec<String> = (0..8).map(|number| format!("user-{number}")).collect();
    let mut running: Vec<_> = users.iter().map(|user| command(&["sessions", "end", "--user", user])).collect();
    running.extend((0..2).map(|_| command(&["keys", "rotate"])));
    assert!(running.iter_mut().all(|process| process.wait().unwrap().success()));
    let file = std::fs::read(folder.path().join("keys.json")).unwrap();
    let contents: Value = serde_json::from_slice(&file).unwrap();
    let listed = contents["revocations"]["users"].as_object().unwrap();
    assert_eq!(listed.keys().collect::<Vec<_>>(), users.iter().collect::<Vec<_>>());
    assert_eq!(contents["keys"].as_array().unwrap().len(), 1);
}

/// Contract 10.21.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_off_when_its_session_is_revoked() {
    let setup = Setup::with_key(60).await;
    let entry = json!({"allow": ["GET /events", "GET /me"], "timeouts": {"total": null}});
    let app = setup.cloud.gateway().graph_entry(entry).start().await;
    let (ada, grace) = (app.signed_in(ADA).await, app.signed_in(GRACE).await);
    let mut of_ada = crate::streams::streams(&app, &ada, 2).await;
    let mut of_grace = crate::streams::streams(&app, &grace, 1).await;
    end(&app, &["end", "--user", ADAS_OID]).await;
    of_ada.iter_mut().for_each(crate::streams::assert_cut_off);
    eventually(&app, "ended at the API", async || (app.graph.send_event("continues") == 1).then_some(())).await;
    crate::streams::read_until(&mut of_grace[0], "data: continues\n\n");
}

/// A call that waits for new tokens loads its session again.
#[tokio::test]
async fn a_session_that_is_revoked_during_a_call_gets_no_new_token() {
    let folder = tempfile::tempdir().unwrap();
    let source: Arc<dyn KeySource> = Arc::new(FileRing::new(folder.path().join("keys.json")));
    rotate(source.as_ref(), &Key32::random(), now(), &PARAMETERS).await.unwrap();
    let revocations = RevocationCache::new(Arc::clone(&source), 300, PARAMETERS.propagation);
    let ring = Ring::new(Arc::clone(&source), PARAMETERS, PARAMETERS.propagation);
    ring.refresh(now()).await;
    let sealer = Arc::new(Sealer::new(ring, "a client".to_owned(), 300));
    let store = Arc::new(CookieStore::new(Arc::clone(&sealer), cookies()));
    let limits = Limits { idle: PARAMETERS.life, max: PARAMETERS.life, clock_skew: PARAMETERS.propagation };
    let authority = Authority { url: "https://login.example".parse().unwrap(), tenants: Tenants::Unchecked };
    let configured = Configured::new(authority, Arc::default());
    let sessions = Sessions::new(sealer, cookies(), limits, configured, store, Arc::clone(&revocations));
    let user = User { sub: "ada".to_owned(), ..User::default() };
    let open = sessions.begin(Session::new([1; 16], user, now()), &sessions.known_revocations(), now());
    assert_eq!(sessions.reload(&open, now()).await.unwrap_err(), OpenError::KeyUnavailable, "no list was read yet");
    revocations.refresh(now()).await;
    assert!(sessions.reload(&open, now()).await.is_ok());
    let addition = Addition::new(&Target::User("ada".to_owned()), now() + 1, 1_000, 300);
    source.add_revocations(&addition).await.unwrap();
    revocations.refresh(now()).await;
    assert_eq!(sessions.reload(&open, now()).await.unwrap_err(), OpenError::Expired);
}

/// Contract 3.22, 16.7: until the list was read once no session is opened, and cookies are kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_the_list_opens_no_session() {
    let setup = Setup::with_key(60).await;
    let app = setup.app().await;
    let mut ada = app.signed_in(ADA).await;
    let future = json!({"all": now() + 3_600}).to_string();
    let lists = [
        ("garbage", "malformed"),
        (r#"{"users": null}"#, "malformed"),
        (future.as_str(), "it has a time in the future"),
    ];
    let malformed = lists.map(|(list, problem)| (Some(list), Fault::Garbage, problem));
    // Only `SecretNotFound` says that there is no list.
    let faults = [
        (None, Fault::ForbiddenByRbac, "the identity lacks a role"),
        (None, Fault::ForbiddenByRbac, "--role \\\"Key Vault Secrets User\\\""),
        (None, Fault::status(404), "Get of cloakroom-keys-revocations: 404 "),
    ];
    for (list, fault, problem) in malformed.into_iter().chain(faults) {
        match list {
            Some(list) => _ = setup.vault.put(SECRET, list),
            None => setup.vault.fault(&[Operation::GetNewest], fault),
        }
        let port = free_port().unwrap();
        let gateway = Gateway::start(&app.settings, port);
        let mut there = ada.at(port);
        let ready = async || there.get("/health/ready").await;
        let ready = until_only_missing(ready).await;
        assert_eq!((ready["status"].as_str(), &ready["down"]), (Some("starting"), &json!([])), "{problem}");
        for path in ["/graph/me", "/auth/session"] {
            let response = there.fetch("GET", path).await;
            assert_eq!((response.status, response.code()), (503, "keys_unavailable"), "{problem}");
            assert!(response.header("retry-after").is_some());
        }
        assert_eq!(there.jar, ada.jar, "the cookie is kept");
        gateway.wait_for_log_count("the revocation list could not be read", 1).await;
        gateway.wait_for_log(problem).await;
        setup.vault.clear_faults();
        setup.vault.put(SECRET, "{}");
        eventually(&app, "repaired", async || is_alive(&mut there).await.then_some(())).await;
        assert_eq!(there.get("/health/ready").await.json()["missing"], json!([]));
    }
    assert!(is_alive(&mut ada).await);
}

/// Waits until nothing but the list is missing.
async fn until_only_missing(mut ready: impl AsyncFnMut() -> crate::visitor::Response) -> Value {
    let started = std::time::Instant::now();
    loop {
        let response = ready().await;
        if response.json()["missing"] == json!(["revocations"]) {
            assert_eq!(response.status, 503);
            return response.json();
        }
        assert!(started.elapsed() < crate::app::PATIENCE, "{}", response.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Contract 16.7: a later failure keeps the list that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_later_stays_in_force() {
    let setup = Setup::with_key(60).await;
    let app = setup.app().await;
    let (mut ada, mut grace) = (app.signed_in(ADA).await, app.signed_in(GRACE).await);
    end(&app, &["end", "--user", ADAS_SUB]).await;
    until_expired(&app, &mut ada).await;
    setup.vault.put(SECRET, "garbage");
    until_ready(&app, "down", |ready| ready["down"] == json!(["revocations"])).await;
    assert_eq!(app.visitor().get("/health/ready").await.status, 200);
    until_expired(&app, &mut ada).await;
    assert!(is_alive(&mut grace).await);
    let (code, text) = sessions(&app.settings, &["end", "--user", GRACES_OID]);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("malformed") && text.contains("docs/operations.md"), "{text}");
    setup.vault.put_with(SECRET, "{}", |version| version.enabled = false);
    let (code, text) = sessions(&app.settings, &["end", "--user", GRACES_OID]);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("Get of cloakroom-keys-revocations") && text.contains("the version is disabled"), "{text}");
    app.wait_for_log("the version is disabled").await;
    until_expired(&app, &mut ada).await;
    setup.vault.remove(SECRET);
    until_ready(&app, "up again", |ready| ready["down"] == json!([])).await;
    assert!(is_alive(&mut ada).await, "a missing list is an empty one");
}

/// Contract 6.17: the list does not wait for the keys, nor do they wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_reads_the_keys_and_the_list_at_the_same_time() {
    for (hangs, other) in [(Operation::List, Operation::GetNewest), (Operation::GetNewest, Operation::List)] {
        let setup = Setup::with_key(60).await;
        setup.vault.fault(&[hangs], Fault::Hang);
        let app = setup.cloud.gateway().impatient().start().await;
        let started = std::time::Instant::now();
        eventually(&app, "requested", async || {
            let count = match other {
                Operation::List => setup.vault.count_lists(),
                _ => setup.vault.count_gets_of_newest(),
            };
            (count > 0).then_some(())
        })
        .await;
        assert!(started.elapsed() < Duration::from_secs(2), "{other:?} waited for {hangs:?}");
    }
}

/// Settings, arguments, exit code, and a part of the output.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], i32, &'a str);

#[test]
fn the_command_line_says_what_it_cannot_do() {
    let vault = [("CLOAKROOM_KEY_VAULT_URL", "https://localhost:9")];
    let file = [("CLOAKROOM_KEY_FILE", "/nonexistent/keys.json")];
    let fixed = [("CLOAKROOM_ENC_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
    let long = "x".repeat(256);
    let rows: [Row<'_>; 15] = [
        (&vault, &["list", "--user", "ada"], 64, "CLOAKROOM_STORE=cookie"),
        (&vault, &["list", "--user", "ada", "--json"], 64, "CLOAKROOM_STORE=cookie"),
        (&vault, &["list", "--json", "--user", "ada"], 64, "CLOAKROOM_STORE=cookie"),
        (&vault, &["end", "--id", "x"], 64, "CLOAKROOM_STORE=cookie"),
        (&vault, &["end"], 64, "usage: "),
        (&vault, &["end", "--user"], 64, "usage: "),
        (&vault, &["end", "--all", "--user", "ada"], 64, "usage: "),
        (&vault, &["list"], 64, "usage: "),
        (&vault, &["end", "--user", ""], 64, "the claim oid or sub"),
        (&vault, &["end", "--user", "a\nb"], 64, "the claim oid or sub"),
        (&vault, &["end", "--user", &long], 64, "the claim oid or sub"),
        (&fixed, &["end", "--user", "ada"], 64, "with CLOAKROOM_ENC_KEY there is no revocation list"),
        (&fixed, &["end", "--all"], 64, "with CLOAKROOM_ENC_KEY there is no revocation list"),
        (&[], &["end", "--all"], 64, "CLOAKROOM_KEY_VAULT_URL"),
        (&file, &["end", "--all"], 69, "the key file /nonexistent/keys.json"),
    ];
    for (settings, arguments, expected, text) in rows {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (code, said) = sessions(&settings, arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_may_not_write_names_the_role() {
    let setup = Setup::with_key(60).await;
    let settings = setup.cloud.variables();
    for (operation, text) in [
        (Operation::Set, "--role \"Key Vault Secrets Officer\""),
        (Operation::GetNewest, "--role \"Key Vault Secrets User\""),
        (Operation::List, "run the command again"),
    ] {
        setup.vault.fault(&[operation], Fault::ForbiddenByRbac);
        let (code, said) = sessions(&settings, &["end", "--user", "ada"]);
        assert_eq!(code, Some(69), "{operation:?}: {said}");
        assert!(said.contains(text) && said.contains(SECRET), "{operation:?}: {said}");
        setup.vault.clear_faults();
    }
    let (code, said) = sessions(&settings, &["end", "--user", "ada@contoso.example"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: an address is rarely the claim"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_without_a_key_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let name = "CLOAKROOM_KEY_FILE".to_owned();
    let settings = BTreeMap::from([(name, path.display().to_string())]);
    let (code, said) = sessions(&settings, &["end", "--all"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("there is no file, or it has no key") && !path.exists(), "{said}");
}

/// Contract 16.7.
#[tokio::test(flavor = "multi_thread")]
async fn check_online_reads_the_list() {
    let setup = Setup::with_key(60).await;
    let app = setup.app().await;
    let check = || {
        let output = Command::new(BINARY).args(["check", "--online"]).env_clear().envs(&app.settings).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("revocations: there is no list"), "{said}");
    end(&app, &["end", "--user", ADAS_SUB]).await;
    let (_, said) = check();
    assert!(
        said.contains("revocations: sessions of all users were last ended at: never; users in the list: 1"),
        "{said}"
    );
    end(&app, &["end", "--all"]).await;
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("last ended at: 20") && said.contains("users in the list: 0"), "{said}");
    setup.vault.fault(&[Operation::GetNewest], Fault::ForbiddenByRbac);
    let (code, said) = check();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("revocations: Key Vault") && said.contains("Key Vault Secrets User"), "{said}");
    setup.vault.clear_faults();
    setup.vault.put(SECRET, "garbage");
    let (code, said) = check();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("revocations: the revocation list is malformed"), "{said}");
}
