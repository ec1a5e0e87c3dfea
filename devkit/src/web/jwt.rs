//! JSON Web Tokens with RS256: signed by the provider and the identity, verified by whoever trusts them.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use serde_json::{Value, json};

use super::{base64url, client, from_base64url, lock};

/// How many verified tokens are cached, so that a benchmark measures the gateway and not RSA here.
const CACHED: usize = 1_000;

#[derive(Debug)]
pub(crate) struct SigningKey {
    pair: KeyPair,
    pub(crate) kid: String,
}

impl SigningKey {
    pub(crate) fn load(pkcs8: &[u8]) -> io::Result<Self> {
        let pair = KeyPair::from_pkcs8(pkcs8).map_err(|rejected| io::Error::other(rejected.to_string()))?;
        let modulus = PublicKeyComponents::<Vec<u8>>::from(pair.public()).n;
        let kid = base64url(digest(&SHA256, &modulus)).chars().take(27).collect();
        Ok(Self { pair, kid })
    }

    pub(crate) fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": "RS256", "kid": self.kid})
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(crate) fn sign(&self, message: &str) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        match self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature) {
            Ok(()) => signature,
            // No randomness: with an empty signature every verifier rejects the token.
            Err(_) => Vec::new(),
        }
    }

    /// The public key for a key set (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.pair.public());
        json!({"kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "n": base64url(n), "e": base64url(e)})
    }
}

/// Header and claims of a token, the part that is signed.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()))
}

/// Verifies the tokens of one issuer, whose keys are fetched by discovery when first needed.
#[derive(Debug)]
pub(crate) struct Verifier {
    issuer: String,
    keys: Mutex<HashMap<String, PublicKeyComponents<Vec<u8>>>>,
    /// Claims by verified token.
    verified: Mutex<HashMap<String, Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    Algorithm,
    Malformed,
    Signature,
    UnknownKey,
}

impl Verifier {
    pub(crate) fn new(issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), keys: Mutex::default(), verified: Mutex::default() }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The claims of a token that the issuer signed. The caller checks the claims, `iss` included.
    pub(crate) async fn claims(&self, token: &str) -> Result<Value, TokenError> {
        if let Some(claims) = lock(&self.verified).get(token) {
            return Ok(claims.clone());
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let header = parse(header).ok_or(TokenError::Malformed)?;
        let claims = parse(claims).ok_or(TokenError::Malformed)?;
        if header["alg"] != "RS256" {
            return Err(TokenError::Algorithm);
        }
        let kid = header["kid"].as_str().ok_or(TokenError::Malformed)?;
        let key = self.key(kid).await.ok_or(TokenError::UnknownKey)?;
        let signature = from_base64url(signature).ok_or(TokenError::Malformed)?;
        let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature);
        verified.map_err(|_| TokenError::Signature)?;
        let mut verified = lock(&self.verified);
        if verified.len() >= CACHED {
            verified.clear();
        }
        verified.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    async fn key(&self, kid: &str) -> Option<PublicKeyComponents<Vec<u8>>> {
        if let Some(key) = lock(&self.keys).get(kid) {
            return Some(key.clone());
        }
        let metadata =
            client::internal_json(&format!("{}/.well-known/openid-configuration", self.issuer)).await.ok()?;
        let set = client::internal_json(metadata["jwks_uri"].as_str()?).await.ok()?;
        let mut keys = lock(&self.keys);
        keys.extend(set["keys"].as_array()?.iter().filter_map(public_key));
        keys.get(kid).cloned()
    }
}

pub(crate) fn unverified_claims(token: &str) -> Option<Value> {
    parse(token.split('.').nth(1)?)
}

pub(crate) fn public_key(jwk: &Value) -> Option<(String, PublicKeyComponents<Vec<u8>>)> {
    let component = |name: &str| from_base64url(jwk[name].as_str()?);
    Some((jwk["kid"].as_str()?.to_owned(), PublicKeyComponents { n: component("n")?, e: component("e")? }))
}

fn parse(part: &str) -> Option<Value> {
    serde_json::from_slice(&from_base64url(part)?).ok()
}
