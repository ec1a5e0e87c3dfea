//! `/auth/sessions` over the double of a store: what each endpoint responds, and what it checks before (contract 16.1
//! to 16.3).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::auth::Auth;
use cloakroom::config::Config;
use cloakroom::error::Error;
use cloakroom::oidc::Provider;
use cloakroom::places::{Class, Limits as PlaceLimits, Place as RequestPlace, Places, Share};
use cloakroom::reply::Reply;
use cloakroom::secret::Key32;
use cloakroom::session::payload::{Session, User};
use cloakroom::session::user_agent::UserAgent;
use cloakroom::session::{Limits, OpenSession, Sessions};
use cloakroom::tokens::TokenService;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::places::{CookiePlace, Instance, NAME, NOW, Place, SharedPlace};
use super::rules::ISSUER;
use crate::lab::json;

const MAX: u64 = 28_800;
const ORIGIN: &str = "https://app.example.org";

/// The endpoints of one instance.
struct Gateway {
    instance: Instance,
    sessions: Arc<Sessions>,
    auth: Arc<Auth>,
}

/// A browser that signed in.
struct Browser {
    session: OpenSession,
    headers: HeaderMap,
}

impl Browser {
    /// `id` of its session.
    fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.session.session.hash())
    }

    fn without(&self, name: &str) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(name).unwrap();
        headers
    }

    fn with(&self, name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }
}

impl Gateway {
    async fn new(place: &dyn Place) -> Self {
        let vars = [
            ("AUTHORITY", ISSUER),
            ("CLIENT_ID", "client"),
            ("CLIENT_SECRET", "secret"),
            ("ENC_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("PUBLIC_ORIGIN", ORIGIN),
            ("SPA", "none"),
        ];
        let vars = vars.map(|(name, value)| (format!("CLOAKROOM_{name}"), value.to_owned()));
        let config = Config::from_vars(&vars.into_iter().collect()).unwrap();
        let instance = Instance::new(place).await;
        let seconds = Duration::from_secs;
        let limits = Limits { idle: seconds(1_800), max: seconds(MAX), clock_skew: seconds(300) };
        let sessions = Arc::new(instance.sessions(config.apis, limits));
        let provider = Arc::new(Provider::new(config.provider, config.net));
        let tokens = TokenService::new(config.tokens, Arc::<Provider>::clone(&provider), Arc::clone(&sessions));
        let auth = Auth::new(config.auth, provider, Arc::clone(&sessions), tokens, &config.listen.limits);
        Self { instance, sessions, auth }
    }

    async fn sign_in(&self, user: &str, now: u64) -> Browser {
        let user = User { sub: user.to_owned(), ..User::default() };
        let (issuer, handle) = (Some(ISSUER.to_owned()), Some(Key32::random()));
        let new = Session { issuer, handle, ..Session::new(rand::random(), user, now) };
        let mut session = self.sessions.begin(new, &self.sessions.known_revocations(), now);
        session.user_agent = UserAgent::parse(b"Browser/1");
        let cookie = self.instance.store.create(&session, now).await.unwrap();
        let cookie = HeaderValue::from_str(&format!("{NAME}={cookie}")).unwrap();
        let fetch = [("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
        let mut headers: HeaderMap =
            fetch.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).into_iter().collect();
        headers.insert("cookie", cookie);
        Browser { session, headers }
    }

    async fn list(&self, headers: &HeaderMap, now: u64) -> Result<Value, Error> {
        Ok(json(self.auth.list_sessions(&Method::GET, headers, &place(), now).await?).await)
    }

    async fn end(&self, headers: &HeaderMap, id: &str, now: u64) -> Result<Reply, Error> {
        self.auth.end_session(headers, id, &place(), now).await
    }

    async fn end_others(&self, headers: &HeaderMap, now: u64) -> Result<Value, Error> {
        Ok(json(self.auth.end_other_sessions(headers, &place(), now).await?).await)
    }

    async fn is_open(&self, browser: &Browser, now: u64) -> bool {
        self.sessions.open(&browser.headers, now).await.is_ok()
    }

    async fn links(&self, browser: &Browser) -> Value {
        json(self.auth.session(&browser.headers, NOW).await.unwrap()).await["links"].take()
    }

    /// What each of the three endpoints rejects a request with.
    async fn errors(&self, headers: &HeaderMap, id: &str) -> [Option<Error>; 3] {
        let listed = self.list(headers, NOW).await.err();
        [listed, self.end(headers, id, NOW).await.err(), self.end_others(headers, NOW).await.err()]
    }
}

fn place() -> RequestPlace {
    Places::new(&PlaceLimits::default()).arrived(Class::SignIn)
}

/// Contract 16.1, 16.2.
#[tokio::test(start_paused = true)]
async fn the_list_has_times_browser_and_id_of_each_session_newest_first() {
    let shared = SharedPlace::default();
    let (here, there) = (Gateway::new(&shared).await, Gateway::new(&shared).await);
    let older = there.sign_in("ada", NOW - 60).await;
    let newer = here.sign_in("ada", NOW).await;
    let _of_another = here.sign_in("grace", NOW).await;
    let open = there.sessions.open(&older.headers, NOW + 5).await.unwrap();
    there.sessions.write(&open, NOW + 5, Instant::now()).await.unwrap();
    let entry = |browser: &Browser, current: bool, at: u64, active: u64| {
        json!({"id": browser.id(), "current": current, "signed_in_at": at, "last_active_at": active,
            "expires_at": at + MAX, "user_agent": "Browser/1"})
    };
    assert_eq!(
        here.list(&older.headers, NOW + 9).await.unwrap(),
        json!({"sessions": [entry(&newer, false, NOW, NOW), entry(&older, true, NOW - 60, NOW + 5)]})
    );
    assert_eq!(newer.id().len(), 43);
}

/// Contract 16.3: an unknown session and another user's are the same to the caller.
#[tokio::test(start_paused = true)]
async fn a_user_ends_own_sessions_only() {
    let shared = SharedPlace::default();
    let (here, there) = (Gateway::new(&shared).await, Gateway::new(&shared).await);
    let (own, other) = (here.sign_in("ada", NOW).await, there.sign_in("ada", NOW).await);
    let of_another = here.sign_in("grace", NOW).await;
    let unknown = URL_SAFE_NO_PAD.encode([7; 32]);
    for id in [&*of_another.id(), &unknown, "x", &own.id()[1..], &format!("{}=", own.id())] {
        assert_eq!(here.end(&own.headers, id, NOW).await.unwrap_err(), Error::RouteDenied, "{id}");
    }
    assert!(here.is_open(&of_another, NOW).await);
    let reply = here.end(&own.headers, &other.id(), NOW).await.unwrap();
    assert_eq!(reply.status(), 204);
    assert!(!there.is_open(&other, NOW).await && here.is_open(&own, NOW).await);
    let reply = here.end(&own.headers, &own.id(), NOW).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers().contains_key("set-cookie")), (204, false), "contract 4.18");
    assert!(!here.is_open(&own, NOW).await);
}

