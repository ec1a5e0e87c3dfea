//! What is stored, and what it reveals (contract 15.3, 15.4, 15.6, 15.8).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::error::Error;
use cloakroom::keyring::{Key, KeyId};
use cloakroom::secret::Key32;
use cloakroom::session::payload::Session;
use cloakroom::session::seal::{Binding, Envelope};
use cloakroom::session::sealer::UnsealError;
use cloakroom::session::store::{EndReason, LoadError, LogoutTokenId, Whose};
use cloakroom::session::{OpenError, OpenSession};
use devkit::redis_server::{Options, RedisServer, Reply};

use super::{ADA, COOKIE, Instance as Gateway, builder, is_signed_in, keys, only_record, redis};
use crate::app::{KEY, TestApp};
use crate::canaries::found;
use crate::session_stores::{
    CookiePlace, Instance, NOW, RedisPlace, access_token, lock, new_tokens, save, session, stored,
};

/// Everything in a server: each key with all that it holds.
fn dump(redis: &RedisServer) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut connection = redis.connect().unwrap();
    let names = connection.command(&["KEYS", "*"]).unwrap().texts();
    let mut contents = |name: &String| {
        let command = match connection.command(&["TYPE", name]).unwrap().text().as_str() {
            "hash" => vec!["HGETALL", name],
            "zset" => vec!["ZRANGE", name, "0", "-1", "WITHSCORES"],
            _ => vec!["GET", name],
        };
        match connection.command(&command).unwrap() {
            Reply::Array(items) => items.iter().map(bytes).collect(),
            one => vec![bytes(&one)],
        }
    };
    names.iter().map(|name| (name.clone(), contents(name))).collect()
}

fn bytes(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Text(bytes) => bytes.clone(),
        other => other.text().into_bytes(),
    }
}

/// A field of a record.
fn field(redis: &RedisServer, record: &str, name: &str) -> Vec<u8> {
    bytes(&redis.command(&["HGET", record, name]).unwrap())
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// Contract 15.3: Redis has neither handle nor token nor name, and Redis and the key ring together open no session.
#[tokio::test]
async fn a_dump_of_redis_and_the_key_ring_open_no_session() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let mut canary = Session { refresh_token: Some("CANARY-0".into()), ..session() };
    canary.user.claims.name = Some("CANARY-1".to_owned());
    canary.access_tokens = vec![access_token("graph", "CANARY-2")];
    canary.user.sub = "CANARY-3".to_owned();
    let (open, _) = stored(&here, canary).await;
    save(&here, &open, new_tokens("CANARY-4", Some(access_token("orders", "CANARY-5"))), NOW).await.unwrap();
    let token = LogoutTokenId { issuer: "CANARY-6".to_owned(), jti: "CANARY-7".to_owned() };
    here.store.record(&token, NOW + 60, NOW).await.unwrap();
    let newest = here.store.reload(&open, NOW).await.unwrap();
    let _lock = lock(&here, &newest).await;
    let handle = open.session.handle.clone().unwrap();
    let dumped = dump(&place.server);
    assert_eq!(dumped.len(), 6, "record, lock, three indexes and the logout token: {:?}", dumped.keys());
    let hex: String = handle.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    let handle_texts = [handle.expose().to_vec(), URL_SAFE_NO_PAD.encode(handle.expose()).into(), hex.into()];
    for (key, values) in &dumped {
        for value in values.iter().chain([&key.as_bytes().to_vec()]) {
            let decoded = URL_SAFE_NO_PAD.decode(value).unwrap_or_default();
            for secret in handle_texts.iter().map(Vec::as_slice).chain([b"CANARY".as_slice()]) {
                assert!(!contains(value, secret) && !contains(&decoded, secret), "{key}");
            }
        }
    }
    let record = dumped.keys().find(|key| key.starts_with("cloakroom:s:")).unwrap();
    let (sealed, metadata) = (field(&place.server, record, "v"), field(&place.server, record, "m"));
    let name = record.split(['{', '}']).nth(1).unwrap();
    // The key ring, and all that Redis knows instead of the handle.
    let unseal = async |handle: Option<&Key32>| here.sealer.unseal_record(name, handle, &sealed, NOW).await.err();
    let hash = Key32::new(open.session.hash());
    for guess in [None, Some(&hash), Some(&Key32::new([0; 32]))] {
        assert_eq!(unseal(guess).await, Some(UnsealError::Invalid));
    }
    let opened = here.sealer.unseal_record(&format!("{name}/m"), None, &metadata, NOW).await.unwrap();
    assert!(!contains(opened.payload(), b"CANARY") && !contains(opened.payload(), handle.expose()));
    // The handle, without the key ring.
    let envelope = Envelope::parse(&sealed).unwrap();
    let other = Key::new(envelope.kid(), &Key32::new([9; 32]));
    let purpose = cloakroom::keyring::Purpose::Record;
    let binding = Binding { purpose, name, handle: Some(&handle), client_id: "a client" };
    assert!(envelope.open(&other, binding, NOW, 300).is_none());
    // All three.
    assert_eq!(unseal(Some(&handle)).await, None);
}

