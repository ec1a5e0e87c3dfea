//! Which writes count (contract 15.5, 15.7, 15.10, 15.18).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::session::OpenSession;
use cloakroom::session::payload::Session;
use cloakroom::session::store::{EndReason, LoadError, LockError, SaveError, Whose};
use devkit::chaos::Chaos;
use futures_util::future::join_all;

use super::contents::kid;
use super::keys;
use super::moving::held_back;
use crate::session_stores::{
    CookiePlace, Instance, NOW, ROTATED, RedisPlace, access_token, lock, new_tokens, refresh_token, save, session,
    stored, token,
};

/// What the requests that run a script have in common: their number of parts, their keys.
const CREATE: [&str; 3] = ["*10\r\n$7\r\nEVALSHA", "cloakroom:mv:", "$1\r\n1\r\n"];
const END: [&str; 3] = ["*7\r\n$7\r\nEVALSHA", "cloakroom:mv:", "cloakroom:s:"];
const LOCK: [&str; 3] = ["*8\r\n$7\r\nEVALSHA", "cloakroom:l:", "cloakroom:s:"];
const MOVE: [&str; 3] = ["*10\r\n$7\r\nEVALSHA", "cloakroom:mv:", "$8\r\n28800000\r\n"];
const SAVE: [&str; 3] = ["*9\r\n$7\r\nEVALSHA", "cloakroom:l:", "cloakroom:s:"];
const TOUCH: [&str; 3] = ["*7\r\n$7\r\nEVALSHA", "$1\r\n1\r\n", "cloakroom:s:"];
const UNLOCK: [&str; 3] = ["*5\r\n$7\r\nEVALSHA", "$1\r\n1\r\n", "cloakroom:l:"];

fn field(place: &RedisPlace, name: &str) -> Vec<u8> {
    let [record] = keys(&place.server, "s").try_into().unwrap();
    place.server.command(&["HGET", &record, name]).unwrap().text().into_bytes()
}

fn lock_key(open: &OpenSession) -> String {
    format!("cloakroom:l:{{{}}}", URL_SAFE_NO_PAD.encode(open.session.hash()))
}

/// Contract 15.5: by the holder of the lock only. One that ran out and that no other instance took is as good.
#[tokio::test]
async fn tokens_are_not_written_while_another_instance_holds_the_lock() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let (open, cookie) = stored(&here, session()).await;
    let held = lock(&here, &open).await;
    place.server.command(&["SET", &lock_key(&open), "another"]).unwrap();
    let saved = here.store.save_tokens(&held, &open, new_tokens("r1", None), NOW).await;
    assert_eq!(saved, Err(SaveError::Superseded));
    assert_eq!(refresh_token(&here.load(&cookie, NOW).await.unwrap()), "r0");
    drop(held);
    here.store.flush().await;
    assert_eq!(place.server.command(&["GET", &lock_key(&open)]).unwrap().text(), "another", "it is not given back");
    place.server.command(&["DEL", &lock_key(&open)]).unwrap();
    let held = lock(&here, &open).await;
    place.server.command(&["DEL", &lock_key(&open)]).unwrap();
    assert_eq!(here.store.save_tokens(&held, &open, new_tokens("r1", None), NOW).await, Ok(()));
}

/// Contract 15.10: with the tokens, so that an instance that ends right after its response leaves no lock behind.
#[tokio::test]
async fn the_lock_is_given_back_with_the_new_tokens() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let (open, _) = stored(&here, session()).await;
    let held = lock(&here, &open).await;
    assert_eq!(keys(&place.server, "l").len(), 1);
    here.store.save_tokens(&held, &open, new_tokens("r1", None), NOW).await.unwrap();
    assert_eq!(keys(&place.server, "l").len(), 0);
    drop(held);
}

/// Contract 15.5: activity of any instance costs no other its new tokens, and the latest counts.
#[tokio::test]
async fn activity_changes_nothing_but_the_last_activity() {
    let place = RedisPlace::start();
    let instances = join_all((0..4).map(|_| Instance::new(&place))).await;
    let (open, cookie) = stored(&instances[0], session()).await;
    save(&instances[1], &open, new_tokens("r1", None), NOW).await.unwrap();
    let [generation, sealed, metadata] = ["g", "v", "m"].map(|name| field(&place, name));
    for (at, instance) in instances.iter().cycle().take(12).enumerate() {
        instance.store.touch(&open, NOW + 100 - at as u64).await.unwrap();
    }
    join_all(instances.iter().map(|instance| instance.store.flush())).await;
    assert_eq!((field(&place, "g"), field(&place, "v")), (generation, sealed));
    assert_ne!(field(&place, "m"), metadata);
    let newest = instances[3].load(&cookie, NOW + 100).await.unwrap();
    assert_eq!((newest.session.active_at, refresh_token(&newest)), (NOW + 100, "r1"));
}

