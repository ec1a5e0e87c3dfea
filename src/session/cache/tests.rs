use super::super::payload::User;
use super::*;

fn open(id: u8, generation: u64) -> OpenSession {
    let session = Session {
        generation,
        refresh_token: Some("r0".into()),
        access_tokens: vec![token("graph", "a0", 1_000)],
        ..Session::new([id; 16], User::default(), 0)
    };
    OpenSession::new(session, 10_000)
}

fn token(api: &str, text: &str, expires_at: UnixSeconds) -> AccessToken {
    AccessToken { api: api.to_owned(), token: text.into(), expires_at, life: 1_000, binding: None }
}

fn redeemed(refresh_token: &str, access_token: Option<AccessToken>) -> Redeemed {
    Redeemed { refresh_token: Some(refresh_token.into()), access_token }
}

/// Refresh token and access tokens after a look at what is known.
fn renewed(known: &SessionCache, open: &OpenSession, now: UnixSeconds) -> (String, Vec<String>, bool) {
    let mut session = open.session.clone();
    let changed = known.merge_newer_tokens(&mut session, now);
    let text = |token: &SecretString| token.expose_secret().to_owned();
    (
        text(session.refresh_token.as_ref().unwrap()),
        session.access_tokens.iter().map(|held| text(&held.token)).collect(),
        changed,
    )
}

#[test]
fn an_old_cookie_gets_the_new_tokens_for_a_minute_and_the_refresh_token_for_good() {
    let known = SessionCache::default();
    let old = open(1, 1);
    assert_eq!(renewed(&known, &old, 100), ("r0".to_owned(), vec!["a0".to_owned()], false));
    known.remember(&old, redeemed("r1", Some(token("graph", "a1", 2_000))), 100);
    assert_eq!(renewed(&known, &old, 159), ("r1".to_owned(), vec!["a1".to_owned()], true));
    assert_eq!(renewed(&known, &old, 160), ("r1".to_owned(), vec!["a0".to_owned()], true));
    let other = open(2, 1);
    assert_eq!(renewed(&known, &other, 101), ("r0".to_owned(), vec!["a0".to_owned()], false));
}

#[test]
fn a_cookie_of_another_instance_that_is_newer_keeps_its_refresh_token() {
    let known = SessionCache::default();
    known.remember(&open(1, 1), redeemed("r1", None), 100);
    let newer = open(1, 3);
    assert_eq!(renewed(&known, &newer, 101).0, "r0");
    known.remember(&newer, redeemed("r2", None), 102);
    assert_eq!(renewed(&known, &newer, 103).0, "r2");
}

#[test]
fn generations_only_rise() {
    let known = SessionCache::default();
    let old = open(1, 5);
    assert_eq!(known.prepare_write(&old, 0).generation, 6);
    assert_eq!(known.prepare_write(&old, 0).generation, 7);
    assert_eq!(known.prepare_write(&open(1, 40), 0).generation, 41);
    assert_eq!(known.prepare_write(&old, 0).generation, 42);
}

#[test]
fn a_refused_token_is_not_given_out_again() {
    let known = SessionCache::default();
    let old = open(1, 1);
    known.remember(&old, redeemed("r1", Some(token("graph", "a1", 2_000))), 100);
    known.drop_rejected_token(&old, token("graph", "a1", 2_000), false);
    assert_eq!(renewed(&known, &old, 101).1, ["a0"], "the cookie's own is not doubted");
    known.drop_rejected_token(&old, token("graph", "a0", 1_000), true);
    assert!(renewed(&known, &old, 101).1.is_empty());
    assert_eq!(known.wanting(&[1; 16], "graph"), Some(RequiredInteraction::StepUp));
    known.remember(&old, redeemed("r2", Some(token("graph", "a2", 2_000))), 102);
    assert_eq!(renewed(&known, &old, 103).1, ["a2"]);
    assert_eq!(known.wanting(&[1; 16], "graph"), None, "a new token answers it");
}

#[test]
fn what_was_left_out_of_the_cookie_is_kept_until_it_ends_and_is_no_reason_to_write() {
    let known = SessionCache::default();
    let old = open(1, 1);
    known.keep_left_out(&old, token("orders", "b1", 2_000), 1);
    assert_eq!(renewed(&known, &old, 1_999), ("r0".to_owned(), vec!["a0".to_owned(), "b1".to_owned()], false));
    assert_eq!(renewed(&known, &old, 2_000).1, ["a0"]);
}

#[test]
fn a_new_token_replaces_the_old_one_even_if_it_ends_sooner() {
    let known = SessionCache::default();
    let old = open(1, 1);
    known.remember(&old, redeemed("r1", Some(token("graph", "a1", 900))), 100);
    assert_eq!(renewed(&known, &old, 101), ("r1".to_owned(), vec!["a1".to_owned()], true));
    let written = known.prepare_write(&old, 101);
    assert_eq!(written.access_tokens[0].token.expose_secret(), "a1");
    assert!(written.generation > 2, "what came is older than what is written now");
    let shown = OpenSession::new(written, 10_000);
    assert!(!renewed(&known, &shown, 102).2, "that cookie has it all");
}

#[test]
fn a_newer_cookie_of_another_instance_keeps_its_access_token() {
    let known = SessionCache::default();
    known.remember(&open(1, 1), redeemed("r1", Some(token("graph", "a1", 2_000))), 100);
    let mut newer = open(1, 3);
    newer.session.access_tokens = vec![token("graph", "a2", 1_500)];
    assert_eq!(renewed(&known, &newer, 101), ("r0".to_owned(), vec!["a2".to_owned()], false));
}

#[test]
fn only_the_spent_refresh_token_is_spent() {
    let known = SessionCache::default();
    let old = open(1, 1);
    known.spend(&old, "r0".into());
    assert!(known.is_spent(&[1; 16], &"r0".into()));
    assert!(!known.is_spent(&[1; 16], &"r1".into()));
    assert!(!known.is_spent(&[2; 16], &"r0".into()));
}

#[test]
fn the_table_is_bounded_and_forgets_what_is_over() {
    let known = SessionCache::default();
    for number in 0..LIMIT.get() as u128 + 5 {
        let mut one = open(1, 1);
        one.session.id = number.to_be_bytes();
        known.prepare_write(&one, 0);
    }
    assert_eq!(known.table().len(), LIMIT.get());
    known.prepare_write(&open(9, 1), 10_000);
    assert_eq!(known.table().len(), 1);
}

#[test]
fn debug_does_not_leak_tokens() {
    let known = SessionCache::default();
    known.remember(&open(1, 1), redeemed("CANARY-r", Some(token("graph", "CANARY-a", 2_000))), 100);
    known.spend(&open(1, 1), "CANARY-s".into());
    let entries = format!("{:?} {:?}", known, known.table().iter().collect::<Vec<_>>());
    assert!(!entries.contains("CANARY"), "{entries}");
}
