//! From cookies to Redis and back (contract 15.17).

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::clock::now;
use cloakroom::keyring::KeySource;
use cloakroom::keyring::file::FileRing;
use cloakroom::keyring::rotate::rotate;
use cloakroom::secret::Key32;
use cloakroom::session::payload::Session;
use cloakroom::session::store::{EndReason, LoadError, Whose};
use cloakroom::session::{OpenError, OpenSession};
use devkit::chaos::Chaos;
use futures_util::future::join_all;
use http::header::COOKIE as COOKIE_HEADER;
use http::{HeaderMap, HeaderValue};
use tokio::time::timeout;

use super::{ADA, COOKIE, Instance, hash, is_signed_in, keys, only_record, redis};
use crate::app::{BINARY, PATIENCE, TestApp};
use crate::key_sources::PARAMETERS;
use crate::session_stores::{
    CookiePlace, Instance as Stored, LIMITS, NOW, RedisPlace, new_tokens, refresh_token, save, session,
};
use crate::visitor::Visitor;

/// What the requests that run the script have in common: their number of parts, a key.
const MOVE: [&str; 2] = ["*10\r\n$7\r\nEVALSHA", "cloakroom:mv:"];
const GRACE: &str = "grace.hopper@contoso.example";

fn has_handle(visitor: &Visitor) -> bool {
    visitor.jar[COOKIE].len() < 200
}

/// Requests reach either kind of instance by chance, as in a rolling deployment.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deployment_to_redis_signs_no_user_out() {
    let redis = redis();
    let app = TestApp::start().await;
    let mut browsers = Vec::new();
    for user in [ADA, GRACE, ADA, GRACE] {
        browsers.push(app.signed_in(user).await);
    }
    let instance = Instance::start(&app, &[("STORE", &redis.url())]);
    let (mut unavailable, mut moved) = (0, 0);
    for round in 0..10 {
        for (at, browser) in browsers.iter_mut().enumerate() {
            let had_handle = has_handle(browser);
            let is_old = (round + at) % 3 != 2;
            let mut there = browser.at(if is_old { app.port } else { instance.port });
            let path = if at % 2 == 0 { "/graph/me" } else { "/auth/session" };
            let response = there.fetch("GET", path).await;
            if is_old && had_handle {
                assert_eq!((response.status, response.code()), (503, "store_unavailable"));
                assert_eq!(there.jar, browser.jar, "the cookies are kept");
                unavailable += 1;
            } else {
                assert_eq!(response.status, 200, "{}\n{}", response.text(), instance.gateway.log());
                assert_ne!(response.json()["authenticated"], false, "{round} {at}");
            }
            moved += usize::from(!had_handle && has_handle(&there));
            browser.jar = there.jar;
        }
    }
    assert!(unavailable > 0 && moved > 0, "{unavailable} {moved}");
    for browser in &browsers {
        let mut there = instance.visitor(browser);
        assert_eq!(there.fetch("POST", "/auth/refresh").await.status, 204, "{}", instance.gateway.log());
        assert!(has_handle(&there), "{:?}", there.jar.keys());
        assert_eq!(there.fetch("GET", "/graph/me").await.status, 200);
    }
    assert_eq!((keys(&redis, "s").len(), keys(&redis, "mv").len()), (4, 4));
}

