//! Verification of one JWT: its header, the key that it names, its signature.

use std::fmt;
use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde::de::DeserializeOwned;

use super::jwk::{ALGORITHMS, Key, KeyLookup, KeySet};
use super::signature;

/// Why a JWT is invalid before any of its claims is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtError {
    Algorithm,
    CriticalHeader,
    /// The caller's check of key and claims failed.
    KeyScope,
    Malformed,
    Signature,
    Type,
    /// No key has that id, or the token has none and several keys fit. A newer key set may contain the key.
    UnknownKey,
}

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Algorithm => "alg: not RS256, PS256 or ES256, or not an algorithm of the key that kid names",
            Self::CriticalHeader => "crit: no critical header is supported",
            Self::KeyScope => "iss: the signing key is published for another issuer",
            Self::Malformed => "not a signed JWT with the expected claims",
            Self::Signature => "the signature does not match",
            Self::Type => "typ: a JWT of another kind",
            Self::UnknownKey => "kid: no such key in the provider's key set, or no kid and several keys fit",
        })
    }
}

/// Verifies a JWT in compact form and returns its claims.
///
/// `types` are the accepted values of `typ` without `application/`, compared without case (RFC 8725 section 3.11); a
/// token without `typ`, or with an empty one, is accepted. `key_may_sign` decides whether a key may sign a token with
/// these claims.
///
/// # Errors
/// The first [`JwtError`] found.
pub fn verify<C: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    types: &[&str],
    key_may_sign: impl Fn(&Key, &C) -> bool,
) -> Result<C, JwtError> {
    if token.split('.').count() != 3 {
        return Err(JwtError::Malformed);
    }
    let Header { alg, kid, crit, typ, .. } = decode_header(token).map_err(|_| header_error(token))?;
    if !ALGORITHMS.contains(&alg) {
        return Err(JwtError::Algorithm);
    }
    if crit.is_some() {
        return Err(JwtError::CriticalHeader);
    }
    if typ.is_some_and(|typ| !typ.is_empty() && !is_one_of(&typ, types)) {
        return Err(JwtError::Type);
    }
    let candidates = match keys.find(alg, kid.as_deref()) {
        KeyLookup::Candidates(candidates) => candidates,
        KeyLookup::AlgorithmMismatch => return Err(JwtError::Algorithm),
        KeyLookup::NotFound => return Err(JwtError::UnknownKey),
    };
    // A provider may publish several keys under one id; each of them is tried.
    let mut outcome = Err(JwtError::UnknownKey);
    for key in candidates {
        outcome = verify_signature(token, alg, key)
            .and_then(|claims| if key_may_sign(key, &claims) { Ok(claims) } else { Err(JwtError::KeyScope) });
        if !matches!(outcome, Err(JwtError::Signature | JwtError::KeyScope)) {
            break;
        }
    }
    outcome
}

fn verify_signature<C: DeserializeOwned>(token: &str, alg: Algorithm, key: &Key) -> Result<C, JwtError> {
    signature::install();
    let mut validation = Validation::new(alg);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoding = key.decoding().ok_or(JwtError::Algorithm)?;
    decode(token, &decoding, &validation).map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => JwtError::Signature,
        ErrorKind::InvalidAlgorithm => JwtError::Algorithm,
        _ => JwtError::Malformed,
    })
}

fn is_one_of(typ: &str, types: &[&str]) -> bool {
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    types.iter().any(|accepted| accepted.eq_ignore_ascii_case(typ))
}

/// Distinguishes a bad `alg` from other faults: `none` and unknown names are not an [`Algorithm`], so that the library
/// cannot read such a header at all.
fn header_error(token: &str) -> JwtError {
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let alg = header.as_ref().and_then(|header| header.get("alg")?.as_str());
    if alg.is_some_and(|alg| Algorithm::from_str(alg).is_err()) { JwtError::Algorithm } else { JwtError::Malformed }
}
