//! The provider: its metadata and signing keys, loaded in the background and cached through an outage, and sign-ins.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::claims::{self, ClaimsProfile, Context, TokenError};
use super::client::Client;
use super::discovery::{Authority, Metadata};
use super::grants::{self, CodeExchange, TokenResponse};
use super::http::{self, RequestError};
use super::id_token::{IdToken, SignIn};
use super::members::Members;
use crate::clock::Clock;
use crate::jose::{JwtError, KeySet};
use crate::net::OutboundClients;
use crate::secret::{ExposeSecret, SecretString};
use crate::telemetry::loggable_code;

/// Interval between loads of metadata and keys.
const REFRESH: Duration = Duration::from_secs(3_600);
/// Shortest pause between attempts after a failure.
const BACKOFF_START: Duration = Duration::from_millis(250);
/// Longest pause between attempts before the first success.
const BACKOFF_LIMIT: Duration = Duration::from_secs(4);
/// Longest pause between attempts after the first success.
const OUTAGE_BACKOFF_LIMIT: Duration = Duration::from_secs(120);
/// Deadline for the metadata, and for the keys.
const DOCUMENT: Duration = Duration::from_secs(5);
/// Shortest interval between loads of the keys because of an unknown key id (contract 7.1).
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(60);
/// Shortest interval between attempts that requests cause before the first success.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Config {
    pub authority: Authority,
    pub client: Client,
    /// Tolerance for the provider's clock, in seconds.
    pub clock_skew: u64,
}

/// The metadata was never loaded and cannot be loaded now. The reason was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// Why a sign-in failed. The reason was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInError {
    /// The provider rejected the code, or its ID token is invalid.
    Failed,
    /// The provider has too many requests; further ones must wait this long.
    RateLimited(Duration),
    TenantDenied,
    Unavailable,
}

#[derive(Debug)]
pub struct Provider {
    config: Config,
    net: Arc<OutboundClients>,
    cache: RwLock<ProviderCache>,
    /// Held while metadata or keys are loaded, so that concurrent requests cause one load.
    loading: Mutex<()>,
}

#[derive(Debug, Default)]
struct ProviderCache {
    metadata: Option<Arc<Metadata>>,
    keys: Option<Arc<KeySet>>,
    attempted_at: Option<Instant>,
    /// When a request last attempted to load the keys alone.
    keys_attempted_at: Option<Instant>,
    /// When the keys were last loaded because of an unknown key id, and whether that succeeded.
    unknown_key_load: Option<(Instant, bool)>,
    is_down: bool,
}

