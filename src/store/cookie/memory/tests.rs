use super::*;
use crate::secret::{ExposeSecret, SecretString};
use crate::session::payload::User;

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

fn tokens(refresh_token: &str, access_token: Option<AccessToken>) -> NewTokens {
    NewTokens { refresh_token: Some(refresh_token.into()), access_token, id_token: None }
}

/// Refresh token and access tokens of a request with this cookie, and whether the cookie must be rewritten.
fn merged(memory: &Memory, open: &OpenSession, now: UnixSeconds) -> (String, Vec<String>, bool) {
    let mut session = open.session.clone();
    let is_newer = memory.merge_newer_tokens(&mut session, now);
    let text = |token: &SecretString| token.expose_secret().to_owned();
    (
        text(session.refresh_token.as_ref().unwrap()),
        session.access_tokens.iter().map(|held| text(&held.token)).collect(),
        is_newer,
    )
}

#[test]
fn an_old_cookie_gets_a_new_access_token_for_a_minute_and_the_refresh_token_for_good() {
    let memory = Memory::default();
    let old = open(1, 1);
    assert_eq!(merged(&memory, &old, 100), ("r0".to_owned(), vec!["a0".to_owned()], false));
    memory.save_tokens(&old, tokens("r1", Some(token("graph", "a1", 2_000))), 100).unwrap();
    assert_eq!(merged(&memory, &old, 159), ("r1".to_owned(), vec!["a1".to_owned()], true));
    assert_eq!(merged(&memory, &old, 160), ("r1".to_owned(), vec!["a0".to_owned()], true));
    let other = open(2, 1);
    assert_eq!(merged(&memory, &other, 101), ("r0".to_owned(), vec!["a0".to_owned()], false));
}

/// As text they would take a third more, for up to 10,000 sessions.
#[test]
fn tokens_are_kept_packed_when_requests_get_them_too() {
    let memory = Memory::default();
    let old = open(1, 1);
    let new = NewTokens { id_token: Some("i1".into()), ..tokens("r1", Some(token("graph", "a1", 2_000))) };
    memory.save_tokens(&old, new, 100).unwrap();
    assert_eq!(merged(&memory, &old, 101), ("r1".to_owned(), vec!["a1".to_owned()], true));
    let table = memory.table();
    let entry = table.peek(&old.session.id).unwrap();
    let (refresh, id) = (&entry.refresh_token.as_ref().unwrap().1, &entry.id_token.as_ref().unwrap().1);
    for token in [refresh, id, &entry.access_tokens[0].token.token] {
        assert!(token.packed().is_some());
    }
}

#[test]
fn a_session_has_one_refresh_lock_while_any_request_has_it() {
    let memory = Memory::default();
    let open = open(1, 1);
    let first = memory.refresh_lock(&open);
    assert!(Arc::ptr_eq(&first, &memory.refresh_lock(&open)));
    memory.remove_unusable_tokens(100);
    assert!(Arc::ptr_eq(&first, &memory.refresh_lock(&open)));
    drop(first);
    memory.remove_unusable_tokens(100);
    assert_eq!(memory.table().peek(&open.session.id).unwrap().refresh.weak_count(), 0, "it takes no memory");
}

/// Contract 7.12: also those of sessions that send no more requests.
#[tokio::test(start_paused = true)]
async fn access_tokens_leave_memory_when_their_minute_is_over() {
    let memory = Arc::new(Memory::default());
    for start in [100, 1_000] {
        for id in 0..100 {
            memory.save_tokens(&open(id, 1_000), tokens("r1", Some(token("graph", "a1", 9_000))), start).unwrap();
        }
        let sweep = {
            let memory = Arc::clone(&memory);
            tokio::spawn(async move { memory.sweep(start).await })
        };
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(memory.access_tokens(), 100);
        memory.sweep(start + 59).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        sweep.await.unwrap();
        assert_eq!(memory.access_tokens(), 0);
        assert_eq!(merged(&memory, &open(0, 1), start + 60).0, "r1", "the refresh token is kept");
        for id in 0..100 {
            memory.forget(&[id; 16]);
        }
    }
}

#[test]
fn a_newer_cookie_of_another_instance_keeps_its_tokens() {
    let memory = Memory::default();
    memory.save_tokens(&open(1, 1), tokens("r1", Some(token("graph", "a1", 2_000))), 100).unwrap();
    let mut newer = open(1, 3);
    newer.session.access_tokens = vec![token("graph", "a2", 1_500)];
    assert_eq!(merged(&memory, &newer, 101), ("r0".to_owned(), vec!["a2".to_owned()], false));
    memory.save_tokens(&newer, tokens("r2", None), 102).unwrap();
    assert_eq!(merged(&memory, &newer, 103).0, "r2");
}

#[test]
fn generations_only_rise() {
    let memory = Memory::default();
    let old = open(1, 5);
    assert_eq!(memory.prepare_write(&old, 0).generation, 6);
    assert_eq!(memory.prepare_write(&old, 0).generation, 7);
    assert_eq!(memory.prepare_write(&open(1, 40), 0).generation, 41);
    assert_eq!(memory.prepare_write(&old, 0).generation, 42);
}

