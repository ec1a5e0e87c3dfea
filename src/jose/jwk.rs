//! Keys that verify signatures (RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The only accepted algorithms (contract 7.2): never `none`, never HMAC.
pub(super) const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256];

/// A key set (RFC 7517 section 5). Members that cannot be read as a key are ignored.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

/// A public key (RFC 7517 section 4).
#[derive(Debug, Deserialize)]
pub struct Key {
    #[serde(flatten)]
    jwk: Jwk,
    issuer: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Document::deserialize(deserializer)?;
        Ok(Self(document.keys.into_iter().filter_map(read_key).collect()))
    }
}

/// Reads one key. Members that decide nothing here, such as certificates, are left out, so that an unusual one does not
/// cost the key; an empty or null member counts as absent.
fn read_key(key: Value) -> Option<Key> {
    const MEMBERS: [&str; 11] = ["kty", "n", "e", "crv", "x", "y", "use", "key_ops", "alg", "kid", "issuer"];
    let Value::Object(mut members) = key else { return None };
    members.retain(|name, value| MEMBERS.contains(&name.as_str()) && !value.is_null() && value.as_str() != Some(""));
    serde_json::from_value(Value::Object(members)).ok()
}

/// The keys that may have signed a token.
#[derive(Debug)]
pub(super) enum KeyLookup<'a> {
    /// The keys of that id that fit the algorithm: one, unless the provider reuses an id.
    Candidates(Vec<&'a Key>),
    /// No signature key has that id, or there is no id and not exactly one key fits.
    NotFound,
    /// A signature key has that id, but cannot sign with that algorithm.
    AlgorithmMismatch,
}

impl KeySet {
    /// Whether the set has no key that could verify a token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.iter().any(|key| ALGORITHMS.iter().any(|algorithm| key.fits(*algorithm)))
    }

    /// The keys for a token of this algorithm and key id. Without a key id, exactly one key must fit.
    pub(super) fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> KeyLookup<'_> {
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
    /// The member `issuer`, which is not of RFC 7517: Entra names there the issuer that the key signs for.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    pub(super) fn decoding(&self) -> Option<DecodingKey> {
        DecodingKey::from_jwk(&self.jwk).ok()
    }

    /// Whether it is a key for signatures (RFC 7517 sections 4.2 and 4.3).
    fn signs(&self) -> bool {
        let common = &self.jwk.common;
        let verifies = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
        matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common.key_operations.as_ref().is_none_or(verifies)
    }

    /// Whether it may have signed with an algorithm: its type, its use and its own `alg` agree.
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
