//! Claims profiles: which rules hold for which kind of JWT.
//!
//! Each kind of token is one [`ClaimsProfile`] in a file of its own: the claims that are read, the accepted values of
//! `typ`, and the rules below that it has to satisfy. [`crate::jose`] verifies the signature before.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::discovery::{Authority, IssuerError, Metadata, TENANT_TEMPLATE};
use super::members::{self, Malformed, Members};
use crate::clock::UnixSeconds;
use crate::jose::{self, JwtError, Key, KeySet};

/// One kind of JWT that the provider signs.
pub trait ClaimsProfile {
    /// The claims that are read.
    type Claims;
    /// The accepted values of `typ`, as for [`jose::verify`].
    const TYPES: &'static [&'static str];

    /// Whether a key of the provider may sign a token with these claims; usually [`key_is_for_issuer`].
    fn key_may_sign(key: &Key, claims: &Self::Claims) -> bool;

    /// Reads the claims of a payload.
    ///
    /// # Errors
    /// The required claim that is missing or malformed.
    fn read(payload: Members) -> Result<Self::Claims, Malformed>;

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
    /// Of a logout token: another event.
    Event,
    Expired,
    IssuedAt,
    /// Of a logout token, which is valid for minutes only.
    IssuedTooLongAgo,
    Issuer,
    Jwt(JwtError),
    /// The provider's keys lack the signing key, and they cannot be loaded again yet, so that the token can be neither
    /// accepted nor rejected.
    KeyUndecided,
    /// The provider's keys cannot be loaded, so that the token can be neither accepted nor rejected.
    KeysUnavailable,
    Malformed(&'static str),
    Nonce,
    /// Of a logout token, which must not be accepted as an ID token elsewhere.
    NonceForbidden,
    NotBefore,
    OtherUser,
    Subject,
    /// A token of the provider for a user of a tenant that may not sign in.
    Tenant,
}

impl From<Malformed> for TokenError {
    fn from(Malformed(claim): Malformed) -> Self {
        Self::Malformed(claim)
    }
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
            Self::Event => "events: not the event of a back-channel logout",
            Self::Expired => "exp: expired",
            Self::IssuedAt => "iat: in the future; check the clocks",
            Self::IssuedTooLongAgo => "iat: too long ago for a logout token; check the clocks",
            Self::Issuer => "iss: not the configured provider, or not in agreement with tid or the signing key",
            Self::KeyUndecided => "kid: no such key in the provider's key set, which was loaded within the last minute",
            Self::KeysUnavailable => "the provider's signing keys cannot be loaded",
            Self::Nonce => "nonce: not that of this sign-in",
            Self::NonceForbidden => "nonce: not allowed in a logout token",
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
    // Claims that cannot be read have no issuer to compare with that of the key, and are rejected all the same.
    let key_may_sign = |key: &Key, Payload(claims): &Payload<P>| {
        claims.as_ref().is_ok_and(|claims| P::key_may_sign(key, claims)) || claims.is_err()
    };
    let Payload(claims) = jose::verify(token, keys, P::TYPES, key_may_sign)?;
    let claims = claims?;
    profile.check(&claims, context)?;
    Ok(claims)
}

/// The payload of a JWT, read by a profile.
struct Payload<P: ClaimsProfile>(Result<P::Claims, Malformed>);

impl<'de, P: ClaimsProfile> Deserialize<'de> for Payload<P> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::deserialize(deserializer).map(|payload| Self(P::read(payload)))
    }
}

/// Whether a key may sign for an issuer. Keys of Entra's multi-tenant key sets name the issuer that they sign for, some
/// with the tenant template; keys without an issuer sign for all.
#[must_use]
pub fn key_is_for_issuer(key: &Key, iss: &str, tid: Option<&str>) -> bool {
    key.issuer().is_none_or(|issuer| issuer.replace(TENANT_TEMPLATE, tid.unwrap_or_default()) == iss)
}

