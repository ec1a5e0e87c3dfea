//! Sessions in a cluster of three: slots that move, primaries that fail (contract 15.13, 15.14).

use std::time::Duration;

use devkit::redis_server::{Cluster, Options};
use tokio::time::sleep;

use super::outages::eventually;
use super::{ADA, hash, is_signed_in};
use crate::app::TestApp;
use crate::redis_server::RECOVERY;
use crate::visitor::Visitor;

/// An app with a cluster, and a browser whose user has signed in; where its session lies.
struct Case {
    cluster: Cluster,
    app: TestApp,
    ada: Visitor,
    slot: usize,
    owner: usize,
}

impl Case {
    async fn start(replicas: usize) -> Self {
        let cluster = Cluster::start(3, replicas, &Options::default()).unwrap();
        let app = TestApp::builder().set("STORE", cluster.servers[0].url()).start().await;
        let ada = app.signed_in(ADA).await;
        let slot = cluster.slot(&format!("cloakroom:s:{{{}}}", hash(&ada))).unwrap();
        let owner = cluster.first_owner(slot);
        Self { cluster, app, ada, slot, owner }
    }

    async fn calls(&self) {
        for _ in 0..3 {
            assert_eq!(self.ada.clone().fetch("GET", "/graph/me").await.status, 200, "{}", self.app.log());
            assert!(is_signed_in(&mut self.ada.clone()).await, "{}", self.app.log());
        }
    }

    async fn refreshes(&self) {
        assert_eq!(self.ada.clone().fetch("POST", "/auth/refresh").await.status, 204, "{}", self.app.log());
    }

    /// The keys of the session's slot on a server.
    fn keys(&self, server: usize) -> Vec<String> {
        let slot = self.slot.to_string();
        self.cluster.servers[server].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).unwrap().texts()
    }
}

/// `ASK` while the slot moves, `MOVED` afterwards: no call fails, not even one.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_continues_while_its_slot_moves() {
    let case = Case::start(0).await;
    let (from, to) = (case.owner, (case.owner + 1) % 3);
    let has_sent = |server: usize, error: &str| {
        let sent = case.cluster.servers[server].command(&["INFO", "errorstats"]).unwrap().text();
        sent.contains(&format!("errorstat_{error}:"))
    };
    case.calls().await;
    case.cluster.begin_move(case.slot, from, to).unwrap();
    case.calls().await;
    for key in case.keys(from) {
        case.cluster.move_key(&key, from, to).unwrap();
    }
    case.calls().await;
    assert!(has_sent(from, "ASK"));
    // A script with two keys, one of which does not exist yet, has to wait for the end of the move.
    tokio::join!(case.refreshes(), async {
        eventually("TRYAGAIN", &case.app, async || has_sent(to, "TRYAGAIN")).await;
        case.cluster.end_move(case.slot, from, to).unwrap();
    });
    case.calls().await;
    case.refreshes().await;
    assert!(!case.app.log().contains("error_class"), "{}", case.app.log());
    assert!(!case.keys(to).is_empty() && case.keys(from).is_empty());
}

/// Until the replica is promoted the session is unavailable, and never over.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_continues_after_the_failover_of_its_primary() {
    let case = Case::start(1).await;
    let replica = &case.cluster.servers[case.owner + 3];
    let record = case.keys(case.owner);
    eventually("replicated", &case.app, async || case.keys(case.owner + 3) == record).await;
    case.cluster.servers[case.owner].kill();
    let response = case.ada.clone().fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{}", case.app.log());
    assert_eq!(response.headers_named("set-cookie").count(), 0);
    let promoted = async || replica.command(&["ROLE"]).unwrap().texts()[0] == "master";
    eventually("the replica is promoted", &case.app, async || {
        let response = case.ada.clone().fetch("GET", "/graph/me").await;
        assert!(response.status == 200 || response.code() == "store_unavailable", "{}", response.text());
        promoted().await
    })
    .await;
    let recovered = async {
        while case.ada.clone().fetch("GET", "/graph/me").await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let recovered = tokio::time::timeout(RECOVERY, recovered).await;
    assert!(recovered.is_ok(), "{}", case.app.log());
    case.refreshes().await;
    case.calls().await;
}
