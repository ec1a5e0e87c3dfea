//! Claims profiles: which rules hold for which kind of JWT.
//!
//! Each kind of token is one [`ClaimsProfile`] in a file of its own: the claims that are read, the accepted values of
//! `typ`, and the rules below that it has to satisfy. [`crate::jose`] verifies the signature before.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::discovery::{Authority, IssuerError, Metadata, TENANT_TEMPLATE};
use crate::clock::UnixSeconds;
use crate::jose::{self, JwtError, Key, KeySet};

/// One kind of JWT that the provider signs.
pub trait ClaimsProfile {
    /// The claims that are read. Members without a default are required.
    type Claims: DeserializeOwned;
    /// The accepted values of `typ`, as for [`jose::verify`].
    const TYPES: &'static [&'static str];

    /// Whether a key of the provider may sign a token with these claims; usually [`key_is_for_issuer`].
    fn key_may_sign(key: &Key, claims: &Self::Claims) -> bool;

    /// Applies the rules of this kind.
    ///
    /// # Errors
    /// The first rule that is not satisfied.
    fn check(&self, claims: &Self::Claims, context: &Context<'_>) -> Result<(), TokenError>;
}

/// What every profile compares a token with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub authority: &'a Authority,
    pub metadata: &'a Metadata,
    pub client_id: &'a str,
    pub now: UnixSeconds,
    /// Tolerance for the provider's clock, in seconds.
    pub clock_skew: u64,
}

/// Why a token is rejected. `Display` begins with the name of the claim, for the log; the browser gets the code of a
/// failed sign-in or refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    AtHash,
    Audience,
    AuthorizedParty,
    Expired,
    IssuedAt,
    Issuer,
    Jwt(JwtError),
    /// The provider's keys cannot be loaded, so that the token can be neither accepted nor rejected.
    KeysUnavailable,
    Malformed(&'static str),
    Nonce,
    NotBefore,
    OtherUser,
    Subject,
    /// A token of the provider for a user of a tenant that may not sign in.
    Tenant,
}

impl From<JwtError> for TokenError {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::KeyScope => Self::Issuer,
            error => Self::Jwt(error),
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jwt(error) => return error.fmt(f),
            Self::Malformed(claim) => return write!(f, "{claim}: missing or malformed"),
            Self::AtHash => "at_hash: not the hash of the access token in the same response",
            Self::Audience => "aud: issued for another client",
            Self::AuthorizedParty => "azp: issued to another client, or missing beside several audiences",
            Self::Expired => "exp: expired",
            Self::IssuedAt => "iat: in the future; check the clocks",
            Self::Issuer => "iss: not the configured provider, or not in agreement with tid or the signing key",
            Self::KeysUnavailable => "the provider's signing keys cannot be loaded",
            Self::Nonce => "nonce: not that of this sign-in",
            Self::NotBefore => "nbf: in the future; check the clocks",
            Self::OtherUser => "sub: another user than the one who is signed in",
            Self::Subject => "sub: empty or longer than 255 bytes",
            Self::Tenant => "tid: this tenant may not sign in; see CLOAKROOM_ALLOWED_TENANTS",
        })
    }
}

/// Verifies a token by a profile and returns its claims.
///
/// # Errors
/// The first [`TokenError`] found.
pub fn verify<P: ClaimsProfile>(
    token: &str,
    keys: &KeySet,
    profile: &P,
    context: &Context<'_>,
) -> Result<P::Claims, TokenError> {
    let claims = jose::verify(token, keys, P::TYPES, P::key_may_sign)?;
    profile.check(&claims, context)?;
    Ok(claims)
}

/// Whether a key may sign for an issuer. Keys of Entra's multi-tenant key sets name the issuer that they sign for, some
/// with the tenant template; keys without an issuer sign for all.
#[must_use]
pub fn key_is_for_issuer(key: &Key, iss: &str, tid: Option<&str>) -> bool {
    key.issuer().is_none_or(|issuer| issuer.replace(TENANT_TEMPLATE, tid.unwrap_or_default()) == iss)
}