/// Contract 15.7, 4.17: the newest refresh token is kept even if leaving out an access token makes room for it.
#[tokio::test]
async fn a_record_is_not_longer_than_512_kib() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let (open, cookie) = stored(&here, session()).await;
    let large = access_token("orders", &"x".repeat(300_000));
    save(&here, &open, new_tokens("r1", Some(large)), NOW).await.unwrap();
    let open = here.load(&cookie, NOW).await.unwrap();
    assert!(token(&open, "orders").is_some(), "it fits");
    let larger = access_token("mail", &"y".repeat(400_000));
    save(&here, &open, new_tokens("r2", Some(larger)), NOW).await.unwrap();
    let open = here.load(&cookie, NOW).await.unwrap();
    assert_eq!(refresh_token(&open), "r2");
    assert_eq!((token(&open, "mail"), token(&open, "graph")), (None, Some("a0")));
    assert!(token(&open, "orders").is_some());
    assert!(field(&place, "v").len() <= 512 * 1_024);
    let huge = new_tokens(&"r".repeat(600_000), None);
    assert_eq!(save(&here, &open, huge, NOW).await, Err(SaveError::TooLarge));
    assert_eq!(refresh_token(&here.load(&cookie, NOW).await.unwrap()), "r2");
}

/// Contract 15.10: a lock that ran out lets the next one try, and the tokens of the late one do not count.
#[tokio::test]
async fn a_lock_that_ran_out_lets_the_next_instance_refresh() {
    let place = RedisPlace::start();
    let (here, there) = (Instance::new(&place).await, Instance::new(&place).await);
    let (open, cookie) = stored(&here, session()).await;
    let late = lock(&here, &open).await;
    let waits = async {
        let next = there.store.lock_refresh(&open).await.unwrap().expect("the lock");
        assert!(next.lasts(Duration::from_secs(12)));
        next
    };
    let runs_out = async {
        // The waiting one has found it held.
        tokio::time::sleep(Duration::from_millis(100)).await;
        place.server.command(&["PEXPIRE", &lock_key(&open), "1"]).unwrap();
    };
    let (next, ()) = tokio::join!(waits, runs_out);
    let saved = here.store.save_tokens(&late, &open, new_tokens("late", None), NOW).await;
    assert_eq!(saved, Err(SaveError::Superseded));
    there.store.save_tokens(&next, &open, new_tokens("r1", None), NOW).await.unwrap();
    assert_eq!(refresh_token(&here.load(&cookie, NOW).await.unwrap()), "r1");
}

/// Contract 15.18: with the next activity under the new key; the session itself only if the lock is free.
#[tokio::test]
async fn records_are_sealed_again_when_their_key_retires() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let (open, cookie) = stored(&here, session()).await;
    let before = kid(&field(&place, "v"));
    let held = lock(&here, &open).await;
    let touch = async || {
        let touched = here.store.touch(&open, ROTATED).await.unwrap();
        here.store.flush().await;
        touched.expect("a cookie under the active key")
    };
    touch().await;
    assert_eq!((kid(&field(&place, "v")), field(&place, "g")), (before, b"1".to_vec()), "another one refreshes");
    assert_ne!(kid(&field(&place, "m")), before);
    drop(held);
    here.store.flush().await;
    let touched = touch().await;
    assert_ne!(kid(&field(&place, "v")), before);
    assert_eq!(field(&place, "g"), b"2");
    for cookie in [cookie, touched] {
        assert_eq!(refresh_token(&here.load(&cookie, ROTATED).await.unwrap()), "r0");
    }
    assert!(keys(&place.server, "l").is_empty(), "the lock is given back");
}

