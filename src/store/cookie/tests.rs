use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::*;
use crate::keyring::revocations::RevocationCache;
use crate::keyring::states::Parameters;
use crate::keyring::static_key::StaticKey;
use crate::keyring::{KeySource, Ring};
use crate::secret::Key32;
use crate::session::configured::Configured;
use crate::session::cookie::{Persistence, SameSite, Settings};
use crate::session::payload::{Token, User};
use crate::session::{Limits, Sessions};

const DAY: Duration = Duration::from_secs(86_400);
const NOW: UnixSeconds = 1_000;

fn settings() -> Settings {
    Settings {
        name: "__Host-Http-cloakroom".to_owned(),
        domain: None,
        same_site: SameSite::Lax,
        login_same_site: SameSite::Lax,
        budget: 6_144,
        persistence: Persistence::Off,
    }
}

/// A service over this store, whose sessions end after a day.
async fn sessions(settings: Settings) -> Sessions {
    let parameters = Parameters { propagation: DAY, life: DAY, retention: DAY };
    let source: Arc<dyn KeySource> = Arc::new(StaticKey::new(&Key32::new([1; 32])));
    let revocations = RevocationCache::new(Arc::clone(&source), 300, DAY);
    let ring = Ring::new(source, parameters, DAY);
    tokio::join!(ring.refresh(NOW), revocations.refresh(NOW));
    let sealer = Arc::new(Sealer::new(ring, "app".to_owned(), 300));
    let cookies = SessionCookies::new(settings);
    let store = Arc::new(CookieStore::new(Arc::clone(&sealer), cookies.clone()));
    let limits = Limits { idle: DAY, max: DAY, clock_skew: DAY };
    Sessions::new(sealer, cookies, limits, Configured::with(Arc::default()), store, revocations)
}

/// Contract 7.12. Nothing else touches the session or the table.
#[tokio::test(start_paused = true)]
async fn the_access_token_of_a_refresh_leaves_memory_when_its_minute_is_over() {
    let parameters = Parameters { propagation: DAY, life: DAY, retention: DAY };
    let ring = Ring::new(Arc::new(StaticKey::new(&Key32::new([1; 32]))), parameters, DAY);
    let sealer = Arc::new(Sealer::new(ring, "app".to_owned(), 300));
    let store = CookieStore::new(sealer, SessionCookies::new(settings()));
    let open = OpenSession::new(Session::new([1; 16], User::default(), 0), 10_000);
    let access_token =
        Some(AccessToken { api: "graph".to_owned(), token: "a".into(), expires_at: 9_000, life: 3_600, binding: None });
    let lock = RefreshLock::new((), None);
    store
        .save_tokens(&lock, &open, NewTokens { refresh_token: None, access_token, id_token: None }, 100)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(store.memory.access_tokens(), 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(store.memory.access_tokens(), 0);
}

/// The seconds for which the browser keeps the session cookie.
fn age(lines: &[HeaderValue]) -> u64 {
    lines[0].to_str().unwrap().split_once("; Max-Age=").unwrap().1.parse().unwrap()
}

/// Contract 16.11: browsers count `Max-Age` from the response, so that a slow one has less.
#[tokio::test(start_paused = true)]
async fn the_cookie_of_a_slow_response_ends_with_the_session() {
    let sessions = sessions(Settings { persistence: Persistence::On, ..settings() }).await;
    let (arrived, day) = (Instant::now(), DAY.as_secs());
    let open = sessions.begin(Session::new([1; 16], User::default(), NOW), &sessions.known_revocations(), NOW);
    assert_eq!(age(&sessions.start(&open, NOW, arrived).await.unwrap()), day);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(age(&sessions.start(&open, NOW, arrived).await.unwrap()), day - 20);
    assert_eq!(age(&sessions.write(&open, NOW, arrived).await.unwrap()), day - 20);
    tokio::time::advance(DAY - Duration::from_secs(21)).await;
    assert_eq!(age(&sessions.write_or_log(&open, NOW, arrived).await), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    let expired = sessions.write_or_log(&open, NOW, arrived).await;
    assert!(expired.is_empty(), "the browser may have the cookie of a later sign-in: {expired:?}");
}

/// Contract 4.5, 4.15: whether a session fits is decided with the attributes that are written.
#[tokio::test]
async fn a_lasting_session_that_fits_only_without_max_age_leaves_an_access_token_out() {
    let domain =
        Some(format!("{}.example", ["d".repeat(60), "e".repeat(60), "f".repeat(60), "g".repeat(60)].join(".")));
    let settings = Settings { domain, budget: 16_000, persistence: Persistence::On, ..settings() };
    let (sessions, mut lengths) = (sessions(settings).await, Vec::new());
    for size in (10_500..10_900).step_by(5) {
        // `!` is not in base64url, so that a token is as long in the payload as in text.
        let token = |length: usize| Token::from("!".repeat(length));
        let (life, binding, api) = (3_600, None, "graph".to_owned());
        let access_token = AccessToken { api, token: token(400), expires_at: NOW + life, life, binding };
        let session = Session {
            refresh_token: Some(token(size)),
            access_tokens: vec![access_token],
            ..Session::new([1; 16], User::default(), NOW)
        };
        let open = sessions.begin(session, &sessions.known_revocations(), NOW);
        let lines = sessions.start(&open, NOW, Instant::now()).await.unwrap();
        assert!(lines.iter().all(|line| line.len() < 4_096), "{size}");
        lengths.push(lines[..4].iter().map(|line| line.to_str().unwrap().find(';').unwrap()).sum::<usize>());
    }
    let shorter = lengths.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(shorter, 1, "the access token is left out from one size on: {lengths:?}");
}
