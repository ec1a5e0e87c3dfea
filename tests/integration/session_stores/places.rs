//! Where the suite runs: the instances of a gateway over one store, and a key ring whose key is replaced.

use std::sync::{Arc, Mutex};
use std::time::Duration;

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
use cloakroom::session::seal::Opened;
use cloakroom::session::sealer::Sealer;
use cloakroom::session::store::{LoadError, SessionStore};
use cloakroom::session::{Limits, OpenSession, Sessions};
use cloakroom::store::cookie::CookieStore;
use cloakroom::store::redis::client::{Auth, Client};
use cloakroom::store::redis::{Config, RedisStore};
use devkit::redis_server::{Cluster, Options, RedisServer};

use super::rules::ISSUER;
use super::shared::{Shared, SharedStore};
use crate::redis_server::config;

pub const NAME: &str = "__Host-Http-cloakroom";
/// The time of a rule, unless it needs another.
pub const NOW: u64 = 1_000_000;
pub const LIMITS: Limits =
    Limits { idle: Duration::from_secs(1_800), max: Duration::from_secs(28_800), clock_skew: Duration::from_secs(300) };
/// From this time on, another key is active.
pub const ROTATED: u64 = NOW + 10_000;
const PROPAGATION: u64 = 900;

/// A place where sessions are stored.
pub trait Place: Send + Sync {
    /// One more instance of the gateway that stores sessions there.
    fn store(&self, sealer: &Arc<Sealer>) -> Arc<dyn SessionStore>;

    /// Whether it knows which sessions there are.
    fn has_index(&self) -> bool {
        false
    }

    /// Makes it unreachable, or reachable again. Returns false if that is not possible.
    fn set_down(&self, _is_down: bool) -> bool {
        false
    }
}

/// An instance of the gateway.
pub struct Instance {
    pub store: Arc<dyn SessionStore>,
    pub sealer: Arc<Sealer>,
    pub revocations: Arc<RevocationCache>,
    keys: Arc<Keys>,
}

impl Instance {
    pub async fn new(place: &dyn Place) -> Self {
        Self::with_keys(place, true).await
    }

    /// An instance whose key source does not respond.
    pub async fn without_keys(place: &dyn Place) -> Self {
        Self::with_keys(place, false).await
    }

    async fn with_keys(place: &dyn Place, are_available: bool) -> Self {
        let seconds = Duration::from_secs;
        let parameters = Parameters { propagation: seconds(PROPAGATION), life: seconds(NOW), retention: seconds(NOW) };
        let keys = Arc::new(Keys { are_available, revocations: Mutex::default() });
        let revocations = RevocationCache::new(Arc::<Keys>::clone(&keys), 300, seconds(300));
        let ring = Ring::new(Arc::<Keys>::clone(&keys), parameters, seconds(300));
        tokio::join!(ring.refresh(NOW), revocations.refresh(NOW));
        let sealer = Arc::new(Sealer::new(ring, "a client".to_owned(), 300));
        Self { store: place.store(&sealer), sealer, revocations, keys }
    }

    /// Reads this revocation list.
    pub async fn revoke(&self, list: &str) {
        *self.keys.revocations.lock().unwrap() = Some(list.to_owned());
        self.revocations.refresh(NOW).await;
    }

    /// The service over its store.
    pub fn sessions(&self, apis: Arc<ApiMap>, limits: Limits) -> Sessions {
        let authority = Authority { url: ISSUER.parse().unwrap(), tenants: Tenants::Unchecked };
        let (sealer, store) = (Arc::clone(&self.sealer), Arc::clone(&self.store));
        let configured = Configured::new(authority, apis);
        Sessions::new(sealer, cookies(), limits, configured, store, Arc::clone(&self.revocations))
    }

    /// Loads the session of a cookie.
    pub async fn load(&self, cookie: &str, now: u64) -> Result<OpenSession, LoadError> {
        self.store.load(&self.open(cookie, now).await, now).await
    }

    pub async fn open(&self, cookie: &str, now: u64) -> Opened {
        self.sealer.unseal(Purpose::Session, NAME, cookie.as_bytes(), now).await.unwrap()
    }

    /// A session cookie with any payload.
    pub async fn seal(&self, payload: &[u8], now: u64) -> String {
        self.sealer.seal(Purpose::Session, NAME, now + 1_000, now, payload).await.unwrap()
    }
}

pub fn cookies() -> SessionCookies {
    SessionCookies::new(Settings {
        name: NAME.to_owned(),
        domain: None,
        same_site: SameSite::Strict,
        login_same_site: SameSite::Lax,
        budget: 7_000,
        persistence: Persistence::Off,
    })
}

/// Two keys, of which the second becomes active at [`ROTATED`].
#[derive(Debug)]
struct Keys {
    are_available: bool,
    revocations: Mutex<Option<String>>,
}

