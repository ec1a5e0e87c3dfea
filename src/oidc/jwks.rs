//! The provider's signing keys.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// A key set (RFC 7517 section 5). Members that are no keys we understand are passed over.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Jwk>);

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
pub enum Found {
    /// The key.
    Key(Box<DecodingKey>),
    /// No key fits; a fresh set may have it.
    Nothing,
}

impl KeySet {
    /// Whether no key in it could have signed an ID token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let usable =
            |key: &&Jwk| [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256].iter().any(|of| fits(key, *of));
        !self.0.iter().any(|key| usable(&key))
    }

    /// The key for a token of this algorithm and key id. A token without one needs exactly one key that fits.
    #[must_use]
    pub fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Found {
        let fits = |key: &&Jwk| fits(key, algorithm) && kid.is_none_or(|kid| key.common.key_id.as_deref() == Some(kid));
        let mut candidates = self.0.iter().filter(fits);
        let (first, second) = (candidates.next(), candidates.next());
        match (first, second, kid) {
            (Some(key), _, Some(_)) | (Some(key), None, None) => {
                DecodingKey::from_jwk(key).map_or(Found::Nothing, |key| Found::Key(Box::new(key)))
            }
            _ => Found::Nothing,
        }
    }
}

/// Whether a key may have signed with an algorithm: kind, use and its own `alg` agree.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256 | Algorithm::PS256) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        _ => false,
    };
    let stated = match key.common.key_algorithm {
        None => true,
        Some(KeyAlgorithm::RS256) => algorithm == Algorithm::RS256,
        Some(KeyAlgorithm::PS256) => algorithm == Algorithm::PS256,
        Some(KeyAlgorithm::ES256) => algorithm == Algorithm::ES256,
        Some(_) => false,
    };
    let signs = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    kind && stated && signs
}
