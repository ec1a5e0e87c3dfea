//! Clusters: detected, followed, and used while slots move and servers fail (contract 15.14).

use std::sync::Arc;

use cloakroom::session::store::StoreUnavailable;
use cloakroom::store::redis::Config;
use cloakroom::store::redis::client::{Client, Health, Script};
use devkit::redis_server::{Cluster, Options};

use super::{client, config, eventually, get, password, recovered, set};

/// Writes two keys of one slot and reads them.
static BOTH: Script = Script::new(
    "both",
    "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1]) \
     return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}",
);

async fn run(client: &Client, keys: &[&str], value: &str) -> Result<Vec<String>, StoreUnavailable> {
    let reply = client.run(&BOTH, keys, &[value.as_bytes()]).await?;
    Ok(redis::from_redis_value(reply).unwrap())
}

/// How many redirections of a kind a cluster's servers have sent.
fn redirections(cluster: &Cluster, kind: &str) -> usize {
    let count = |stats: String| {
        let line = stats.lines().find(|line| line.starts_with(&format!("errorstat_{kind}:"))).unwrap_or("").to_owned();
        line.rsplit('=').next().and_then(|count| count.trim().parse::<usize>().ok()).unwrap_or(0)
    };
    cluster.servers.iter().map(|server| count(server.command(&["INFO", "errorstats"]).unwrap().text())).sum()
}

#[tokio::test]
async fn a_cluster_is_detected_and_each_key_goes_to_its_primary() {
    let cluster = Cluster::start(3, 0, &Options::default()).unwrap();
    let client = client(cluster.servers[1].port());
    for number in 0..100 {
        let key = format!("key-{number}");
        set(&client, &key, &number.to_string()).await.unwrap();
        assert_eq!(get(&client, &key).await.unwrap(), Some(number.to_string()));
        let keys = [format!("{{{key}}}:a"), format!("{{{key}}}:b")];
        assert_eq!(run(&client, &[&keys[0], &keys[1]], "x").await.unwrap(), ["x", "x"]);
    }
    assert_eq!(redirections(&cluster, "MOVED"), 1, "the first one loads the slots");
    for server in &cluster.servers {
        assert_ne!(server.command(&["DBSIZE"]).unwrap().text(), "0");
    }
}

#[tokio::test]
async fn keys_are_found_while_their_slot_moves() {
    let cluster = Cluster::start(3, 0, &Options::default()).unwrap();
    let client = client(cluster.servers[0].port());
    let (slot, keys) = (cluster.slot("{s}").unwrap(), ["{s}:a", "{s}:b"]);
    let from = cluster.first_owner(slot);
    let to = (from + 1) % 3;
    assert_eq!(run(&client, &keys, "1").await.unwrap(), ["1", "1"]);
    cluster.begin_move(slot, from, to).unwrap();
    assert_eq!(get(&client, keys[0]).await.unwrap().as_deref(), Some("1"), "still at the source");
    assert_eq!(redirections(&cluster, "ASK"), 0);
    set(&client, "{s}:new", "1").await.unwrap();
    assert_eq!(redirections(&cluster, "ASK"), 1);
    assert_eq!(cluster.servers[from].command(&["GET", "{s}:new"]).unwrap().text().split(' ').next(), Some("ASK"));

    cluster.move_key(keys[0], from, to).unwrap();
    assert_eq!(get(&client, keys[0]).await.unwrap().as_deref(), Some("1"), "at the target");
    assert_eq!(get(&client, keys[1]).await.unwrap().as_deref(), Some("1"), "at the source");
    // One key here, one there: the script has to wait until the other has moved, too.
    let waiting = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { run(&client, &["{s}:a", "{s}:b"], "2").await })
    };
    eventually("TRYAGAIN", async || redirections(&cluster, "TRYAGAIN") > 0).await;
    cluster.move_key(keys[1], from, to).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), ["2", "2"]);
    assert_eq!(run(&client, &keys, "3").await.unwrap(), ["3", "3"], "both at the target");

    let before = redirections(&cluster, "MOVED");
    cluster.end_move(slot, from, to).unwrap();
    for _ in 0..10 {
        assert_eq!(get(&client, keys[1]).await.unwrap().as_deref(), Some("3"));
    }
    let after = redirections(&cluster, "MOVED");
    assert!((before + 1..before + 5).contains(&after), "the slots are loaded again: {before} {after}");
}

/// Two keys of one slot that lie on two servers for too long.
#[tokio::test]
async fn a_move_that_does_not_end_is_an_outage_of_its_keys() {
    let cluster = Cluster::start(3, 0, &Options::default()).unwrap();
    let client = client(cluster.servers[0].port());
    let (slot, keys) = (cluster.slot("{s}").unwrap(), ["{s}:a", "{s}:b"]);
    let from = cluster.first_owner(slot);
    let to = (from + 1) % 3;
    run(&client, &keys, "1").await.unwrap();
    cluster.begin_move(slot, from, to).unwrap();
    cluster.move_key(keys[0], from, to).unwrap();
    assert_eq!(run(&client, &keys, "2").await, Err(StoreUnavailable));
    assert_eq!(get(&client, keys[1]).await.unwrap().as_deref(), Some("1"));
    cluster.move_key(keys[1], from, to).unwrap();
    cluster.end_move(slot, from, to).unwrap();
    assert_eq!(recovered(async || run(&client, &keys, "3").await).await, ["3", "3"]);
}