/// Contract 2.3: with the real binary, through outages of Redis, whose password is in the URL.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_run_reaches_redis_the_browser_or_a_log() {
    const PASSWORD: &str = "CANARY-of-the-store";
    let redis = RedisServer::start(&Options::default().password(PASSWORD)).unwrap();
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port());
    let app = TestApp::builder().set("STORE", url).start().await;
    let mut ada = app.signed_in(ADA).await;
    for (method, path) in [("GET", "/graph/me"), ("POST", "/auth/refresh"), ("GET", "/auth/sessions")] {
        assert!(ada.fetch(method, path).await.status < 300, "{}", app.log());
    }
    let stored: Vec<u8> = dump(&redis)
        .into_iter()
        .flat_map(|(key, values)| [vec![key.into()], values].concat())
        .collect::<Vec<Vec<u8>>>()
        .concat();
    redis.pause();
    assert_eq!(ada.fetch("GET", "/graph/me").await.code(), "store_unavailable");
    redis.resume();
    redis.command(&["CONFIG", "SET", "requirepass", "another"]).unwrap();
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    app.wait_for_log("WRONGPASS").await;
    let cookie = ada.jar[COOKIE].clone().into_bytes();
    ada.fetch("POST", "/auth/logout").await;
    let mut secrets: Vec<(String, Vec<u8>)> =
        app.provider.secrets().into_iter().map(|(kind, value)| (kind, value.into_bytes())).collect();
    assert!(secrets.iter().any(|(kind, _)| kind.starts_with("refresh_token")));
    secrets.push(("the key".to_owned(), KEY.to_vec()));
    secrets.push(("the password".to_owned(), PASSWORD.into()));
    assert_eq!(found(&ada.received, &secrets), [""; 0], "to the browser");
    secrets.push(("the session cookie".to_owned(), cookie));
    assert!(!stored.is_empty());
    assert_eq!(found(&stored, &secrets), [""; 0], "in Redis");
    assert_eq!(found(app.log().as_bytes(), &secrets), [""; 0], "in a log");
}

