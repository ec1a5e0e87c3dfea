//! Signing in and out: one file per endpoint under `/auth`.

pub mod backchannel_logout;
pub mod callback;
mod callback_dedup;
mod end_session;
mod error;
mod exchange_limits;
mod failure_log;
pub mod frontchannel_logout;
mod limited_log;
pub mod login;
pub mod logout;
mod params;
mod persist;
pub mod refresh;
pub mod session;
pub mod sessions;
mod step_up;
mod transaction;

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::api_map::ApiMap;
use crate::guard::origins::Origins;
use crate::guard::return_to::ReturnTo;
use crate::oidc::Provider;
use crate::oidc::acr::MaxAge;
use crate::places::Limits;
use crate::session::Sessions;
use crate::tokens::TokenService;
use callback_dedup::CallbackDedup;
pub use error::{AuthError, Facts};
use exchange_limits::ExchangeLimits;
use failure_log::FailureLog;
use limited_log::LimitedLog;

/// How the provider returns the authorization response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseMode {
    /// As a form that the browser posts (OAuth 2.0 Form Post Response Mode).
    FormPost,
    Query,
}

/// Settings of signing in and out.
#[derive(Debug)]
pub struct Config {
    pub origins: Arc<Origins>,
    /// Where the browser goes when a sign-in has no return path.
    pub return_uri: ReturnTo,
    /// Requested at every sign-in, besides those of one API.
    pub scopes: Vec<String>,
    /// More parameters of the authorization request, which those of a request replace.
    pub login_params: Vec<(String, String)>,
    /// Instead of the end-session endpoint of the metadata.
    pub end_session_url: Option<Url>,
    /// The end-session parameter with the address to return to.
    pub end_session_return_param: String,
    /// Whether the provider needs the ID token there (contract 12.22).
    pub end_session_id_token_hint: bool,
    pub response_mode: ResponseMode,
    /// Path prefixes that the gateway serves itself; no return path is under them (contract 3.40).
    pub reserved: Vec<String>,
    pub apis: Arc<ApiMap>,
}

impl Config {
    /// `max_age` of the authorization requests that ask for no other. The configuration checks its form.
    fn default_max_age(&self) -> Option<MaxAge> {
        let default = self.login_params.iter().find(|(name, _)| name == "max_age");
        default.and_then(|(_, seconds)| MaxAge::parse(seconds))
    }
}

/// The endpoints under `/auth`.
#[derive(Debug)]
pub struct Auth {
    config: Config,
    provider: Arc<Provider>,
    sessions: Arc<Sessions>,
    tokens: Arc<TokenService>,
    callback_dedup: CallbackDedup,
    exchange_limits: ExchangeLimits,
    failure_log: FailureLog,
    logout_token_log: LimitedLog,
    /// Sign-outs of sessions whose key is unavailable.
    incomplete_log: LimitedLog,
    /// The sign-outs that are in progress, whether their browsers wait or not.
    background: TaskTracker,
}

impl Auth {
    #[must_use]
    pub fn new(
        config: Config,
        provider: Arc<Provider>,
        sessions: Arc<Sessions>,
        tokens: Arc<TokenService>,
        limits: &Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            provider,
            sessions,
            tokens,
            callback_dedup: CallbackDedup::new(limits.callbacks),
            exchange_limits: ExchangeLimits::new(limits.exchanges),
            failure_log: FailureLog::default(),
            logout_token_log: LimitedLog::default(),
            incomplete_log: LimitedLog::default(),
            background: TaskTracker::new(),
        })
    }

    /// Waits for the sign-outs that are in progress.
    pub async fn flush(&self) {
        self.background.close();
        self.background.wait().await;
    }

    /// Whether `/auth/callback` accepts a posted form.
    #[must_use]
    pub fn takes_form_post(&self) -> bool {
        self.config.response_mode == ResponseMode::FormPost
    }

    /// The redirect URI, from configuration only (contract 11.4).
    fn redirect_uri(&self) -> String {
        format!("{}/auth/callback", self.config.origins.public)
    }

    /// The `Set-Cookie` lines that delete the session cookie.
    #[must_use]
    pub fn delete_session(&self) -> Vec<HeaderValue> {
        self.sessions.cookies().delete_session()
    }
}

/// 303 for a POST, so that the browser follows with a GET; else 302.
fn redirect_status(method: &http::Method) -> StatusCode {
    if *method == http::Method::POST { StatusCode::SEE_OTHER } else { StatusCode::FOUND }
}
