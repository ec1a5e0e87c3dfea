//! Times are passed in: no test waits for a token to expire.

mod double;
mod outage;

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::*;
use crate::keyring::revocations::RevocationCache;
use crate::keyring::states::Parameters;
use crate::keyring::static_key::StaticKey;
use crate::keyring::{KeySource, Ring};
use crate::secret::{ExposeSecret, Key32};
use crate::session::configured::Configured;
use crate::session::payload::User;
use crate::session::sealer::Sealer;
use crate::session::{Limits, cookie};
use crate::store::cookie::CookieStore;
use double::{Double, pause};

const NOW: UnixSeconds = 1_800_000_000;
const HOUR: u64 = 3_600;
const MAP: &str = r#"{
    "one": {"base": "https://one.example", "allow": ["GET /"], "scopes": ["one"]},
    "two": {"base": "https://two.example", "allow": ["GET /"], "scopes": ["two"]}
}"#;
const APIS: [&str; 2] = ["one", "two"];

fn service(double: Double) -> (Arc<TokenService>, Arc<Double>) {
    let (service, double, _) = service_and_ring(double);
    (service, double)
}

fn service_and_ring(double: Double) -> (Arc<TokenService>, Arc<Double>, Arc<Ring>) {
    let day = Duration::from_secs(86_400);
    let parameters = Parameters { propagation: day, life: day, retention: day };
    let source: Arc<dyn KeySource> = Arc::new(StaticKey::new(&Key32::new([7; 32])));
    let revocations = RevocationCache::new(Arc::clone(&source), 300, day);
    // A static key holds no list, so that there is nothing to wait for.
    assert!(revocations.refresh(NOW).now_or_never().is_some());
    let ring = Ring::new(source, parameters, day);
    let cookies = cookie::SessionCookies::new(cookie::Settings {
        name: "__Host-Http-x".to_owned(),
        domain: None,
        same_site: cookie::SameSite::Strict,
        login_same_site: cookie::SameSite::Lax,
        budget: 7_000,
        persistence: cookie::Persistence::Off,
    });
    let limits = Limits { idle: day, max: day, clock_skew: Duration::from_secs(300) };
    let sealer = Arc::new(Sealer::new(Arc::clone(&ring), "client".to_owned(), 300));
    let store = Arc::new(CookieStore::new(Arc::clone(&sealer), cookies.clone()));
    let apis = Arc::new(ApiMap::parse(MAP).unwrap());
    let configured = Configured::with(Arc::clone(&apis));
    let sessions = Arc::new(Sessions::new(sealer, cookies, limits, configured, store, revocations));
    let config = Config { scopes: vec!["openid".to_owned()], apis, skew: 60, max_in_flight: 90, keep_id_token: false };
    let double = Arc::new(double);
    (TokenService::new(config, Arc::<Double>::clone(&double), sessions), double, ring)
}

/// A cookie as the sign-in wrote it: every tab that sends it lacks the newer tokens.
fn signed_in(user: &str) -> OpenSession {
    let who = User { sub: user.to_owned(), ..User::default() };
    let session = Session {
        refresh_token: Some(format!("r.{user}.0").as_str().into()),
        ..Session::new(rand::random(), who, NOW)
    };
    OpenSession::new(session, NOW + 86_400)
}

/// The same with an access token for `one` that expires so many seconds after [`NOW`].
fn with_token(user: &str, life: u64) -> OpenSession {
    let mut open = signed_in(user);
    let (api, token) = ("one".to_owned(), "a.first".into());
    let binding = ApiMap::parse(MAP).unwrap().get(&api).map(|api| api.binding);
    open.session.put_access_token(AccessToken { api, token, expires_at: NOW + life, life, binding });
    open
}

/// The token of a call, and whether it is new.
async fn call(service: &Arc<TokenService>, open: &OpenSession, now: UnixSeconds) -> Result<(String, bool), Error> {
    let token = service.for_call(open, "one", now).await?;
    Ok((token.token.expose_secret().to_owned(), matches!(token, Cow::Owned(_))))
}

fn new(token: &str) -> Result<(String, bool), Error> {
    Ok((token.to_owned(), true))
}