/// Contract 15.3, 15.8: what does not open is an expired session, with one warning each time and no 500.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_open_is_an_expired_session() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    let record = only_record(&redis);
    let [generation, sealed, metadata] = ["g", "v", "m"].map(|name| field(&redis, &record, name));
    let _grace = app.signed_in("grace.hopper@contoso.example").await;
    let other = keys(&redis, "s").into_iter().find(|key| *key != record).unwrap();
    let (of_other, other_metadata) = (field(&redis, &other, "v"), field(&redis, &other, "m"));
    let mut connection = redis.connect().unwrap();
    let mut set = |name: &str, value: &[u8]| {
        connection.command(&[b"HSET", record.as_bytes(), name.as_bytes(), value]).unwrap();
    };
    let flipped = |value: &[u8], at: usize| {
        let mut bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
        bytes[at] ^= 1;
        URL_SAFE_NO_PAD.encode(bytes).into_bytes()
    };
    let damaged: Vec<(&str, Vec<u8>)> = vec![
        ("v", Vec::new()),
        ("v", b"garbage \xff\x00".to_vec()),
        ("v", sealed[..sealed.len() - 4].to_vec()),
        ("v", vec![b'A'; 1_000_000]),
        ("v", flipped(&sealed, 30)),
        ("v", of_other),
        ("v", metadata.clone()),
        ("m", Vec::new()),
        ("m", flipped(&metadata, 30)),
        ("m", other_metadata),
        ("m", sealed.clone()),
        ("g", b"x".to_vec()),
        ("g", b"18446744073709551616".to_vec()),
        ("g", b"7".to_vec()),
    ];
    for (at, (name, value)) in damaged.iter().enumerate() {
        set(name, value);
        let response = ada.fetch("GET", "/graph/me").await;
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{at}: {name}");
        assert_eq!(response.headers_named("set-cookie").count(), 0);
        warnings_are(&app, at + 1).await;
        for (name, value) in [("g", &generation), ("v", &sealed), ("m", &metadata)] {
            set(name, value);
        }
        assert!(is_signed_in(&mut ada).await, "{at}: restored");
    }
    redis.command(&["RENAME", &record, "kept"]).unwrap();
    redis.command(&["SET", &record, "of another type"]).unwrap();
    assert_eq!(ada.fetch("GET", "/graph/me").await.code(), "session_expired", "a key of another type");
    warnings_are(&app, damaged.len() + 1).await;
    assert!(!app.log().contains("the session store is unavailable"), "{}", app.log());
    redis.command(&["RENAME", "kept", &record]).unwrap();
    assert!(is_signed_in(&mut ada).await, "restored");
    redis.command(&["HDEL", &record, "m"]).unwrap();
    assert_eq!(ada.fetch("GET", "/graph/me").await.code(), "session_expired", "a part is missing");
    redis.command(&["DEL", &record]).unwrap();
    assert_eq!(ada.fetch("GET", "/graph/me").await.code(), "session_expired", "evicted");
    warnings_are(&app, damaged.len() + 2).await;
}

/// Waits until the log has so many warnings about records; it never has more.
async fn warnings_are(app: &TestApp, number: usize) {
    app.wait_for_log_count("a record of the store does not open", number).await;
}

/// Contract 15.8, 4.18: a record under a key of another ring does not open, and the cookie is kept as one under such a
/// key is.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_another_key_ring_opens_no_record() {
    let redis = redis();
    let app = builder(&redis).start().await;
    let mut ada = app.signed_in(ADA).await;
    let record = only_record(&redis);
    // Key ids are in the clear, after the version.
    let mut under_another_key = URL_SAFE_NO_PAD.decode(field(&redis, &record, "v")).unwrap();
    under_another_key[1] ^= 1;
    redis.command(&["HSET", &record, "v", &URL_SAFE_NO_PAD.encode(under_another_key)]).unwrap();
    for (method, path) in [("GET", "/graph/me"), ("POST", "/auth/refresh")] {
        let response = ada.fetch(method, path).await;
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{path}");
        assert_eq!(response.headers_named("set-cookie").count(), 0, "{path}");
    }
    warnings_are(&app, 2).await;
    let other = Gateway::start(&app, &[("ENC_KEY", &URL_SAFE_NO_PAD.encode([7; 32]))]);
    let response = other.visitor(&ada).fetch("GET", "/graph/me").await;
    assert_eq!((response.status, response.code()), (401, "session_expired"), "nor the cookie");
}

/// Contract 15.8: a record whose key is unavailable is neither lost nor expired.
#[tokio::test]
async fn a_record_whose_key_is_unavailable_is_a_503() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let (_, cookie) = stored(&here, session()).await;
    let without = Instance::without_keys(&place).await;
    let loaded = without.store.load(&here.open(&cookie, NOW).await, NOW).await;
    let error = OpenError::from(loaded.err().unwrap());
    assert_eq!(Error::from(error), Error::KeysUnavailable);
    assert!(here.load(&cookie, NOW).await.is_ok());
}