impl Provider {
    /// A provider without metadata and keys; nothing is loaded yet.
    #[must_use]
    pub fn new(config: Config, net: Arc<OutboundClients>) -> Self {
        Self { config, net, cache: RwLock::default(), loading: Mutex::default() }
    }

    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.config.client.id
    }

    pub(super) const fn clock_skew(&self) -> u64 {
        self.config.clock_skew
    }

    /// Whether `iss` is the provider, for a tenant that may sign in.
    #[must_use]
    pub fn is_issuer(&self, metadata: &Metadata, iss: &str) -> bool {
        self.config.authority.accepts_issuer(metadata, iss)
    }

    pub(super) const fn client(&self) -> &Client {
        &self.config.client
    }

    pub(super) fn http(&self) -> Option<&reqwest::Client> {
        self.net.http()
    }

    /// Whether the metadata was loaded once. A later outage does not change it.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.read(|cache| cache.metadata.is_some())
    }

    /// Whether the last load failed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.read(|cache| cache.is_down)
    }

    /// The metadata, if it was loaded. Sends no request.
    #[must_use]
    pub fn cached_metadata(&self) -> Option<Arc<Metadata>> {
        self.read(|cache| cache.metadata.clone())
    }

    /// The metadata, which is loaded now if it never was. After a failure no request waits for the attempt of another.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, Unavailable> {
        if let Some(metadata) = self.cached_metadata() {
            return Ok(metadata);
        }
        if self.is_down() && self.loading.try_lock().is_err() {
            // Requests that waited for each further attempt would hold the places of all sign-ins and sign-outs.
            return Err(Unavailable);
        }
        let _guard = self.loading.lock().await;
        if !self.read(|cache| cache.attempted_at.is_some_and(|at| at.elapsed() < ATTEMPT_PAUSE)) {
            self.load().await;
        }
        self.cached_metadata().ok_or(Unavailable)
    }

    /// Loads metadata and keys at intervals, without end. After a failure the cached ones stay in use.
    pub async fn keep_fresh(&self) {
        let mut backoff = BACKOFF_START;
        loop {
            {
                let _guard = self.loading.lock().await;
                self.load().await;
            }
            let complete = self.read(|cache| cache.metadata.is_some() && cache.keys.is_some() && !cache.is_down);
            let pause = if complete {
                backoff = BACKOFF_START;
                REFRESH.mul_f64(rand::random_range(0.8..=1.0))
            } else {
                // After the first success sign-ins work with the cached metadata, so frequent attempts would only
                // fill the log.
                let limit = if self.was_ready() { OUTAGE_BACKOFF_LIMIT } else { BACKOFF_LIMIT };
                backoff = limit.min(backoff * 2);
                backoff
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Exchanges a code and verifies the ID token.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(
        &self,
        exchange: &CodeExchange<'_>,
        nonce: &str,
        clock: Clock<'_>,
    ) -> Result<(TokenResponse, IdToken), SignInError> {
        let metadata = self.metadata().await.map_err(|Unavailable| SignInError::Unavailable)?;
        // Without keys the ID token could not be verified, and the code would be used up.
        self.keys(&metadata).await.ok_or(SignInError::Unavailable)?;
        let http = self.net.http().ok_or(SignInError::Unavailable)?;
        let tokens = grants::exchange_code(http, &metadata, &self.config.client, exchange)
            .await
            .map_err(|error| code_exchange_error(&error))?;
        match self.verify_sign_in(&metadata, &tokens, nonce, clock).await {
            Ok(claims) => Ok((tokens, claims)),
            Err(error) => {
                tracing::warn!(reason = %error, "the ID token of a sign-in is rejected");
                Err(match error {
                    TokenError::Tenant => SignInError::TenantDenied,
                    TokenError::KeysUnavailable => SignInError::Unavailable,
                    _ => SignInError::Failed,
                })
            }
        }
    }

    async fn verify_sign_in(
        &self,
        metadata: &Metadata,
        tokens: &TokenResponse,
        nonce: &str,
        clock: Clock<'_>,
    ) -> Result<IdToken, TokenError> {
        let id_token = tokens.id_token.as_ref().ok_or(TokenError::Malformed("id_token"))?;
        let profile = SignIn { nonce, access_token: tokens.access_token.expose_secret() };
        self.verify(metadata, id_token, &profile, clock).await
    }

    /// Revokes a refresh token, where the provider has an endpoint for that. A failure is logged.
    pub async fn revoke(&self, refresh_token: &SecretString) {
        let (Ok(metadata), Some(http)) = (self.metadata().await, self.net.http()) else {
            tracing::warn!("the refresh token could not be revoked: the provider's metadata is not loaded");
            return;
        };
        if let Err(problem) = grants::revoke(http, &metadata, &self.config.client, refresh_token).await {
            tracing::warn!(%problem, "the refresh token could not be revoked");
        }
    }

    /// Verifies a token that the provider signed; loads the keys again if it names an unknown one.
    pub(super) async fn verify<P: ClaimsProfile>(
        &self,
        metadata: &Metadata,
        token: &SecretString,
        profile: &P,
        clock: Clock<'_>,
    ) -> Result<P::Claims, TokenError> {
        let verify = |keys: &KeySet| {
            let context = Context {
                authority: &self.config.authority,
                metadata,
                client_id: &self.config.client.id,
                now: clock(),
                clock_skew: self.config.clock_skew,
            };
            claims::verify(token.expose_secret(), keys, profile, &context)
        };
        let keys = self.keys(metadata).await.ok_or(TokenError::KeysUnavailable)?;
        match verify(&keys) {
            Err(TokenError::Jwt(JwtError::UnknownKey)) => verify(&*self.keys_for_unknown(metadata, &keys).await?),
            outcome => outcome,
        }
    }

    /// Loads metadata and keys; what cannot be loaded stays as it was. The caller holds `loading`.
    async fn load(&self) {
        let metadata = self.fetch_metadata().await;
        let keys = match &metadata {
            Some(metadata) => self.fetch_keys(&metadata.jwks_uri).await,
            None => None,
        };
        self.write(|cache| {
            cache.attempted_at = Some(Instant::now());
            cache.is_down = metadata.is_none() || keys.is_none();
            cache.metadata = metadata.map(Arc::new).or_else(|| cache.metadata.take());
            cache.keys = keys.map(Arc::new).or_else(|| cache.keys.take());
        });
    }

    /// The keys, which are loaded now if they never were. Requests that wait for the attempt of another share its
    /// failure.
    async fn keys(&self, metadata: &Metadata) -> Option<Arc<KeySet>> {
        let cached = || self.read(|cache| cache.keys.clone());
        if let Some(keys) = cached() {
            return Some(keys);
        }
        let _guard = self.loading.lock().await;
        let was_attempted = |at: Instant| at.elapsed() < ATTEMPT_PAUSE;
        if cached().is_some() || self.read(|cache| cache.keys_attempted_at.is_some_and(was_attempted)) {
            return cached();
        }
        let keys = self.fetch_keys(&metadata.jwks_uri).await.map(Arc::new);
        self.write(|cache| {
            cache.keys_attempted_at = Some(Instant::now());
            cache.keys.clone_from(&keys);
        });
        keys
    }

    /// Keys that are newer than `seen`, which lacks the key that a token names: loaded again for that at most once a
    /// minute.
    ///
    /// # Errors
    /// [`TokenError::KeyUndecided`]: it was done within the last minute. [`TokenError::KeysUnavailable`]: it failed.
    async fn keys_for_unknown(&self, metadata: &Metadata, seen: &Arc<KeySet>) -> Result<Arc<KeySet>, TokenError> {
        let _guard = self.loading.lock().await;
        let current = self.read(|cache| cache.keys.clone()).unwrap_or_else(|| Arc::clone(seen));
        if !Arc::ptr_eq(&current, seen) {
            return Ok(current);
        }
        let recent = self.read(|cache| cache.unknown_key_load.filter(|(at, _)| at.elapsed() < UNKNOWN_KEY_PAUSE));
        if let Some((_, succeeded)) = recent {
            return Err(if succeeded { TokenError::KeyUndecided } else { TokenError::KeysUnavailable });
        }
        let keys = self.fetch_keys(&metadata.jwks_uri).await.map(Arc::new);
        self.write(|cache| {
            cache.unknown_key_load = Some((Instant::now(), keys.is_some()));
            cache.keys = keys.clone().or_else(|| cache.keys.take());
        });
        keys.ok_or(TokenError::KeysUnavailable)
    }

    async fn fetch_metadata(&self) -> Option<Metadata> {
        let url = self.config.authority.discovery_url();
        let fetched = self.document(&url).await.and_then(|document| {
            let metadata = Metadata::read(document)?;
            self.config.authority.validate(&metadata).map(|()| metadata)
        });
        fetched
            .inspect_err(|problem| tracing::error!(%url, %problem, "the provider's metadata could not be loaded"))
            .ok()
    }

    async fn fetch_keys(&self, url: &Url) -> Option<KeySet> {
        let fetched = self.document(url.as_str()).await.and_then(|mut document| {
            let read = |keys| serde_json::from_value(json!({"keys": keys})).ok();
            let keys: KeySet = document.required("keys", read)?;
            if keys.is_empty() { Err("keys: none is for RS256, PS256 or ES256".to_owned()) } else { Ok(keys) }
        });
        fetched.inspect_err(|problem| tracing::error!(%url, %problem, "the provider's keys could not be loaded")).ok()
    }

    async fn document(&self, url: &str) -> Result<Members, String> {
        let client = self.net.http().ok_or("the HTTP client could not be created")?;
        http::json(client.get(url).timeout(DOCUMENT)).await.map_err(|error| match error {
            RequestError::Rejected(response) => format!("error {}", loggable_code(&response.error)),
            RequestError::RateLimited(_) => "status 429".to_owned(),
            RequestError::Unavailable(problem) | RequestError::Unusable(problem) | RequestError::NotSent(problem) => {
                problem
            }
        })
    }

    fn read<T>(&self, read: impl FnOnce(&ProviderCache) -> T) -> T {
        read(&self.cache.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut ProviderCache) -> T) -> T {
        write(&mut self.cache.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Logs why a code exchange failed.
fn code_exchange_error(error: &RequestError) -> SignInError {
    match error {
        RequestError::Rejected(response) => {
            let is_transient = is_transient(&response.error);
            let meaning = if is_transient { "provider_unavailable" } else { "login_failed" };
            response.warn(meaning, "the provider rejected the code");
            if is_transient { SignInError::Unavailable } else { SignInError::Failed }
        }
        RequestError::RateLimited(pause) => {
            tracing::warn!(pause_s = pause.as_secs(), "the provider rejected a code exchange: too many requests");
            SignInError::RateLimited(*pause)
        }
        RequestError::Unavailable(problem) | RequestError::Unusable(problem) | RequestError::NotSent(problem) => {
            tracing::error!(%problem, "the code could not be exchanged");
            SignInError::Unavailable
        }
    }
}

/// Whether an error code says that the provider itself is unavailable (RFC 6749 section 4.1.2.1).
#[must_use]
pub fn is_transient(error: &str) -> bool {
    matches!(error, "server_error" | "temporarily_unavailable")
}

#[cfg(test)]
mod tests;
