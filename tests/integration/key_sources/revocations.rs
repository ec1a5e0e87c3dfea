//! What every key source must do with its revocation list (contract 16.5, 16.6).

use cloakroom::clock::now;
use cloakroom::keyring::revocations::cache::read;
use cloakroom::keyring::revocations::{Addition, CONTENT_TYPE, Revocations, Target};
use cloakroom::keyring::{KeySource, SourceUnavailable};
use futures_util::future::join_all;

use super::places::{Place, Seed};

const KEEP: u64 = 30_000;
const SKEW: u64 = 300;

pub(super) async fn conforms(place: &Place) {
    a_missing_list_is_none(place).await;
    what_is_added_is_read(place).await;
    concurrent_writers_lose_nothing(place).await;
    a_list_with_many_versions_is_read_and_written(place).await;
    a_malformed_list_is_a_failure_and_is_not_overwritten(place).await;
    a_list_that_would_be_too_large_is_refused(place).await;
    a_rotation_keeps_the_list(place).await;
}

/// A ring with a key.
async fn ring(place: &Place, name: &str) -> std::sync::Arc<dyn KeySource> {
    place.seed(name, &Seed::of(1)).await;
    place.source(name)
}

fn addition(user: &str) -> Addition {
    Addition::new(&Target::User(user.to_owned()), now(), KEEP, SKEW)
}

async fn list(source: &dyn KeySource) -> Result<Option<Revocations>, SourceUnavailable> {
    read(source, now(), SKEW).await
}

fn is_in(list: &Revocations, user: &str) -> bool {
    list.is_revoked(now() - 100, None, user)
}

async fn a_missing_list_is_none(place: &Place) {
    let source = ring(place, "no-list").await;
    assert!(source.has_revocations());
    assert_eq!(source.revocations().await, Ok(None));
}

async fn what_is_added_is_read(place: &Place) {
    let source = ring(place, "added").await;
    let before = now();
    for user in ["ada", "grace"] {
        source.add_revocations(&addition(user)).await.unwrap();
    }
    let found = list(source.as_ref()).await.unwrap().unwrap();
    assert_eq!((found.users(), found.all()), (2, None));
    assert!(found.is_revoked(before - 1, None, "ada") && found.is_revoked(before - 1, Some("grace"), "x"));
    assert!(!found.is_revoked(now(), None, "ada"), "who signs in again is not affected");
    assert!(!is_in(&found, "alan"));
    source.add_revocations(&Addition::new(&Target::All, now(), KEEP, SKEW)).await.unwrap();
    let found = list(source.as_ref()).await.unwrap().unwrap();
    assert!(is_in(&found, "alan") && found.all().is_some_and(|all| all >= before - 1));
}

/// Each writer is an instance or a command of its own.
async fn concurrent_writers_lose_nothing(place: &Place) {
    let source = ring(place, "writers").await;
    let users: Vec<String> = (0..8).map(|number| format!("user-{number}")).collect();
    let writers = users.iter().map(|user| {
        let source = place.source("writers");
        async move { source.add_revocations(&addition(user)).await.unwrap() }
    });
    join_all(writers).await;
    let found = list(source.as_ref()).await.unwrap().unwrap();
    assert!(users.iter().all(|user| is_in(&found, user)), "{found:?}");
}

async fn a_list_with_many_versions_is_read_and_written(place: &Place) {
    let source = ring(place, "many").await;
    let old = now() - 1_000;
    for number in 0..27 {
        place.write_revocations("many", &format!(r#"{{"users": {{"user-{number}": {old}}}}}"#), None).await;
    }
    let newest = list(source.as_ref()).await.unwrap().unwrap();
    assert_eq!(newest, Revocations::parse(&format!(r#"{{"users": {{"user-26": {old}}}}}"#), now()).unwrap());
    source.add_revocations(&addition("ada")).await.unwrap();
    let found = list(source.as_ref()).await.unwrap().unwrap();
    assert!(is_in(&found, "ada") && found.is_revoked(old, None, "user-26"), "{found:?}");
}

async fn a_malformed_list_is_a_failure_and_is_not_overwritten(place: &Place) {
    let source = ring(place, "malformed").await;
    let future = format!(r#"{{"all": {}}}"#, now() + SKEW + 60);
    for text in ["null", "[]", "7", r#"{"all": null}"#, r#"{"users": {"a": 1, "a": 2}}"#, &future] {
        place.write_revocations("malformed", text, Some(CONTENT_TYPE)).await;
        assert!(list(source.as_ref()).await.is_err(), "{text}");
        let problem = source.add_revocations(&addition("ada")).await.unwrap_err().0;
        assert!(problem.contains("malformed"), "{text}: {problem}");
        assert!(source.revocations().await.unwrap().unwrap().contains(text), "it stays as it was");
    }
    assert!(source.list().await.is_ok(), "the keys are not affected");
    place.write_revocations("malformed", "{}", Some("text/plain")).await;
    assert_eq!(list(source.as_ref()).await.is_err(), place.keeps_content_types(), "another content type");
    place.write_revocations("malformed", "{}", None).await;
    assert_eq!(list(source.as_ref()).await, Ok(Some(Revocations::default())), "none is not another one");
}

async fn a_list_that_would_be_too_large_is_refused(place: &Place) {
    let source = ring(place, "large").await;
    let users: Vec<String> = (0..400).map(|number| format!(r#""{number:036}": {}"#, now() - 1)).collect();
    let large = format!(r#"{{"users": {{{}}}}}"#, users.join(", "));
    place.write_revocations("large", &large, None).await;
    assert_eq!(list(source.as_ref()).await.unwrap().unwrap().users(), 400, "it is read all the same");
    let problem = source.add_revocations(&addition("ada")).await.unwrap_err().0;
    assert!(problem.contains("cloakroom sessions end --all"), "{problem}");
    assert!(!is_in(&list(source.as_ref()).await.unwrap().unwrap(), "ada"));
    source.add_revocations(&Addition::new(&Target::All, now() + 1, KEEP, SKEW)).await.unwrap();
    assert_eq!(list(source.as_ref()).await.unwrap().unwrap().users(), 0);
}

async fn a_rotation_keeps_the_list(place: &Place) {
    let source = ring(place, "rotated").await;
    source.add_revocations(&addition("ada")).await.unwrap();
    let new = cloakroom::keyring::NewVersion { text: crate::key_vault::key(2).into(), expires: 1, activate_now: false };
    let id = source.publish(&new, now()).await.unwrap();
    source.disable(&id).await.unwrap();
    assert!(is_in(&list(source.as_ref()).await.unwrap().unwrap(), "ada"));
    assert_eq!(source.list().await.unwrap().len(), 2);
}