/// `aud` (RFC 7519 section 4.1.3): one text, or a list of nothing but texts.
pub(super) fn audiences(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.into_iter().map(members::text).collect(),
        _ => None,
    }
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, whole or fractional.
#[derive(Debug, Clone, Copy)]
pub struct NumericDate(f64);

impl NumericDate {
    pub(super) fn read(value: &Value) -> Option<Self> {
        value.as_f64().map(Self)
    }

    /// Whole seconds, if the value is between the years 1970 and 9999.
    pub(super) fn seconds(self) -> Option<UnixSeconds> {
        const YEAR_10000: f64 = 253_402_300_800.0;
        let value = Some(self.0).filter(|value| (0.0..YEAR_10000).contains(value))?;
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
pub(super) fn audience(aud: &[String], azp: Option<&str>, context: &Context<'_>) -> Result<(), TokenError> {
    if !aud.iter().any(|one| one == context.client_id) {
        return Err(TokenError::Audience);
    }
    match azp {
        Some(azp) if azp != context.client_id => Err(TokenError::AuthorizedParty),
        None if aud.iter().any(|one| one != context.client_id) => Err(TokenError::AuthorizedParty),
        _ => Ok(()),
    }
}

/// `exp`: the last valid second is the one before `exp` and the tolerance.
pub(super) fn expiry(exp: NumericDate, context: &Context<'_>) -> Result<(), TokenError> {
    let exp = exp.seconds().ok_or(TokenError::Malformed("exp"))?;
    if context.now < exp.saturating_add(context.clock_skew) { Ok(()) } else { Err(TokenError::Expired) }
}

/// `iat`: not in the future, the tolerance apart.
pub(super) fn issued_at(iat: NumericDate, context: &Context<'_>) -> Result<(), TokenError> {
    let iat = iat.seconds().ok_or(TokenError::Malformed("iat"))?;
    if iat <= context.now.saturating_add(context.clock_skew) { Ok(()) } else { Err(TokenError::IssuedAt) }
}

/// `iat` of a token that is delivered at once: no further from now than this many seconds, in either direction.
pub(super) fn issued_within(seconds: u64, iat: UnixSeconds, context: &Context<'_>) -> Result<(), TokenError> {
    if iat > context.now.saturating_add(seconds) {
        return Err(TokenError::IssuedAt);
    }
    if context.now > iat.saturating_add(seconds) { Err(TokenError::IssuedTooLongAgo) } else { Ok(()) }
}

/// `nbf`, where there is one: not in the future, the tolerance apart.
pub(super) fn not_before(nbf: Option<NumericDate>, context: &Context<'_>) -> Result<(), TokenError> {
    let Some(nbf) = nbf else { return Ok(()) };
    let nbf = nbf.seconds().ok_or(TokenError::Malformed("nbf"))?;
    if nbf <= context.now.saturating_add(context.clock_skew) { Ok(()) } else { Err(TokenError::NotBefore) }
}

/// `nonce`: present and that of the authorization request.
pub(super) fn nonce(nonce: Option<&str>, expected: &str) -> Result<(), TokenError> {
    let equal = nonce.is_some_and(|nonce| nonce.as_bytes().ct_eq(expected.as_bytes()).into());
    if equal { Ok(()) } else { Err(TokenError::Nonce) }
}

/// `nonce` of a refreshed ID token: where there is one, and the session knows that of its sign-in, they are equal
/// (OpenID Connect Core 12.2).
pub(super) fn same_nonce(nonce: Option<&str>, hash: Option<[u8; 8]>) -> Result<(), TokenError> {
    match (nonce, hash) {
        (Some(nonce), Some(hash)) if nonce_hash(nonce) != hash => Err(TokenError::Nonce),
        _ => Ok(()),
    }
}

/// What a session keeps of the nonce of its sign-in: the first 8 bytes of its SHA-256 hash.
#[must_use]
pub fn nonce_hash(nonce: &str) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(nonce).into();
    [a, b, c, d, e, f, g, h]
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
