//! Faults of Redis under the real binary: 503, never 401; cookies are kept; no user is signed out; and all of it ends
//! soon after the fault without a restart (contract 15.12, 15.13). `redis_server::faults` has the same faults for
//! the client alone.

use std::time::Duration;

use devkit::chaos::{Chaos, Mode};
use devkit::redis_server::{Authority, Options, RedisServer};
use tokio::time::{sleep, timeout};

use super::outages::eventually;
use super::{ADA, COOKIE, builder, is_signed_in, only_record};
use crate::app::TestApp;
use crate::redis_server::RECOVERY;
use crate::visitor::Visitor;

/// An app behind a proxy of its Redis, and a browser whose user has signed in.
struct Case {
    redis: RedisServer,
    chaos: Chaos,
    app: TestApp,
    ada: Visitor,
}

impl Case {
    async fn start(options: &Options) -> Self {
        let redis = RedisServer::start(options).unwrap();
        let chaos = Chaos::start(redis.addr()).await.unwrap();
        let user =
            if options.lines.iter().any(|line| line.starts_with("user gateway")) { "gateway:right@" } else { "" };
        let url = format!("redis://{user}127.0.0.1:{}", chaos.port());
        let app = TestApp::builder().set("STORE", url).start().await;
        let ada = app.signed_in(ADA).await;
        Self { redis, chaos, app, ada }
    }

    async fn standard() -> Self {
        Self::start(&Options::default()).await
    }

    /// Whatever needs the session is unavailable, the log says why, and the browser keeps its cookies.
    async fn is_unavailable(&self, error_class: &str) {
        for (method, path) in [("GET", "/graph/me"), ("GET", "/auth/session"), ("POST", "/auth/refresh")] {
            assert_unavailable(&self.app, &self.ada, method, path).await;
        }
        self.logs(error_class).await;
    }

    /// Nothing can be written, so that no session begins and none gets new tokens; those that are there are of use.
    async fn is_read_only(&self, error_class: &str) {
        assert_eq!(self.ada.clone().fetch("GET", "/graph/me").await.status, 200, "{}", self.app.log());
        assert!(is_signed_in(&mut self.ada.clone()).await);
        let mut ada = self.ada.clone();
        let response = ada.fetch("POST", "/auth/refresh").await;
        assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{}", self.app.log());
        assert_eq!(response.headers_named("set-cookie").count(), 0, "contract 3.11: there is nothing new");
        assert!(is_signed_in(&mut ada).await, "{}", self.app.log());
        let mut other = self.app.visitor();
        let response = other.sign_in(&self.app.provider, ADA, "/here").await;
        assert_eq!(response.header("location"), Some("/here?auth_error=store_unavailable"), "{}", self.app.log());
        assert!(!other.jar.contains_key(COOKIE));
        self.logs(error_class).await;
    }

    async fn logs(&self, error_class: &str) {
        self.app.wait_for_log(&format!("\"error_class\":\"{error_class}\"")).await;
    }

