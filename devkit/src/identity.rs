//! A stand-in for managed identities: the endpoint of App Service and Functions, and that of a virtual machine (IMDS).
//!
//! Its tokens are RS256 JWTs of an issuer that serves a discovery document and a key set, so that a provider can trust
//! them as client assertions (audience `api://AzureADTokenExchange`).

mod imds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::web::jwt::{self, SigningKey};
use crate::web::{ANY_PORT, Body, Core, Form, Handler, HangUp, StandIn, base64url, guid, lock, random_text, response};

pub use crate::web::{Fault, Recorded};

/// The resource of Key Vault's tokens.
pub const KEY_VAULT: &str = "https://vault.azure.net";

/// The tenant of the identities.
pub const TENANT: &str = "7f2a5c1e-90b4-4d53-8e6f-1f0c2b3a4d5e";

const API_VERSION: &str = "2019-08-01";
const PATH: &str = "/msi/token";
/// Public on purpose, like the provider's keys, but none of these: a provider that verified client assertions with its
/// own keys would fail.
const SIGNING_KEY: &[u8] = include_bytes!("../keys/identity.pk8");

#[derive(Clone, Debug)]
pub struct Options {
    pub addr: SocketAddr,
    /// The client id of the system-assigned identity, if the app has one.
    pub system_assigned: Option<String>,
    /// Client ids of user-assigned identities.
    pub user_assigned: Vec<String>,
    /// The value of `IDENTITY_HEADER`; random if `None`.
    pub header: Option<String>,
    pub token_life: Duration,
}

impl Default for Options {
    /// A system-assigned identity only, tokens for a day.
    fn default() -> Self {
        Self {
            addr: ANY_PORT,
            system_assigned: Some("0b6f4c1d-3e52-4a07-9c88-5d2f6e7a8b90".to_owned()),
            user_assigned: Vec::new(),
            header: None,
            token_life: Duration::from_secs(24 * 60 * 60),
        }
    }
}

pub type Identity = StandIn<State>;

impl StandIn<State> {
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.addr).await?;
        let clients = options.system_assigned.iter().chain(&options.user_assigned);
        let state = State {
            principals: clients.map(|client| (client.clone(), guid(rand::random()))).collect(),
            header: options.header.clone().unwrap_or_else(|| random_text(24)),
            origin: format!("http://{}", listener.local_addr()?),
            options,
            key: SigningKey::load(SIGNING_KEY)?,
            core: Core::default(),
            issued: Mutex::default(),
        };
        Self::serve(listener, None, state)
    }

    /// The variables that App Service sets: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 2] {
        let endpoint = format!("{}{PATH}", self.state.origin);
        [("IDENTITY_ENDPOINT", endpoint), ("IDENTITY_HEADER", self.state.header.clone())]
    }

    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer()
    }

    /// The object id of the identity with that client id: `sub` and `oid` of its tokens.
    #[must_use]
    pub fn principal(&self, client_id: &str) -> Option<String> {
        self.state.principals.get(client_id).cloned()
    }

    /// A token of an identity of another kind than [`Identity::env`] names, for what else issues its tokens.
    pub(crate) fn issue(&self, client_id: &str, resource: &str) -> Option<String> {
        self.state.principals.contains_key(client_id).then(|| self.state.issue(client_id, resource).0)
    }

    /// A token of the first identity, issued without a request.
    #[must_use]
    pub fn token(&self, resource: &str) -> String {
        let state = &self.state;
        let client = state.options.system_assigned.as_ref().or(state.options.user_assigned.first());
        state.issue(client.map_or("", String::as_str), resource).0
    }

    /// Whether it issued this token for this resource, and the token has not expired.
    ///
    /// # Errors
    /// The message of the service that rejects the token.
    pub fn check(&self, token: &str, resource: &str) -> Result<(), &'static str> {
        match lock(&self.state.issued).get(token) {
            None => Err("The token's signature is invalid."),
            Some(issued) if issued.resource != resource => Err("The token's audience is invalid."),
            Some(issued) if issued.expires <= self.now() => Err("The token is expired."),
            Some(_) => Ok(()),
        }
    }

    /// From now on rejects all tokens issued so far, which clients cannot see from the tokens.
    pub fn expire_tokens(&self) {
        lock(&self.state.issued).values_mut().for_each(|issued| issued.expires = 0);
    }

    /// Every secret so far, as (kind, value): each `access_token`, and the `identity_header`.
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, String)> {
        let tokens = lock(&self.state.issued).keys().map(|token| ("access_token".to_owned(), token.clone())).collect();
        let header = ("identity_header".to_owned(), self.state.header.clone());
        [tokens, vec![header]].concat()
    }
}