#[test]
fn tokens_are_saved_only_over_those_that_were_read() {
    let memory = Memory::default();
    let old = open(1, 1);
    memory.prepare_write(&old, 100);
    assert_eq!(memory.save_tokens(&old, tokens("r1", None), 100), Ok(()), "a write of activity is no newer token");
    assert_eq!(memory.save_tokens(&old, tokens("r2", None), 100), Err(Superseded));
    let mut newest = old.clone();
    assert!(memory.merge_for_refresh(&mut newest.session, 100));
    assert_eq!(memory.save_tokens(&newest, tokens("r2", None), 100), Ok(()));
    assert_eq!(merged(&memory, &old, 100).0, "r2");
}

#[test]
fn a_forgotten_token_is_not_used_again() {
    let memory = Memory::default();
    let old = open(1, 1);
    memory.save_tokens(&old, tokens("r1", Some(token("graph", "a1", 2_000))), 100).unwrap();
    memory.reject_token(&old, &token("other", "a1", 2_000));
    assert_eq!(merged(&memory, &old, 101).1, ["a1"]);
    memory.reject_token(&old, &token("graph", "a1", 2_000));
    assert_eq!(merged(&memory, &old, 101).1, ["a0"], "the token of the cookie is still used");
}

/// Contract 7.12: a request that still has the rejected token may write its session after that.
#[test]
fn a_rejected_token_that_does_not_fit_the_cookie_is_not_kept_again() {
    let memory = Memory::default();
    let old = open(1, 1);
    let of_orders = |text| token("orders", text, 2_000);
    memory.keep_left_out(&old, of_orders("b1"), 1);
    memory.reject_token(&old, &of_orders("b1"));
    memory.keep_left_out(&old, of_orders("b1"), 2);
    assert_eq!(merged(&memory, &old, 100).1, ["a0"]);
    memory.keep_left_out(&old, of_orders("b2"), 3);
    assert_eq!(merged(&memory, &old, 100).1, ["a0", "b2"], "a new one is");
    memory.reject_token(&old, &of_orders("b2"));
    memory.reject_token(&old, &of_orders("b1"));
    memory.keep_left_out(&old, of_orders("b2"), 4);
    assert_eq!(merged(&memory, &old, 100).1, ["a0"], "whichever was rejected last");
    for number in 0..2 * REJECTED {
        memory.reject_token(&old, &token("orders", &format!("c{number}"), 2_000));
    }
    let remembered = |now| {
        merged(&memory, &old, now);
        memory.table().peek(&[1; 16]).unwrap().rejected.len()
    };
    assert_eq!((remembered(1_999), remembered(2_000)), (REJECTED, 0), "until they expire");
}

#[test]
fn a_token_that_did_not_fit_the_cookie_is_kept_until_it_expires_and_is_no_reason_to_write() {
    let memory = Memory::default();
    let old = open(1, 1);
    memory.keep_left_out(&old, token("orders", "b1", 2_000), 1);
    assert_eq!(merged(&memory, &old, 1_999), ("r0".to_owned(), vec!["a0".to_owned(), "b1".to_owned()], false));
    assert_eq!(merged(&memory, &old, 2_000).1, ["a0"]);
}

#[test]
fn a_new_token_replaces_the_old_one_even_if_it_expires_sooner() {
    let memory = Memory::default();
    let old = open(1, 1);
    memory.save_tokens(&old, tokens("r1", Some(token("graph", "a1", 900))), 100).unwrap();
    assert_eq!(merged(&memory, &old, 101), ("r1".to_owned(), vec!["a1".to_owned()], true));
    let written = memory.prepare_write(&old, 101);
    assert_eq!(written.access_tokens[0].token.expose_secret(), "a1");
    assert!(written.generation > 2, "above the generation of the tokens");
    let cookie = OpenSession::new(written, 10_000);
    assert!(!merged(&memory, &cookie, 102).2, "that cookie has all tokens");
}

#[test]
fn the_table_is_bounded_and_expired_entries_are_removed() {
    let memory = Memory::default();
    for number in 0..LIMIT.get() as u128 + 5 {
        let mut one = open(1, 1);
        one.session.id = number.to_be_bytes();
        memory.prepare_write(&one, 0);
    }
    assert_eq!(memory.table().len(), LIMIT.get());
    memory.prepare_write(&open(9, 1), 10_000);
    assert_eq!(memory.table().len(), 1);
}

#[test]
fn debug_does_not_leak_tokens() {
    let memory = Memory::default();
    memory.save_tokens(&open(1, 1), tokens("CANARY-r", Some(token("graph", "CANARY-a", 2_000))), 100).unwrap();
    let entries = format!("{:?} {:?}", memory, memory.table().iter().collect::<Vec<_>>());
    assert!(!entries.contains("CANARY"), "{entries}");
}
