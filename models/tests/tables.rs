//! Runs the models: with every schedule where there are few, otherwise with random ones, and with some of few
//! preemptions. A schedule that breaks a promise is printed, so that `shuttle::replay` can repeat it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;
use std::time::Duration;

use cloakroom::keyring::revocations::RevocationCache;
use cloakroom::keyring::states::Parameters;
use cloakroom::keyring::static_key::StaticKey;
use cloakroom::keyring::{KeySource, Ring};
use cloakroom::secret::Key32;
use cloakroom::session::sealer::Sealer;
use models::{places, session, store, tokens};

const DAY: Duration = Duration::from_secs(86_400);
/// How many random schedules of each model are tried, and how many with few preemptions.
const SCHEDULES: usize = 5_000;
/// Most preemptions of the latter.
const PREEMPTIONS: usize = 3;

fn check(model: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(model.clone(), SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, PREEMPTIONS);
}

/// Keys and an empty revocation list, loaded.
fn loaded() -> (Arc<Sealer>, Arc<RevocationCache>) {
    let parameters = Parameters { propagation: DAY, life: DAY, retention: DAY };
    let source: Arc<dyn KeySource> = Arc::new(StaticKey::new(&Key32::new([1; 32])));
    let revocations = RevocationCache::new(Arc::clone(&source), 300, DAY);
    let ring = Ring::new(source, parameters, DAY);
    let runtime = real_tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { real_tokio::join!(ring.refresh(1_000), revocations.refresh(1_000)) });
    (Arc::new(Sealer::new(ring, "app".to_owned(), 300)), revocations)
}

#[test]
fn callers_share_a_refresh() {
    check(tokens::model::callers_share_a_refresh);
}

#[test]
fn one_request_probes_at_a_time() {
    check(tokens::model::one_request_probes_at_a_time);
}

#[test]
fn the_newest_tokens_are_stored_later() {
    check(tokens::model::the_newest_tokens_are_stored_later);
}

#[test]
fn a_user_has_no_more_places_than_allowed() {
    check(places::model::a_user_has_no_more_places_than_allowed);
}

#[test]
fn no_cookie_of_a_higher_generation_has_older_tokens() {
    let (sealer, _) = loaded();
    check(move || store::model::no_cookie_of_a_higher_generation_has_older_tokens(&sealer));
}

#[test]
fn nothing_is_left_of_a_session_that_ended() {
    let (sealer, _) = loaded();
    check(move || store::model::nothing_is_left_of_a_session_that_ended(&sealer));
}

#[test]
fn a_response_that_waits_learns_of_the_end() {
    let (sealer, revocations) = loaded();
    let model = move || session::model::a_response_that_waits_learns_of_the_end(&sealer, &revocations);
    shuttle::check_dfs(model, None);
}

#[test]
fn every_deletion_is_repeated() {
    check(store::redis::model::every_deletion_is_repeated);
}

/// A table that takes its locks from elsewhere would not be checked.
#[test]
fn the_tables_use_the_locks_of_shuttle() {
    for (table, source) in [
        ("in_flight", include_str!("../../src/tokens/in_flight.rs")),
        ("limits", include_str!("../../src/tokens/limits.rs")),
        ("writer", include_str!("../../src/tokens/writer.rs")),
        ("users", include_str!("../../src/places/users.rs")),
        ("cookie", include_str!("../../src/store/cookie.rs")),
        ("memory", include_str!("../../src/store/cookie/memory.rs")),
        ("deletions", include_str!("../../src/store/redis/deletions.rs")),
        ("ended", include_str!("../../src/session/ended.rs")),
        ("watch", include_str!("../../src/session/watch.rs")),
    ] {
        let imports = source.lines().filter(|line| line.starts_with("use std::sync"));
        assert_eq!(
            imports.collect::<Vec<_>>(),
            ["use std::sync::Arc;"; 1][..usize::from(source.contains("Arc<"))],
            "{table}"
        );
        assert!(table == "cookie" || source.contains("use crate::sync::{Mutex"), "{table}");
    }
}