#[derive(Debug)]
pub struct State {
    options: Options,
    origin: String,
    header: String,
    key: SigningKey,
    /// Object ids by client id.
    principals: BTreeMap<String, String>,
    core: Core<()>,
    issued: Mutex<BTreeMap<String, Issued>>,
}

#[derive(Debug)]
struct Issued {
    resource: String,
    expires: u64,
}

impl State {
    fn issuer(&self) -> String {
        format!("{}/{}/v2.0", self.origin, TENANT)
    }

    /// A new token and its expiry.
    fn issue(&self, client_id: &str, resource: &str) -> (String, u64) {
        let now = self.core.clock.now();
        let expires = now + self.options.token_life.as_secs();
        let principal = self.principals.get(client_id);
        let claims = json!({
            "aud": resource,
            "iss": self.issuer(),
            "iat": now,
            "nbf": now,
            "exp": expires,
            "appid": client_id,
            "idtyp": "app",
            "oid": principal,
            "sub": principal,
            "tid": TENANT,
            "uti": random_text(16),
            "ver": "2.0",
        });
        let message = jwt::message(&self.key.header(), &claims);
        let token = format!("{message}.{}", base64url(self.key.sign(&message)));
        lock(&self.issued).insert(token.clone(), Issued { resource: resource.to_owned(), expires });
        (token, expires)
    }

    fn token(&self, request: &Recorded, numeric_expiry: bool) -> Response<Body> {
        if request.header("x-identity-header") != Some(&self.header) {
            return rejected(StatusCode::UNAUTHORIZED, "The X-IDENTITY-HEADER is missing or wrong.");
        }
        let query = request.query_form();
        if query.get("api-version") != Some(API_VERSION) {
            return rejected(StatusCode::BAD_REQUEST, "The api-version is missing or not supported.");
        }
        let Some(resource) = query.get("resource").filter(|resource| !resource.is_empty()) else {
            return rejected(StatusCode::BAD_REQUEST, "The resource is missing.");
        };
        let Some(client_id) = self.identity_of(&query) else {
            return rejected(StatusCode::BAD_REQUEST, "Unable to load the proper Managed Identity.");
        };
        let (token, expires) = self.issue(client_id, resource);
        let expires_on = if numeric_expiry { expires.into() } else { Value::from(expires.to_string()) };
        let body = json!({
            "access_token": token,
            "expires_on": expires_on,
            "resource": resource,
            "token_type": "Bearer",
            "client_id": client_id,
        });
        response::json(StatusCode::OK, &body)
    }

    /// The client id of the identity that a request is for.
    fn identity_of<'a>(&'a self, query: &'a Form) -> Option<&'a str> {
        let client_id = query.get("client_id").or(self.options.system_assigned.as_deref());
        client_id.filter(|client_id| self.principals.contains_key(*client_id))
    }

    /// The discovery document or the key set, if the path is one of these.
    fn published(&self, path: &str) -> Option<Value> {
        let keys = format!("/{}/discovery/v2.0/keys", TENANT);
        if path == keys {
            let mut key = self.key.jwk();
            key["alg"] = "RS256".into();
            return Some(json!({"keys": [key]}));
        }
        let document = json!({
            "issuer": self.issuer(),
            "jwks_uri": format!("{}{keys}", self.origin),
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        (path == format!("/{}/v2.0/.well-known/openid-configuration", TENANT)).then_some(document)
    }
}

impl Handler for State {
    type Target = ();

    fn core(&self) -> &Core<()> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        match (request.method.as_str(), request.path()) {
            ("GET", PATH) => match self.core.faults.take(()) {
                Some(fault) => {
                    fault.apply(response::empty, || self.token(&request, fault == Fault::NumericExpiry)).await
                }
                None => Ok(self.token(&request, false)),
            },
            ("GET", imds::PATH) => match self.core.faults.take(()) {
                Some(fault) => fault.apply(response::empty, || imds::token(self, &request)).await,
                None => Ok(imds::token(self, &request)),
            },
            ("GET", path) => Ok(match self.published(path) {
                Some(body) => response::json(StatusCode::OK, &body),
                None => response::empty(StatusCode::NOT_FOUND),
            }),
            _ => Ok(response::empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }
}

/// An error as App Service words it.
fn rejected(status: StatusCode, message: &str) -> Response<Body> {
    let correlation = guid(rand::random());
    response::json(status, &json!({"statusCode": status.as_u16(), "message": message, "correlationId": correlation}))
}