/// A session moves once, to the same place from every instance, and a copy of the old cookie does not bring it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_moved_once() {
    let redis = redis();
    let app = TestApp::start().await;
    let old = app.signed_in(ADA).await;
    let [one, other] = [0, 1].map(|_| Instance::start(&app, &[("STORE", &redis.url())]));
    let calls = [&one, &other].into_iter().cycle().take(8).map(|instance| {
        let mut there = instance.visitor(&old);
        async move { (there.fetch("GET", "/graph/me").await.status, there.jar) }
    });
    let responses = join_all(calls).await;
    assert!(responses.iter().all(|(status, _)| *status == 200), "{}", one.gateway.log());
    assert_eq!(only_record(&redis), format!("cloakroom:s:{{{}}}", hash(&old)), "its handle is from the sign-in");
    for index in ["sub", "oid", "sid"] {
        assert_eq!(keys(&redis, index).len(), 1, "{index}");
    }
    let mut ada = one.visitor(&old);
    ada.jar = responses[0].1.clone();
    assert!(has_handle(&ada) && !ada.jar.contains_key(&format!("{COOKIE}-1")));
    assert_eq!(other.visitor(&old).fetch("GET", "/graph/me").await.status, 200, "until its end the copy finds it");
    ada.fetch("POST", "/auth/logout").await;
    let fresh = Instance::start(&app, &[("STORE", &redis.url())]);
    for instance in [&one, &other, &fresh] {
        assert_eq!(instance.visitor(&old).fetch("GET", "/graph/me").await.code(), "session_expired");
    }
    assert_eq!((keys(&redis, "s").len(), keys(&redis, "mv").len()), (0, 1));
    assert!(["sub", "oid", "sid"].iter().all(|index| keys(&redis, index).is_empty()));
}

/// Waits until a request is held back.
pub async fn held_back(proxy: &Chaos) {
    timeout(PATIENCE, proxy.holds()).await.expect("a request is held back");
}

/// Waits until no session is in an index of users.
async fn removed(place: &RedisPlace) {
    let removed = async {
        while !keys(&place.server, "sub").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, removed).await.expect("the entry is removed");
}

fn of_ada() -> Whose {
    let Session { issuer, user, .. } = session();
    Whose::Subject { issuer: issuer.unwrap(), sub: user.sub }
}

/// Two instances move a session at the same time, and one is late.
#[tokio::test]
async fn the_record_of_the_instance_that_moved_a_session_counts() {
    let place = RedisPlace::start();
    let proxy = Chaos::start(place.server.addr()).await.unwrap();
    let late = Stored::new(&place.through(proxy.port())).await;
    let first = Stored::new(&place).await;
    let cookie = cookie(session()).await;
    proxy.hold(MOVE.to_vec());
    let moves_late = async { late.load(&cookie, NOW).await };
    let moves_first = async {
        held_back(&proxy).await;
        let open = first.load(&cookie, NOW).await.unwrap();
        save(&first, &open, new_tokens("r1", None), NOW).await.unwrap();
        proxy.release();
    };
    let (moved, ()) = tokio::join!(moves_late, moves_first);
    assert_eq!(refresh_token(&moved.unwrap()), "r1");
    assert_eq!(refresh_token(&first.load(&cookie, NOW).await.unwrap()), "r1");
}

/// Contract 15.4, 15.17: another instance looks at the user's sessions while one is moved, whose index entries are
/// there already and whose record is not. A removal of the entries is undone, however late it is.
#[tokio::test]
async fn a_session_is_in_its_indexes_though_another_instance_lists_them_while_it_is_moved() {
    for is_late in [false, true] {
        let place = RedisPlace::start();
        let start = || Chaos::start(place.server.addr());
        let (moving, listing) = (start().await.unwrap(), start().await.unwrap());
        let moves = Stored::new(&place.through(moving.port())).await;
        let lists = Stored::new(&place.through(listing.port())).await;
        let (cookie, whose, later) = (cookie(session()).await, of_ada(), NOW + 61);
        moving.hold(MOVE.to_vec());
        if is_late {
            listing.hold(vec!["$4\r\nZREM\r\n"]);
        }
        let list = async {
            held_back(&moving).await;
            assert_eq!(lists.store.list(&whose, later).await.unwrap(), []);
        };
        let order = async {
            if is_late {
                held_back(&listing).await;
            } else {
                held_back(&moving).await;
                removed(&place).await;
            }
            moving.release();
        };
        let open = async {
            let open = moves.load(&cookie, later).await.unwrap();
            listing.release();
            open
        };
        let (open, (), ()) = tokio::join!(open, list, order);
        let listed = lists.store.list(&whose, later).await.unwrap();
        assert_eq!(listed.iter().map(|listed| listed.hash).collect::<Vec<_>>(), [open.session.hash()], "{is_late}");
    }
}