/// One tab that calls until so many refresh tokens of its user were used.
async fn tab(service: Arc<TokenService>, double: Arc<Double>, open: OpenSession, requests: u64) {
    let user = open.session.user.sub.clone();
    while double.requests_of(&user) < requests {
        let api = APIS[usize::from(rand::random::<bool>())];
        pause().await;
        let token = service.for_call(&open, api, NOW).await.unwrap();
        let text = token.token.expose_secret();
        assert!(text.starts_with(&format!("a.{user}.{api}.")), "{user} got {text} for {api}");
        assert!(matches!(token, Cow::Owned(_)), "new");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_20_000_interleaved_refreshes_no_user_gets_anothers_token_and_no_refresh_token_is_used_twice() {
    let (service, double) = service(Double::new(0));
    let mut tabs = Vec::new();
    for user in ["ada", "grace"] {
        let open = signed_in(user);
        for _ in 0..3 {
            tabs.push(tokio::spawn(tab(Arc::clone(&service), Arc::clone(&double), open.clone(), 10_000)));
        }
    }
    for tab in tabs {
        tab.await.unwrap();
    }
    assert!(double.requests() >= 20_000);
    assert_eq!(double.reused.load(Ordering::SeqCst), 0);
    assert!(service.in_flight.is_empty(), "a refresh that has ended is removed");
}

/// Contract 7.28. A parallel call that opened the session before the rejection must not write the token again.
#[tokio::test]
async fn a_token_rejected_by_a_claims_challenge_is_not_written_again() {
    let (instance, _, ring) = service_and_ring(Double::new(0));
    let (another, _) = service(Double::new(0));
    ring.refresh(NOW).await;
    let (open, parallel) = {
        let open = with_token("ada", HOUR);
        (open.clone(), open)
    };
    let held = |open: &OpenSession| open.session.access_token("one", NOW).is_some();
    let before =
        another.sessions.open(&cookies(&instance.sessions.write(&open, NOW, Instant::now()).await.unwrap()), NOW).await;
    assert!(held(&before.unwrap()));
    let token = open.session.access_token("one", NOW).unwrap().clone();
    let required = Requirement { claims: Some("{}".to_owned()), ..Requirement::default() };
    let _ = instance.on_challenge(&open, token, required, NOW).await;
    let (sessions, arrived) = (&instance.sessions, Instant::now());
    for lines in [sessions.write(&parallel, NOW, arrived).await, sessions.start(&parallel, NOW, arrived).await] {
        let written = another.sessions.open(&cookies(&lines.unwrap()), NOW).await.unwrap();
        assert!(!held(&written));
    }
}

/// The `Cookie` header of a browser that got these lines.
fn cookies(lines: &[http::HeaderValue]) -> http::HeaderMap {
    let pair = |line: &http::HeaderValue| line.to_str().unwrap().split(';').next().unwrap().to_owned();
    let pairs: Vec<String> = lines.iter().map(pair).filter(|pair| !pair.ends_with('=')).collect();
    http::HeaderMap::from_iter([(http::header::COOKIE, pairs.join("; ").parse().unwrap())])
}

#[tokio::test]
async fn many_calls_with_an_expired_token_send_one_token_request() {
    let (service, double) = service(Double::new(HOUR));
    let open = with_token("ada", 10);
    assert_eq!(call(&service, &open, NOW).await, Ok(("a.first".to_owned(), false)));
    let calls = join_all((0..45).map(|_| call(&service, &open, NOW + 11))).await;
    assert!(calls.iter().all(|outcome| *outcome == new("a.ada.one.0")), "{calls:?}");
    assert_eq!(double.requests(), 1);
    // A call that opened the same cookie before the refresh ended.
    assert_eq!(call(&service, &open, NOW + 12).await, new("a.ada.one.0"));
    assert_eq!(double.requests(), 1);
}

#[tokio::test]
async fn a_cached_token_is_used_for_a_minute_and_while_it_is_fresh() {
    let (service, double) = service(Double::new(HOUR));
    let open = signed_in("ada");
    assert_eq!(call(&service, &open, NOW).await, new("a.ada.one.0"));
    assert_eq!(call(&service, &open, NOW + 59).await, new("a.ada.one.0"));
    assert_eq!(call(&service, &open, NOW + 60).await, new("a.ada.one.1"));
    let token = service.for_call(&open, "one", NOW + 60).await.unwrap().into_owned();
    service.on_unauthorized(&open, &token);
    assert_eq!(call(&service, &open, NOW + 61).await, new("a.ada.one.2"), "its API rejected the cached one");
    assert_eq!(double.requests(), 3);
}

/// Contract 7.13.
#[tokio::test(start_paused = true)]
async fn a_refresh_on_demand_joins_one_in_flight_and_uses_no_older_result() {
    let (service, double) = service(Double::new(HOUR));
    let open = with_token("ada", 10);
    for requests in 1..=2 {
        service.refresh_all(&open, NOW).await.unwrap();
        assert_eq!(double.requests(), requests);
    }
    *double.delay.lock().unwrap() = Duration::from_secs(1);
    let call = call(&service, &open, NOW + 100);
    let (called, refreshed) = tokio::join!(call, service.refresh_all(&open, NOW + 100));
    assert_eq!((called, refreshed), (new("a.ada.one.2"), Ok(())));
    assert_eq!(double.requests(), 3);
}

/// The first call finds a token that another one has just stored: no request is sent, and who joins it needs one.
#[tokio::test]
async fn a_refresh_on_demand_does_not_share_a_token_that_was_found() {
    let (service, double) = service(Double::new(HOUR));
    let open = with_token("ada", 10);
    call(&service, &open, NOW + 11).await.unwrap();
    let lock = service.sessions.lock_refresh(&open).await.unwrap();
    let (called, refreshed, ()) =
        tokio::join!(call(&service, &open, NOW + 11), service.refresh_all(&open, NOW + 11), async { drop(lock) });
    assert_eq!((called, refreshed), (new("a.ada.one.0"), Ok(())));
    assert_eq!(double.requests(), 2);
}

/// Contract 7.16, 7.17.
#[tokio::test(start_paused = true)]
async fn a_valid_token_is_used_when_the_refresh_fails_or_takes_too_long() {
    let (service, double) = service(Double::new(HOUR));
    let open = with_token("ada", 100);
    *double.failure.lock().unwrap() = Some(RefreshError::Unavailable);
    assert_eq!(call(&service, &open, NOW + 99).await, Ok(("a.first".to_owned(), false)));
    assert_eq!(call(&service, &open, NOW + 100).await, Err(Error::ProviderUnavailable));
    assert_eq!(
        service.refresh_all(&open, NOW + 99).await,
        Err(Error::ProviderUnavailable),
        "the caller gets the reason"
    );
    *double.failure.lock().unwrap() = None;
    *double.delay.lock().unwrap() = Duration::from_secs(9);
    let (requests, begun) = (double.requests(), Instant::now());
    assert_eq!(call(&service, &open, NOW + 60).await, Ok(("a.first".to_owned(), false)));
    assert_eq!(begun.elapsed(), WAIT_WHILE_VALID);
    // The request continues, and its result is stored (contract 7.18).
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(call(&service, &open, NOW + 70).await, new("a.ada.one.0"));
    assert_eq!(double.requests(), requests + 1);
}

/// Contract 7.16, 7.17.
#[tokio::test(start_paused = true)]
async fn a_token_that_expires_while_a_call_waits_for_another_is_not_used() {
    let (service, double) = service(Double::new(HOUR));
    let open = with_token("ada", 100);
    *double.delay.lock().unwrap() = Duration::from_secs(3);
    assert_eq!(call(&service, &open, NOW + 99).await, new("a.ada.one.0"), "the call waits on");
    let (service, double) = self::service(Double::new(HOUR));
    *double.failure.lock().unwrap() = Some(RefreshError::Unavailable);
    *double.delay.lock().unwrap() = Duration::from_millis(1_500);
    assert_eq!(call(&service, &open, NOW + 99).await, Err(Error::ProviderUnavailable));
}

/// Contract 7.18.
#[tokio::test(start_paused = true)]
async fn a_token_request_does_not_end_with_the_call_that_caused_it() {
    let (service, double) = service(Double::new(HOUR));
    let open = signed_in("ada");
    *double.delay.lock().unwrap() = Duration::from_secs(5);
    let leaving = tokio::time::timeout(Duration::from_secs(1), call(&service, &open, NOW)).await;
    assert!(leaving.is_err());
    assert_eq!(call(&service, &open, NOW + 1).await, new("a.ada.one.0"));
    assert_eq!(double.requests(), 1);
}

/// The lifetime of a token counts from the request, however long the request waited for its turn.
#[tokio::test(start_paused = true)]
async fn time_passes_while_a_refresh_waits() {
    let (service, double) = service(Double::new(HOUR));
    let open = signed_in("ada");
    *double.delay.lock().unwrap() = Duration::from_secs(9);
    let (first, second) = tokio::join!(service.for_call(&open, "one", NOW), service.for_call(&open, "two", NOW));
    assert_eq!(first.unwrap().expires_at, NOW + HOUR);
    assert_eq!(second.unwrap().expires_at, NOW + HOUR + 9);
    assert_eq!(double.requests(), 2);
}

#[tokio::test]
async fn a_panic_in_a_refresh_ends_that_refresh_only() {
    let (service, double) = service(Double::new(HOUR));
    let open = signed_in("ada");
    *double.panics.lock().unwrap() = true;
    let calls = join_all((0..3).map(|_| call(&service, &open, NOW))).await;
    assert_eq!(calls, [Err(Error::Internal), Err(Error::Internal), Err(Error::Internal)]);
    assert!(service.in_flight.is_empty());
    double.panics.clear_poison();
    *double.panics.lock().unwrap() = false;
    assert_eq!(call(&service, &open, NOW).await, new("a.ada.one.0"));
}

#[tokio::test]
async fn a_session_that_ends_before_its_token_request_gets_no_token() {
    let (service, double) = service(Double::new(HOUR));
    let open = signed_in("ada");
    let lock = service.sessions.lock_refresh(&open).await.unwrap();
    let ends = async {
        service.sessions.end(&open.key(), NOW).await;
        drop(lock);
    };
    let (called, ()) = tokio::join!(call(&service, &open, NOW), ends);
    assert_eq!(called, Err(Error::SessionExpired));
    assert_eq!(double.requests(), 0);
    assert!(service.in_flight.is_empty());
}

#[tokio::test]
async fn tokens_that_come_for_a_session_that_has_ended_are_revoked() {
    // Without an access token, and with one that is still valid.
    for open in [signed_in("ada"), with_token("ada", 10)] {
        let (service, double) = service(Double { held: Some(Semaphore::new(0)), ..Double::new(HOUR) });
        let ends = async {
            while double.requests() == 0 {
                tokio::task::yield_now().await;
            }
            service.sessions.end(&open.key(), NOW).await;
            double.held.as_ref().unwrap().add_permits(1);
        };
        let (called, ()) = tokio::join!(call(&service, &open, NOW + 9), ends);
        assert_eq!(called, Err(Error::SessionExpired));
        while double.revoked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*double.revoked.lock().unwrap(), ["r.ada.1"], "the sign-out could revoke r.ada.0 only");
    }
}

/// Contract 7.15.
#[tokio::test]
async fn a_refresh_token_that_was_rejected_is_not_sent_again() {
    let (service, double) = service(Double::new(HOUR));
    let open = with_token("ada", 10);
    *double.failure.lock().unwrap() = Some(RefreshError::Expired);
    assert_eq!(service.status(&open, "one", NOW), Status::Ok);
    for _ in 0..3 {
        assert_eq!(call(&service, &open, NOW + 11).await, Err(Error::SessionExpired));
        assert_eq!(service.refresh_all(&open, NOW + 11).await, Err(Error::SessionExpired));
    }
    assert_eq!(double.requests(), 1);
    assert_eq!(service.status(&open, "one", NOW + 11), Status::Expired);
}

#[tokio::test]
async fn a_scope_that_was_not_granted_costs_no_refresh_token() {
    let (service, double) = service(Double::new(HOUR));
    let open = signed_in("ada");
    *double.without_consent.lock().unwrap() = Some("two");
    let error = service.for_call(&open, "two", NOW).await.unwrap_err();
    assert_eq!(error, Error::ConsentRequired("/auth/login?api=two".into()));
    assert_eq!(service.status(&open, "two", NOW), Status::Requires(RequiredInteraction::Consent));
    assert!(service.for_call(&open, "one", NOW).await.is_ok(), "the rotated refresh token was kept");
    *double.without_consent.lock().unwrap() = None;
    assert!(service.for_call(&open, "two", NOW).await.is_ok());
    assert_eq!(service.status(&open, "two", NOW), Status::Ok);
    assert_eq!(double.reused.load(Ordering::SeqCst), 0);
}

/// Kilobytes of memory that this process has in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: cargo dev soak refreshes"]
async fn memory_does_not_grow_over_100_000_refreshes() {
    let (service, double) = service(Double::new(0));
    let users: Vec<OpenSession> = (0..1_000).map(|number| signed_in(&format!("user-{number}"))).collect();
    let mut figures = Vec::new();
    for rounds in [20, 100] {
        let tabs = users.chunks(125).map(|users| {
            let (service, double, users) = (Arc::clone(&service), Arc::clone(&double), users.to_vec());
            tokio::spawn(async move {
                for open in users {
                    tab(Arc::clone(&service), Arc::clone(&double), open, rounds).await;
                }
            })
        });
        for tab in tabs.collect::<Vec<_>>() {
            tab.await.unwrap();
        }
        figures.push((double.requests(), resident()));
    }
    let [(first, before), (last, after)] = figures[..] else { unreachable!() };
    println!("figure\tmemory after {first} refreshes\t{before} kB\t-");
    println!("figure\tmemory after {last} refreshes\t{after} kB\t-");
    assert!(last >= 100_000);
    assert!(after < before + 4_096, "{before} kB, then {after} kB");
    assert!(service.in_flight.is_empty());
}
