//! Signing in and out: one file for each endpoint.

pub mod callback;
mod callback_dedup;
pub mod login;
pub mod logout;
pub mod refresh;
pub mod session;
mod transaction;

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::api_map::ApiMap;
use crate::guard::origins::Origins;
use crate::guard::return_to::ReturnTo;
use crate::oidc::Provider;
use crate::session::Sessions;
use crate::tokens::TokenService;
use callback_dedup::CallbackDedup;

/// What the page hears of a sign-in that failed, as `auth_error`.
type AuthError = &'static str;

/// How the provider answers the authorization request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseMode {
    /// By a form that the browser posts.
    FormPost,
    /// In the query.
    Query,
}

/// Settings of signing in and out.
#[derive(Debug)]
pub struct Config {
    /// The origins of the gateway, the page and others that may call.
    pub origins: Arc<Origins>,
    /// Where the browser goes when a login names no return path.
    pub return_uri: ReturnTo,
    /// Asked at every sign-in.
    pub scopes: Vec<String>,
    /// How the provider answers.
    pub response_mode: ResponseMode,
    /// Paths that the gateway answers itself, for return paths.
    pub reserved: Vec<String>,
    pub apis: Arc<ApiMap>,
}

/// The endpoints under `/auth`.
#[derive(Debug)]
pub struct Auth {
    config: Config,
    provider: Arc<Provider>,
    sessions: Arc<Sessions>,
    tokens: Arc<TokenService>,
    callback_dedup: CallbackDedup,
}

impl Auth {
    /// The endpoints over a provider and its sessions.
    #[must_use]
    pub fn new(
        config: Config,
        provider: Arc<Provider>,
        sessions: Arc<Sessions>,
        tokens: Arc<TokenService>,
    ) -> Arc<Self> {
        Arc::new(Self { config, provider, sessions, tokens, callback_dedup: CallbackDedup::default() })
    }

    /// Whether the provider answers by a form that the browser posts.
    #[must_use]
    pub fn takes_form_post(&self) -> bool {
        self.config.response_mode == ResponseMode::FormPost
    }

    /// The redirect URI, from configuration only.
    fn redirect_uri(&self) -> String {
        format!("{}/auth/callback", self.config.origins.public)
    }

    /// The lines that delete the session cookie.
    #[must_use]
    pub fn delete_session(&self) -> Vec<HeaderValue> {
        self.sessions.cookies.delete_session()
    }
}

/// The redirect that fits a method: 303 turns a POST into a GET.
fn redirect_status(method: &http::Method) -> StatusCode {
    if *method == http::Method::POST { StatusCode::SEE_OTHER } else { StatusCode::FOUND }
}

/// The one value of a parameter; several are an error.
fn single<'a>(pairs: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = pairs.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(()),
    }
}

/// Pairs of a query or a form (WHATWG URL, section 5.1).
fn parse_pairs(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
