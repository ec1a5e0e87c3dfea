//! A small, strict OpenID provider that acts like Microsoft Entra ID (v2.0): a real HTTP server on loopback.
//!
//! Strict means that it refuses what Entra would let pass when no correct gateway does it: a missing state, nonce or
//! PKCE challenge, parameters that come twice, a sign-out return that is not registered. It records what it receives
//! and every secret that passes through its hands, and tests can make its endpoints fail and its ID tokens wrong.

mod assertion;
mod authorize;
mod book;
mod discovery;
mod fault;
mod keys;
mod logout;
mod mint;
mod mutation;
mod options;
mod page;
mod refusal;
mod scopes;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use crate::web::jwt::Issuer;
use crate::web::{Body, Call, Clock, Handler, HangUp, Log, Server, Wire, guid, lock, random_text, reply};
use assertion::Assertion;
use book::{Book, Grant, Session};
use fault::Faults;
use keys::Keys;
use mint::Issue;
use scopes::Scopes;

pub use crate::web::Recorded;
pub use fault::{Endpoint, ErrorBody, Fault};
pub use mutation::{Draft, Flaw, Mutation, Signing};
pub use options::{CLIENT_ID, CLIENT_SECRET, Client, Federated, GRAPH, Options, Resource, TENANT, User};

/// Entra's words that stand for several tenants in an authority.
const WORDS: [&str; 3] = ["common", "organizations", "consumers"];

/// A handle on a running provider. It runs until the last handle is dropped, or one is stopped.
#[derive(Clone, Debug)]
pub struct Provider {
    state: Arc<State>,
    server: Arc<Server>,
}

/// An authorization response on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The redirect URI.
    pub uri: String,
    /// The parameters: `code` or `error` and so on, not yet encoded.
    pub fields: Vec<(String, String)>,
    /// To be posted as a form; otherwise [`Callback::location`] is the redirect.
    pub form_post: bool,
}

impl Callback {
    /// The redirect URI with the parameters as its query.
    #[must_use]
    pub fn location(&self) -> String {
        let joint = if self.uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", self.uri, self.form())
    }

    /// The parameters, form-encoded.
    #[must_use]
    pub fn form(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish()
    }

    /// The parameter of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

impl Provider {
    /// Binds and serves; it answers from the moment this returns.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.addr).await?;
        let state = Arc::new(State::new(options, listener.local_addr()?)?);
        let server = Server::start(listener, Wire::default(), Arc::clone(&state))?;
        Ok(Self { state, server: Arc::new(server) })
    }

    /// Closes the listener and all connections; the port is free afterwards.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The issuer of the home tenant: `http://127.0.0.1:PORT/{tenant}/v2.0`.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer(&self.state.options.tenant)
    }

    /// The issuer URL whose discovery document is that of another authority, such as `organizations`.
    #[must_use]
    pub fn authority(&self, tenant: &str) -> String {
        self.state.issuer(tenant)
    }

    /// What it received, oldest first, up to 10,000 requests; other stand-ins' requests are left out.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.requests()
    }

    /// How many requests it ever received.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.log.count()
    }

    /// How many requests its token endpoint ever received.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.state.token_requests.load(Ordering::SeqCst)
    }

    /// Forgets the recorded requests; the counts go on.
    pub fn clear_requests(&self) {
        self.state.log.clear();
    }

    /// Every secret so far, as (kind, value): each `code`, `access_token`, `refresh_token` and `id_token` it issued,
    /// each `code_verifier`, `client_secret`, `client_secret_basic` (the encoded pair) and `client_assertion` it
    /// received, right or wrong.
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, String)> {
        let secrets = lock(&self.state.secrets);
        secrets.iter().map(|(kind, value)| ((*kind).to_owned(), value.clone())).collect()
    }

    /// Sets a fault until it is taken back with `None`.
    pub fn set_fault(&self, endpoint: Endpoint, fault: Option<Fault>) {
        self.state.faults.set(endpoint, fault, None);
    }

    /// Sets a fault for the next so many requests to that endpoint.
    pub fn fault_next(&self, endpoint: Endpoint, times: u32, fault: Fault) {
        self.state.faults.set(endpoint, Some(fault), Some(times));
    }

    /// Spoils every ID token from now on: by a [`Mutation`] of the tester's own or by a [`Flaw`]; `None` ends it.
    pub fn set_mutation(&self, mutation: Option<Mutation>) {
        *lock(&self.state.mutation) = mutation;
    }

    /// Signs with the other key from now on, and publishes both. Before the first rotation only the first is published,
    /// so that who has read the key set must read it again.
    pub fn rotate_keys(&self) {
        self.state.keys.rotate();
    }

    /// Sets the provider's clock forward.
    pub fn advance(&self, by: Duration) {
        self.state.clock.advance(by);
    }

    /// The provider's clock, Unix seconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.state.clock.now()
    }

    /// Ends every grant, as an administrator's "revoke sessions": refresh tokens and unredeemed codes are refused.
    pub fn revoke_grants(&self) {
        lock(&self.state.book).grants.iter_mut().for_each(|grant| grant.revoked = true);
    }

    /// Ends every browser's session at the provider.
    pub fn end_sessions(&self) {
        lock(&self.state.book).sessions.clear();
    }

    /// Signs somebody in without a browser: checks the URL that the gateway redirected to as the endpoint would, and
    /// returns the authorization response. `prompt` is not looked at, and no cookie is involved.
    ///
    /// # Errors
    /// The text of the error page, where the endpoint would show one instead of going back to the client.
    pub fn sign_in(&self, authorize_url: &str, username: &str) -> Result<Callback, String> {
        let url = url::Url::parse(authorize_url).map_err(|error| error.to_string())?;
        let authority = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
        if !url.path().ends_with("/oauth2/v2.0/authorize") || !self.state.serves(authority) {
            return Err("not the authorization endpoint".to_owned());
        }
        let request = match authorize::check(&self.state, authority, url.query().unwrap_or_default()) {
            Ok(request) => request,
            Err(denied) => return denied.callback(&self.state),
        };
        let user = authorize::user(&self.state, username).ok_or("nobody has that user name")?;
        let session = Session { user, sid: guid(rand::random()) };
        Ok(authorize::finish(&self.state, &mut lock(&self.state.book), request, &session))
    }

    /// An access token without any sign-in, for trying an API alone; `None` if the user or the scopes are unknown or
    /// of two resources.
    #[must_use]
    pub fn access_token(&self, username: &str, scope: &str) -> Option<String> {
        let scopes = Scopes::parse(&self.state.options, scope).ok()?;
        let audience = scopes.resource(&self.state.options).ok()?.id.clone();
        let grant = Grant {
            client_id: self.state.options.clients.first()?.id.clone(),
            user: authorize::user(&self.state, username)?,
            tid: self.state.options.tenant.clone(),
            sid: String::new(),
            scope: String::new(),
            claims: Value::Null,
            revoked: false,
        };
        let issue = Issue { grant, scopes, audience, nonce: None, claims: Value::Null };
        Some(mint::access_token(&self.state, &issue))
    }

    /// A JWT over any claims, under the usual header.
    #[must_use]
    pub fn jwt(&self, claims: &Map<String, Value>, signing: Signing) -> String {
        self.state.jwt(claims, signing)
    }
}