impl KeySource for Keys {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        let version = |number: u8, created| {
            let id = format!("{number:02x}").repeat(16);
            let kid = KeyId::from_version(&id).unwrap();
            Version { id, kid, enabled: true, created, not_before: None, expires: None, activate_now: false }
        };
        let versions = vec![version(1, 1_000), version(2, ROTATED - PROPAGATION)];
        let down = || SourceUnavailable("the rule needs that".to_owned());
        Box::pin(async move { if self.are_available { Ok(versions) } else { Err(down()) } })
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        let text = URL_SAFE_NO_PAD.encode([id.as_bytes()[1]; 32]).into();
        Box::pin(async move { Ok(Value { text, content_type: None }) })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list()
    }

    fn revocations(&self) -> SourceFuture<'_, Option<String>> {
        Box::pin(async { Ok(self.revocations.lock().unwrap().clone()) })
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, _now: u64) -> SourceFuture<'a, String> {
        Box::pin(async { Err(SourceUnavailable("it is read only".to_owned())) })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(async { Err(SourceUnavailable("it is read only".to_owned())) })
    }
}

/// The stateless store: its instances share nothing but the cookies.
pub struct CookiePlace;

impl Place for CookiePlace {
    fn store(&self, sealer: &Arc<Sealer>) -> Arc<dyn SessionStore> {
        Arc::new(CookieStore::new(Arc::clone(sealer), cookies()))
    }
}

/// Sessions in a real Redis.
pub struct RedisPlace {
    pub server: Arc<RedisServer>,
    auth: Auth,
    port: u16,
}

impl RedisPlace {
    pub fn start() -> Self {
        Self::start_with(&Options::default(), Auth::None)
    }

    fn start_with(options: &Options, auth: Auth) -> Self {
        let server = RedisServer::start(options).unwrap();
        Self { port: server.port(), server: Arc::new(server), auth }
    }

    /// The same server through another port.
    pub fn through(&self, port: u16) -> Self {
        Self { server: Arc::clone(&self.server), auth: self.auth.clone(), port }
    }

    /// As a user with these ACL rules.
    pub fn start_with_acl(rules: &str) -> Self {
        let (line, auth) = user(rules);
        Self::start_with(&Options::default().line(line), auth)
    }
}

impl Place for RedisPlace {
    fn store(&self, sealer: &Arc<Sealer>) -> Arc<dyn SessionStore> {
        let config = Config { auth: self.auth.clone(), ..config(self.port) };
        let (prefix, client) = (config.prefix.clone(), Client::new(config, Arc::default()));
        Arc::new(RedisStore::new(client, &prefix, Arc::clone(sealer), NAME, LIMITS, 1_000))
    }

    fn has_index(&self) -> bool {
        true
    }

    fn set_down(&self, is_down: bool) -> bool {
        if is_down {
            self.server.kill()
        } else {
            self.server.start_again().unwrap()
        }
        true
    }
}

/// A user with these ACL rules: its line of `redis.conf`, and how to sign in as it.
fn user(rules: &str) -> (String, Auth) {
    let auth = Auth::Password { user: Some("gateway".to_owned()), password: "secret".into() };
    (format!("user gateway on >secret {rules}"), auth)
}

/// Sessions in a cluster.
pub struct ClusterPlace {
    cluster: Cluster,
    auth: Auth,
}

impl ClusterPlace {
    /// As a user with these ACL rules.
    pub fn start_with_acl(rules: &str) -> Self {
        let (line, auth) = user(rules);
        // The port that its servers use among each other is another one's at times.
        let start = || Cluster::start(3, 0, &Options::default().line(&line));
        Self { cluster: start().or_else(|_| start()).or_else(|_| start()).unwrap(), auth }
    }
}

impl Place for ClusterPlace {
    fn store(&self, sealer: &Arc<Sealer>) -> Arc<dyn SessionStore> {
        let config = Config { auth: self.auth.clone(), ..config(self.cluster.servers[0].port()) };
        let (prefix, client) = (config.prefix.clone(), Client::new(config, Arc::default()));
        Arc::new(RedisStore::new(client, &prefix, Arc::clone(sealer), NAME, LIMITS, 1_000))
    }

    fn has_index(&self) -> bool {
        true
    }
}

/// A double of a store behind a handle.
#[derive(Default)]
pub struct SharedPlace(pub Arc<Shared>);

impl Place for SharedPlace {
    fn store(&self, sealer: &Arc<Sealer>) -> Arc<dyn SessionStore> {
        Arc::new(SharedStore::new(Arc::clone(&self.0), Arc::clone(sealer)))
    }

    fn has_index(&self) -> bool {
        true
    }

    fn set_down(&self, is_down: bool) -> bool {
        self.0.set_down(is_down);
        true
    }
}
