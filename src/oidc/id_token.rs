//! ID tokens: the signature by a library, the rules about claims by us (OpenID Connect Core 3.1.3.7, RFC 8725),
//! because Entra's issuer template, the skew and `at_hash` are ours to judge.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::discovery::{Admission, Authority, Metadata, Tenants};
use super::jwks::{Key, KeyLookup, KeySet};
use super::signature;
use crate::clock::UnixSeconds;

/// The algorithms that are taken, and no other.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256];

/// What a token must fit.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who may sign in.
    pub authority: &'a Authority,
    /// The provider's metadata.
    pub metadata: &'a Metadata,
    /// This client.
    pub client_id: &'a str,
    /// What ties it to this browser.
    pub tie: ExpectedBinding<'a>,
    /// The access token that came with it, for `at_hash`.
    pub access_token: Option<&'a str>,
    /// The time, Unix seconds.
    pub now: UnixSeconds,
    /// Tolerance in seconds.
    pub clock_skew: u64,
}

/// What ties a token to a browser.
#[derive(Debug, Clone, Copy)]
pub enum ExpectedBinding<'a> {
    /// The nonce of the login transaction.
    Login(&'a str),
    /// Who is signed in (OpenID Connect Core 12.2). There is no nonce to expect.
    Refresh(Subject<'a>),
}

/// Who is signed in.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The user for this client.
    pub sub: &'a str,
    /// The tenant, which Entra's issuers name.
    pub tid: Option<&'a str>,
}

/// The claims that the gateway reads.
#[derive(Debug, Deserialize)]
pub struct Claims {
    iss: String,
    /// The user for this client.
    pub sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: serde_json::Number,
    iat: serde_json::Number,
    nbf: Option<serde_json::Number>,
    nonce: Option<String>,
    at_hash: Option<String>,
    /// The tenant.
    pub tid: Option<String>,
    /// The user in the tenant.
    pub oid: Option<String>,
    /// A name to show.
    pub name: Option<String>,
    /// What the user signs in with.
    pub preferred_username: Option<String>,
    /// An address.
    pub email: Option<String>,
    /// App roles.
    #[serde(default, deserialize_with = "one_or_several")]
    pub roles: Vec<String>,
    /// The provider's session.
    pub sid: Option<String>,
    /// What the provider wants to hear at sign-out.
    pub login_hint: Option<String>,
}

/// Some providers send one role as a text, or null for none; a claim for display fails no sign-in.
fn one_or_several<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(one) => vec![one],
        serde_json::Value::Array(several) => {
            several.into_iter().filter_map(|role| role.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    })
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Why an ID token is refused. For the log; the browser hears `login_failed`, or `tenant_denied`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `none`, HS*, or an algorithm that the key does not fit.
    Algorithm,
    /// Another access token than the one that came with it.
    AtHash,
    /// For another client.
    Audience,
    /// Several audiences and another authorized party.
    AuthorizedParty,
    /// A critical header that nobody here understands.
    CriticalHeader,
    /// Over.
    Expired,
    /// Issued in the future.
    IssuedAt,
    /// Not this provider, or issuer and tenant, or issuer and key, disagree.
    Issuer,
    /// The provider's keys cannot be had, so that nobody can tell.
    KeysUnavailable,
    /// Not a JWT with the claims that an ID token has.
    Malformed,
    /// From another login.
    Nonce,
    /// Not valid yet.
    NotBefore,
    /// At a refresh: another user's.
    OtherUser,
    /// Signed by somebody else, or changed.
    Signature,
    /// The subject is empty or too long.
    Subject,
    /// A genuine user of a tenant that may not sign in.
    Tenant,
    /// A JWT of another kind, such as an access token or a logout token.
    Type,
    /// No key has that id, or none is given and several fit; a fresh key set may tell.
    UnknownKey,
}

/// Verifies an ID token and gives its claims.
///
/// # Errors
/// The first [`Fault`] found.
pub fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>) -> Result<Claims, Fault> {
    let claims = verify_signature(token, keys)?;
    verify_party(&claims, expected)?;
    verify_times(&claims, expected)?;
    verify_tie(&claims, expected)?;
    Ok(claims)
}

