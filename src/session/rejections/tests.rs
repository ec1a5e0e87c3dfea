use super::*;
use crate::session::payload::User;

const ID: SessionId = [1; 16];

fn token(api: &str, text: &str) -> AccessToken {
    AccessToken { api: api.to_owned(), token: text.into(), expires_at: 1_000, life: 1_000, binding: None }
}

fn open(id: SessionId) -> OpenSession {
    let access_tokens = vec![token("graph", "a0"), token("orders", "b0")];
    OpenSession::new(Session { access_tokens, ..Session::new(id, User::default(), 0) }, 10_000)
}

/// The access tokens of a session that are left.
fn left(rejections: &Rejections, open: &OpenSession) -> Vec<String> {
    let mut session = open.session.clone();
    rejections.remove_from(&mut session);
    session.access_tokens.iter().map(|held| held.token.expose_secret().to_owned()).collect()
}

#[test]
fn a_rejected_access_token_is_not_used_until_there_is_a_new_one() {
    let (rejections, open, other) = (Rejections::default(), open(ID), open([2; 16]));
    rejections.reject_access_token(&open, token("graph", "a0"), 0);
    assert_eq!(left(&rejections, &open), ["b0"]);
    assert_eq!(left(&rejections, &other), ["a0", "b0"], "another session");
    assert_eq!(rejections.required(&ID, "graph"), Some(RequiredInteraction::StepUp));
    rejections.clear(&ID, &token("graph", "a1"));
    assert_eq!(rejections.required(&ID, "graph"), None);
    assert_eq!(left(&rejections, &open), ["a0", "b0"]);
}

/// Contract 7.28: another request may use a new token, and its API reject it, before the refresh has ended.
#[test]
fn a_new_access_token_that_was_rejected_already_stays_rejected() {
    let (rejections, open) = (Rejections::default(), open(ID));
    rejections.reject_access_token(&open, token("graph", "a0"), 0);
    rejections.clear(&ID, &token("graph", "a0"));
    assert_eq!(left(&rejections, &open), ["b0"]);
    assert_eq!(rejections.required(&ID, "graph"), Some(RequiredInteraction::StepUp));
}

#[test]
fn the_last_required_interaction_of_an_api_counts() {
    let (rejections, open) = (Rejections::default(), open(ID));
    rejections.require(&open, "graph", RequiredInteraction::StepUp, 0);
    rejections.require(&open, "graph", RequiredInteraction::Consent, 0);
    assert_eq!(rejections.required(&ID, "graph"), Some(RequiredInteraction::Consent));
    assert_eq!(rejections.required(&ID, "orders"), None);
    rejections.forget(&ID);
    assert_eq!(rejections.required(&ID, "graph"), None);
}

#[test]
fn only_the_rejected_refresh_token_is_rejected() {
    let (rejections, open) = (Rejections::default(), open(ID));
    rejections.reject_refresh_token(&open, "r0".into(), 0);
    assert!(rejections.is_refresh_token_rejected(&ID, &"r0".into()));
    assert!(!rejections.is_refresh_token_rejected(&ID, &"r1".into()));
    assert!(!rejections.is_refresh_token_rejected(&[2; 16], &"r0".into()));
}

#[test]
fn the_table_is_bounded_and_expired_entries_are_removed() {
    let rejections = Rejections::default();
    for number in 0..LIMIT.get() as u128 + 5 {
        rejections.reject_refresh_token(&open(number.to_be_bytes()), "r0".into(), 0);
    }
    assert_eq!(rejections.table().len(), LIMIT.get());
    rejections.reject_refresh_token(&open(ID), "r0".into(), 10_000);
    assert_eq!(rejections.table().len(), 1);
}

#[test]
fn debug_does_not_leak_tokens() {
    let rejections = Rejections::default();
    rejections.reject_access_token(&open(ID), token("graph", "CANARY-a"), 0);
    rejections.reject_refresh_token(&open(ID), "CANARY-r".into(), 0);
    let entries = format!("{:?} {:?}", rejections, rejections.table().iter().collect::<Vec<_>>());
    assert!(!entries.contains("CANARY"), "{entries}");
}
