//! The profile of logout tokens (contract 16.8, OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6).

use serde_json::Value;

use super::Provider;
use super::claims::{self, ClaimsProfile, Context, NumericDate, TokenError};
use super::members::{self, Malformed, Members};
use super::provider::Unavailable;
use crate::clock::{Clock, UnixSeconds};
use crate::jose::Key;
use crate::secret::SecretString;

/// The member of `events` that makes a JWT a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How far from now its issue may be, in seconds, the tolerance for the provider's clock apart.
const MOMENT: u64 = 120;

/// What a valid logout token says.
pub struct Logout {
    /// The `issuer` of the provider's metadata, which sessions are found by.
    pub issuer: String,
    /// Identifies the token at its issuer.
    pub jti: String,
    pub ended: Ended,
    /// The first second in which no instance accepts the token any more.
    pub too_old_at: UnixSeconds,
}

/// What has ended at the provider.
pub enum Ended {
    /// The session with this `sid`.
    Session(String),
    /// All sessions of the user with this `sub`.
    User(String),
}

/// The claims of a logout token.
struct LogoutToken {
    iss: String,
    aud: Vec<String>,
    azp: Option<String>,
    iat: UnixSeconds,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    nonce: Option<String>,
    tid: Option<String>,
    has_event: bool,
    jti: String,
    ended: Ended,
}

/// A token that is a logout token and nothing else.
struct BackChannelLogout;

impl ClaimsProfile for BackChannelLogout {
    type Claims = LogoutToken;
    const TYPES: &'static [&'static str] = &["logout+jwt", "JWT"];

    fn key_may_sign(key: &Key, token: &LogoutToken) -> bool {
        claims::key_is_for_issuer(key, &token.iss, token.tid.as_deref())
    }

    fn read(mut payload: Members) -> Result<LogoutToken, Malformed> {
        Ok(LogoutToken {
            iss: payload.required("iss", members::text)?,
            aud: payload.required("aud", claims::audiences)?,
            azp: payload.optional("azp", members::text),
            iat: payload.required("iat", |date| NumericDate::read(&date)?.seconds())?,
            exp: payload.strict("exp", |date| NumericDate::read(&date))?,
            nbf: payload.optional("nbf", |date| NumericDate::read(&date)),
            nonce: payload.strict("nonce", members::text)?,
            tid: payload.optional("tid", members::text),
            has_event: payload.required("events", |events| Some(events.get(EVENT).is_some_and(Value::is_object)))?,
            jti: payload.required("jti", members::text)?,
            ended: match (payload.strict("sid", members::text)?, payload.strict("sub", members::text)?) {
                (Some(sid), _) => Ended::Session(sid),
                (None, Some(sub)) => Ended::User(sub),
                (None, None) => return Err(Malformed("sid or sub")),
            },
        })
    }

    fn check(&self, token: &LogoutToken, context: &Context<'_>) -> Result<(), TokenError> {
        claims::issuer(&token.iss, token.tid.as_deref(), context)?;
        claims::audience(&token.aud, token.azp.as_deref(), context)?;
        claims::issued_within(MOMENT.saturating_add(context.clock_skew), token.iat, context)?;
        token.exp.map_or(Ok(()), |exp| claims::expiry(exp, context))?;
        claims::not_before(token.nbf, context)?;
        if let Ended::User(sub) = &token.ended {
            claims::subject(sub)?;
        }
        if !token.has_event {
            return Err(TokenError::Event);
        }
        if token.nonce.is_some() { Err(TokenError::NonceForbidden) } else { Ok(()) }
    }
}

impl LogoutToken {
    /// The first second in which no instance accepts the token any more, by the clock of any of them: these may differ
    /// from each other by twice the tolerance.
    const fn too_old_at(&self, clock_skew: u64) -> UnixSeconds {
        self.iat.saturating_add(MOMENT).saturating_add(clock_skew.saturating_mul(3)).saturating_add(1)
    }
}

impl Provider {
    /// Verifies a logout token.
    ///
    /// # Errors
    /// The first [`TokenError`] found. [`TokenError::KeysUnavailable`] and [`TokenError::KeyUndecided`] say nothing
    /// about the token.
    pub async fn verify_logout_token(&self, token: &SecretString, clock: Clock<'_>) -> Result<Logout, TokenError> {
        let metadata = self.metadata().await.map_err(|Unavailable| TokenError::KeysUnavailable)?;
        let token = self.verify(&metadata, token, &BackChannelLogout, clock).await?;
        let too_old_at = token.too_old_at(self.clock_skew());
        Ok(Logout { issuer: metadata.issuer.clone(), jti: token.jti, ended: token.ended, too_old_at })
    }
}

#[cfg(test)]
mod tests;