/// Contract 15.13: a write whose reply was lost is sent again, with the result and the effect of sending it once.
#[tokio::test]
async fn a_write_whose_reply_is_lost_has_its_effect_once() {
    let place = RedisPlace::start();
    let proxy = Chaos::start(place.server.addr()).await.unwrap();
    let here = Instance::new(&place.through(proxy.port())).await;
    // The server knows all scripts then, so that each is lost after it ran.
    let (first, _) = stored(&here, session()).await;
    save(&here, &first, new_tokens("r1", None), NOW).await.unwrap();
    here.store.touch(&first, NOW + 1).await.unwrap();
    here.store.end(&first.key(), EndReason::SignedOut, NOW).await.unwrap();
    here.store.flush().await;
    let user = Whose::Subject { issuer: "i".to_owned(), sub: "ada".to_owned() };
    let new = Session { issuer: Some("i".to_owned()), ..session() };
    let new = OpenSession::new(new, NOW + 28_800);
    let lost = |what: &str| assert!(proxy.has_lost(), "{what}");
    proxy.lose(&CREATE);
    let cookie = here.store.create(&new, NOW).await.unwrap();
    lost("create");
    let open = here.load(&cookie, NOW).await.unwrap();
    proxy.lose(&LOCK);
    let held = here.store.lock_refresh(&open).await.unwrap().expect("the lock");
    lost("lock");
    proxy.lose(&SAVE);
    here.store.save_tokens(&held, &open, new_tokens("r1", None), NOW).await.unwrap();
    lost("save");
    drop(held);
    here.store.flush().await;
    let open = here.load(&cookie, NOW).await.unwrap();
    let held = lock(&here, &open).await;
    proxy.lose(&UNLOCK);
    drop(held);
    here.store.flush().await;
    lost("unlock");
    assert_eq!((field(&place, "g"), keys(&place.server, "l").len()), (b"2".to_vec(), 0));
    proxy.lose(&TOUCH);
    here.store.touch(&open, NOW + 100).await.unwrap();
    here.store.flush().await;
    lost("touch");
    proxy.lose(&["HMGET"]);
    let newest = here.load(&cookie, NOW + 100).await.unwrap();
    lost("load");
    assert_eq!((refresh_token(&newest), newest.session.active_at), ("r1", NOW + 100));
    proxy.lose(&["ZRANGEBYSCORE"]);
    assert_eq!(here.store.list(&user, NOW + 100).await.unwrap().len(), 1);
    lost("list");
    proxy.lose(&END);
    here.store.end(&open.key(), EndReason::SignedOut, NOW + 100).await.unwrap();
    lost("end");
    assert!(["s", "sub", "oid", "sid"].iter().all(|kind| keys(&place.server, kind).is_empty()));
    // A session of the time before the store is moved here with its first use.
    let there = Instance::new(&CookiePlace).await;
    let (_, cookie) = stored(&there, session()).await;
    here.load(&stored(&there, session()).await.1, NOW).await.expect("the server knows the script then");
    proxy.lose(&MOVE);
    let open = here.load(&cookie, NOW).await.unwrap();
    lost("move");
    assert_eq!((open.session.generation, keys(&place.server, "s").len()), (1, 2));
}

/// Contract 15.5: an end between a write whose reply is lost and its repetition counts, however the session is written.
#[tokio::test]
async fn a_repeated_write_brings_no_ended_session_back() {
    for script in [CREATE, MOVE, TOUCH, SAVE] {
        let place = RedisPlace::start();
        let proxy = Chaos::start(place.server.addr()).await.unwrap();
        let (here, there) = (Instance::new(&place.through(proxy.port())).await, Instance::new(&place).await);
        let (first, _) = stored(&there, session()).await;
        save(&there, &first, new_tokens("r1", None), NOW).await.unwrap();
        there.store.touch(&first, NOW + 1).await.unwrap();
        let cookie_of = async |session: &Session| stored(&Instance::new(&CookiePlace).await, session.clone()).await.1;
        there.load(&cookie_of(&session()).await, NOW).await.expect("the server knows all scripts then");
        there.store.flush().await;
        there.store.end_all(&Whose::Everyone, None, NOW).await.unwrap();
        let new = OpenSession::new(session(), NOW + 28_800);
        let cookie = cookie_of(&new.session).await;
        if script == TOUCH || script == SAVE {
            here.store.create(&new, NOW).await.unwrap();
        }
        let writes = async {
            match script {
                CREATE => assert_eq!(here.store.create(&new, NOW).await, Err(SaveError::Ended)),
                MOVE => assert_eq!(here.load(&cookie, NOW).await.err(), Some(LoadError::Ended)),
                TOUCH => {
                    here.store.touch(&new, NOW + 100).await.unwrap();
                    here.store.flush().await;
                }
                _ => assert_eq!(save(&here, &new, new_tokens("r1", None), NOW).await, Err(SaveError::Ended)),
            }
        };
        proxy.lose_and_hold(&script);
        let ends = async {
            held_back(&proxy).await;
            there.store.end(&new.key(), EndReason::SignedOut, NOW).await.unwrap();
            proxy.release();
        };
        tokio::join!(writes, ends);
        assert!(["s", "sub", "oid", "sid"].iter().all(|kind| keys(&place.server, kind).is_empty()), "{script:?}");
    }
}

/// Contract 15.10: who has older tokens than those that are stored does not wait, and no lock is taken for a session
/// that has ended.
#[tokio::test]
async fn no_lock_is_taken_for_an_older_state_or_after_the_end() {
    let place = RedisPlace::start();
    let (here, there) = (Instance::new(&place).await, Instance::new(&place).await);
    let (open, cookie) = stored(&here, session()).await;
    save(&here, &open, new_tokens("r1", None), NOW).await.unwrap();
    here.store.flush().await;
    assert!(there.store.lock_refresh(&open).await.unwrap().is_none());
    assert!(keys(&place.server, "l").is_empty());
    let newest = here.load(&cookie, NOW).await.unwrap();
    let _held = lock(&here, &newest).await;
    assert!(there.store.lock_refresh(&open).await.unwrap().is_none(), "though another instance holds the lock");
    here.store.end(&open.key(), EndReason::SignedOut, NOW).await.unwrap();
    let locked = there.store.lock_refresh(&newest).await;
    assert!(matches!(locked, Err(LockError::Load(LoadError::Expired))));
}
