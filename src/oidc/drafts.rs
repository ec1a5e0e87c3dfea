//! Tokens of tests before they are signed, and the keys that sign and verify them.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RsaEncoding,
};
use serde_json::{Value, json};
use url::Url;

use super::claims::{self, ClaimsProfile, Context, TokenError};
use super::discovery::{Authority, Metadata, Tenants};
use crate::jose::KeySet;

pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const SKEW: u64 = 300;
pub(super) const CLIENT: &str = "the-client";
pub(super) const SECRET: &str = "the-client-secret";
pub(super) const SUB: &str = "ada";
pub(super) const ISSUER: &str = "https://login.example/realm";
pub(super) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const OTHER_TENANT: &str = "99999999-2222-3333-4444-555555555555";

/// How a token is signed, whatever its header says.
#[derive(Clone, Copy)]
pub(super) enum By {
    Rsa(&'static dyn RsaEncoding),
    /// The second key of the provider.
    Second,
    /// A key that no key set has.
    Stranger,
    Es256,
    /// In the encoding of OpenSSL, not that of RFC 7518 section 3.4.
    Es256Der,
    Es384,
    Hmac(&'static [u8]),
    Nothing,
}

pub(super) const RS256: By = By::Rsa(&RSA_PKCS1_SHA256);

pub(super) struct Keys {
    pub(super) first: RsaPair,
    pub(super) second: RsaPair,
    pub(super) stranger: RsaPair,
    pub(super) p256: Vec<u8>,
    pub(super) p384: Vec<u8>,
}

pub(super) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = |pkcs8: &[u8]| RsaPair::from_pkcs8(pkcs8).unwrap();
    let ec = |of: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::generate_pkcs8(of, &SystemRandom::new()).unwrap();
    Keys {
        first: rsa(include_bytes!("../../devkit/keys/provider-1.pk8")),
        second: rsa(include_bytes!("../../devkit/keys/provider-2.pk8")),
        stranger: rsa(include_bytes!("../../devkit/keys/stranger.pk8")),
        p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING).as_ref().to_vec(),
        p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING).as_ref().to_vec(),
    }
});

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sign_rsa(pair: &RsaPair, how: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(how, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn sign_ec(pkcs8: &[u8], how: &'static EcdsaSigningAlgorithm, message: &[u8]) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(how, pkcs8, &SystemRandom::new()).unwrap();
    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

impl By {
    pub(super) fn sign(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(how) => sign_rsa(&KEYS.first, how, message),
            Self::Second => sign_rsa(&KEYS.second, &RSA_PKCS1_SHA256, message),
            Self::Stranger => sign_rsa(&KEYS.stranger, &RSA_PKCS1_SHA256, message),
            Self::Es256 => sign_ec(&KEYS.p256, &ECDSA_P256_SHA256_FIXED_SIGNING, message),
            Self::Es256Der => sign_ec(&KEYS.p256, &ECDSA_P256_SHA256_ASN1_SIGNING, message),
            Self::Es384 => sign_ec(&KEYS.p384, &ECDSA_P384_SHA384_FIXED_SIGNING, message),
            Self::Hmac(key) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
                ring::hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Nothing => Vec::new(),
        }
    }
}

/// A key of a key set, with more members.
pub(super) fn rsa_key(pair: &RsaPair, more: &Value) -> Value {
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
    merged(json!({"kty": "RSA", "n": base64url(n), "e": base64url(e)}), more)
}

pub(super) fn ec_key(pkcs8: &[u8], of: &'static EcdsaSigningAlgorithm, curve: &str, more: &Value) -> Value {
    let pair = EcdsaKeyPair::from_pkcs8(of, pkcs8, &SystemRandom::new()).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    merged(json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)}), more)
}

fn merged(mut value: Value, more: &Value) -> Value {
    for (name, member) in more.as_object().unwrap() {
        value[name] = member.clone();
    }
    value
}

/// A key set with every kind of key.
pub(super) fn many() -> KeySet {
    let first = |more: Value| rsa_key(&KEYS.first, &more);
    let template = format!("https://login.example/{}/v2.0", "{tenantid}");
    let keys = json!([
        first(json!({"kid": "rsa", "use": "sig"})),
        first(json!({"kid": "rs256", "alg": "RS256"})),
        first(json!({"kid": "ps256", "alg": "PS256", "key_ops": ["verify"]})),
        first(json!({"kid": "rs384", "alg": "RS384"})),
        first(json!({"kid": "encrypts", "use": "enc"})),
        first(json!({"kid": "wraps", "key_ops": ["wrapKey"]})),
        first(json!({"kid": "twin"})),
        rsa_key(&KEYS.second, &json!({"kid": "twin"})),
        first(json!({"kid": "template", "issuer": template})),
        first(json!({"kid": "elsewhere", "issuer": format!("https://login.example/{OTHER_TENANT}/v2.0")})),
        ec_key(&KEYS.p256, &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", &json!({"kid": "ec"})),
        ec_key(&KEYS.p384, &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", &json!({"kid": "p384"})),
        {"kty": "oct", "kid": "oct", "k": base64url(SECRET)},
        {"kty": "unknown-type", "kid": "unknown-type"},
        42,
    ]);
    serde_json::from_value(json!({"keys": keys})).unwrap()
}

/// A key set with one key, which has no id.
pub(super) fn one() -> KeySet {
    serde_json::from_value(json!({"keys": [rsa_key(&KEYS.first, &json!({}))]})).unwrap()
}

/// A token before it is signed.
pub(super) struct Draft {
    pub(super) header: Value,
    pub(super) claims: Value,
    pub(super) by: By,
}

impl Draft {
    /// A token with these claims, by the first key.
    pub(super) fn new(claims: Value) -> Self {
        Self { header: json!({"typ": "JWT", "alg": "RS256", "kid": "rsa"}), claims, by: RS256 }
    }

    pub(super) fn sign(&self) -> String {
        signed(&self.header.to_string(), self.claims.to_string().as_bytes(), self.by)
    }
}

pub(super) fn signed(header: &str, payload: &[u8], by: By) -> String {
    let message = format!("{}.{}", base64url(header), base64url(payload));
    format!("{message}.{}", base64url(by.sign(message.as_bytes())))
}

/// Verifies a token by a profile. With `tenants` the authority is for several tenants, of which one may sign in.
pub(super) fn verify<P: ClaimsProfile>(
    token: &str,
    keys: &KeySet,
    tenants: bool,
    profile: &P,
) -> Result<P::Claims, TokenError> {
    let (url, tenants, issuer) = if tenants {
        (
            "https://login.example/common/v2.0",
            Tenants::Listed(vec![TENANT.to_owned()]),
            "https://login.example/{tenantid}/v2.0",
        )
    } else {
        (ISSUER, Tenants::Unchecked, ISSUER)
    };
    let metadata = json!({
        "issuer": issuer, "authorization_endpoint": ISSUER, "token_endpoint": ISSUER, "jwks_uri": ISSUER,
    });
    let metadata = Metadata::read(serde_json::from_value(metadata).unwrap()).unwrap();
    let authority = Authority { url: Url::parse(url).unwrap(), tenants };
    let context = Context { authority: &authority, metadata: &metadata, client_id: CLIENT, now: NOW, clock_skew: SKEW };
    claims::verify(token, keys, profile, &context)
}
