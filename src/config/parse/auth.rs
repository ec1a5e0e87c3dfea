//! Settings of the endpoints under `/auth`.

use std::collections::BTreeSet;
use std::sync::Arc;

use url::{Url, form_urlencoded};

use super::{ConfigParser, Parsed};
use crate::api_map::ApiMap;
use crate::auth::{Config, ResponseMode};
use crate::config::settings::{
    END_SESSION_ID_TOKEN_HINT, END_SESSION_RETURN_PARAM, END_SESSION_URL, LOGIN_PARAMS, RESPONSE_MODE, SCOPES,
};
use crate::oidc::acr::MaxAge;
use crate::origin::{Origin, is_secure};

/// Path prefixes that the gateway or the platform serves, besides the routes of the APIs (contract 3.40).
const OWN_PATHS: [&str; 5] = ["/auth", "/.auth", "/health", "/api", "/rotate_keys"];

/// Parameters of the authorization request that the gateway sets itself, or whose meaning it must decide (contract
/// 12.22).
const FIXED_PARAMS: [&str; 14] = [
    "client_id",
    "response_type",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
    "resource",
    "claims",
    "request",
    "request_uri",
    "login_hint",
];

impl ConfigParser<'_> {
    pub(super) fn response_mode(&mut self) -> Parsed<ResponseMode> {
        self.choice(&RESPONSE_MODE, &[("query", ResponseMode::Query), ("form_post", ResponseMode::FormPost)])
    }

    /// `None` for what was recorded as an error already; the other settings are checked all the same.
    pub(super) fn auth(
        &mut self,
        public: Option<&Origin>,
        response_mode: Parsed<ResponseMode>,
        apis: Option<&Arc<ApiMap>>,
    ) -> Parsed<Config> {
        let apis = apis.map_or_else(Arc::default, Arc::clone);
        let reserved: Vec<String> =
            OWN_PATHS.into_iter().chain(apis.iter().map(|api| api.route.as_str())).map(str::to_owned).collect();
        let (origins, scopes) = (self.origins(public, &reserved), self.scopes());
        let (login_params, end_session_url) = (self.login_params(), self.end_session_url());
        let end_session_return_param = self.end_session_return_param();
        let end_session_id_token_hint = self.choice(&END_SESSION_ID_TOKEN_HINT, &[("false", false), ("true", true)]);
        let (origins, return_uri) = origins?;
        Ok(Config {
            origins,
            return_uri,
            scopes: scopes?,
            login_params: login_params?,
            end_session_url: end_session_url?,
            end_session_return_param: end_session_return_param?,
            end_session_id_token_hint: end_session_id_token_hint?,
            response_mode: response_mode?,
            reserved,
            apis,
        })
    }

    fn login_params(&mut self) -> Parsed<Vec<(String, String)>> {
        let Some(text) = self.set_value(&LOGIN_PARAMS) else { return Ok(Vec::new()) };
        let params: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        let names: BTreeSet<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
        let problem = match FIXED_PARAMS.iter().find(|name| names.contains(**name)) {
            Some(name) => Some(format!("must not contain {name}, which the gateway sets itself or never sends")),
            None if names.contains("") || names.len() < params.len() => {
                Some("must be a query string with one value for each name".to_owned())
            }
            None if params.iter().any(|(name, value)| name == "max_age" && MaxAge::parse(value).is_none()) => {
                Some("must have a number of seconds from 0 to 86400 as max_age".to_owned())
            }
            None => None,
        };
        self.or_record(&LOGIN_PARAMS, problem.map_or(Ok(params), Err))
    }

    fn end_session_url(&mut self) -> Parsed<Option<Url>> {
        let Some(text) = self.set_value(&END_SESSION_URL) else { return Ok(None) };
        let url = Url::parse(text).ok().filter(is_secure);
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
        self.or_record(&END_SESSION_URL, url.map(Some).ok_or("must be an https URL, or http on loopback"))
    }

    fn end_session_return_param(&mut self) -> Parsed<String> {
        let name = self.text(&END_SESSION_RETURN_PARAM);
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let is_taken = ["client_id", "logout_hint", "state", "id_token_hint"].contains(&name);
        let checked = if is_name && !is_taken { Ok(name.to_owned()) } else { Err("must be the name of a parameter") };
        self.or_record(&END_SESSION_RETURN_PARAM, checked)
    }

    fn scopes(&mut self) -> Parsed<Vec<String>> {
        const RULE: &str = "must be scopes separated by spaces, and contain openid";
        let text = self.text(&SCOPES);
        let scopes: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        let is_valid = scopes.iter().any(|scope| scope == "openid") && text.is_ascii();
        self.or_record(&SCOPES, is_valid.then_some(scopes).ok_or(RULE))
    }
}
