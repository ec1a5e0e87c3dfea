use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::RSA_PKCS1_SHA256;
use serde_json::{Value, json};

use crate::web::base64url;

/// The signing keys: the first signs until a rotation, from which on both are published.
#[derive(Debug)]
pub(super) struct Keys {
    own: [Key; 2],
    /// In no key set, ever.
    pub(super) stranger: Key,
    rotations: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Key {
    pair: KeyPair,
    pub(super) kid: String,
}

impl Keys {
    pub(super) fn load() -> io::Result<Self> {
        Ok(Self {
            own: [
                Key::load(include_bytes!("../../keys/provider-1.pk8"))?,
                Key::load(include_bytes!("../../keys/provider-2.pk8"))?,
            ],
            stranger: Key::load(include_bytes!("../../keys/stranger.pk8"))?,
            rotations: AtomicUsize::new(0),
        })
    }

    pub(super) fn active(&self) -> &Key {
        let [first, second] = &self.own;
        if self.rotations.load(Ordering::SeqCst).is_multiple_of(2) { first } else { second }
    }

    pub(super) fn rotate(&self) {
        self.rotations.fetch_add(1, Ordering::SeqCst);
    }

    /// The JSON Web Key Set (RFC 7517).
    pub(super) fn set(&self) -> Value {
        let published = if self.rotations.load(Ordering::SeqCst) == 0 { 1 } else { 2 };
        json!({"keys": self.own.iter().take(published).map(Key::jwk).collect::<Vec<_>>()})
    }
}

impl Key {
    fn load(pkcs8: &[u8]) -> io::Result<Self> {
        let pair = KeyPair::from_pkcs8(pkcs8).map_err(|rejected| io::Error::other(rejected.to_string()))?;
        let kid = base64url(digest(&SHA256, components(&pair).n.as_slice()).as_ref()).chars().take(27).collect();
        Ok(Self { pair, kid })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        match self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature) {
            Ok(()) => signature,
            // Out of randomness: no signature, so whoever checks it will refuse the token.
            Err(_) => Vec::new(),
        }
    }

    fn jwk(&self) -> Value {
        let PublicKeyComponents { n, e } = components(&self.pair);
        json!({"kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "n": base64url(&n), "e": base64url(&e)})
    }
}

fn components(pair: &KeyPair) -> PublicKeyComponents<Vec<u8>> {
    PublicKeyComponents::from(pair.public())
}
