//! One server.

use std::sync::Arc;

use cloakroom::store::redis::Config;
use cloakroom::store::redis::client::{ACL_COMMANDS, Auth, Client, Health, Script};
use devkit::redis_server::{Cluster, Options, RedisServer, Reply};
use redis::Value;

use super::{call, client, config, eventually, get, password};
use crate::session_stores::documented_acl;

#[tokio::test]
async fn commands_and_scripts_run_on_one_shared_connection() {
    let server = RedisServer::start(&Options::default()).unwrap();
    let client = client(server.port());
    assert_eq!(client.health(), Health::NotContacted);
    assert_eq!(call(&client, &["SET", "a", "1"]).await, Ok(Value::Okay));
    assert_eq!(client.health(), Health::Up);
    let calls = (0..100).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { get(&client, "a").await })
    });
    for value in futures_util::future::join_all(calls).await {
        assert_eq!(value.unwrap(), Ok(Some("1".to_owned())));
    }
    let received = server.command(&["INFO", "stats"]).unwrap().text();
    let own = received.lines().filter(|line| line.starts_with("total_connections_received:")).collect::<String>();
    // That of the client, that of this question, and that of the start.
    assert_eq!(own, "total_connections_received:3");
}

#[tokio::test]
async fn a_script_that_the_server_does_not_know_is_sent_in_full() {
    static SCRIPT: Script =
        Script::new("test", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
    let server = RedisServer::start(&Options::default()).unwrap();
    let client = client(server.port());
    for round in ["1", "2"] {
        let reply = client.run(&SCRIPT, &["{a}:b"], &[round.as_bytes()]).await;
        assert_eq!(reply, Ok(Value::BulkString(round.as_bytes().to_vec())));
    }
    let count = |name: &str| {
        let stats = server.command(&["INFO", "commandstats"]).unwrap().text();
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:"))).unwrap_or("").to_owned();
        line.split(['=', ',']).nth(1).unwrap_or("0").to_owned()
    };
    assert_eq!((count("eval").as_str(), count("evalsha").as_str()), ("1", "2"));
    server.command(&["SCRIPT", "FLUSH"]).unwrap();
    assert!(client.run(&SCRIPT, &["{a}:b"], &[b"3"]).await.is_ok());
}

#[tokio::test]
async fn the_client_authenticates_and_selects_its_database() {
    let options = Options::default().password("default-secret").line("user ada on >ada-secret ~* +@all");
    let server = RedisServer::start(&options).unwrap();
    for (auth, database, works) in [
        (password(Some("ada"), "ada-secret"), 3, true),
        (password(None, "default-secret"), 0, true),
        (password(Some("ada"), "default-secret"), 0, false),
        (Auth::None, 0, false),
    ] {
        let client = Client::new(Config { auth, database, ..config(server.port()) }, Arc::default());
        assert_eq!(call(&client, &["SET", "a", "1"]).await.is_ok(), works);
    }
    let keyspace = server.command(&["INFO", "keyspace"]).unwrap().text();
    assert!(keyspace.contains("db3:keys=1") && keyspace.contains("db0:keys=1"), "{keyspace}");
}

/// The user of the docs has what the client needs, and no more than what the log names.
#[tokio::test]
async fn the_acl_user_of_the_docs_can_do_what_the_client_does() {
    let user = format!("user gateway on >secret {}", documented_acl());
    assert!(user.ends_with(&format!("~cloakroom:* -@all {ACL_COMMANDS}")), "{user}");
    let auth = || password(Some("gateway"), "secret");
    let server = RedisServer::start(&Options::default().line(&user)).unwrap();
    let client = Client::new(Config { auth: auth(), database: 1, ..config(server.port()) }, Arc::default());
    assert_eq!(client.check().await, Ok(()));
    let list = || server.command(&["CLIENT", "LIST"]).unwrap().text();
    let has_sent_info =
        async || list().lines().any(|line| line.contains(" user=gateway ") && line.contains(" cmd=info "));
    tokio::select! {
        () = client.keep_contact() => {}
        () = eventually("INFO", has_sent_info) => {}
    }

    let cluster = Cluster::start(3, 0, &Options::default().line(&user)).unwrap();
    let slot = cluster.slot("cloakroom:check").unwrap();
    let from = cluster.first_owner(slot);
    let to = (from + 1) % 3;
    let client = Client::new(Config { auth: auth(), ..config(cluster.servers[to].port()) }, Arc::default());
    assert_eq!(client.check().await, Ok(()));
    cluster.begin_move(slot, from, to).unwrap();
    assert_eq!(client.check().await, Ok(()), "with ASKING");
    let denied = |server: &RedisServer| server.command(&["ACL", "LOG"]).unwrap() != Reply::Array(Vec::new());
    assert!(!denied(&server) && !cluster.servers.iter().any(denied));
}
