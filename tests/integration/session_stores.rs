//! The conformance suite of every session store, and the proof that it finds a store with any one of its rules broken.
//!
//! A new store gets a [`Place`] and a test that [`broken_rules`] finds none.

mod broken;
mod endpoints;
mod from_elsewhere;
mod places;
mod rules;
mod shared;
mod tokens;

use std::sync::Arc;

use cloakroom::session::store::Whose;

use broken::BrokenPlace;
use places::{ClusterPlace, Place, SharedPlace};
pub use places::{CookiePlace, Instance, LIMITS, NOW, ROTATED, RedisPlace, cookies};
use rules::Rule;
pub use rules::{access_token, lock, new_tokens, refresh_token, save, session, stored, token};
pub use shared::{Shared, SharedStore};

use crate::app::ROOT;

/// The rules that a store breaks.
async fn broken_rules(place: &Arc<dyn Place>) -> Vec<Rule> {
    broken_rules_of(&Rule::ALL, place).await
}

/// Those of some rules that a store breaks.
async fn broken_rules_of(rules: &[Rule], place: &Arc<dyn Place>) -> Vec<Rule> {
    let mut broken = Vec::new();
    for &rule in rules {
        let place = Arc::clone(place);
        // A task of its own, so that a failed assertion ends this rule only.
        if tokio::spawn(async move { rule.check(place.as_ref()).await }).await.is_err() {
            broken.push(rule);
        }
    }
    broken
}

#[tokio::test(start_paused = true)]
async fn the_cookie_store_conforms() {
    let place: Arc<dyn Place> = Arc::new(CookiePlace);
    assert_eq!(broken_rules(&place).await, Vec::<Rule>::new());
}

/// The double of a store behind a handle shows that the trait fits one, and is what the next test breaks.
#[tokio::test(start_paused = true)]
async fn a_store_behind_a_handle_conforms() {
    let place: Arc<dyn Place> = Arc::new(SharedPlace::default());
    assert_eq!(broken_rules(&place).await, Vec::<Rule>::new());
}

/// In real time, since a real server responds.
#[tokio::test]
async fn the_redis_store_conforms() {
    let place: Arc<dyn Place> = Arc::new(RedisPlace::start());
    assert_eq!(broken_rules(&place).await, Vec::<Rule>::new());
}

/// Contract 15.3, 15.14: no script needs keys of two slots, and all sessions are found, also by an instance that has
/// sent nothing else yet. As the user of the docs, which has every permission that a cluster takes.
#[tokio::test]
async fn the_redis_store_conforms_in_a_cluster() {
    let place: Arc<dyn Place> = Arc::new(ClusterPlace::start_with_acl(&documented_acl()));
    assert_eq!(broken_rules(&place).await, Vec::<Rule>::new());
    let here = Instance::new(place.as_ref()).await;
    here.store.end_all(&Whose::Everyone, None, NOW).await.unwrap();
    for _ in 0..20 {
        stored(&here, session()).await;
    }
    let there = Instance::new(place.as_ref()).await;
    assert_eq!(there.store.end_all(&Whose::Everyone, None, NOW).await.unwrap().len(), 20);
}

/// The user of the docs has every permission that the store needs, and no command that it does not use.
#[tokio::test]
async fn the_redis_store_needs_the_permissions_that_the_docs_name() {
    let rules = documented_acl();
    let redis = RedisPlace::start_with_acl(&rules);
    let server = Arc::clone(&redis.server);
    let place: Arc<dyn Place> = Arc::new(redis);
    // An outage resets what the server has counted.
    let (outages, others): (Vec<Rule>, _) = Rule::ALL.iter().partition(|rule| **rule == Rule::OutagesAreReported);
    assert_eq!(broken_rules_of(&others, &place).await, Vec::<Rule>::new());
    let statistics = server.command(&["INFO", "commandstats"]).unwrap().text();
    let is_used = |command: &&str| statistics.contains(&format!("cmdstat_{command}:"));
    let unused: Vec<&str> =
        rules.split(' ').filter_map(|rule| rule.strip_prefix('+')).filter(|it| !is_used(it)).collect();
    // What the client needs for a database number, for slots that move, and to notice evictions.
    assert_eq!(unused, ["select", "asking", "info"]);
    assert_eq!(broken_rules_of(&outages, &place).await, Vec::<Rule>::new());
}

/// The rules of the gateway's user in `docs/store.md`.
pub fn documented_acl() -> String {
    let page = std::fs::read_to_string(format!("{ROOT}/docs/store.md")).unwrap();
    page.lines().find_map(|line| line.strip_prefix("user gateway on >… ")).unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_suite_finds_each_broken_rule() {
    for rule in Rule::ALL {
        let place: Arc<dyn Place> = Arc::new(BrokenPlace::new(rule));
        assert_eq!(broken_rules(&place).await, [rule]);
    }
}