/// Contract 16.3.
#[tokio::test(start_paused = true)]
async fn a_user_ends_all_other_sessions_at_once() {
    let gateway = Gateway::new(&SharedPlace::default()).await;
    let own = gateway.sign_in("ada", NOW).await;
    let others = [gateway.sign_in("ada", NOW).await, gateway.sign_in("ada", NOW).await];
    let of_another = gateway.sign_in("grace", NOW).await;
    assert_eq!(gateway.end_others(&own.headers, NOW).await.unwrap(), json!({"ended": 2}));
    assert_eq!(gateway.end_others(&own.headers, NOW).await.unwrap(), json!({"ended": 0}));
    assert!(gateway.is_open(&own, NOW).await && gateway.is_open(&of_another, NOW).await);
    for other in &others {
        assert!(!gateway.is_open(other, NOW).await);
    }
}

/// Contract 8.7, 9.1.
#[tokio::test(start_paused = true)]
async fn each_endpoint_needs_the_csrf_header_and_a_session_and_says_what_is_down() {
    let shared = SharedPlace::default();
    let gateway = Gateway::new(&shared).await;
    let (own, other) = (gateway.sign_in("ada", NOW).await, gateway.sign_in("ada", NOW).await);
    let damaged = own.with("cookie", "__Host-Http-cloakroom=x");
    shared.set_down(true);
    for (headers, error) in [
        (own.without("x-csrf"), Error::CsrfFailed),
        (own.with("sec-fetch-site", "cross-site"), Error::OriginDenied),
        (own.with("origin", "https://evil.example"), Error::OriginDenied),
        (own.without("cookie"), Error::SessionMissing),
        (damaged, Error::SessionExpired),
        (own.headers.clone(), Error::StoreUnavailable),
    ] {
        let errors = gateway.errors(&headers, &other.id()).await;
        assert_eq!(errors, [(); 3].map(|()| Some(error.clone())), "{headers:?}");
    }
    shared.set_down(false);
    shared.0.let_end_all_fail(true);
    let errors = gateway.errors(&own.headers, &other.id()).await;
    assert_eq!(errors, [None, Some(Error::StoreUnavailable), Some(Error::StoreUnavailable)]);
    shared.0.let_end_all_fail(false);
    assert!(gateway.is_open(&other, NOW).await, "none of them ended it");
}

/// Contract 16.1.
#[tokio::test(start_paused = true)]
async fn the_link_is_there_only_where_it_works() {
    let gateway = Gateway::new(&SharedPlace::default()).await;
    let links = gateway.links(&gateway.sign_in("ada", NOW).await).await;
    assert_eq!(links["sessions"], "/auth/sessions");
    let gateway = Gateway::new(&CookiePlace).await;
    let own = gateway.sign_in("ada", NOW).await;
    let links = gateway.links(&own).await;
    assert_eq!((links.get("sessions"), &links["refresh"]), (None, &json!("/auth/refresh")));
    assert_eq!(gateway.errors(&own.headers, &own.id()).await, [(); 3].map(|()| Some(Error::RouteDenied)));
}

/// Contract 10.20.
#[tokio::test(start_paused = true)]
async fn each_endpoint_counts_for_its_user() {
    let gateway = Gateway::new(&SharedPlace::default()).await;
    let (ada, grace) = (gateway.sign_in("ada", NOW).await, gateway.sign_in("grace", NOW).await);
    let one = Share { held: 1, waiting: 0 };
    let places = Places::new(&PlaceLimits { user: one, ..PlaceLimits::default() });
    let arrived = || places.arrived(Class::SignIn);
    let in_flight = arrived();
    in_flight.enter_as(&ada.session.session).await.unwrap();
    let errors = [
        gateway.auth.list_sessions(&Method::GET, &ada.headers, &arrived(), NOW).await.err(),
        gateway.auth.end_session(&ada.headers, &ada.id(), &arrived(), NOW).await.err(),
        gateway.auth.end_other_sessions(&ada.headers, &arrived(), NOW).await.err(),
    ];
    assert_eq!(errors, [(); 3].map(|()| Some(Error::Overloaded)));
    assert!(gateway.auth.list_sessions(&Method::GET, &grace.headers, &arrived(), NOW).await.is_ok());
}