/// Contract 15.8: a key of another type is a record that does not open, and it is deleted like one.
#[tokio::test]
async fn a_key_of_another_type_is_no_record() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let there = Instance::new(&CookiePlace).await;
    for is_moved in [false, true] {
        let from = if is_moved { &there } else { &here };
        let (open, cookie) = stored(from, session()).await;
        let record = format!("cloakroom:s:{{{}}}", URL_SAFE_NO_PAD.encode(open.session.hash()));
        place.server.command(&["DEL", &record]).unwrap();
        place.server.command(&["SET", &record, "of another type"]).unwrap();
        assert_eq!(here.load(&cookie, NOW).await.err(), Some(LoadError::Expired), "{is_moved}");
        here.store.end(&open.key(), EndReason::SignedOut, NOW).await.unwrap();
        assert_eq!(keys(&place.server, "s"), [""; 0], "{is_moved}");
        place.server.command(&["SET", &record, "of another type"]).unwrap();
        here.store.end_all(&Whose::Everyone, None, NOW).await.unwrap();
        assert_eq!(keys(&place.server, "s"), [""; 0], "{is_moved}");
    }
}

/// Contract 15.3, 16.3: the metadata, which is sealed, says whose a session is, not the index.
#[tokio::test]
async fn an_index_entry_of_another_user_gives_no_access_to_a_session() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let (ada, cookie) = stored(&here, session()).await;
    let mut of_bob = session();
    of_bob.user.sub = "bob".to_owned();
    let (bob, _) = stored(&here, of_bob).await;
    let hash = URL_SAFE_NO_PAD.encode(ada.session.hash());
    let issuer = || ada.session.issuer.clone().unwrap();
    let bobs = Whose::Subject { issuer: issuer(), sub: "bob".to_owned() };
    let bobs_own = |hash| Whose::OneOfUser { hash, issuer: issuer(), sub: "bob".to_owned() };
    let is_bobs = |key: &&String| {
        let members = place.server.command(&["ZRANGE", key, "0", "-1"]).unwrap().texts();
        members == [URL_SAFE_NO_PAD.encode(bob.session.hash())]
    };
    let index = keys(&place.server, "sub").iter().find(is_bobs).unwrap().clone();
    let insert = || place.server.command(&["ZADD", &index, "1028800", &hash]).unwrap();
    insert();
    let listed = here.store.list(&bobs, NOW).await.unwrap();
    assert_eq!(listed.iter().map(|listed| listed.hash).collect::<Vec<_>>(), [bob.session.hash()]);
    assert!(is_bobs(&&index), "the entry is removed");
    insert();
    assert_eq!(here.store.end_all(&bobs_own(ada.session.hash()), None, NOW).await, Ok(Vec::new()));
    assert_eq!(here.store.end_all(&bobs, Some(bob.session.hash()), NOW).await, Ok(Vec::new()));
    assert!(here.load(&cookie, NOW).await.is_ok(), "Ada's session has not ended");
    assert_eq!(here.store.end_all(&bobs_own(bob.session.hash()), None, NOW).await, Ok(vec![bob.session.hash()]));
}