/// A key of each primary, by its number.
fn keys(cluster: &Cluster) -> Vec<String> {
    let owner = |key: &String| cluster.first_owner(cluster.slot(key).unwrap());
    (0..3).map(|primary| (0..).map(|n| format!("k{n}")).find(|key| owner(key) == primary).unwrap()).collect()
}

/// Contract 15.13, 15.14: also if the failed server is that of the URL.
#[tokio::test]
async fn after_the_failover_of_a_primary_its_replica_is_used() {
    let cluster = Cluster::start(3, 1, &Options::default()).unwrap();
    let keys = keys(&cluster);
    let client = client(cluster.servers[0].port());
    for key in &keys {
        set(&client, key, "1").await.unwrap();
    }
    let size = |server: usize| cluster.servers[server].command(&["DBSIZE"]).unwrap().text();
    eventually("replicated", async || (3..6).all(|server| size(server) == "1")).await;
    cluster.servers[0].kill();
    assert_eq!(get(&client, &keys[0]).await, Err(StoreUnavailable));
    assert_eq!(client.health(), Health::Down);
    for key in &keys[1..] {
        assert_eq!(get(&client, key).await.unwrap().as_deref(), Some("1"), "other slots are not affected");
    }
    let promoted = || cluster.servers[3].command(&["ROLE"]).unwrap().texts()[0] == "master";
    eventually("promoted", async || promoted()).await;
    for key in &keys {
        assert_eq!(recovered(async || get(&client, key).await).await.as_deref(), Some("1"));
        recovered(async || set(&client, key, "2").await).await;
    }
    assert_eq!(client.health(), Health::Up);
}

#[tokio::test]
async fn the_url_may_name_a_replica_of_a_cluster() {
    let cluster = Cluster::start(3, 1, &Options::default()).unwrap();
    let client = client(cluster.servers[4].port());
    for key in &keys(&cluster) {
        set(&client, key, "1").await.unwrap();
        assert_eq!(get(&client, key).await.unwrap().as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_cluster_has_no_database_number() {
    let cluster = Cluster::start(3, 0, &Options::default()).unwrap();
    let client = Client::new(Config { database: 1, ..config(cluster.servers[0].port()) }, Arc::default());
    assert_eq!(get(&client, "a").await, Err(StoreUnavailable));
    assert!(client.check().await.unwrap_err().contains("a cluster has no databases; remove the number"));
}

/// Without the permission to load the slots, each command is redirected.
#[tokio::test]
async fn slots_that_cannot_be_loaded_cost_redirections_only() {
    let options = Options::default().line("user ada on >secret ~* +get +set +scan");
    let cluster = Cluster::start(3, 0, &options).unwrap();
    let auth = password(Some("ada"), "secret");
    let client = Client::new(Config { auth, ..config(cluster.servers[0].port()) }, Arc::default());
    for key in &keys(&cluster) {
        set(&client, key, "1").await.unwrap();
        assert_eq!(get(&client, key).await.unwrap().as_deref(), Some("1"));
    }
    assert_eq!(client.health(), Health::Up);
    assert_eq!(redirections(&cluster, "MOVED"), 4);
    assert_eq!(client.scan("*").await, Err(StoreUnavailable), "the keys of one server would not be all");
    cluster.servers[0].command(&["ACL", "SETUSER", "ada", "+cluster|slots"]).unwrap();
    assert_eq!(client.scan("*").await.unwrap().len(), keys(&cluster).len());
}

/// The cluster has lost a primary without a replica: no server has its slots.
#[tokio::test]
async fn a_cluster_without_a_primary_for_a_slot_is_an_outage_that_ends() {
    let cluster = Cluster::start(3, 0, &Options::default()).unwrap();
    let keys = keys(&cluster);
    let client = client(cluster.servers[1].port());
    for key in &keys {
        set(&client, key, "1").await.unwrap();
    }
    cluster.servers[0].kill();
    let state = || cluster.servers[1].command(&["CLUSTER", "INFO"]).unwrap().text();
    eventually("the cluster is down", async || state().contains("cluster_state:fail")).await;
    assert_eq!(get(&client, &keys[0]).await, Err(StoreUnavailable));
    assert_eq!(get(&client, &keys[1]).await, Err(StoreUnavailable), "CLUSTERDOWN");
    cluster.servers[0].start_again().unwrap();
    eventually("the cluster is up", async || state().contains("cluster_state:ok")).await;
    assert_eq!(recovered(async || get(&client, &keys[0]).await).await, None, "it had saved nothing");
    assert_eq!(recovered(async || get(&client, &keys[1]).await).await.as_deref(), Some("1"));
}

/// Two servers whose tables disagree redirect to each other.
#[tokio::test]
async fn redirections_without_end_are_an_outage() {
    let cluster = Cluster::start(3, 0, &Options::default()).unwrap();
    let client = client(cluster.servers[0].port());
    let slot = cluster.slot("a").unwrap();
    let from = cluster.first_owner(slot);
    let others: Vec<usize> = (0..3).filter(|server| *server != from).collect();
    cluster.servers[from]
        .command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &cluster.id(others[0]).unwrap()])
        .unwrap();
    assert_eq!(get(&client, "a").await, Err(StoreUnavailable));
    assert_ne!(client.health(), Health::Up);
}
