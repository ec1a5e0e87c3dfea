//! Every fault of a server: calls fail without a wrong result, and succeed soon after its end (contract 15.12,
//! 15.13, 15.14).

use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::store::StoreUnavailable;
use cloakroom::store::redis::Config;
use cloakroom::store::redis::client::{Client, Health, Script};
use devkit::chaos::{Chaos, Mode};
use devkit::redis_server::{Options, RedisServer};
use redis::Value;

use super::{assert_down, assert_recovers, call, client, config, eventually, get, password, recovered, set};

/// A server with a value, behind a proxy, and a client that has used it.
async fn behind_proxy() -> (RedisServer, Chaos, Arc<Client>) {
    let server = RedisServer::start(&Options::default()).unwrap();
    let chaos = Chaos::start(server.addr()).await.unwrap();
    let client = client(chaos.port());
    set(&client, "a", "1").await.unwrap();
    assert_eq!(client.health(), Health::Up);
    (server, chaos, client)
}

/// A server with a value, and a client that has used it.
async fn used(options: &Options) -> (RedisServer, Arc<Client>) {
    let server = RedisServer::start(options).unwrap();
    let client = client(server.port());
    set(&client, "a", "1").await.unwrap();
    (server, client)
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_used_once_it_is_up() {
    let server = RedisServer::start(&Options::default()).unwrap();
    server.command(&["SET", "a", "1"]).unwrap();
    let chaos = Chaos::start(server.addr()).await.unwrap();
    chaos.set(Mode::Refuse).await;
    let client = client(chaos.port());
    assert_eq!(get(&client, "a").await, Err(StoreUnavailable));
    assert_eq!(client.health(), Health::NotContacted);
    chaos.set(Mode::Pass).await;
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_refused_connection_is_an_outage_that_ends() {
    let (_server, chaos, client) = behind_proxy().await;
    chaos.set(Mode::Refuse).await;
    assert_down(&client).await;
    chaos.set(Mode::Pass).await;
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_slow_server_is_an_outage_only_beyond_the_deadline() {
    let (_server, chaos, client) = behind_proxy().await;
    chaos.set(Mode::Delay(Duration::from_millis(200))).await;
    assert_eq!(get(&client, "a").await.unwrap().as_deref(), Some("1"));
    chaos.set(Mode::Delay(Duration::from_secs(3))).await;
    assert_down(&client).await;
    chaos.set(Mode::Pass).await;
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_server_that_accepts_and_never_replies_is_an_outage_that_ends() {
    let (_server, chaos, client) = behind_proxy().await;
    chaos.set(Mode::Stall).await;
    assert_down(&client).await;
    chaos.set(Mode::Pass).await;
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_an_outage_that_ends() {
    let (server, client) = used(&Options::default()).await;
    server.pause();
    assert_down(&client).await;
    server.resume();
    assert_recovers(&client).await;
}

/// Contract 15.13, 15.14.
#[tokio::test]
async fn a_call_on_a_stalled_connection_is_repeated_on_a_new_one() {
    let (_server, chaos, client) = behind_proxy().await;
    chaos.freeze();
    assert_eq!(get(&client, "a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(chaos.accepted(), 2);
}

/// Contract 15.13.
#[tokio::test]
async fn a_call_whose_reply_is_lost_is_repeated_once() {
    let (server, chaos, client) = behind_proxy().await;
    server.pause();
    let calls = (0..20).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { get(&client, "a").await })
    });
    let calls: Vec<_> = calls.collect();
    tokio::task::yield_now().await;
    chaos.cut();
    server.resume();
    for value in calls {
        assert_eq!(value.await.unwrap().unwrap().as_deref(), Some("1"));
    }
    assert_eq!(chaos.accepted(), 2, "all calls share the new connection");
}

#[tokio::test]
async fn a_restarted_server_is_used_again() {
    let (server, client) = used(&Options::default().line("save 3600 1")).await;
    server.stop();
    assert_down(&client).await;
    server.start_again().unwrap();
    assert_recovers(&client).await;
    server.stop();
    server.start_again().unwrap();
    assert_eq!(get(&client, "a").await.unwrap().as_deref(), Some("1"), "without a call that failed");
}

#[tokio::test]
async fn a_killed_server_is_used_again() {
    let (server, client) = used(&Options::default().line("appendonly yes").line("appendfsync always")).await;
    server.kill();
    assert_down(&client).await;
    server.start_again().unwrap();
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_server_without_memory_is_an_outage_of_writes() {
    let (server, client) = used(&Options::default().line("maxmemory-policy noeviction")).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert_down(&client).await;
    assert_eq!(get(&client, "a").await.unwrap().as_deref(), Some("1"), "reads continue");
    assert_eq!(client.health(), Health::Down, "a read does not end an outage of writes");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    recovered(async || set(&client, "a", "1").await).await;
    assert_recovers(&client).await;
}

/// As with a full disk.
#[tokio::test]
async fn a_server_that_cannot_save_is_an_outage_of_writes() {
    let (server, client) = used(&Options::default().line("save 3600 1").line("dbfilename dump")).await;
    let status = || server.command(&["INFO", "persistence"]).unwrap().text();
    std::fs::create_dir_all(server.folder().join("dump/x")).unwrap();
    server.command(&["BGSAVE"]).unwrap();
    eventually("a save fails", async || status().contains("rdb_last_bgsave_status:err")).await;
    assert_down(&client).await;
    assert_eq!(get(&client, "a").await.unwrap().as_deref(), Some("1"));
    std::fs::remove_dir_all(server.folder().join("dump")).unwrap();
    server.command(&["BGSAVE"]).unwrap();
    eventually("a save succeeds", async || status().contains("rdb_last_bgsave_status:ok")).await;
    recovered(async || set(&client, "a", "1").await).await;
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_an_outage_that_ends() {
    let slow = Options::default().line("key-load-delay 500").line("loading-process-events-interval-bytes 1024");
    let slow = slow.line("enable-debug-command local");
    let (server, client) = used(&slow).await;
    server.command(&["DEBUG", "POPULATE", "6000", "key", "1000"]).unwrap();
    server.command(&["SAVE"]).unwrap();
    server.kill();
    assert_down(&client).await;
    server.start_without_waiting().unwrap();
    eventually("the server loads", async || server.command(&["GET", "a"]).is_ok_and(|reply| is_loading(&reply))).await;
    assert_down(&client).await;
    eventually("the server has loaded", async || !is_loading(&server.command(&["GET", "a"]).unwrap())).await;
    assert_recovers(&client).await;
}

fn is_loading(reply: &devkit::redis_server::Reply) -> bool {
    reply.text().starts_with("LOADING")
}

#[tokio::test]
async fn a_server_that_runs_a_long_script_is_an_outage_that_ends() {
    let (server, client) = used(&Options::default().line("busy-reply-threshold 50")).await;
    let mut other = server.connect().unwrap();
    other.send(&["EVAL", "while true do end", "0"]).unwrap();
    eventually("busy", async || server.command(&["PING"]).unwrap().text().starts_with("BUSY")).await;
    assert_down(&client).await;
    server.command(&["SCRIPT", "KILL"]).unwrap();
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_replica_is_not_used_until_it_is_a_primary() {
    let primary = RedisServer::start(&Options::default()).unwrap();
    primary.command(&["SET", "a", "1"]).unwrap();
    let replica = RedisServer::start(&Options::default().replica_of(&primary)).unwrap();
    let value = || replica.command(&["GET", "a"]).unwrap().text();
    eventually("replicated", async || value() == "1").await;
    let client = client(replica.port());
    assert_eq!(get(&client, "a").await, Err(StoreUnavailable), "not even read");
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    assert_recovers(&client).await;
}

/// Contract 15.14: primaries only are read.
#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_neither_written_nor_read() {
    let other = RedisServer::start(&Options::default()).unwrap();
    let (server, client) = used(&Options::default()).await;
    let reader = super::client(server.port());
    assert!(get(&reader, "a").await.is_ok());
    server.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).unwrap();
    assert_down(&client).await;
    eventually("the replica is not read", async || get(&reader, "a").await.is_err()).await;
    server.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    server.command(&["SET", "a", "1"]).unwrap();
    assert_recovers(&client).await;
    assert_recovers(&reader).await;
}

#[tokio::test]
async fn after_a_failover_the_promoted_replica_is_used() {
    let (primary, chaos, client) = behind_proxy().await;
    let replica = RedisServer::start(&Options::default().replica_of(&primary)).unwrap();
    eventually("replicated", async || replica.command(&["GET", "a"]).unwrap().text() == "1").await;
    primary.kill();
    assert_down(&client).await;
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    chaos.retarget(replica.addr());
    assert_recovers(&client).await;
    assert_eq!(replica.command(&["GET", "b"]).unwrap().text(), "1");
}

/// The old primary stays up, and connections to it too.
#[tokio::test]
async fn after_a_planned_failover_the_new_primary_is_used() {
    let (old, chaos, client) = behind_proxy().await;
    let new = RedisServer::start(&Options::default().replica_of(&old)).unwrap();
    eventually("replicated", async || new.command(&["GET", "a"]).unwrap().text() == "1").await;
    new.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    chaos.retarget(new.addr());
    old.command(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]).unwrap();
    set(&client, "b", "1").await.expect("a write that a replica rejects is repeated at the primary");
    assert_eq!(new.command(&["GET", "b"]).unwrap().text(), "1");
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_outage_until_it_is_right() {
    let server = RedisServer::start(&Options::default().line("user ada on >right ~* +@all")).unwrap();
    server.command(&["SET", "a", "1"]).unwrap();
    let auth = password(Some("ada"), "other");
    let client = Client::new(Config { auth, ..config(server.port()) }, Arc::default());
    assert_eq!(get(&client, "a").await, Err(StoreUnavailable));
    assert_eq!(client.health(), Health::NotContacted);
    server.command(&["ACL", "SETUSER", "ada", ">other"]).unwrap();
    assert_recovers(&client).await;
}

#[tokio::test]
async fn a_missing_acl_rule_is_an_outage_of_that_command() {
    let server = RedisServer::start(&Options::default().line("user ada on >secret ~a ~b +get")).unwrap();
    let auth = password(Some("ada"), "secret");
    let client = Client::new(Config { auth, ..config(server.port()) }, Arc::default());
    assert_eq!(get(&client, "a").await, Ok(None));
    assert_down(&client).await;
    assert_eq!(get(&client, "c").await, Err(StoreUnavailable), "another key");
    server.command(&["ACL", "SETUSER", "ada", "+set", "~*"]).unwrap();
    set(&client, "a", "1").await.unwrap();
    assert_recovers(&client).await;
}

/// Calls that wait for a connection share one attempt.
#[tokio::test]
async fn many_calls_in_an_outage_share_the_attempts_to_connect() {
    let (_server, chaos, client) = behind_proxy().await;
    chaos.set(Mode::Stall).await;
    let calls = (0..200).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { get(&client, "a").await })
    });
    for call in futures_util::future::join_all(calls).await {
        assert_eq!(call.unwrap(), Err(StoreUnavailable));
    }
    assert!(chaos.accepted() <= 3, "{}", chaos.accepted());
    chaos.set(Mode::Pass).await;
    assert_recovers(&client).await;
}

/// An attempt to connect continues without the caller that began it.
#[tokio::test]
async fn a_caller_that_gives_up_does_not_end_the_attempt_of_others() {
    let server = RedisServer::start(&Options::default()).unwrap();
    let chaos = Chaos::start(server.addr()).await.unwrap();
    chaos.hold(vec!["HELLO"]);
    let client = client(chaos.port());
    let begin = || {
        let client = Arc::clone(&client);
        tokio::spawn(async move { get(&client, "a").await })
    };
    let first = begin();
    chaos.holds().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let second = begin();
    chaos.release();
    assert_eq!(second.await.unwrap(), Ok(None));
    assert_eq!(chaos.accepted(), 1);
}

/// What ends while it is not used is noticed by the background contact.
#[tokio::test]
async fn the_end_of_an_outage_is_noticed_without_calls() {
    let (_server, chaos, client) = behind_proxy().await;
    chaos.set(Mode::Refuse).await;
    assert_down(&client).await;
    let background = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.keep_contact().await })
    };
    chaos.set(Mode::Pass).await;
    eventually("up", async || client.health() == Health::Up).await;
    background.abort();
}

/// A script that fails inside Redis, and one whose result contains an error.
#[tokio::test]
async fn an_error_inside_a_script_is_not_a_result() {
    static FAILS: Script = Script::new("fails", "return redis.call('INCR', KEYS[1])");
    static CONTAINS: Script = Script::new("contains", "return {'a', redis.error_reply('ERR secret')}");
    static WORKS: Script = Script::new("works", "return {KEYS[1], ARGV[1]}");
    let (server, client) = used(&Options::default()).await;
    server.command(&["SET", "a", "x"]).unwrap();
    for script in [&FAILS, &CONTAINS] {
        assert_eq!(client.run(script, &["a"], &[]).await, Err(StoreUnavailable));
    }
    let reply = client.run(&WORKS, &["a"], &[b"\xFF"]).await;
    assert_eq!(reply, Ok(Value::Array(vec![Value::BulkString(b"a".to_vec()), Value::BulkString(vec![0xFF])])));
    assert!(call(&client, &["NO-SUCH-COMMAND", "a"]).await.is_err());
}
