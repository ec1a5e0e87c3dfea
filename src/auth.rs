//! Signing in and out: one file for each endpoint.

pub mod callback;
pub mod login;
pub mod logout;
pub mod session;
mod transaction;

use std::sync::Arc;

use http::StatusCode;

use crate::guard::return_to::ReturnTo;
use crate::oidc::Provider;
use crate::oidc::grants::Code;
use crate::origin::Origin;
use crate::session::Sessions;

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
    /// Scheme, host and port that browsers see.
    pub public_origin: Origin,
    /// Where the browser goes when a login names no return path.
    pub return_uri: ReturnTo,
    /// Asked at every sign-in.
    pub scopes: Vec<String>,
    /// How the provider answers.
    pub response_mode: ResponseMode,
    /// Paths that the gateway answers itself, for return paths.
    pub reserved: Vec<String>,
    /// The API whose scopes the sign-in asks for.
    pub sign_in_api: Option<SignInApi>,
    /// Name and route of every API, for the session endpoint.
    pub apis: Vec<(String, String)>,
}

/// What the sign-in needs of an API.
#[derive(Debug, Clone)]
pub struct SignInApi {
    /// Its name.
    pub name: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// Its resource indicator (RFC 8707).
    pub resource: Option<String>,
}

/// The endpoints under `/auth`.
#[derive(Debug)]
pub struct Auth {
    config: Config,
    provider: Arc<Provider>,
    sessions: Arc<Sessions>,
}

impl Auth {
    /// The endpoints over a provider and its sessions.
    #[must_use]
    pub const fn new(config: Config, provider: Arc<Provider>, sessions: Arc<Sessions>) -> Self {
        Self { config, provider, sessions }
    }

    /// Whether the provider answers by a form that the browser posts.
    #[must_use]
    pub fn takes_form_post(&self) -> bool {
        self.config.response_mode == ResponseMode::FormPost
    }

    /// The redirect URI, from configuration only.
    fn redirect_uri(&self) -> String {
        format!("{}/auth/callback", self.config.public_origin)
    }

    fn code<'a>(&'a self, code: &'a str, redirect_uri: &'a str, verifier: &'a crate::secret::SecretString) -> Code<'a> {
        let resource = self.config.sign_in_api.as_ref().and_then(|api| api.resource.as_deref());
        Code { code, verifier, redirect_uri, resource }
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
