//! The profiles of ID tokens, at a sign-in and at a refresh (contract 7.2 to 7.4, OpenID Connect Core 3.1.3.7, 12.2).

use serde::Deserialize;

use super::claims::{self, Audience, ClaimsProfile, Context, NumericDate, TokenError};
use super::discovery::Tenants;
use crate::jose::Key;

/// The claims of an ID token that the gateway reads.
#[derive(Debug, Deserialize)]
pub struct IdToken {
    iss: String,
    /// The user; stable for this client only.
    pub sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: NumericDate,
    iat: NumericDate,
    nbf: Option<NumericDate>,
    nonce: Option<String>,
    at_hash: Option<String>,
    /// The tenant (Entra).
    pub tid: Option<String>,
    /// The user within the tenant (Entra).
    pub oid: Option<String>,
    pub name: Option<String>,
    pub preferred_username: Option<String>,
    pub email: Option<String>,
    /// App roles (Entra).
    #[serde(default, deserialize_with = "one_or_several")]
    pub roles: Vec<String>,
    /// The session at the provider.
    pub sid: Option<String>,
    /// Sent back to the provider as `logout_hint` at a sign-out.
    pub login_hint: Option<String>,
}

/// Some providers send one role as a string, or null for none. A claim for display never fails a sign-in.
fn one_or_several<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(one) => vec![one],
        serde_json::Value::Array(several) => {
            several.into_iter().filter_map(|role| role.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    })
}

/// An ID token of a code exchange.
#[derive(Debug, Clone, Copy)]
pub struct SignIn<'a> {
    /// The nonce of the login transaction.
    pub nonce: &'a str,
    /// The access token of the same response.
    pub access_token: &'a str,
}

/// An ID token of a refresh: it needs no nonce, and is for the user who is signed in.
#[derive(Debug, Clone, Copy)]
pub struct Refreshed<'a> {
    pub subject: Subject<'a>,
    /// The access token of the same response.
    pub access_token: &'a str,
}

/// The user of a session.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub sub: &'a str,
    /// The tenant, which is part of Entra's issuers.
    pub tid: Option<&'a str>,
}

const TYPES: &[&str] = &["JWT"];

impl ClaimsProfile for SignIn<'_> {
    type Claims = IdToken;
    const TYPES: &'static [&'static str] = TYPES;

    fn key_may_sign(key: &Key, token: &IdToken) -> bool {
        claims::key_is_for_issuer(key, &token.iss, token.tid.as_deref())
    }

    fn check(&self, token: &IdToken, context: &Context<'_>) -> Result<(), TokenError> {
        token.check(self.access_token, context)?;
        claims::nonce(token.nonce.as_deref(), self.nonce)
    }
}

impl ClaimsProfile for Refreshed<'_> {
    type Claims = IdToken;
    const TYPES: &'static [&'static str] = TYPES;

    fn key_may_sign(key: &Key, token: &IdToken) -> bool {
        SignIn::key_may_sign(key, token)
    }

    fn check(&self, token: &IdToken, context: &Context<'_>) -> Result<(), TokenError> {
        token.check(self.access_token, context)?;
        let tenant_counts = context.authority.tenants != Tenants::Unchecked;
        let same_tenant = !tenant_counts || token.tid.as_deref() == self.subject.tid;
        if token.sub == self.subject.sub && same_tenant { Ok(()) } else { Err(TokenError::OtherUser) }
    }
}

impl IdToken {
    /// The rules of every ID token.
    fn check(&self, access_token: &str, context: &Context<'_>) -> Result<(), TokenError> {
        claims::issuer(&self.iss, self.tid.as_deref(), context)?;
        claims::subject(&self.sub)?;
        claims::audience(&self.aud, self.azp.as_deref(), context)?;
        claims::expiry(&self.exp, context)?;
        claims::issued_at(&self.iat, context)?;
        claims::not_before(self.nbf.as_ref(), context)?;
        claims::access_token_hash(self.at_hash.as_deref(), access_token)
    }
}

#[cfg(test)]
mod tests;
