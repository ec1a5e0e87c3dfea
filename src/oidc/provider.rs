//! The provider as the gateway knows it: metadata and keys, loaded in the background, kept when it goes away.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::client::Client;
use super::discovery::{Authority, Metadata};
use super::grants::{self, Code, TokenResponse};
use super::http::{self, Failure};
use super::id_token::{self, Claims, Expected, ExpectedBinding, Fault};
use super::jwks::KeySet;
use crate::clock::{self, UnixSeconds};
use crate::net::OutboundClients;
use crate::secret::SecretString;

/// How often metadata and keys are loaded anew.
const REFRESH: Duration = Duration::from_secs(3_600);
/// Longest pause between attempts while nothing was loaded.
const BACKOFF_LIMIT: Duration = Duration::from_secs(4);
/// Longest pause between attempts once something was loaded.
const OUTAGE_BACKOFF_LIMIT: Duration = Duration::from_secs(120);
/// Deadline of one document.
const DOCUMENT: Duration = Duration::from_secs(5);
/// Least pause between loads of the keys for an unknown key id.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(60);
/// Least pause between attempts that requests make while nothing was loaded.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

/// Which provider, as which client.
#[derive(Debug)]
pub struct Config {
    /// The provider.
    pub authority: Authority,
    /// The client.
    pub client: Client,
    /// Tolerance for its clock, in seconds.
    pub clock_skew: u64,
}

/// The provider is not cache yet, or does not answer. The log has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// Why a sign-in did not yield a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInFault {
    /// The provider refused the code, or its answer does not hold.
    Failed,
    /// A user of a tenant that may not sign in.
    TenantDenied,
    /// The provider is unavailable.
    Unavailable,
}

/// The provider.
#[derive(Debug)]
pub struct Provider {
    config: Config,
    net: Arc<OutboundClients>,
    cache: RwLock<ProviderCache>,
    asking: Mutex<()>,
}

#[derive(Debug, Default)]
struct ProviderCache {
    metadata: Option<Arc<Metadata>>,
    keys: Option<Arc<KeySet>>,
    attempted: Option<Instant>,
    /// When the keys were last loaded for an unknown key id, and whether they came.
    asked_for_unknown_key: Option<(Instant, bool)>,
    is_down: bool,
}

impl Provider {
    /// A provider of which nothing is cache yet.
    #[must_use]
    pub fn new(config: Config, net: Arc<OutboundClients>) -> Self {
        Self { config, net, cache: RwLock::default(), asking: Mutex::default() }
    }

