//! The profiles of ID tokens, at a sign-in and at a refresh (contract 7.2 to 7.4a, OpenID Connect Core 3.1.3.7, 12.2).

use super::claims::{self, ClaimsProfile, Context, NumericDate, TokenError};
use super::discovery::Tenants;
use super::members::{self, Malformed, Members};
use crate::clock::UnixSeconds;
use crate::jose::Key;

/// The claims of an ID token that the gateway reads.
#[derive(Debug)]
pub struct IdToken {
    iss: String,
    /// The user; stable for this client only.
    pub sub: String,
    aud: Vec<String>,
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
    pub roles: Vec<String>,
    /// The session at the provider.
    pub sid: Option<String>,
    /// Sent back to the provider as `logout_hint` at a sign-out.
    pub login_hint: Option<String>,
    /// Authentication context class.
    pub acr: Option<String>,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// When the user authenticated at the provider.
    pub auth_time: Option<UnixSeconds>,
}

/// An ID token of a code exchange.
#[derive(Debug, Clone, Copy)]
pub struct SignIn<'a> {
    /// The nonce of the login transaction.
    pub nonce: &'a str,
    /// The access token of the same response.
    pub access_token: &'a str,
}

/// An ID token of a refresh: for the user who is signed in; it needs no nonce, but has no other than the sign-in's.
#[derive(Debug, Clone, Copy)]
pub struct Refreshed<'a> {
    pub subject: Subject<'a>,
    /// The access token of the same response.
    pub access_token: &'a str,
}

/// What a session knows of the ID token of its sign-in.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub sub: &'a str,
    /// The tenant, which is part of Entra's issuers.
    pub tid: Option<&'a str>,
    /// [`claims::nonce_hash`]; sessions of older releases have none.
    pub nonce_hash: Option<[u8; 8]>,
}

const TYPES: &[&str] = &["JWT"];

impl ClaimsProfile for SignIn<'_> {
    type Claims = IdToken;
    const TYPES: &'static [&'static str] = TYPES;

    fn key_may_sign(key: &Key, token: &IdToken) -> bool {
        claims::key_is_for_issuer(key, &token.iss, token.tid.as_deref())
    }

    fn read(payload: Members) -> Result<IdToken, Malformed> {
        IdToken::read(payload)
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

    fn read(payload: Members) -> Result<IdToken, Malformed> {
        IdToken::read(payload)
    }

    fn check(&self, token: &IdToken, context: &Context<'_>) -> Result<(), TokenError> {
        token.check(self.access_token, context)?;
        claims::same_nonce(token.nonce.as_deref(), self.subject.nonce_hash)?;
        let tenant_counts = context.authority.tenants != Tenants::Unchecked;
        let same_tenant = !tenant_counts || token.tid.as_deref() == self.subject.tid;
        if token.sub == self.subject.sub && same_tenant { Ok(()) } else { Err(TokenError::OtherUser) }
    }
}

impl IdToken {
    fn read(mut payload: Members) -> Result<Self, Malformed> {
        Ok(Self {
            iss: payload.required("iss", members::text)?,
            sub: payload.required("sub", members::text)?,
            aud: payload.required("aud", claims::audiences)?,
            azp: payload.optional("azp", members::text),
            exp: payload.required("exp", |date| NumericDate::read(&date))?,
            iat: payload.required("iat", |date| NumericDate::read(&date))?,
            nbf: payload.optional("nbf", |date| NumericDate::read(&date)),
            nonce: payload.strict("nonce", members::text)?,
            at_hash: payload.optional("at_hash", members::text),
            tid: payload.optional("tid", members::text),
            oid: payload.optional("oid", members::text),
            name: payload.optional("name", members::text),
            preferred_username: payload.optional("preferred_username", members::text),
            email: payload.optional("email", members::text),
            roles: payload.optional("roles", members::texts).unwrap_or_default(),
            sid: payload.optional("sid", members::text),
            login_hint: payload.optional("login_hint", members::text),
            acr: payload.optional("acr", members::text),
            amr: payload.optional("amr", members::texts).unwrap_or_default(),
            auth_time: payload.optional("auth_time", |date| NumericDate::read(&date)?.seconds()),
        })
    }

    /// How long before this token the user had authenticated, in seconds of the provider's own clock.
    #[must_use]
    pub fn authentication_age(&self) -> Option<u64> {
        Some(self.iat.seconds()?.saturating_sub(self.auth_time?))
    }

    /// The rules of every ID token.
    fn check(&self, access_token: &str, context: &Context<'_>) -> Result<(), TokenError> {
        claims::issuer(&self.iss, self.tid.as_deref(), context)?;
        claims::subject(&self.sub)?;
        claims::audience(&self.aud, self.azp.as_deref(), context)?;
        claims::expiry(self.exp, context)?;
        claims::issued_at(self.iat, context)?;
        claims::not_before(self.nbf, context)?;
        claims::access_token_hash(self.at_hash.as_deref(), access_token)
    }
}

#[cfg(test)]
mod tests;
