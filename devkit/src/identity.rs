//! A stand-in for the managed identity endpoint of App Service and Functions: a real HTTP server on loopback that gives
//! access tokens to who knows the header of `IDENTITY_HEADER`.
//!
//! The tokens are RS256 JWTs, and their issuer has a discovery document and a key set, so that a provider can be told
//! to trust them as client assertions (audience `api://AzureADTokenExchange`).

mod fault;
mod issuer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::web::{Body, Call, Clock, Form, Handler, HangUp, Log, Server, Wire, guid, lock, random_text, reply};
use fault::Faults;
use issuer::Issuer;

pub use crate::web::Recorded;
pub use fault::Fault;

/// The resource that Key Vault's tokens are for.
pub const KEY_VAULT: &str = "https://vault.azure.net";

const API_VERSION: &str = "2019-08-01";
const PATH: &str = "/msi/token";

/// How an [`Identity`] is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The tenant, a GUID.
    pub tenant: String,
    /// The system-assigned identity's client id; `None` where the app has none.
    pub system_assigned: Option<String>,
    /// Client ids of user-assigned identities.
    pub user_assigned: Vec<String>,
    /// The secret that callers must send back; `None` makes one up.
    pub header: Option<String>,
    /// How long a token counts.
    pub token_life: Duration,
}

impl Default for Options {
    /// On a free port, with a system-assigned identity only, tokens for a day.
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            tenant: "7f2a5c1e-90b4-4d53-8e6f-1f0c2b3a4d5e".to_owned(),
            system_assigned: Some("0b6f4c1d-3e52-4a07-9c88-5d2f6e7a8b90".to_owned()),
            user_assigned: Vec::new(),
            header: None,
            token_life: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A handle on a running endpoint. It runs until the last handle is dropped, or one is stopped.
#[derive(Clone, Debug)]
pub struct Identity {
    state: Arc<State>,
    server: Arc<Server>,
}

impl Identity {
    /// Binds and serves; it answers from the moment this returns.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.addr).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let issuer = Issuer::load(&origin, &options.tenant)?;
        let clients = options.system_assigned.iter().chain(&options.user_assigned);
        let state = Arc::new(State {
            principals: clients.map(|client| (client.clone(), guid(rand::random()))).collect(),
            header: options.header.clone().unwrap_or_else(|| random_text(24)),
            options,
            origin,
            issuer,
            clock: Clock::default(),
            log: Log::default(),
            faults: Faults::default(),
            issued: Mutex::default(),
        });
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

    /// What App Service puts in the environment of an app: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 2] {
        let endpoint = format!("{}{PATH}", self.state.origin);
        [("IDENTITY_ENDPOINT", endpoint), ("IDENTITY_HEADER", self.state.header.clone())]
    }

    /// The tokens' issuer, whose discovery document and key set are served too.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer.url()
    }

    /// The object id of the identity with that client id: `sub` and `oid` of its tokens.
    #[must_use]
    pub fn principal(&self, client_id: &str) -> Option<String> {
        self.state.principals.get(client_id).cloned()
    }

    /// A token of the first identity, without asking the endpoint. Nobody's, where the app has no identity.
    #[must_use]
    pub fn token(&self, resource: &str) -> String {
        let state = &self.state;
        let client = state.options.system_assigned.as_ref().or(state.options.user_assigned.first());
        state.issue(client.map_or("", String::as_str), resource).0
    }

    /// Whether a token is one of its own, for that resource, and not expired.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn check(&self, token: &str, resource: &str) -> Result<(), &'static str> {
        match lock(&self.state.issued).get(token) {
            None => Err("The token's signature is invalid."),
            Some(issued) if issued.resource != resource => Err("The token's audience is invalid."),
            Some(issued) if issued.expires <= self.state.clock.now() => Err("The token is expired."),
            Some(_) => Ok(()),
        }
    }

    /// From now on no token issued so far counts, though who holds one cannot tell.
    pub fn expire_tokens(&self) {
        lock(&self.state.issued).values_mut().for_each(|issued| issued.expires = 0);
    }

    /// Sets a fault until it is taken back with `None`. It strikes the token endpoint only.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state.faults.set(fault, None);
    }

    /// Sets a fault for the next so many requests.
    pub fn fault_next(&self, times: u32, fault: Fault) {
        self.state.faults.set(Some(fault), Some(times));
    }

    /// What it received, oldest first, up to 10,000 requests.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.requests()
    }

    /// How many requests it ever received.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.log.count()
    }

    /// Forgets the recorded requests; the count goes on.
    pub fn clear_requests(&self) {
        self.state.log.clear();
    }

    /// Every secret so far, as (kind, value): each `access_token`, and the `identity_header`.
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, String)> {
        let tokens = lock(&self.state.issued).keys().map(|token| ("access_token".to_owned(), token.clone())).collect();
        let header = ("identity_header".to_owned(), self.state.header.clone());
        [tokens, vec![header]].concat()
    }

    /// Sets its clock forward.
    pub fn advance(&self, by: Duration) {
        self.state.clock.advance(by);
    }
}

