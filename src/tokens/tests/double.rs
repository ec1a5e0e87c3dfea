//! A provider whose refresh tokens are valid once, and whose responses come in any order.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::*;
use crate::oidc::grants::TokenResponse;
use crate::oidc::refresh::Availability;

/// A token endpoint that knows which refresh token of each user comes next: `r.<user>.<number>`.
#[derive(Debug)]
pub(super) struct Double {
    pub(super) next: Mutex<HashMap<String, u64>>,
    pub(super) requests: AtomicU64,
    pub(super) reused: AtomicU64,
    pub(super) revoked: Mutex<Vec<String>>,
    /// Lifetime of its access tokens in seconds.
    pub(super) life: u64,
    /// What it responds instead of tokens.
    pub(super) failure: Mutex<Option<RefreshError>>,
    /// What its responses say about it.
    pub(super) availability: Mutex<Availability>,
    /// The API without consent: the refresh token is rotated all the same.
    pub(super) without_consent: Mutex<Option<&'static str>>,
    /// How long a response takes.
    pub(super) delay: Mutex<Duration>,
    /// One permit for each request that may be answered, if they are held.
    pub(super) held: Option<Semaphore>,
    pub(super) panics: Mutex<bool>,
}

impl Double {
    pub(super) fn new(life: u64) -> Self {
        Self {
            next: Mutex::default(),
            requests: AtomicU64::default(),
            reused: AtomicU64::default(),
            revoked: Mutex::default(),
            life,
            failure: Mutex::default(),
            availability: Mutex::new(Availability::Up),
            without_consent: Mutex::default(),
            delay: Mutex::default(),
            held: None,
            panics: Mutex::default(),
        }
    }

    async fn respond(&self, refresh_token: &str, api: &str) -> Refreshed<TokenResponse> {
        let availability = *self.availability.lock().unwrap();
        let failed = |error| Refreshed { refresh_token: None, outcome: Err(error), availability };
        self.requests.fetch_add(1, Ordering::SeqCst);
        assert!(!*self.panics.lock().unwrap(), "a defect in a refresh");
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some(held) = &self.held {
            held.acquire().await.unwrap().forget();
        }
        if let Some(error) = self.failure.lock().unwrap().clone() {
            return failed(error);
        }
        let mut parts = refresh_token.splitn(3, '.').skip(1).map(str::to_owned);
        let (user, number) = (parts.next().unwrap(), parts.next().unwrap().parse::<u64>().unwrap());
        pause().await;
        let is_next = {
            let mut next = self.next.lock().unwrap();
            let expected = next.entry(user.clone()).or_default();
            let is_next = *expected == number;
            *expected += u64::from(is_next);
            is_next
        };
        if !is_next {
            self.reused.fetch_add(1, Ordering::SeqCst);
            return failed(RefreshError::Expired);
        }
        pause().await;
        let response = TokenResponse {
            access_token: format!("a.{user}.{api}.{number}").into(),
            life: self.life,
            refresh_token: None,
            id_token: None,
            scope: None,
        };
        let outcome = if *self.without_consent.lock().unwrap() == Some(api) {
            Err(RefreshError::ConsentRequired)
        } else {
            Ok(response)
        };
        Refreshed { refresh_token: Some(format!("r.{user}.{}", number + 1).into()), outcome, availability }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn requests_of(&self, user: &str) -> u64 {
        self.next.lock().unwrap().get(user).copied().unwrap_or_default()
    }
}

impl TokenEndpoint for Double {
    fn refresh<'a>(
        &'a self,
        refresh_token: &'a SecretString,
        scopes: Scopes<'a>,
        _resource: Option<&'a str>,
        _subject: Subject<'a>,
        _clock: Clock<'a>,
    ) -> BoxFuture<'a, Refreshed<TokenResponse>> {
        let api = scopes.of_api.first().map_or("", String::as_str);
        self.respond(refresh_token.expose_secret(), api).boxed()
    }

    fn revoke<'a>(&'a self, refresh_token: &'a SecretString) -> BoxFuture<'a, ()> {
        self.revoked.lock().unwrap().push(refresh_token.expose_secret().to_owned());
        futures_util::future::ready(()).boxed()
    }
}

/// Lets others go first, sometimes for long.
pub(super) async fn pause() {
    for _ in 0..rand::random_range(0..8) {
        tokio::task::yield_now().await;
    }
    if rand::random_range(0..200) == 0 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..4))).await;
    }
}
