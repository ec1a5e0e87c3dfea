use std::io;

use http::{Response, StatusCode};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::RSA_PKCS1_SHA256;
use serde_json::{Value, json};

use crate::web::{Body, base64url, reply};

/// Signs the tokens, and publishes what it takes to check them. Its key is public on purpose, as those in `keys/`, and
/// not one of the provider's: a provider that checks a client assertion against its own keys shall be found out.
#[derive(Debug)]
pub(super) struct Issuer {
    pair: KeyPair,
    kid: String,
    origin: String,
    tenant: String,
}

impl Issuer {
    pub(super) fn load(origin: &str, tenant: &str) -> io::Result<Self> {
        let pair =
            KeyPair::from_pkcs8(include_bytes!("signing.pk8")).map_err(|bad| io::Error::other(bad.to_string()))?;
        let kid = base64url(digest(&SHA256, components(&pair).n.as_slice()).as_ref()).chars().take(27).collect();
        Ok(Self { pair, kid, origin: origin.to_owned(), tenant: tenant.to_owned() })
    }

    pub(super) fn url(&self) -> String {
        format!("{}/{}/v2.0", self.origin, self.tenant)
    }

    /// A JWT over the claims, RS256.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": self.kid});
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        match self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature) {
            Ok(()) => format!("{message}.{}", base64url(&signature)),
            // Out of randomness: no signature, so whoever checks it will refuse the token.
            Err(_) => format!("{message}."),
        }
    }

    /// The discovery document or the key set, if the path is one of theirs.
    pub(super) fn publish(&self, path: &str) -> Option<Response<Body>> {
        let keys = format!("/{}/discovery/v2.0/keys", self.tenant);
        if path == keys {
            let PublicKeyComponents { n, e } = components(&self.pair);
            let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
                "n": base64url(&n), "e": base64url(&e)});
            return Some(reply::json(StatusCode::OK, &json!({"keys": [key]})));
        }
        let document = json!({
            "issuer": self.url(),
            "jwks_uri": format!("{}{keys}", self.origin),
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        let own = path == format!("/{}/v2.0/.well-known/openid-configuration", self.tenant);
        own.then(|| reply::json(StatusCode::OK, &document))
    }
}

fn components(pair: &KeyPair) -> PublicKeyComponents<Vec<u8>> {
    PublicKeyComponents::from(pair.public())
}