/// `aud` (RFC 7519 section 4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, whole or fractional.
#[derive(Debug, Deserialize)]
pub struct NumericDate(serde_json::Number);

impl NumericDate {
    /// Whole seconds, if the value is between the years 1970 and 9999.
    fn seconds(&self) -> Option<UnixSeconds> {
        const YEAR_10000: f64 = 253_402_300_800.0;
        let value = self.0.as_f64().filter(|value| (0.0..YEAR_10000).contains(value))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
        Some(value as UnixSeconds)
    }
}

/// `iss` and `tid`: the provider, and a tenant that may sign in.
pub(super) fn issuer(iss: &str, tid: Option<&str>, context: &Context<'_>) -> Result<(), TokenError> {
    context.authority.check_issuer(context.metadata, iss, tid).map_err(|error| match error {
        IssuerError::OtherTenant => TokenError::Tenant,
        IssuerError::WrongIssuer => TokenError::Issuer,
    })
}

/// `sub`: 1 to 255 bytes (OpenID Connect Core section 2).
pub(super) fn subject(sub: &str) -> Result<(), TokenError> {
    if (1..=255).contains(&sub.len()) { Ok(()) } else { Err(TokenError::Subject) }
}

/// `aud` and `azp`: this client is an audience, and the authorized party where there are others.
pub(super) fn audience(aud: &Audience, azp: Option<&str>, context: &Context<'_>) -> Result<(), TokenError> {
    let several = match aud {
        Audience::One(one) if one == context.client_id => false,
        Audience::Several(all) if all.iter().any(|one| one == context.client_id) => all.len() > 1,
        _ => return Err(TokenError::Audience),
    };
    match azp {
        Some(azp) if azp != context.client_id => Err(TokenError::AuthorizedParty),
        None if several => Err(TokenError::AuthorizedParty),
        _ => Ok(()),
    }
}

/// `exp`: the last valid second is the one before `exp` and the tolerance.
pub(super) fn expiry(exp: &NumericDate, context: &Context<'_>) -> Result<(), TokenError> {
    let exp = exp.seconds().ok_or(TokenError::Malformed("exp"))?;
    if context.now < exp.saturating_add(context.clock_skew) { Ok(()) } else { Err(TokenError::Expired) }
}

/// `iat`: not in the future, the tolerance apart.
pub(super) fn issued_at(iat: &NumericDate, context: &Context<'_>) -> Result<(), TokenError> {
    let iat = iat.seconds().ok_or(TokenError::Malformed("iat"))?;
    if iat <= context.now.saturating_add(context.clock_skew) { Ok(()) } else { Err(TokenError::IssuedAt) }
}

/// `nbf`, where there is one: not in the future, the tolerance apart.
pub(super) fn not_before(nbf: Option<&NumericDate>, context: &Context<'_>) -> Result<(), TokenError> {
    let Some(nbf) = nbf else { return Ok(()) };
    let nbf = nbf.seconds().ok_or(TokenError::Malformed("nbf"))?;
    if nbf <= context.now.saturating_add(context.clock_skew) { Ok(()) } else { Err(TokenError::NotBefore) }
}

/// `nonce`: present and that of the authorization request.
pub(super) fn nonce(nonce: Option<&str>, expected: &str) -> Result<(), TokenError> {
    let equal = nonce.is_some_and(|nonce| nonce.as_bytes().ct_eq(expected.as_bytes()).into());
    if equal { Ok(()) } else { Err(TokenError::Nonce) }
}

/// `at_hash`, where there is one: the hash of the access token in the same response.
pub(super) fn access_token_hash(found: Option<&str>, access_token: &str) -> Result<(), TokenError> {
    if found.is_none_or(|found| found == at_hash(access_token)) { Ok(()) } else { Err(TokenError::AtHash) }
}

/// The left half of the token's SHA-256: all accepted algorithms use that hash (OpenID Connect Core 3.1.3.6).
pub(super) fn at_hash(access_token: &str) -> String {
    let [left @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = <[u8; 32]>::from(Sha256::digest(access_token));
    URL_SAFE_NO_PAD.encode(left)
}
