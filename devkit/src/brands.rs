//! Stand-ins for the providers of `docs/providers.md`, written from their documentation and from public reports.
//!
//! Each spells its documents, tokens and paths as that provider does, and rejects what that provider rejects. One
//! application is registered, with the scopes that are customary there. There is no page: [`Brands::sign_in`] is the
//! user who signs in.

mod authorize;
mod brand;
mod end_session;
mod mint;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Mutex;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::web::jwt::SigningKey;
use crate::web::{ANY_PORT, Body, Core, Handler, HangUp, StandIn, lock, response};

pub use crate::web::Recorded;
pub use brand::Brand;

/// The address of the API behind the gateway, below the stand-in's origin.
pub const API_PATH: &str = "/orders-api";

/// The registered application.
#[derive(Clone, Debug)]
pub struct Options {
    pub brand: Brand,
    /// The path of the issuer: `/{tenant}/v2.0`, `/realms/{realm}`, `/oauth2/default` and so on.
    pub issuer_path: String,
    pub client_id: String,
    pub client_secret: String,
    pub redirect_uri: String,
    pub post_logout_redirect_uri: String,
}

pub type Brands = StandIn<State>;

impl StandIn<State> {
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(ANY_PORT).await?;
        let state = State {
            origin: format!("http://{}", listener.local_addr()?),
            options,
            key: SigningKey::load(include_bytes!("../keys/provider-1.pk8"))?,
            core: Core::default(),
            store: Mutex::default(),
        };
        Self::serve(listener, None, state)
    }

    #[must_use]
    pub fn origin(&self) -> &str {
        &self.state.origin
    }

    /// Signs the user in and consents: the address that the provider redirects the browser to.
    ///
    /// # Errors
    /// The text of the provider's own error page.
    pub fn sign_in(&self, authorize_url: &str) -> Result<String, String> {
        authorize::respond(&self.state, authorize_url)
    }

    /// The refresh tokens that were revoked.
    #[must_use]
    pub fn revoked(&self) -> Vec<String> {
        lock(&self.state.store).revoked.iter().cloned().collect()
    }
}

#[derive(Debug)]
pub struct State {
    options: Options,
    origin: String,
    key: SigningKey,
    core: Core<()>,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    codes: BTreeMap<String, Grant>,
    refresh: BTreeMap<String, Grant>,
    /// Access tokens that the API accepts, with their scopes.
    access: BTreeMap<String, Vec<String>>,
    id_tokens: BTreeSet<String>,
    revoked: BTreeSet<String>,
    /// Whether the user has consented before.
    consented: bool,
}

/// What a sign-in granted.
#[derive(Clone, Debug)]
struct Grant {
    redirect_uri: String,
    challenge: String,
    nonce: String,
    /// The scopes, as requested.
    scopes: Vec<String>,
    /// Whether a refresh token is issued.
    has_refresh_token: bool,
    /// The `audience` of the request, where the provider knows that parameter.
    audience: Option<String>,
}

impl State {
    fn issuer(&self) -> String {
        format!("{}{}", self.origin, self.options.issuer_path)
    }

    fn discovery_path(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.options.issuer_path.trim_end_matches('/'))
    }

    /// The API: it accepts the provider's unexpired tokens for it that have one of its scopes.
    fn api(&self, request: &Recorded) -> Response<Body> {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match token.and_then(|token| lock(&self.store).access.get(token).cloned()) {
            Some(scopes) if scopes.iter().any(|scope| scope == self.options.brand.api_scope()) => {
                response::json(StatusCode::OK, &json!({"token": token, "scopes": scopes}))
            }
            Some(_) => response::empty(StatusCode::FORBIDDEN),
            None => response::empty(StatusCode::UNAUTHORIZED),
        }
    }
}

impl Handler for State {
    type Target = ();

    fn core(&self) -> &Core<()> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        let paths = self.options.brand.paths(&self.options.issuer_path);
        let path = request.path();
        let is = |known: Option<&String>| known.is_some_and(|known| known == path);
        Ok(if path == self.discovery_path() || self.options.brand.is_other_discovery(path) {
            json_document(&self.options.brand.metadata(&self.origin, &self.issuer(), &paths))
        } else if path == paths.keys {
            json_document(&self.options.brand.key_set(&self.key))
        } else if path == paths.token {
            token::token(self, &request)
        } else if is(paths.revoke.as_ref()) {
            token::revoke(self, &request)
        } else if is(paths.end_session.as_ref()) || self.options.brand.is_other_end_session(path) {
            end_session::end_session(self, &request)
        } else if path.starts_with(API_PATH) {
            self.api(&request)
        } else {
            response::empty(StatusCode::NOT_FOUND)
        })
    }
}

fn json_document(document: &Value) -> Response<Body> {
    response::json(StatusCode::OK, document)
}