    /// The same session is of use again, and others can begin.
    async fn recovers(&self) {
        let log = || self.app.log();
        let recovered = async {
            for (method, path) in [("GET", "/graph/me"), ("POST", "/auth/refresh")] {
                loop {
                    let response = self.ada.clone().fetch(method, path).await;
                    if response.status < 300 {
                        break;
                    }
                    assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{}", log());
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        assert!(timeout(RECOVERY, recovered).await.is_ok(), "calls do not succeed: {}", log());
        let mut other = self.app.visitor();
        assert_eq!(
            other.sign_in(&self.app.provider, ADA, "/here").await.header("location"),
            Some("/here"),
            "{}",
            log()
        );
        assert!(is_signed_in(&mut self.ada.clone()).await, "{}", log());
    }
}

async fn assert_unavailable(app: &TestApp, browser: &Visitor, method: &str, path: &str) {
    let response = browser.clone().fetch(method, path).await;
    assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{path}: {}", app.log());
    assert!(response.header("retry-after").is_some(), "{path}");
    let cookies: Vec<&str> = response.headers_named("set-cookie").collect();
    assert_eq!(cookies, [""; 0], "{path}: {}", app.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_down_when_the_gateway_starts() {
    let mut case = Case::standard().await;
    case.chaos.set(Mode::Refuse).await;
    case.app.restart();
    case.is_unavailable("unreachable").await;
    case.chaos.set(Mode::Pass).await;
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_down_later() {
    let case = Case::standard().await;
    case.chaos.set(Mode::Refuse).await;
    case.is_unavailable("unreachable").await;
    case.chaos.set(Mode::Pass).await;
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_slow() {
    let case = Case::standard().await;
    case.chaos.set(Mode::Delay(Duration::from_millis(200))).await;
    assert_eq!(case.ada.clone().fetch("GET", "/graph/me").await.status, 200, "{}", case.app.log());
    case.chaos.set(Mode::Delay(Duration::from_secs(3))).await;
    case.is_unavailable("timeout").await;
    case.chaos.set(Mode::Pass).await;
    case.recovers().await;
}

/// The connection stays open, and nothing arrives on it: once for the connection only, once for the server.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_to_redis_is_half_open() {
    let case = Case::standard().await;
    case.chaos.freeze();
    assert_eq!(case.ada.clone().fetch("GET", "/graph/me").await.status, 200, "on a new connection: {}", case.app.log());
    case.chaos.set(Mode::Stall).await;
    case.is_unavailable("timeout").await;
    case.chaos.set(Mode::Pass).await;
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs() {
    let case = Case::standard().await;
    case.redis.pause();
    case.is_unavailable("timeout").await;
    case.redis.resume();
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_restarted() {
    let case = Case::start(&Options::default().line("save 3600 1")).await;
    case.redis.stop();
    case.is_unavailable("closed").await;
    case.redis.start_again().unwrap();
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed() {
    let case = Case::start(&Options::default().line("appendonly yes").line("appendfsync always")).await;
    case.redis.kill();
    case.is_unavailable("closed").await;
    case.redis.start_again().unwrap();
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_has_no_memory() {
    let case = Case::start(&Options::default().line("maxmemory-policy noeviction")).await;
    case.redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    case.is_read_only("OOM").await;
    case.redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    case.recovers().await;
}

/// As with a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn redis_cannot_save() {
    let case = Case::start(&Options::default().line("save 3600 1").line("dbfilename dump")).await;
    let folder = case.redis.folder().join("dump");
    let save = async |expected: &str| {
        case.redis.command(&["BGSAVE"]).unwrap();
        let status = format!("rdb_last_bgsave_status:{expected}");
        let saved = async || case.redis.command(&["INFO", "persistence"]).unwrap().text().contains(&status);
        eventually(&status, &case.app, saved).await;
    };
    std::fs::create_dir_all(folder.join("x")).unwrap();
    save("err").await;
    case.is_read_only("MISCONF").await;
    std::fs::remove_dir_all(folder).unwrap();
    save("ok").await;
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_loads_its_data() {
    let slow = Options::default().line("key-load-delay 500").line("loading-process-events-interval-bytes 1024");
    let slow = slow.line("enable-debug-command local");
    let case = Case::start(&slow).await;
    case.redis.command(&["DEBUG", "POPULATE", "6000", "key", "1000"]).unwrap();
    case.redis.command(&["SAVE"]).unwrap();
    case.redis.kill();
    case.redis.start_without_waiting().unwrap();
    let loading = async || case.redis.command(&["GET", "a"]).is_ok_and(|reply| reply.text().starts_with("LOADING"));
    eventually("the server loads", &case.app, loading).await;
    case.is_unavailable("LOADING").await;
    eventually("the server has loaded", &case.app, async || !loading().await).await;
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_runs_a_long_script() {
    let case = Case::start(&Options::default().line("busy-reply-threshold 50")).await;
    let mut other = case.redis.connect().unwrap();
    other.send(&["EVAL", "while true do end", "0"]).unwrap();
    let busy = async || case.redis.command(&["PING"]).unwrap().text().starts_with("BUSY");
    eventually("a script runs", &case.app, busy).await;
    case.is_unavailable("BUSY").await;
    case.redis.command(&["SCRIPT", "KILL"]).unwrap();
    case.recovers().await;
}

fn replica_of(case: &Case) -> RedisServer {
    let replica = RedisServer::start(&Options::default().replica_of(&case.redis)).unwrap();
    let started = std::time::Instant::now();
    while replica.command(&["DBSIZE"]).unwrap() != case.redis.command(&["DBSIZE"]).unwrap() {
        assert!(started.elapsed() < crate::app::PATIENCE, "{}", replica.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    replica
}

/// The address leads to a replica, which has the session and must not be read.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_a_replica() {
    let case = Case::standard().await;
    let replica = replica_of(&case);
    case.chaos.retarget(replica.addr());
    case.chaos.cut();
    case.is_unavailable("replica").await;
    case.chaos.retarget(case.redis.addr());
    case.recovers().await;
}

/// The primary is gone, and the address moves to the promoted replica.
#[tokio::test(flavor = "multi_thread")]
async fn redis_fails_over() {
    let case = Case::standard().await;
    let replica = replica_of(&case);
    case.redis.kill();
    case.is_unavailable("closed").await;
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    case.chaos.retarget(replica.addr());
    case.recovers().await;
}

/// The old primary becomes a replica and stays up, and so do the connections to it.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_demoted_in_a_planned_failover() {
    let case = Case::standard().await;
    let new = replica_of(&case);
    new.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    case.redis.command(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]).unwrap();
    let response = case.ada.clone().fetch("POST", "/auth/refresh").await;
    assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{}", case.app.log());
    case.is_unavailable("replica").await;
    case.chaos.retarget(new.addr());
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_redis_changes() {
    let case = Case::start(&Options::default().line("user gateway on >right ~* +@all")).await;
    let change = |password: &str| {
        case.redis.command(&["ACL", "SETUSER", "gateway", "resetpass", password]).unwrap();
        case.redis.command(&["CLIENT", "KILL", "USER", "gateway"]).unwrap();
    };
    change(">wrong");
    case.is_unavailable("WRONGPASS").await;
    change(">right");
    case.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acl_rule_of_redis_is_missing() {
    let case = Case::start(&Options::default().line("user gateway on >right ~* +@all")).await;
    let acl = |rule: &str| case.redis.command(&["ACL", "SETUSER", "gateway", rule]).unwrap();
    acl("-hmget");
    let calls = [("GET", "/graph/me"), ("GET", "/auth/session"), ("POST", "/auth/refresh")];
    for (method, path) in calls {
        assert_unavailable(&case.app, &case.ada, method, path).await;
    }
    case.logs("NOPERM").await;
    case.app.wait_for_log("\"acl_rule\":\"+hmget\"").await;
    acl("+hmget");
    case.recovers().await;
    acl("resetkeys");
    for (method, path) in calls {
        assert_unavailable(&case.app, &case.ada, method, path).await;
    }
    acl("~*");
    case.recovers().await;
}

/// Contract 15.15: the server at the address is another one, with a certificate of another authority or for another
/// name. It gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_redis_is_not_valid() {
    let (trusted, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let start = |authority, name| RedisServer::start(&Options::default().tls(authority, &[name])).unwrap();
    let tls = |redis: &RedisServer| ([127, 0, 0, 1], redis.tls_port()).into();
    let redis = start(&trusted, "localhost");
    let chaos = Chaos::start(tls(&redis)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, trusted.pem()).unwrap();
    let app = TestApp::builder().set("STORE", format!("rediss://localhost:{}", chaos.port()));
    let app = app.variable("SSL_CERT_FILE", ca.to_str().unwrap()).start().await;
    let ada = app.signed_in(ADA).await;
    let case = Case { redis, chaos, app, ada };
    for wrong in [start(&other, "localhost"), start(&trusted, "redis.example")] {
        case.chaos.retarget(tls(&wrong));
        case.chaos.cut();
        case.is_unavailable("tls").await;
        assert!(!wrong.command(&["INFO", "commandstats"]).unwrap().text().contains("cmdstat_hello"));
        case.chaos.retarget(tls(&case.redis));
        case.recovers().await;
    }
}

/// What is at the address does not speak the protocol.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_at_the_address() {
    let case = Case::standard().await;
    case.chaos.retarget(([127, 0, 0, 1], case.app.port).into());
    case.chaos.cut();
    case.is_unavailable("malformed").await;
    case.chaos.retarget(case.redis.addr());
    case.chaos.cut();
    case.recovers().await;
}

/// Contract 15.8: eviction signs users out; the log says that Redis evicts.
#[tokio::test(flavor = "multi_thread")]
async fn evicted_sessions_have_ended_and_the_log_names_the_eviction() {
    let redis = RedisServer::start(&Options::default().line("maxmemory-policy allkeys-lru")).unwrap();
    let app = builder(&redis).start().await;
    let ada = app.signed_in(ADA).await;
    only_record(&redis);
    let evict = || {
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    };
    evict();
    let response = ada.clone().fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (401, "session_expired"), "{}", app.log());
    // What was evicted before the first look is not new.
    let is_logged = async || {
        redis.command(&["SET", "another", "1"]).unwrap();
        evict();
        app.log().contains("the server of the session store evicts keys")
    };
    eventually("the log names it", &app, is_logged).await;
}
