//! The parts of the gateway, made from its configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::auth::Auth;
use crate::clock;
use crate::config::Config;
use crate::functions::mode::HostModeObserver;
use crate::functions::rotate_keys::RotateKeys;
use crate::guard::origins::Origins;
use crate::keyring::Ring;
use crate::keyring::revocations::RevocationCache;
use crate::keyring::rotate::rotate_hourly;
use crate::listen;
use crate::net::OutboundClients;
use crate::oidc::Provider;
use crate::proxy::forward::Proxy;
use crate::reply::CommonHeaders;
use crate::session::Sessions;
use crate::session::configured::Configured;
use crate::session::cookie::SessionCookies;
use crate::session::sealer::Sealer;
use crate::session::store::SessionStore;
use crate::spa;
use crate::store::StoreConfig;
use crate::store::cookie::CookieStore;
use crate::store::redis::RedisStore;
use crate::store::redis::client::Client as RedisClient;
use crate::telemetry::spawn_blocking;
use crate::tokens::TokenService;

/// The gateway without its socket.
#[derive(Debug)]
pub struct App {
    pub auth: Arc<Auth>,
    pub proxy: Proxy,
    pub ring: Arc<Ring>,
    pub revocations: Arc<RevocationCache>,
    pub sessions: Arc<Sessions>,
    /// `None` if sessions are stored in the cookie.
    pub redis: Option<Arc<RedisClient>>,
    pub rotate_keys: RotateKeys,
    /// Whether the process rotates the keys, since no timer of a host does (contract 17.3).
    rotates: bool,
    pub provider: Arc<Provider>,
    net: Arc<OutboundClients>,
    pub origins: Arc<Origins>,
    /// `None` if the gateway does not serve the SPA.
    pub spa: Option<spa::Spa>,
    pub common_headers: CommonHeaders,
    pub host: HostModeObserver,
    /// What `/health/ready` reports as misconfigured.
    pub misconfigured: Vec<&'static str>,
    pub listen: listen::Config,
    /// Set once the process is to end, while requests are still accepted (contract 17.6).
    stopping: AtomicBool,
}

impl App {
    /// Makes the parts. Nothing is loaded yet.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        match config.store.clone() {
            StoreConfig::Cookie => Self::with_store(config, |sealer, cookies| {
                Arc::new(CookieStore::new(Arc::clone(sealer), cookies.clone()))
            }),
            StoreConfig::Redis(store) => {
                let (prefix, limits, callbacks) =
                    (store.prefix.clone(), config.sessions, config.listen.limits.callbacks);
                let client = RedisClient::new(store, Arc::clone(&config.net));
                Self::assemble(config, Some(Arc::clone(&client)), |sealer, cookies| {
                    Arc::new(RedisStore::new(client, &prefix, Arc::clone(sealer), cookies.name(), limits, callbacks))
                })
            }
        }
    }

    /// The same with another store than the configured one.
    pub fn with_store(
        config: Config,
        store: impl FnOnce(&Arc<Sealer>, &SessionCookies) -> Arc<dyn SessionStore>,
    ) -> Arc<Self> {
        Self::assemble(config, None, store)
    }

    fn assemble(
        config: Config,
        redis: Option<Arc<RedisClient>>,
        store: impl FnOnce(&Arc<Sealer>, &SessionCookies) -> Arc<dyn SessionStore>,
    ) -> Arc<Self> {
        let net = config.net;
        let rotate_keys = RotateKeys::new(Arc::clone(&config.keys.source), config.keys.parameters);
        let rotates = config.listen.is_standalone() && config.keys.rotate && config.keys.source.can_rotate();
        let (source, refresh) = (config.keys.source, config.keys.refresh);
        let revocations = RevocationCache::new(Arc::clone(&source), config.keys.clock_skew, refresh);
        let ring = Ring::new(source, config.keys.parameters, refresh);
        let client_id = config.provider.client.id.clone();
        let sealer = Arc::new(Sealer::new(Arc::clone(&ring), client_id, config.sessions.clock_skew.as_secs()));
        let cookies = SessionCookies::new(config.cookies);
        let store = store(&sealer, &cookies);
        let configured = Configured::new(config.provider.authority.clone(), Arc::clone(&config.apis));
        let sessions =
            Arc::new(Sessions::new(sealer, cookies, config.sessions, configured, store, Arc::clone(&revocations)));
        let provider = Arc::new(Provider::new(config.provider, Arc::clone(&net)));
        let origins = Arc::clone(&config.auth.origins);
        let tokens = TokenService::new(config.tokens, Arc::<Provider>::clone(&provider), Arc::clone(&sessions));
        Arc::new(Self {
            auth: Auth::new(
                config.auth,
                Arc::clone(&provider),
                Arc::clone(&sessions),
                Arc::clone(&tokens),
                &config.listen.limits,
            ),
            proxy: Proxy::new(config.apis, Arc::clone(&sessions), tokens, Arc::clone(&origins), &net),
            net,
            origins,
            ring,
            revocations,
            sessions,
            redis,
            rotate_keys,
            rotates,
            provider,
            spa: config.spa,
            common_headers: config.common_headers,
            host: HostModeObserver::new(config.listen.address.and_then(listen::Address::functions_port)),
            misconfigured: config.misconfigured,
            listen: config.listen,
            stopping: AtomicBool::new(false),
        })
    }

    /// Reports from now on that the process is to end.
    pub fn announce_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Writes what responses did not wait for.
    pub async fn flush(&self) {
        self.auth.flush().await;
        self.sessions.flush().await;
    }

    /// Loads keys, revocation list and metadata, and keeps them fresh (contract 11.6); contacts the session store.
    pub fn load_in_background(self: &Arc<Self>) {
        let (ring, revocations, sessions) =
            (Arc::clone(&self.ring), Arc::clone(&self.revocations), Arc::clone(&self.sessions));
        // At the same time: a cold start does not wait for one after the other (contract 6.17).
        if self.rotates {
            let ring = Arc::clone(&ring);
            tokio::spawn(async move { rotate_hourly(&ring, &clock::now).await });
        }
        tokio::spawn(async move { ring.keep_fresh(&clock::now).await });
        tokio::spawn(async move { revocations.keep_fresh(&clock::now).await });
        tokio::spawn(async move { sessions.announce_revocations().await });
        if let Some(redis) = self.redis.clone() {
            tokio::spawn(async move { redis.keep_contact().await });
        }
        let (provider, net) = (Arc::clone(&self.provider), Arc::clone(&self.net));
        tokio::spawn(async move {
            // Loading the trusted roots blocks for tens of milliseconds, and the host's probe must not wait for that.
            let _ = spawn_blocking(move || net.http().is_some()).await;
            provider.keep_fresh().await;
        });
    }
}