/// Contract 15.5, 15.17: who ends the sessions of a user also ends the one that is being moved.
#[tokio::test]
async fn a_session_that_is_ended_while_it_is_moved_has_ended() {
    let place = RedisPlace::start();
    let proxy = Chaos::start(place.server.addr()).await.unwrap();
    let moves = Stored::new(&place.through(proxy.port())).await;
    let ends = Stored::new(&place).await;
    let cookie = cookie(session()).await;
    proxy.hold(MOVE.to_vec());
    let move_here = async { moves.load(&cookie, NOW + 61).await.err() };
    let end = async {
        held_back(&proxy).await;
        assert_eq!(ends.store.end_all(&of_ada(), None, NOW + 61).await.unwrap(), [[0; 32]; 0], "it has no record yet");
        proxy.release();
    };
    assert_eq!(tokio::join!(move_here, end).0, Some(LoadError::Expired));
    for instance in [&moves, &ends] {
        assert_eq!(instance.load(&cookie, NOW + 61).await.err(), Some(LoadError::Expired));
    }
    assert!(["s", "sub", "oid", "sid"].iter().all(|kind| keys(&place.server, kind).is_empty()));
}

/// Contract 16.6, 4.24b: what opens no session moves none.
#[tokio::test]
async fn a_session_that_was_revoked_or_is_of_another_issuer_is_not_moved() {
    for what in ["revoked", "of another issuer", "good"] {
        let place = RedisPlace::start();
        let here = Stored::new(&place).await;
        let mut old = session();
        if what == "revoked" {
            here.revoke(&format!(r#"{{"users": {{"ada-oid": {NOW}}}}}"#)).await;
        } else if what == "of another issuer" {
            old.issuer = Some("https://other.example".to_owned());
        }
        let cookie = format!("{COOKIE}={}", cookie(old).await);
        let headers = HeaderMap::from_iter([(COOKIE_HEADER, HeaderValue::from_str(&cookie).unwrap())]);
        let opened = here.sessions(Arc::default(), LIMITS).open(&headers, NOW).await;
        let is_good = what == "good";
        assert_eq!(opened.err(), (!is_good).then_some(OpenError::Expired), "{what}");
        let stored = ["s", "mv", "sub"].map(|kind| keys(&place.server, kind).len());
        assert_eq!(stored, [usize::from(is_good); 3], "{what}");
    }
}

/// Contract 15.11, 15.17: the end of a session that was not moved yet counts too, even if Redis is down then.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_before_it_was_moved_is_not_moved() {
    for how in ["signed out", "replaced"] {
        let redis = redis();
        let app = TestApp::start().await;
        let old = app.signed_in(ADA).await;
        let instance = Instance::start(&app, &[("STORE", &redis.url())]);
        let mut there = instance.visitor(&old);
        if how == "signed out" {
            redis.stop();
            assert_eq!(there.fetch("POST", "/auth/logout").await.status, 200);
            assert!(there.jar.is_empty());
            redis.start_again().unwrap();
        } else {
            // The provider sends the browser back to the first instance's address.
            let address = there.begin("/").await;
            let location = app.provider.sign_in(&address, ADA).unwrap().location();
            let path = location.strip_prefix(&app.origin).unwrap();
            assert_eq!(there.send("GET", path, &[("sec-fetch-mode", "navigate")], "").await.status, 302);
            assert!(is_signed_in(&mut there).await, "{}", instance.gateway.log());
        }
        let started = std::time::Instant::now();
        let mark = format!("cloakroom:mv:{{{}}}", hash(&old));
        while !keys(&redis, "mv").contains(&mark) {
            assert!(started.elapsed() < PATIENCE, "{how}: {}", instance.gateway.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let fresh = Instance::start(&app, &[("STORE", &redis.url())]);
        assert_eq!(fresh.visitor(&old).fetch("GET", "/graph/me").await.code(), "session_expired", "{how}");
    }
}

/// An instance with cookies keeps the cookie of a stored session, until all sessions are ended.
#[tokio::test(flavor = "multi_thread")]
async fn from_redis_to_cookies_sessions_end_by_a_command() {
    let (redis, folder) = (redis(), tempfile::tempdir().unwrap());
    let file = folder.path().join("keys.json");
    let source: Arc<dyn KeySource> = Arc::new(FileRing::new(file.clone()));
    rotate(source.as_ref(), &Key32::random(), now(), &PARAMETERS).await.unwrap();
    let keyring = |builder: crate::app::Builder| builder.set("ENC_KEY", "").set("KEY_FILE", file.to_str().unwrap());
    let app = keyring(super::builder(&redis)).start().await;
    let ada = app.signed_in(ADA).await;
    let instance = Instance::start(&app, &[("STORE", "cookie")]);
    let mut there = instance.visitor(&ada);
    for (method, path) in [("GET", "/graph/me"), ("GET", "/auth/session"), ("POST", "/auth/refresh")] {
        let response = there.fetch(method, path).await;
        assert_eq!((response.status, response.code()), (503, "store_unavailable"), "{path}");
        assert_eq!(there.jar, ada.jar, "{path}");
    }
    assert_eq!(there.clone().navigate("/auth/login").await.status, 302);
    let mut leaving = there.clone();
    assert_eq!(leaving.fetch("POST", "/auth/logout").await.status, 200);
    assert!(leaving.jar.is_empty(), "a sign-out deletes the cookies");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = Command::new(BINARY)
        .args(["sessions", "end", "--all"])
        .env_clear()
        .envs(&app.settings)
        .env("CLOAKROOM_STORE", "cookie")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let later = Instance::start(&app, &[("STORE", "cookie")]);
    for path in ["/graph/me", "/auth/refresh"] {
        let mut there = later.visitor(&ada);
        let method = if path == "/graph/me" { "GET" } else { "POST" };
        let response = there.fetch(method, path).await;
        assert_eq!((response.status, response.code()), (401, "session_expired"), "{path}");
        assert_eq!(there.jar.contains_key(COOKIE), path == "/graph/me", "only a refresh deletes the cookie");
    }
}

/// The cookie of a session that a store of cookies wrote.
async fn cookie(session: Session) -> String {
    let there = Stored::new(&CookiePlace).await;
    there.store.create(&OpenSession::new(session, NOW + 28_800), NOW).await.unwrap()
}

/// Neither one that has been idle for too long nor one without a handle of its own, as of payload version 2, is lost or
/// revived.
#[tokio::test]
async fn what_is_moved_is_decided_by_the_times_in_the_cookie() {
    let place = RedisPlace::start();
    let here = Stored::new(&place).await;
    for handle in [Some(Key32::random()), None] {
        let cookie = cookie(Session { handle: handle.clone(), ..session() }).await;
        assert_eq!(here.load(&cookie, NOW + 1_800).await.err(), Some(LoadError::Expired), "idle");
        assert_eq!(keys(&place.server, "s").len(), 0);
        let open = here.load(&cookie, NOW + 1_799).await.unwrap();
        assert_eq!((refresh_token(&open), open.is_cookie_outdated), ("r0", true));
        assert_eq!(open.session.active_at, NOW, "moving is no activity");
        let touched = here.store.touch(&open, NOW + 1_799).await.unwrap().expect("a cookie with a handle");
        here.store.flush().await;
        for cookie in [&cookie, &touched] {
            let open = here.load(cookie, NOW + 2_000).await.unwrap();
            assert_eq!((open.session.active_at, refresh_token(&open)), (NOW + 1_799, "r0"));
        }
        assert_eq!(keys(&place.server, "s").len(), 1);
        let there = Stored::new(&place).await;
        there.store.end(&open.key(), EndReason::SignedOut, NOW + 2_000).await.unwrap();
        for cookie in [&cookie, &touched] {
            assert_eq!(here.load(cookie, NOW + 2_000).await.err(), Some(LoadError::Ended), "for good");
        }
    }
}
