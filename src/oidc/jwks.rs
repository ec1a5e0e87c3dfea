//! The provider's signing keys.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::discovery::TENANT_TEMPLATE;

/// A key set (RFC 7517 section 5). Members that are no keys we understand are passed over.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

/// A key.
#[derive(Debug, Deserialize)]
pub struct Key {
    #[serde(flatten)]
    jwk: Jwk,
    /// For whom it signs: keys of Entra's many-tenant documents say so, some by the template.
    issuer: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Document::deserialize(deserializer)?;
        Ok(Self(document.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect()))
    }
}

/// What a look-up gave.
#[derive(Debug)]
pub enum KeyLookup<'a> {
    /// The keys of that id: one, if the provider keeps the rules.
    Candidates(Vec<&'a Key>),
    /// No key for signatures has that id; a fresh set may have it.
    NotFound,
    /// There is a key of that id, but it never signs by that algorithm.
    AlgorithmMismatch,
}

impl KeySet {
    /// Whether no key in it could have signed an ID token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let usable = |key: &Key| [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256].iter().any(|of| key.fits(*of));
        !self.0.iter().any(usable)
    }

    /// The key for a token of this algorithm and key id. A token without one needs exactly one key that fits.
    #[must_use]
    pub fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> KeyLookup<'_> {
        let named = |key: &&Key| key.signs() && kid.is_none_or(|kid| key.jwk.common.key_id.as_deref() == Some(kid));
        let named: Vec<&Key> = self.0.iter().filter(named).collect();
        let fitting: Vec<&Key> = named.iter().copied().filter(|key| key.fits(algorithm)).collect();
        match (kid, fitting.len()) {
            (Some(_), 0) if !named.is_empty() => KeyLookup::AlgorithmMismatch,
            (Some(_), 1..) | (None, 1) => KeyLookup::Candidates(fitting),
            _ => KeyLookup::NotFound,
        }
    }
}

impl Key {
    /// The key in the form that verifies.
    pub(super) fn decoding(&self) -> Option<DecodingKey> {
        DecodingKey::from_jwk(&self.jwk).ok()
    }

    /// Whether a token of this issuer and tenant may be signed by it.
    pub(super) fn signs_for(&self, iss: &str, tid: Option<&str>) -> bool {
        let expected = self.issuer.as_ref().map(|issuer| issuer.replace(TENANT_TEMPLATE, tid.unwrap_or_default()));
        expected.is_none_or(|expected| expected == iss)
    }

    /// Whether it is a key for signatures (RFC 7517 sections 4.2 and 4.3).
    fn signs(&self) -> bool {
        let common = &self.jwk.common;
        let verifies = |of: &Vec<KeyOperations>| of.contains(&KeyOperations::Verify);
        matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common.key_operations.as_ref().is_none_or(verifies)
    }

    /// Whether it may have signed with an algorithm: kind, use and its own `alg` agree.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match (&self.jwk.algorithm, algorithm) {
            (AlgorithmParameters::RSA(_), Algorithm::RS256 | Algorithm::PS256) => true,
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
            _ => false,
        };
        let stated = match self.jwk.common.key_algorithm {
            None => true,
            Some(KeyAlgorithm::RS256) => algorithm == Algorithm::RS256,
            Some(KeyAlgorithm::PS256) => algorithm == Algorithm::PS256,
            Some(KeyAlgorithm::ES256) => algorithm == Algorithm::ES256,
            Some(_) => false,
        };
        kind && stated && self.signs()
    }
}
