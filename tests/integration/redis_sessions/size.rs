//! How much memory a session takes in Redis.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::session::OpenSession;
use cloakroom::session::payload::{Claims, Session, User};
use devkit::redis_server::RedisServer;
use futures_util::future::join_all;

use crate::app::ROOT;
use crate::session_stores::{Instance, NOW, RedisPlace, access_token, session};

const SESSIONS: usize = 400;

/// A JWT of that many bytes with random contents.
fn jwt(bytes: usize) -> String {
    let segment = |bytes: usize| {
        let raw: Vec<u8> = (0..bytes).map(|_| rand::random::<u8>()).collect();
        URL_SAFE_NO_PAD.encode(raw)[..bytes].to_owned()
    };
    // A header of Entra's and a signature by RS256.
    format!("{}.{}.{}", segment(120), segment(bytes - 120 - 342 - 2), segment(342))
}

/// A session of a user of its own, with access tokens of these lengths and a refresh token of 1,400 bytes.
fn of_a_user(number: usize, tokens: &[usize]) -> OpenSession {
    let claims = Claims {
        name: Some("Ada Lovelace".to_owned()),
        preferred_username: Some("ada.lovelace@contoso.example".to_owned()),
        provider_sid: Some(format!("{:036}", number + 1)),
        ..Claims::clone(&session().user.claims)
    };
    let user = User {
        sub: format!("{number:043}"),
        oid: Some(format!("{number:036}")),
        claims: claims.into(),
        ..session().user
    };
    let held = |(api, bytes): (usize, &usize)| access_token(&format!("api-{api}"), &jwt(*bytes));
    let access_tokens = tokens.iter().enumerate().map(held).collect();
    let session =
        Session { id: rand::random(), user, refresh_token: Some(jwt(1_400).into()), access_tokens, ..session() };
    OpenSession::new(session, NOW + 28_800)
}

/// Bytes of Redis's memory for each session, with its index entries.
async fn measured(tokens: &[usize]) -> f64 {
    let place = RedisPlace::start();
    let here = Instance::new(&place).await;
    let create = async |numbers: std::ops::Range<usize>| {
        let new: Vec<OpenSession> = numbers.map(|number| of_a_user(number, tokens)).collect();
        for created in join_all(new.iter().map(|new| here.store.create(new, NOW))).await {
            created.unwrap();
        }
    };
    // What the server and the connection take once.
    create(0..100).await;
    let before = used_memory(&place.server);
    for first in (100..100 + SESSIONS).step_by(100) {
        create(first..first + 100).await;
    }
    (used_memory(&place.server) - before) / SESSIONS as f64
}

fn used_memory(redis: &RedisServer) -> f64 {
    let memory = redis.command(&["INFO", "memory"]).unwrap().text();
    memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

/// The table of the docs: lengths of access tokens, and bytes of a session.
#[tokio::test]
async fn a_session_takes_as_much_memory_as_the_docs_say() {
    let page = std::fs::read_to_string(format!("{ROOT}/docs/store.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| access tokens of |")).skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 3, "{rows:?}");
    for row in rows {
        let numbers = |cell: &str| -> Vec<usize> {
            let parts = cell.split([' ', '+']).map(|part| part.replace(',', ""));
            parts.filter_map(|part| part.parse().ok()).collect()
        };
        let cells: Vec<_> = row.split('|').map(numbers).collect();
        let (tokens, documented) = (&cells[1], cells[2][0] as f64);
        let measured = measured(tokens).await;
        // The allocators of other versions round otherwise.
        let ratio = measured / documented;
        assert!((0.85..=1.15).contains(&ratio), "{row}: {measured:.0}");
    }
}
