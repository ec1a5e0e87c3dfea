//! A stand-in for Microsoft Entra ID (v2.0) as OpenID provider.
//!
//! It is strict: it rejects what Entra accepts but no correct gateway sends, such as requests without state, nonce or
//! PKCE challenge, duplicate parameters, or an unregistered return of a sign-out. It records every secret that it
//! issues or receives, and its ID tokens can be made invalid.

mod alteration;
mod assertion;
mod authorize;
mod directory;
mod discovery;
mod error;
mod keys;
mod logout;
mod mint;
mod mutation;
mod options;
mod page;
mod scopes;
mod store;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use http::{Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::web::jwt::Verifier;
use crate::web::{Body, Core, Handler, HangUp, INTERNAL_HEADER, StandIn, guid, lock, random_text, response};
use assertion::Assertion;
use keys::Keys;
use mint::Issue;
use scopes::Scopes;
use store::{Grant, Session, Store};

pub use crate::web::{Fault, OAuthError, Recorded};
pub use alteration::Alteration;
pub use mutation::{Draft, Flaw, Mutation, Signing};
pub use options::{CLIENT_ID, CLIENT_SECRET, Client, Federated, GRAPH, Options, TENANT};

/// Entra's names for several tenants in an authority.
const TENANT_ALIASES: [&str; 3] = ["common", "organizations", "consumers"];

/// The endpoints that faults can be set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Discovery,
    Keys,
    /// Served with [`Options::revocation`] only.
    Revocation,
    Token,
}

/// An authorization response for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The redirect URI.
    pub uri: String,
    /// The parameters, not encoded.
    pub fields: Vec<(String, String)>,
    /// Whether it is to be posted as a form, instead of a redirect to [`Callback::location`].
    pub form_post: bool,
}

impl Callback {
    /// The redirect URI with the parameters as its query.
    #[must_use]
    pub fn location(&self) -> String {
        append_query(&self.uri, &self.form())
    }