#[derive(Debug)]
struct State {
    options: Options,
    origin: String,
    header: String,
    issuer: Issuer,
    /// Object ids by client id.
    principals: BTreeMap<String, String>,
    clock: Clock,
    log: Log,
    faults: Faults,
    issued: Mutex<BTreeMap<String, Issued>>,
}

#[derive(Debug)]
struct Issued {
    resource: String,
    expires: u64,
}

impl State {
    /// A new token and when it expires.
    fn issue(&self, client_id: &str, resource: &str) -> (String, u64) {
        let now = self.clock.now();
        let expires = now + self.options.token_life.as_secs();
        let principal = self.principals.get(client_id);
        let token = self.issuer.sign(&json!({
            "aud": resource,
            "iss": self.issuer.url(),
            "iat": now,
            "nbf": now,
            "exp": expires,
            "appid": client_id,
            "idtyp": "app",
            "oid": principal,
            "sub": principal,
            "tid": self.options.tenant,
            "uti": random_text(16),
            "ver": "2.0",
        }));
        lock(&self.issued).insert(token.clone(), Issued { resource: resource.to_owned(), expires });
        (token, expires)
    }

    fn token(&self, call: &Call) -> Response<Body> {
        if call.request.header("x-identity-header") != Some(&self.header) {
            return refused(StatusCode::UNAUTHORIZED, "The X-IDENTITY-HEADER is missing or wrong.");
        }
        let query = Form::parse(call.request.query().unwrap_or_default().as_bytes());
        if query.get("api-version") != Some(API_VERSION) {
            return refused(StatusCode::BAD_REQUEST, "The api-version is missing or not supported.");
        }
        let Some(resource) = query.get("resource").filter(|resource| !resource.is_empty()) else {
            return refused(StatusCode::BAD_REQUEST, "The resource is missing.");
        };
        let asked = query.get("client_id").or(self.options.system_assigned.as_deref());
        let Some(client_id) = asked.filter(|client_id| self.principals.contains_key(*client_id)) else {
            return refused(StatusCode::BAD_REQUEST, "Unable to load the proper Managed Identity.");
        };
        let (token, expires) = self.issue(client_id, resource);
        let answer = json!({
            "access_token": token,
            "expires_on": expires.to_string(),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": client_id,
        });
        reply::json(StatusCode::OK, &answer)
    }
}

impl Handler for State {
    fn log(&self) -> &Log {
        &self.log
    }

    async fn answer(&self, call: Call) -> Result<Response<Body>, HangUp> {
        let path = call.request.path();
        match call.parts.method {
            Method::GET if path == PATH => self.faults.strike(|| self.token(&call)).await,
            Method::GET => Ok(self.issuer.publish(path).unwrap_or_else(|| reply::empty(StatusCode::NOT_FOUND))),
            _ => Ok(reply::empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }
}

/// In App Service's words.
fn refused(status: StatusCode, message: &str) -> Response<Body> {
    let correlation = guid(rand::random());
    reply::json(status, &json!({"statusCode": status.as_u16(), "message": message, "correlationId": correlation}))
}
