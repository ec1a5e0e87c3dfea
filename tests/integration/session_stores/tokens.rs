//! Refreshes over a shared store: the instances of a gateway send one token request (contract 15.10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloakroom::api_map::ApiMap;
use cloakroom::clock::Clock;
use cloakroom::oidc::grants::TokenResponse;
use cloakroom::oidc::id_token::Subject;
use cloakroom::oidc::refresh::{Availability, Refreshed, Scopes};
use cloakroom::secret::{ExposeSecret, Key32, SecretString};
use cloakroom::session::payload::{Session, User};
use cloakroom::session::{Limits, OpenSession};
use cloakroom::tokens::endpoint::TokenEndpoint;
use cloakroom::tokens::{Config, TokenService};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};

use super::places::{Instance, NOW, Place, SharedPlace};

const MAP: &str = r#"{"orders": {"base": "https://orders.example", "allow": ["GET /"], "scopes": ["orders"]}}"#;

/// A token endpoint that takes a second.
#[derive(Debug, Default)]
struct Endpoint(AtomicU64);

impl TokenEndpoint for Endpoint {
    fn refresh<'a>(
        &'a self,
        _refresh_token: &'a SecretString,
        _scopes: Scopes<'a>,
        _resource: Option<&'a str>,
        _subject: Subject<'a>,
        _clock: Clock<'a>,
    ) -> BoxFuture<'a, Refreshed<TokenResponse>> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = Ok(TokenResponse {
            access_token: format!("a{number}").into(),
            life: 3_600,
            refresh_token: None,
            id_token: None,
            scope: None,
        });
        let refreshed =
            Refreshed { refresh_token: Some(format!("r{number}").into()), outcome, availability: Availability::Up };
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            refreshed
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, _refresh_token: &'a SecretString) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }
}

/// The services of one instance.
struct Gateway {
    instance: Instance,
    service: Arc<TokenService>,
}

impl Gateway {
    async fn new(place: &dyn Place, endpoint: &Arc<Endpoint>) -> Self {
        let instance = Instance::new(place).await;
        let day = Duration::from_secs(86_400);
        let limits = Limits { idle: day, max: day, clock_skew: day };
        let apis = Arc::new(ApiMap::parse(MAP).unwrap());
        let sessions = instance.sessions(Arc::clone(&apis), limits);
        let config =
            Config { scopes: vec!["openid".to_owned()], apis, skew: 60, max_in_flight: 90, keep_id_token: false };
        let service = TokenService::new(config, Arc::<Endpoint>::clone(endpoint), Arc::new(sessions));
        Self { instance, service }
    }

    /// A session without an access token; returns its cookie.
    async fn sign_in(&self) -> String {
        let session = Session {
            refresh_token: Some("r0".into()),
            handle: Some(Key32::random()),
            ..Session::new(rand::random(), User::default(), NOW)
        };
        self.instance.store.create(&OpenSession::new(session, NOW + 28_800), NOW).await.unwrap()
    }

    async fn call(&self, open: &OpenSession, now: u64) -> String {
        let token = self.service.for_call(open, "orders", now).await.unwrap();
        token.token.expose_secret().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn two_instances_over_a_shared_store_send_one_token_request() {
    let (place, endpoint) = (SharedPlace::default(), Arc::new(Endpoint::default()));
    let gateways = [Gateway::new(&place, &endpoint).await, Gateway::new(&place, &endpoint).await];
    let cookie = gateways[0].sign_in().await;
    for (round, now) in [(1, NOW), (2, NOW + 3_600)] {
        // Both read the session before either has refreshed it.
        let mut calls = Vec::new();
        for gateway in gateways.iter().cycle().take(10) {
            let open = gateway.instance.load(&cookie, now).await.unwrap();
            calls.push(async move { gateway.call(&open, now).await });
        }
        assert_eq!(join_all(calls).await, vec![format!("a{round}"); 10]);
        assert_eq!(endpoint.0.load(Ordering::SeqCst), round);
    }
}

/// A token request may take 10 s, and its result must be stored before the lock expires.
#[tokio::test(start_paused = true)]
async fn a_lock_that_expires_soon_is_taken_again_before_a_token_request() {
    let (place, endpoint) = (SharedPlace::default(), Arc::new(Endpoint::default()));
    let gateway = Gateway::new(&place, &endpoint).await;
    let cookie = gateway.sign_in().await;
    let open = gateway.instance.load(&cookie, NOW).await.unwrap();
    place.0.delay_next_read(Duration::from_secs(4));
    assert_eq!(gateway.call(&open, NOW).await, "a1");
    assert_eq!((place.0.locked(), endpoint.0.load(Ordering::SeqCst)), (2, 1), "after 4 of its 15 s");
}
