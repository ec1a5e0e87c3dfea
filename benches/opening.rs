//! The cost of opening a session cookie with many keys in the ring, compared with one key: measured alternately, so
//! that other load of the machine affects both. `cargo dev bench` runs it.
//!
//! The last line is JSON: nanoseconds for an opening with one key and with many, and the median of the rounds' ratios.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a bench that cannot measure should stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::api_map::ApiMap;
use cloakroom::keyring::revocations::RevocationCache;
use cloakroom::keyring::states::Parameters;
use cloakroom::keyring::{
    KeyId, KeySource, NewVersion, Purpose, Ring, SourceFuture, SourceUnavailable, Value, Version,
};
use cloakroom::oidc::discovery::{Authority, Tenants};
use cloakroom::session::configured::Configured;
use cloakroom::session::cookie::{Persistence, SameSite, SessionCookies, Settings};
use cloakroom::session::payload::{AccessToken, Claims, Session, User};
use cloakroom::session::sealer::Sealer;
use cloakroom::session::{Limits, Sessions};
use cloakroom::store::cookie::CookieStore;
use http::{HeaderMap, HeaderValue, header::COOKIE};

/// Keys of the long ring; both rings have as many cookies.
const KEYS: u8 = 64;
/// Rounds of each ring, and openings in a round: short rounds run under the same load.
const ROUNDS: usize = 1_001;
const OPENINGS: usize = 256;
/// The age of the oldest key in seconds; the keys follow each other every minute.
const NOW: u64 = 100_000;
/// The session cookie.
const NAME: &str = "__Host-Http-cloakroom";
/// The provider.
const ISSUER: &str = "https://login.example/";
/// The bytes of the access token.
const TOKEN: usize = 1_600;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, many) = runtime.block_on(async { (Fixture::with(1).await, Fixture::with(KEYS).await) });
    let (mut of_one, mut of_many, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        // The order alternates, so that warm caches favour neither.
        let (first, second) = if round % 2 == 0 { (&one, &many) } else { (&many, &one) };
        let (a, b) = (runtime.block_on(first.round()), runtime.block_on(second.round()));
        let (with_one, with_many) = if round % 2 == 0 { (a, b) } else { (b, a) };
        if round > 0 {
            of_one.push(with_one);
            of_many.push(with_many);
            ratios.push(with_many / with_one);
        }
    }
    let (one, many, ratio) = (median(of_one), median(of_many), median(ratios));
    println!(r#"{{"one_key_ns": {one:.0}, "many_keys_ns": {many:.0}, "keys": {KEYS}, "ratio": {ratio:.4}}}"#);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A ring with all keys fetched, and requests whose cookies are sealed under each of them in turn.
struct Fixture {
    sessions: Sessions,
    requests: Vec<HeaderMap>,
}

impl Fixture {
    async fn with(keys: u8) -> Self {
        let mut requests = Vec::new();
        for number in 0..KEYS {
            // A ring whose newest key is this one seals under it.
            let sealing = sessions(number % keys + 1).await;
            let payload = session(number).encode();
            let sealed =
                sealing.seal(Purpose::Session, NAME, NOW + 1_000, NOW, &payload).await.expect("the ring seals");
            let pair = format!("{NAME}={sealed}");
            requests.push(HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&pair).unwrap())]));
        }
        let fixture = Self { sessions: sessions(keys).await, requests };
        fixture.round().await;
        fixture
    }

    /// Nanoseconds for one opening.
    async fn round(&self) -> f64 {
        let started = Instant::now();
        for request in self.requests.iter().cycle().take(OPENINGS) {
            black_box(self.sessions.open(black_box(request), NOW).await.expect("it opens"));
        }
        started.elapsed().as_secs_f64() * 1e9 / OPENINGS as f64
    }
}

async fn sessions(keys: u8) -> Sessions {
    let parameters = Parameters {
        propagation: Duration::from_secs(30),
        life: Duration::from_secs(60),
        retention: Duration::from_secs(NOW),
    };
    let (source, refresh): (Arc<dyn KeySource>, _) = (Arc::new(Keys(keys)), Duration::from_secs(300));
    let revocations = RevocationCache::new(Arc::clone(&source), 300, refresh);
    let ring = Ring::new(source, parameters, refresh);
    tokio::join!(ring.refresh(NOW), revocations.refresh(NOW));
    let cookies = SessionCookies::new(Settings {
        name: NAME.to_owned(),
        domain: None,
        same_site: SameSite::Strict,
        login_same_site: SameSite::Lax,
        budget: 7_000,
        persistence: Persistence::Off,
    });
    let limits = Limits {
        idle: Duration::from_secs(1_800),
        max: Duration::from_secs(28_800),
        clock_skew: Duration::from_secs(300),
    };
    let client_id = "11111111-2222-3333-4444-555555555555".to_owned();
    let sealer = Arc::new(Sealer::new(ring, client_id, limits.clock_skew.as_secs()));
    let store = Arc::new(CookieStore::new(Arc::clone(&sealer), cookies.clone()));
    let authority = Authority { url: ISSUER.parse().unwrap(), tenants: Tenants::Unchecked };
    Sessions::new(sealer, cookies, limits, Configured::new(authority, Arc::new(apis())), store, revocations)
}

fn apis() -> ApiMap {
    const MAP: &str = r#"{"graph": {"base": "https://graph.example", "allow": ["GET /"], "route": "/graph"}}"#;
    ApiMap::parse(MAP).unwrap()
}

/// A session like those of Entra, with a token of three segments.
fn session(number: u8) -> Session {
    let body = URL_SAFE_NO_PAD.encode((0..TOKEN * 3 / 4).map(|at| (at % 251) as u8 ^ number).collect::<Vec<u8>>());
    let (head, rest) = body.split_at(100);
    let (body, signature) = rest.split_at(rest.len() - 344);
    let claims = Claims { name: Some("Ada Lovelace".to_owned()), ..Claims::default() };
    let user = User { sub: "a subject".to_owned(), claims: claims.into(), ..User::default() };
    Session {
        generation: 1,
        active_at: NOW - 10,
        issuer: Some(ISSUER.to_owned()),
        access_tokens: vec![AccessToken {
            api: "graph".to_owned(),
            token: format!("{head}.{body}.{signature}").into(),
            expires_at: NOW + 3_000,
            life: 3_600,
            binding: apis().get("graph").map(|api| api.binding),
        }],
        ..Session::new([number; 16], user, NOW - 100)
    }
}

/// A key source with so many keys in memory.
#[derive(Debug)]
struct Keys(u8);

impl KeySource for Keys {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        let version = |number: u8| {
            let id = format!("{number:02x}").repeat(16);
            Some(Version {
                kid: KeyId::from_version(&id)?,
                id,
                enabled: true,
                created: 1_000 + 60 * u64::from(number),
                not_before: None,
                expires: None,
                activate_now: false,
            })
        };
        let versions = (0..self.0).filter_map(version).collect();
        Box::pin(async move { Ok(versions) })
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        let number = u8::from_str_radix(&id[..2], 16).unwrap();
        let text = URL_SAFE_NO_PAD.encode([number; 32]).into();
        Box::pin(async move { Ok(Value { text, content_type: None }) })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, _now: u64) -> SourceFuture<'a, String> {
        Box::pin(async { Err(SourceUnavailable("it is read only".to_owned())) })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(async { Err(SourceUnavailable("it is read only".to_owned())) })
    }
}