#[derive(Debug)]
struct State {
    options: Options,
    origin: String,
    keys: Keys,
    clock: Clock,
    log: Log,
    token_requests: AtomicU64,
    faults: Faults,
    mutation: Mutex<Option<Mutation>>,
    secrets: Mutex<BTreeSet<(&'static str, String)>>,
    book: Mutex<Book>,
    /// Whose tokens count as client assertions.
    trusted: Vec<Issuer>,
}

impl State {
    fn new(options: Options, addr: SocketAddr) -> io::Result<Self> {
        let federated = options.clients.iter().filter_map(|client| client.federated.as_ref());
        Ok(Self {
            trusted: federated.map(|federated| Issuer::new(&federated.issuer)).collect(),
            options,
            origin: format!("http://{addr}"),
            keys: Keys::load()?,
            clock: Clock::default(),
            log: Log::default(),
            token_requests: AtomicU64::new(0),
            faults: Faults::default(),
            mutation: Mutex::default(),
            secrets: Mutex::default(),
            book: Mutex::default(),
        })
    }

    fn issuer(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.origin)
    }

    fn serves(&self, authority: &str) -> bool {
        authority == self.options.tenant || WORDS.contains(&authority)
    }

    /// Notes a secret and hands it on.
    fn secret(&self, kind: &'static str, value: String) -> String {
        lock(&self.secrets).insert((kind, value.clone()));
        value
    }

    /// A random text that looks like Entra's codes and refresh tokens.
    fn opaque(&self, size: usize) -> String {
        format!("1.{}", random_text(size)).chars().take(size.max(24)).collect()
    }
}

impl Handler for State {
    fn log(&self) -> &Log {
        &self.log
    }

    async fn answer(&self, call: Call) -> Result<Response<Body>, HangUp> {
        let path = call.parts.uri.path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let Some((authority, rest)) = segments.split_first().filter(|(authority, _)| self.serves(authority)) else {
            return Ok(page::error(StatusCode::NOT_FOUND, "AADSTS90002: The tenant was not found."));
        };
        // Backstage requests are other stand-ins': no fault is meant for them.
        let backstage = call.parts.headers.contains_key(crate::web::BACKSTAGE);
        match rest {
            ["v2.0", ".well-known", "openid-configuration"] if backstage => Ok(discovery::discovery(self, authority)),
            ["discovery", "v2.0", "keys"] if backstage => Ok(discovery::keys(self)),
            ["v2.0", ".well-known", "openid-configuration"] => {
                self.faults.strike(Endpoint::Discovery, || discovery::discovery(self, authority)).await
            }
            ["discovery", "v2.0", "keys"] => self.faults.strike(Endpoint::Keys, || discovery::keys(self)).await,
            ["oauth2", "v2.0", "token"] => {
                self.token_requests.fetch_add(1, Ordering::SeqCst);
                let assertion = Assertion::of(self, &call).await;
                self.faults.strike(Endpoint::Token, || token::token(self, &call, assertion)).await
            }
            ["oauth2", "v2.0", "revoke"] if self.options.revocation => {
                let assertion = Assertion::of(self, &call).await;
                Ok(token::revoke(self, &call, assertion))
            }
            ["oauth2", "v2.0", "authorize"] => Ok(authorize::authorize(self, authority, &call)),
            ["oauth2", "v2.0", "logout"] => Ok(logout::logout(self, &call)),
            ["login"] => Ok(authorize::sign_in(self, &call)),
            _ => Ok(reply::empty(StatusCode::NOT_FOUND)),
        }
    }
}

/// The value of the provider's own cookie.
fn cookie(call: &Call) -> Option<String> {
    let pairs = call.request.header_values("cookie").into_iter().flat_map(|line| line.split("; "));
    let mut own = pairs.filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name == authorize::COOKIE);
    own.next().map(|(_, value)| value.to_owned())
}