    /// The parameters, form-encoded.
    #[must_use]
    pub fn form(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish()
    }

    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

pub type Provider = StandIn<State>;

impl StandIn<State> {
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.addr).await?;
        let state = State::new(options, listener.local_addr()?)?;
        Self::serve(listener, None, state)
    }

    /// The issuer of the home tenant: `http://127.0.0.1:PORT/{tenant}/v2.0`.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer(TENANT)
    }

    /// The URL of another authority, such as `organizations`.
    #[must_use]
    pub fn authority(&self, tenant: &str) -> String {
        self.state.issuer(tenant)
    }

    /// Requests to the token endpoint.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.state.core.log.count_of("token")
    }

    /// Every secret so far, as (kind, value): each `code`, `access_token`, `refresh_token` and `id_token` that it
    /// issued, each `code_verifier`, `client_secret`, `client_secret_basic` (the encoded pair) and `client_assertion`
    /// that it received, right or wrong.
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, String)> {
        let secrets = lock(&self.state.secrets);
        secrets.iter().map(|(kind, value)| ((*kind).to_owned(), value.clone())).collect()
    }

    /// Changes every response of an endpoint from now on; `None` ends it. Faults are not changed.
    pub fn set_alteration(&self, endpoint: Endpoint, alteration: Option<Alteration>) {
        let mut alterations = lock(&self.state.alterations);
        alterations.retain(|(of, _)| *of != endpoint);
        alterations.extend(alteration.map(|alteration| (endpoint, alteration)));
    }

    /// Changes every ID token from now on; `None` ends it.
    pub fn set_mutation(&self, mutation: Option<Mutation>) {
        *lock(&self.state.mutation) = mutation;
    }

    /// Signs with the other key from now on and publishes both. Before the first rotation the second is not published,
    /// so that a client must fetch the key set again.
    pub fn rotate_keys(&self) {
        self.state.keys.rotate();
    }

    /// Revokes every grant, as an administrator's "revoke sessions" does: refresh tokens and codes become invalid.
    pub fn revoke_grants(&self) {
        lock(&self.state.store).grants.iter_mut().for_each(|grant| grant.revoked = true);
    }

    /// Ends every browser's session at the provider.
    pub fn end_sessions(&self) {
        lock(&self.state.store).sessions.clear();
    }

    /// Signs a user in without a browser: validates the authorization request in the URL and returns the authorization
    /// response. Cookies and `prompt` are ignored.
    ///
    /// # Errors
    /// The text of the error page, where the error is not sent to the client.
    pub fn sign_in(&self, authorize_url: &str, username: &str) -> Result<Callback, String> {
        let url = url::Url::parse(authorize_url).map_err(|error| error.to_string())?;
        let authority = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
        if !url.path().ends_with("/oauth2/v2.0/authorize") || !serves(authority) {
            return Err("not the authorization endpoint".to_owned());
        }
        let request = match authorize::validate(&self.state, authority, url.query().unwrap_or_default()) {
            Ok(request) => request,
            Err(authorize::Rejected::Page(text)) => return Err(text),
            Err(authorize::Rejected::Client(target, error)) => {
                return Ok(authorize::error_callback(&self.state, &target, &error));
            }
        };
        let user = directory::user(username).ok_or("the user name is missing")?;
        let session = Session { user, sid: guid(rand::random()) };
        Ok(authorize::finish(&self.state, &mut lock(&self.state.store), request, &session))
    }

    /// An access token without a sign-in, for tests of an API alone; `None` if the scopes are unknown or belong to two
    /// resources.
    #[must_use]
    pub fn access_token(&self, username: &str, scope: &str) -> Option<String> {
        let scopes = Scopes::parse(scope).ok()?;
        let audience = scopes.resource().ok()?.id;
        let grant = Grant {
            client_id: self.state.options.clients.first()?.id.clone(),
            user: directory::user(username)?,
            sid: String::new(),
            scope: String::new(),
            claims: Value::Null,
            revoked: false,
        };
        let issue = Issue { grant, scopes, audience, nonce: None, claims: Value::Null };
        Some(mint::access_token(&self.state, &issue))
    }

    /// Restores the grant of a refresh token that an earlier run issued to the first client; `None` if the user name is
    /// empty or the scopes are unknown.
    pub fn restore_grant(&self, username: &str, scope: &str, refresh_token: &str) -> Option<()> {
        let scopes = Scopes::parse(scope).ok()?;
        let grant = Grant {
            client_id: self.state.options.clients.first()?.id.clone(),
            user: directory::user(username)?,
            sid: guid(rand::random()),
            scope: scope.to_owned(),
            claims: Value::Null,
            revoked: false,
        };
        let store = &mut *lock(&self.state.store);
        let grant = store.grant(&scopes, grant);
        token::store_refresh_token(&self.state, store, refresh_token, grant);
        Some(())
    }

    /// `sub` and `sid` of each sign-in so far, in their order.
    #[must_use]
    pub fn sign_ins(&self) -> Vec<(String, String)> {
        let store = lock(&self.state.store);
        store.grants.iter().map(|grant| (grant.user.sub.to_string(), grant.sid.clone())).collect()
    }

    /// A logout token for the first client, which names neither a user nor a session unless `change` adds one (OpenID
    /// Connect Back-Channel Logout; Entra has none).
    #[must_use]
    pub fn logout_token(&self, change: impl FnOnce(&mut Draft)) -> String {
        mint::logout_token(&self.state, change)
    }

    /// A JWT with any claims and the usual header.
    #[must_use]
    pub fn jwt(&self, claims: &Value, signing: Signing) -> String {
        mint::sign(&self.state, &self.state.keys.active().header(), claims, signing, "")
    }
}