/// Contract 15.6: the earlier of idle and absolute expiry, plus `CLOCK_SKEW`; 15.4, 16.8, 15.10.
#[tokio::test]
async fn everything_in_redis_expires() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let expiry = |kind: &str| {
        let [key] = keys(&place.server, kind).try_into().unwrap();
        let Reply::Int(left) = place.server.command(&["PTTL", &key]).unwrap() else { panic!("{key}") };
        // The time that the test takes counts too, and is no part of what is tested.
        (left + 59_999) / 60_000
    };
    let (open, _) = stored(&here, session()).await;
    assert_eq!(expiry("s"), 30 + 5, "idle after 30 min");
    for index in ["sub", "oid", "sid"] {
        assert_eq!(expiry(index), 8 * 60 + 5, "{index}");
    }
    let held = lock(&here, &open).await;
    let [lock] = keys(&place.server, "l").try_into().unwrap();
    let left = place.server.command(&["PTTL", &lock]).unwrap();
    assert!(matches!(left, Reply::Int(10_000..=15_000)), "{left:?}");
    drop(held);
    let almost = NOW + 28_800 - 600;
    here.store.touch(&open, almost).await.unwrap();
    here.store.flush().await;
    assert_eq!(expiry("s"), 10 + 5, "the absolute expiry is earlier");
    let token = LogoutTokenId { issuer: "i".to_owned(), jti: "j".to_owned() };
    here.store.record(&token, NOW + 420, NOW).await.unwrap();
    assert_eq!(expiry("jti"), 7);
    assert_eq!(dump(&place.server).len(), 5, "nothing else is there");
    here.store.end(&open.key(), EndReason::SignedOut, almost).await.unwrap();
    assert_eq!(expiry("mv"), 10, "the absolute expiry");
    place.server.command(&["DEL", &keys(&place.server, "mv")[0]]).unwrap();
    assert_eq!(dump(&place.server).len(), 1, "the logout token is left");
    let there = Instance::new(&CookiePlace).await;
    let moved = stored(&there, session()).await.1;
    here.load(&moved, NOW + 600).await.unwrap();
    assert_eq!(expiry("mv"), 8 * 60 - 10, "of a session that was moved, too");
}

/// Contract 15.11: a server whose memory is full also forgets the session, and keeps the mark.
#[tokio::test]
async fn a_session_ends_though_redis_has_no_memory_left() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let (open, cookie) = stored(&here, session()).await;
    place.server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    here.store.end(&open.key(), EndReason::SignedOut, NOW).await.unwrap();
    let fresh = Instance::new(&place).await;
    assert_eq!(fresh.load(&cookie, NOW).await.err(), Some(LoadError::Ended));
    assert_eq!((keys(&place.server, "s").len(), keys(&place.server, "mv").len()), (0, 1));
}

/// Contract 15.4: members that have expired go with the next write, those without a record when they are met, but not
/// while their sign-in may still write one.
#[tokio::test]
async fn indexes_lose_the_members_whose_sessions_are_gone() {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let whose = |open: &OpenSession| Whose::Subject {
        issuer: open.session.issuer.clone().unwrap(),
        sub: open.session.user.sub.clone(),
    };
    let (gone, _) = stored(&here, session()).await;
    let (kept, _) = stored(&here, session()).await;
    let record = |open: &OpenSession| format!("cloakroom:s:{{{}}}", URL_SAFE_NO_PAD.encode(open.session.hash()));
    let members = || {
        let [key] = keys(&place.server, "sub").try_into().unwrap();
        place.server.command(&["ZCARD", &key]).unwrap().text()
    };
    place.server.command(&["DEL", &record(&gone)]).unwrap();
    for (later, left) in [(60, "2"), (61, "1")] {
        let listed = here.store.list(&whose(&gone), NOW + later).await.unwrap();
        let hashes: Vec<_> = listed.iter().map(|listed| listed.hash).collect();
        assert_eq!((hashes, members().as_str()), (vec![kept.session.hash()], left), "{later} s after the sign-in");
    }
    // A member that no sign-in wrote is passed over.
    let [key] = keys(&place.server, "sub").try_into().unwrap();
    place.server.command(&["ZADD", &key, "9000000000", "garbage"]).unwrap();
    assert_eq!(here.store.list(&whose(&kept), NOW + 61).await.unwrap().len(), 1);
    place.server.command(&["ZREM", &key, "garbage"]).unwrap();
    let later = NOW + 28_800;
    let new = Session { signed_in_at: later, active_at: later, ..session() };
    let new = OpenSession::new(new, later + 28_800);
    here.store.create(&new, later).await.unwrap();
    assert_eq!(members(), "1", "the one that has expired is removed");
    assert_eq!(here.store.end_all(&whose(&new), None, later).await.unwrap(), [new.session.hash()]);
    assert_eq!(keys(&place.server, "sub"), [""; 0]);
}

/// The kid of a sealed value.
pub fn kid(sealed: &[u8]) -> KeyId {
    Envelope::parse(sealed).unwrap().kid()
}
