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
    /// Whether the session is to outlast the browser session (contract 16.11).
    pub(in crate::auth) persist: Option<bool>,
    /// Whether it is a step-up or a consent, for which the user of a session signs in again.
    pub(in crate::auth) continues_session: bool,
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
        let return_to = parsed(
            single("return_to", "return_to is present more than once")?,
            |path| ReturnTo::parse(path, &config.origins.spa, &config.reserved),
            "return_to must be a path of the app, from its first /, of at most 1,024 bytes",
        )?;
        let prompt = parsed(
            single("prompt", "prompt is present more than once")?,
            |prompt| PROMPTS.into_iter().find(|known| *known == prompt),
            "prompt must be login, select_account, consent, create or none",
        )?;
        let api = single("api", "api is present more than once")?;
        let api = parsed(api, |name| config.apis.get(name), "unknown api")?;
        let acr_values = parsed(
            single("acr_values", "acr_values is present more than once")?,
            AcrValues::parse,
            "acr_values must be 1 to 10 values separated by spaces, of at most 200 bytes",
        )?;
        let max_age = parsed(
            single("max_age", "max_age is present more than once")?,
            MaxAge::parse,
            "max_age must be a number of seconds from 0 to 86400",
        )?;
        let persist = single("persist", "persist is present more than once")?;
        let persist = parsed(persist, |persist| persist.parse().ok(), "persist must be true or false")?;
        let mut hint = |name, rule| match single(name, rule)? {
            Some(hint) if !(1..=HINT).contains(&hint.len()) || hint.contains(char::is_control) => {
                Err(Error::BadRequest(rule))
            }
            hint => Ok(hint),
        };
        let login_hint = hint("login_hint", "login_hint must be one text of 1 to 320 bytes")?;
        let domain_hint = hint("domain_hint", "domain_hint must be one text of 1 to 320 bytes")?;
        let challenge = single("challenge", "challenge is present more than once")?;
        let is_step_up = challenge.is_some() || acr_values.is_some() || max_age.is_some();
        Ok(Self {
            return_to: return_to.unwrap_or_else(|| config.return_uri.clone()),
            continues_session: is_step_up || api.is_some(),
            api: api.or_else(|| config.apis.sign_in_api()),
            acr_values,
            max_age,
            persist,
            challenge,
            prompt,
            login_hint,
            domain_hint,
        })
    }
}

/// The value of a parameter that is present.
fn parsed<T>(
    value: Option<String>,
    parse: impl FnOnce(&str) -> Option<T>,
    rule: &'static str,
) -> Result<Option<T>, Error> {
    value.map(|value| parse(&value).ok_or(Error::BadRequest(rule))).transpose()
}