#[derive(Debug)]
pub struct State {
    options: Options,
    origin: String,
    keys: Keys,
    core: Core<Endpoint>,
    mutation: Mutex<Option<Mutation>>,
    alterations: Mutex<Vec<(Endpoint, Alteration)>>,
    secrets: Mutex<BTreeSet<(&'static str, String)>>,
    store: Mutex<Store>,
    /// The issuers of client assertions.
    trusted: Vec<Verifier>,
}

impl State {
    fn new(options: Options, addr: SocketAddr) -> io::Result<Self> {
        let federated = options.clients.iter().filter_map(|client| client.federated.as_ref());
        Ok(Self {
            trusted: federated.map(|federated| Verifier::new(&federated.issuer)).collect(),
            options,
            origin: format!("http://{addr}"),
            keys: Keys::load()?,
            core: Core::default(),
            mutation: Mutex::default(),
            alterations: Mutex::default(),
            secrets: Mutex::default(),
            store: Mutex::default(),
        })
    }

    fn issuer(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.origin)
    }

    async fn altered(&self, endpoint: Endpoint, response: Response<Body>) -> Response<Body> {
        let alteration = lock(&self.alterations).iter().find(|(of, _)| *of == endpoint).map(|(_, found)| found.clone());
        match alteration {
            Some(alteration) => alteration.apply(response).await,
            None => response,
        }
    }

    /// Records a secret and returns it.
    fn secret(&self, kind: &'static str, value: String) -> String {
        lock(&self.secrets).insert((kind, value.clone()));
        value
    }

    /// A random text that looks like Entra's codes and refresh tokens.
    fn opaque(size: usize) -> String {
        format!("1.{}", random_text(size)).chars().take(size.max(24)).collect()
    }
}

impl Handler for State {
    type Target = Endpoint;

    fn core(&self) -> &Core<Endpoint> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        let segments: Vec<&str> = request.path().split('/').skip(1).collect();
        let Some((authority, rest)) = segments.split_first().filter(|(authority, _)| serves(authority)) else {
            return Ok(page::error(StatusCode::NOT_FOUND, "AADSTS90002: The tenant was not found."));
        };
        let (endpoint, assertion) = match rest {
            ["v2.0", ".well-known", "openid-configuration"] => (Endpoint::Discovery, Assertion::Absent),
            ["discovery", "v2.0", "keys"] => (Endpoint::Keys, Assertion::Absent),
            ["oauth2", "v2.0", "token"] => {
                self.core.log.count_as("token");
                (Endpoint::Token, Assertion::read(self, &request).await)
            }
            ["oauth2", "v2.0", "revoke"] if self.options.revocation => {
                (Endpoint::Revocation, Assertion::read(self, &request).await)
            }
            ["oauth2", "v2.0", "authorize"] => return Ok(authorize::authorize(self, authority, &request)),
            ["oauth2", "v2.0", "logout"] => return Ok(logout::logout(self, &request)),
            ["login"] => return Ok(authorize::submit(self, &request)),
            _ => return Ok(response::empty(StatusCode::NOT_FOUND)),
        };
        let work = || match endpoint {
            Endpoint::Discovery => discovery::metadata(self, authority),
            Endpoint::Keys => discovery::keys(self),
            Endpoint::Revocation => token::revoke(self, &request, assertion),
            Endpoint::Token => token::token(self, &request, assertion),
        };
        let internal = request.header(INTERNAL_HEADER).is_some();
        match (!internal).then(|| self.core.faults.take(endpoint)).flatten() {
            Some(fault) => fault.apply(response::empty, work).await,
            None if internal => Ok(work()),
            None => Ok(self.altered(endpoint, work()).await),
        }
    }
}

fn serves(authority: &str) -> bool {
    authority == TENANT || TENANT_ALIASES.contains(&authority)
}

fn append_query(uri: &str, query: &str) -> String {
    format!("{uri}{}{query}", if uri.contains('?') { '&' } else { '?' })
}

/// The value of the provider's own cookie.
fn cookie(request: &Recorded) -> Option<String> {
    let pairs = request.header_values("cookie").into_iter().flat_map(|line| line.split("; "));
    let mut own = pairs.filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name == authorize::COOKIE);
    own.next().map(|(_, value)| value.to_owned())
}
