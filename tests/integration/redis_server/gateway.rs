//! The real binary with a session store: settings, readiness, log, `check --online` (contract 3.22, 15.12, 15.15,
//! 15.16).

use std::process::Command;
use std::time::{Duration, Instant};

use devkit::chaos::{Chaos, Mode};
use devkit::identity::{self, Identity};
use devkit::redis_server::{Authority, EntraRedis, Options, RedisServer};

use crate::app::{BINARY, PATIENCE, TestApp};
use crate::cloud::{ADA, until_ready};

/// Runs `check --online` with an app's settings and others; returns the exit code and the output.
fn check(app: &TestApp, others: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(["check", "--online"]).env_clear().envs(&app.settings).envs(others.iter().copied());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_ready_once_the_store_has_responded_and_later_reports_outages() {
    let server = RedisServer::start(&Options::default().line("user gateway on >CANARY ~* +@all")).unwrap();
    let chaos = Chaos::start(server.addr()).await.unwrap();
    chaos.set(Mode::Refuse).await;
    let url = format!("redis://gateway:CANARY@127.0.0.1:{}", chaos.port());
    let app = TestApp::builder().set("STORE", url).impatient().start().await;
    until_ready(&app, "missing", |ready| ready["missing"] == serde_json::json!(["store"])).await;
    let response = app.visitor().get("/health/ready").await;
    assert_eq!((response.status, response.json()["status"].as_str()), (503, Some("starting")));
    chaos.set(Mode::Pass).await;
    app.wait_until_ready(200).await;
    app.wait_for_log("the session store responds").await;
    let log = app.log();
    assert!(log.contains("\"error_class\":\"unreachable\""), "{log}");
    assert_eq!(log.matches("the session store is unavailable").count(), 1, "once per outage: {log}");

    chaos.set(Mode::Refuse).await;
    until_ready(&app, "down", |ready| ready["down"] == serde_json::json!(["store"])).await;
    let response = app.visitor().get("/health/ready").await;
    assert_eq!((response.status, response.json()["status"].as_str()), (200, Some("ready")));
    chaos.set(Mode::Pass).await;
    until_ready(&app, "up", |ready| ready["down"] == serde_json::json!([])).await;
    assert!(!app.log().contains("CANARY"), "{}", app.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_names_what_is_wrong_with_the_store() {
    let options = Options::default()
        .line("user gateway on >CANARY ~cloakroom:* resetchannels -@all +ping +evalsha +eval +set")
        .line("user reader on >CANARY ~cloakroom:* -@all +ping +get")
        .line("user stranger on >CANARY ~other:* -@all +ping +evalsha +eval +set");
    let server = RedisServer::start(&options).unwrap();
    let replica = RedisServer::start(&Options::default().replica_of(&server)).unwrap();
    let app = TestApp::start().await;
    let port = server.port();
    let with_store = |url: &str| check(&app, &[("CLOAKROOM_STORE", url)]);
    let (code, said) = with_store(&format!("redis://gateway:CANARY@127.0.0.1:{port}"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("store: 127.0.0.1:{port} responds, and can be written to")), "{said}");
    for (url, problem) in [
        (format!("redis://gateway:CANARY-wrong@127.0.0.1:{port}"), "WRONGPASS: user or password is wrong"),
        (
            format!("redis://reader:CANARY@127.0.0.1:{port}"),
            "NOPERM: the ACL does not permit it; the ACL rule that is needed: +evalsha",
        ),
        (format!("redis://stranger:CANARY@127.0.0.1:{port}"), "the ACL rule that is needed: ~cloakroom:*"),
        ("redis://127.0.0.1:9".to_owned(), "no connection: connection refused"),
        ("redis://no-such-name.invalid".to_owned(), "no connection: the host name has no address"),
        (format!("rediss://127.0.0.1:{port}"), "store: 127.0.0.1"),
        (replica.url(), "the server is a replica"),
    ] {
        let (code, said) = with_store(&url);
        assert_eq!(code, Some(69), "{url}: {said}");
        assert!(said.contains("store: ") && said.contains(problem), "{url}: {said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let (code, said) = with_store(&server.url());
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("OOM: the server has no memory left"), "{said}");
}

/// Contract 15.15, 15.16: with nothing but the variables of the platform.
#[tokio::test(flavor = "multi_thread")]
async fn a_managed_identity_authenticates_over_tls() {
    let identity = Identity::start(identity::Options::default()).await.unwrap();
    let authority = Authority::new().unwrap();
    let server = EntraRedis::start(&identity, &authority, &["localhost"]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let app = TestApp::start().await;
    let url = format!("rediss://localhost:{}", server.port());
    let [endpoint, header] = identity.env();
    let variables = [
        ("CLOAKROOM_STORE", url.as_str()),
        ("CLOAKROOM_STORE_AUTH", "entra"),
        ("SSL_CERT_FILE", ca.to_str().unwrap()),
        (endpoint.0, endpoint.1.as_str()),
        (header.0, header.1.as_str()),
    ];
    let (code, said) = check(&app, &variables);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(server.logins(), [(0, true)]);
    let (code, said) =
        check(&app, &[&variables[..], &[("CLOAKROOM_STORE_AUTH", "entra=https://other.example/.default")]].concat());
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("WRONGPASS"), "a token for another resource: {said}");
    let (code, said) = check(&app, &variables[..2]);
    assert_eq!(code, Some(69), "{said}");
    for (_, secret) in identity.secrets() {
        assert!(!said.contains(&secret), "{said}");
    }
}

/// Contract 15.16: the server closes connections whose token has expired, and no call notices.
#[tokio::test(flavor = "multi_thread")]
async fn calls_continue_while_the_connection_authenticates_with_new_tokens() {
    let options = identity::Options { token_life: Duration::from_secs(4), ..identity::Options::default() };
    let identity = Identity::start(options).await.unwrap();
    let authority = Authority::new().unwrap();
    let server = EntraRedis::start(&identity, &authority, &["localhost"]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let builder = TestApp::builder()
        .set("STORE", format!("rediss://localhost:{}", server.port()))
        .set("STORE_AUTH", "entra")
        .variable("SSL_CERT_FILE", ca.to_str().unwrap());
    let builder = identity.env().into_iter().fold(builder, |builder, (name, value)| builder.variable(name, value));
    let app = builder.start().await;
    let ada = app.signed_in(ADA).await;
    let started = Instant::now();
    while server.logins().len() < 3 {
        assert_eq!(ada.clone().fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
        assert!(started.elapsed() < PATIENCE, "{:?}", server.logins());
    }
    assert_eq!(server.logins(), [(0, true), (0, true), (0, true)], "on the one connection");
    assert!(!app.log().contains("error_class"), "{}", app.log());
}