fn verify_signature(token: &str, keys: &KeySet) -> Result<Claims, Fault> {
    signature::install();
    if token.split('.').count() != 3 {
        return Err(Fault::Malformed);
    }
    let Header { alg, kid, crit, typ, .. } = decode_header(token).map_err(|_| header_fault(token))?;
    if !ALGORITHMS.contains(&alg) {
        return Err(Fault::Algorithm);
    }
    if crit.is_some() {
        return Err(Fault::CriticalHeader);
    }
    if typ.is_some_and(|typ| !is_jwt(&typ)) {
        return Err(Fault::Type);
    }
    let candidates = match keys.find(alg, kid.as_deref()) {
        KeyLookup::Candidates(candidates) => candidates,
        KeyLookup::AlgorithmMismatch => return Err(Fault::Algorithm),
        KeyLookup::NotFound => return Err(Fault::UnknownKey),
    };
    // A provider may publish several keys under one id: all of them are its own.
    let mut verdict = Err(Fault::UnknownKey);
    for key in candidates {
        verdict = verify_by(token, alg, key);
        if !matches!(verdict, Err(Fault::Signature | Fault::Issuer)) {
            break;
        }
    }
    verdict
}

fn verify_by(token: &str, alg: Algorithm, key: &Key) -> Result<Claims, Fault> {
    let mut validation = Validation::new(alg);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoding = key.decoding().ok_or(Fault::Algorithm)?;
    let claims: Claims = match decode(token, &decoding, &validation) {
        Ok(data) => data.claims,
        Err(error) => {
            return Err(match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => Fault::Signature,
                jsonwebtoken::errors::ErrorKind::InvalidAlgorithm => Fault::Algorithm,
                _ => Fault::Malformed,
            });
        }
    };
    if key.signs_for(&claims.iss, claims.tid.as_deref()) { Ok(claims) } else { Err(Fault::Issuer) }
}

/// Explicit typing (RFC 8725 section 3.11): an ID token says `JWT`, or nothing.
fn is_jwt(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("application/jwt")
}

/// `none` and unknown algorithms are no [`Algorithm`], so that the library cannot read such a header at all.
fn header_fault(token: &str) -> Fault {
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let alg = header.as_ref().and_then(|header| header.get("alg")?.as_str());
    if alg.is_some_and(|alg| Algorithm::from_str(alg).is_err()) { Fault::Algorithm } else { Fault::Malformed }
}

fn verify_party(claims: &Claims, expected: &Expected<'_>) -> Result<(), Fault> {
    match expected.authority.admits(expected.metadata, &claims.iss, claims.tid.as_deref()) {
        Admission::Admitted => {}
        Admission::OtherTenant => return Err(Fault::Tenant),
        Admission::WrongIssuer => return Err(Fault::Issuer),
    }
    if claims.sub.is_empty() || claims.sub.len() > 255 {
        return Err(Fault::Subject);
    }
    let several = match &claims.aud {
        Audience::One(one) if one == expected.client_id => false,
        Audience::Several(all) if all.iter().any(|one| one == expected.client_id) => all.len() > 1,
        _ => return Err(Fault::Audience),
    };
    match claims.azp.as_deref() {
        Some(azp) if azp != expected.client_id => Err(Fault::AuthorizedParty),
        None if several => Err(Fault::AuthorizedParty),
        _ => Ok(()),
    }
}

fn verify_times(claims: &Claims, expected: &Expected<'_>) -> Result<(), Fault> {
    let latest = expected.now.saturating_add(expected.clock_skew);
    let expires = seconds(&claims.exp)?.saturating_add(expected.clock_skew);
    if expected.now >= expires {
        return Err(Fault::Expired);
    }
    if seconds(&claims.iat)? > latest {
        return Err(Fault::IssuedAt);
    }
    match &claims.nbf {
        Some(not_before) if seconds(not_before)? > latest => Err(Fault::NotBefore),
        _ => Ok(()),
    }
}

/// A `NumericDate` (RFC 7519 section 2): whole or fractional seconds, within what a clock can show.
fn seconds(number: &serde_json::Number) -> Result<UnixSeconds, Fault> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    let fits = |value: &f64| (0.0..YEAR_10000).contains(value);
    let value = number.as_f64().filter(fits).ok_or(Fault::Malformed)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
    Ok(value as UnixSeconds)
}

fn verify_tie(claims: &Claims, expected: &Expected<'_>) -> Result<(), Fault> {
    match expected.tie {
        ExpectedBinding::Login(nonce) => {
            let same = claims.nonce.as_deref().is_some_and(|found| found.as_bytes().ct_eq(nonce.as_bytes()).into());
            if !same {
                return Err(Fault::Nonce);
            }
        }
        ExpectedBinding::Refresh(subject) => {
            let other_tenant = expected.authority.tenants != Tenants::Unchecked && claims.tid.as_deref() != subject.tid;
            if claims.sub != subject.sub || other_tenant {
                return Err(Fault::OtherUser);
            }
        }
    }
    match (&claims.at_hash, expected.access_token) {
        (Some(found), Some(token)) if *found != at_hash(token) => Err(Fault::AtHash),
        _ => Ok(()),
    }
}

/// The left half of the token's SHA-256: all three algorithms use that hash.
fn at_hash(access_token: &str) -> String {
    let hash = Sha256::digest(access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests;