    /// The client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.config.client.id
    }

    /// The client that the gateway is.
    pub(super) const fn client(&self) -> &Client {
        &self.config.client
    }

    /// The HTTP client for exchanges with the provider.
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

    /// The metadata if it was loaded, without asking.
    #[must_use]
    pub fn cached_metadata(&self) -> Option<Arc<Metadata>> {
        self.read(|cache| cache.metadata.clone())
    }

    /// The metadata, loaded now if it never was.
    ///
    /// # Errors
    /// It never was and cannot be.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, Unavailable> {
        if let Some(metadata) = self.cached_metadata() {
            return Ok(metadata);
        }
        let _flight = self.asking.lock().await;
        if !self.read(|cache| cache.attempted.is_some_and(|at| at.elapsed() < ATTEMPT_PAUSE)) {
            self.load().await;
        }
        self.cached_metadata().ok_or(Unavailable)
    }

    /// Keeps metadata and keys fresh for ever. What cannot be had stays as it was.
    pub async fn keep_fresh(&self) {
        let mut backoff = Duration::from_millis(250);
        loop {
            {
                let _flight = self.asking.lock().await;
                self.load().await;
            }
            let complete = self.read(|cache| cache.metadata.is_some() && cache.keys.is_some() && !cache.is_down);
            let pause = if complete {
                backoff = Duration::from_millis(250);
                REFRESH.mul_f64(rand::random_range(0.8..=1.0))
            } else {
                // Once it was cache, sign-ins go on with what is in memory, and the log need not fill.
                let limit = if self.was_ready() { OUTAGE_BACKOFF_LIMIT } else { BACKOFF_LIMIT };
                backoff = limit.min(backoff * 2);
                backoff
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Redeems a code and verifies who signed in.
    ///
    /// # Errors
    /// [`SignInFault`]; the log has more.
    pub async fn sign_in(&self, code: &Code<'_>, nonce: &str) -> Result<(TokenResponse, Claims), SignInFault> {
        let metadata = self.metadata().await.map_err(|Unavailable| SignInFault::Unavailable)?;
        // Keys first: without them the code would be spent for nothing.
        self.keys(&metadata).await.ok_or(SignInFault::Unavailable)?;
        let http = self.net.http().ok_or(SignInFault::Unavailable)?;
        let tokens = grants::redeem_code(http, &metadata, &self.config.client, code).await.map_err(|failure| {
            match failure {
                Failure::Refused(refusal) => {
                    tracing::warn!(error = ?refusal.error, suberror = ?refusal.suberror, "the provider refused the code");
                    if is_transient(&refusal.error) { SignInFault::Unavailable } else { SignInFault::Failed }
                }
                Failure::Unavailable(problem) => {
                    tracing::error!(%problem, "the code could not be redeemed");
                    SignInFault::Unavailable
                }
            }
        })?;
        let claims =
            self.verify(&metadata, &tokens, ExpectedBinding::Login(nonce), clock::now()).await.map_err(|fault| {
                tracing::warn!(?fault, "the ID token is refused");
                match fault {
                    Fault::Tenant => SignInFault::TenantDenied,
                    Fault::KeysUnavailable => SignInFault::Unavailable,
                    _ => SignInFault::Failed,
                }
            })?;
        Ok((tokens, claims))
    }

    /// Revokes a refresh token where the provider can; a failure is logged.
    pub async fn revoke(&self, refresh_token: &SecretString) {
        let (Ok(metadata), Some(http)) = (self.metadata().await, self.net.http()) else {
            tracing::warn!("the refresh token could not be revoked: the provider is not cache yet");
            return;
        };
        if let Err(problem) = grants::revoke(http, &metadata, &self.config.client, refresh_token).await {
            tracing::warn!(%problem, "the refresh token could not be revoked");
        }
    }

    /// Verifies the ID token among new tokens.
    pub(super) async fn verify(
        &self,
        metadata: &Metadata,
        tokens: &TokenResponse,
        tie: ExpectedBinding<'_>,
        now: UnixSeconds,
    ) -> Result<Claims, Fault> {
        use crate::secret::ExposeSecret;
        let token = tokens.id_token.as_ref().ok_or(Fault::Malformed)?.expose_secret();
        let expected = Expected {
            authority: &self.config.authority,
            metadata,
            client_id: &self.config.client.id,
            tie,
            access_token: Some(tokens.access_token.expose_secret()),
            now,
            clock_skew: self.config.clock_skew,
        };
        let keys = self.keys(metadata).await.ok_or(Fault::KeysUnavailable)?;
        match id_token::verify(token, &keys, &expected) {
            Err(Fault::UnknownKey) => {
                let keys = self.keys_for_unknown(metadata, &keys).await.ok_or(Fault::KeysUnavailable)?;
                id_token::verify(token, &keys, &expected)
            }
            verdict => verdict,
        }
    }

    /// Loads the metadata, and the keys if there are none; the caller holds the flight.
    async fn load(&self) {
        let metadata = self.fetch_metadata().await;
        let keys = match &metadata {
            Some(metadata) => self.fetch_keys(&metadata.jwks_uri).await,
            None => None,
        };
        self.write(|cache| {
            cache.attempted = Some(Instant::now());
            cache.is_down = metadata.is_none() || keys.is_none();
            cache.metadata = metadata.map(Arc::new).or_else(|| cache.metadata.take());
            cache.keys = keys.map(Arc::new).or_else(|| cache.keys.take());
        });
    }

    async fn keys(&self, metadata: &Metadata) -> Option<Arc<KeySet>> {
        if let Some(keys) = self.read(|cache| cache.keys.clone()) {
            return Some(keys);
        }
        let _flight = self.asking.lock().await;
        if let Some(keys) = self.read(|cache| cache.keys.clone()) {
            return Some(keys);
        }
        let keys = Arc::new(self.fetch_keys(&metadata.jwks_uri).await?);
        self.write(|cache| cache.keys = Some(Arc::clone(&keys)));
        Some(keys)
    }

    /// The keys loaded anew because a token names an unknown one, at most once a minute. Between two loads those that
    /// came with the last one decide; when it failed, nobody can tell.
    async fn keys_for_unknown(&self, metadata: &Metadata, seen: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let _flight = self.asking.lock().await;
        let current = self.read(|cache| cache.keys.clone()).unwrap_or_else(|| Arc::clone(seen));
        if !Arc::ptr_eq(&current, seen) {
            return Some(current);
        }
        let recent = self.read(|cache| cache.asked_for_unknown_key.filter(|(at, _)| at.elapsed() < UNKNOWN_KEY_PAUSE));
        if let Some((_, came)) = recent {
            return came.then_some(current);
        }
        let fresh = self.fetch_keys(&metadata.jwks_uri).await.map(Arc::new);
        self.write(|cache| {
            cache.asked_for_unknown_key = Some((Instant::now(), fresh.is_some()));
            cache.keys = fresh.clone().or_else(|| cache.keys.take());
        });
        fresh
    }

    async fn fetch_metadata(&self) -> Option<Metadata> {
        let url = self.config.authority.discovery_url();
        let found = match self.document::<Metadata>(&url).await {
            Ok(metadata) => self.config.authority.accept(&metadata).map(|()| metadata),
            Err(problem) => Err(problem),
        };
        found.inspect_err(|problem| tracing::error!(%url, %problem, "the provider's metadata cannot be had")).ok()
    }

    async fn fetch_keys(&self, url: &Url) -> Option<KeySet> {
        let found = self.document(url.as_str()).await;
        let found = found
            .and_then(|keys: KeySet| if keys.is_empty() { Err("no key in it is of use".to_owned()) } else { Ok(keys) });
        found.inspect_err(|problem| tracing::error!(%url, %problem, "the provider's keys cannot be had")).ok()
    }

    async fn document<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let client = self.net.http().ok_or("there is no HTTP client")?;
        http::json(client.get(url).timeout(DOCUMENT)).await.map_err(|failure| match failure {
            Failure::Refused(refusal) => format!("refused: {:?}", refusal.error),
            Failure::Unavailable(problem) => problem,
        })
    }

    fn read<T>(&self, read: impl FnOnce(&ProviderCache) -> T) -> T {
        read(&self.cache.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut ProviderCache) -> T) -> T {
        write(&mut self.cache.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Errors by which a provider says that it is itself unwell (RFC 6749 section 4.1.2.1).
#[must_use]
pub fn is_transient(error: &str) -> bool {
    matches!(error, "server_error" | "temporarily_unavailable")
}
