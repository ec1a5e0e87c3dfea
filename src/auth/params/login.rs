//! The parameters of `/auth/login` (contract 3.2). Others are ignored.

use super::{Duplicate, Params};
use crate::api_map::Api;
use crate::auth::Config;
use crate::error::Error;
use crate::guard::return_to::ReturnTo;
use crate::oidc::acr::{AcrValues, MaxAge};

/// Values of `prompt` that are passed on (OpenID Connect Core 3.1.2.1, Prompt Create 1.0).
const PROMPTS: [&str; 5] = ["login", "select_account", "consent", "create", "none"];
/// Largest hint in bytes.
const HINT: usize = 320;

/// How a sign-in was requested.
pub(in crate::auth) struct LoginParams<'a> {
    pub(in crate::auth) return_to: ReturnTo,
    /// The API to sign in for: the one that was named, else the one of contract 7.20.
    pub(in crate::auth) api: Option<&'a Api>,
    pub(in crate::auth) acr_values: Option<AcrValues>,
    pub(in crate::auth) max_age: Option<MaxAge>,
    /// A challenge that the gateway sealed.
    pub(in crate::auth) challenge: Option<String>,
    pub(in crate::auth) prompt: Option<&'static str>,
    pub(in crate::auth) login_hint: Option<String>,
    pub(in crate::auth) domain_hint: Option<String>,
}

impl<'a> LoginParams<'a> {
    /// Parses a query.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for the first parameter that is invalid.
    pub(in crate::auth) fn parse(query: &str, config: &'a Config) -> Result<Self, Error> {
        let mut params = Params::parse(query);
        let mut single = |name, duplicate| params.take(name).map_err(|Duplicate| Error::BadRequest(duplicate));
        let return_to = match single("return_to", "return_to is present more than once")? {
            None => config.return_uri.clone(),
            Some(path) => ReturnTo::parse(&path, &config.origins.spa, &config.reserved).ok_or(Error::BadRequest(
                "return_to must be a path of the app, from its first /, of at most 1,024 bytes",
            ))?,
        };
        let prompt = match single("prompt", "prompt is present more than once")? {
            None => None,
            Some(prompt) => {
                const RULE: Error = Error::BadRequest("prompt must be login, select_account, consent, create or none");
                Some(PROMPTS.into_iter().find(|known| *known == prompt).ok_or(RULE)?)
            }
        };
        let api = match single("api", "api is present more than once")? {
            None => config.apis.sign_in_api(),
            Some(name) => Some(config.apis.get(&name).ok_or(Error::BadRequest("unknown api"))?),
        };
        let acr_values = match single("acr_values", "acr_values is present more than once")? {
            None => None,
            Some(values) => {
                const RULE: Error =
                    Error::BadRequest("acr_values must be 1 to 10 values separated by spaces, of at most 200 bytes");
                Some(AcrValues::parse(&values).ok_or(RULE)?)
            }
        };
        let max_age = match single("max_age", "max_age is present more than once")? {
            None => None,
            Some(seconds) => {
                const RULE: Error = Error::BadRequest("max_age must be a number of seconds from 0 to 86400");
                Some(MaxAge::parse(&seconds).ok_or(RULE)?)
            }
        };
        let mut hint = |name, rule| match single(name, rule)? {
            Some(hint) if !(1..=HINT).contains(&hint.len()) || hint.contains(char::is_control) => {
                Err(Error::BadRequest(rule))
            }
            hint => Ok(hint),
        };
        Ok(Self {
            return_to,
            api,
            prompt,
            acr_values,
            max_age,
            login_hint: hint("login_hint", "login_hint must be one text of 1 to 320 bytes")?,
            domain_hint: hint("domain_hint", "domain_hint must be one text of 1 to 320 bytes")?,
            challenge: single("challenge", "challenge is present more than once")?,
        })
    }
}
