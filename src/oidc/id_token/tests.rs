//! Every fault of an ID token with its error, at a sign-in and at a refresh (contract 7.2 to 7.4). Sources: the
//! relying-party tests of the OpenID certification (`rp-id_token-*`, `rp-nonce-*`), OpenID Connect Core 3.1.3.7 and
//! 12.2, RFC 7515, RFC 8725.

mod logout_token;
mod rows;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RsaEncoding,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::*;
use crate::jose::{JwtError, KeySet};
use crate::oidc::claims::at_hash;
use crate::oidc::discovery::{Authority, Metadata};

const NOW: u64 = 1_700_000_000;
const SKEW: u64 = 300;
const CLIENT: &str = "the-client";
const SECRET: &str = "the-client-secret";
const NONCE: &str = "the-nonce";
/// The first 8 bytes of `printf the-nonce | sha256sum`.
const NONCE_HASH: [u8; 8] = [0x19, 0x68, 0xc4, 0xe0, 0xab, 0x44, 0x85, 0x03];
const SUB: &str = "ada";
const ACCESS_TOKEN: &str = "an-access-token";
const ISSUER: &str = "https://login.example/realm";
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const OTHER_TENANT: &str = "99999999-2222-3333-4444-555555555555";

/// How a token is signed, whatever its header says.
#[derive(Clone, Copy)]
enum By {
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

const RS256: By = By::Rsa(&RSA_PKCS1_SHA256);

struct Keys {
    first: RsaPair,
    second: RsaPair,
    stranger: RsaPair,
    p256: Vec<u8>,
    p384: Vec<u8>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = |pkcs8: &[u8]| RsaPair::from_pkcs8(pkcs8).unwrap();
    let ec = |of: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::generate_pkcs8(of, &SystemRandom::new()).unwrap();
    Keys {
        first: rsa(include_bytes!("../../../devkit/keys/provider-1.pk8")),
        second: rsa(include_bytes!("../../../devkit/keys/provider-2.pk8")),
        stranger: rsa(include_bytes!("../../../devkit/keys/stranger.pk8")),
        p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING).as_ref().to_vec(),
        p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING).as_ref().to_vec(),
    }
});

fn base64url(bytes: impl AsRef<[u8]>) -> String {
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
    fn sign(self, message: &[u8]) -> Vec<u8> {
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
fn rsa_key(pair: &RsaPair, more: &Value) -> Value {
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
    merged(json!({"kty": "RSA", "n": base64url(n), "e": base64url(e)}), more)
}

fn ec_key(pkcs8: &[u8], of: &'static EcdsaSigningAlgorithm, curve: &str, more: &Value) -> Value {
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
fn many() -> KeySet {
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
fn one() -> KeySet {
    serde_json::from_value(json!({"keys": [rsa_key(&KEYS.first, &json!({}))]})).unwrap()
}

/// A token before it is signed.
struct Draft {
    header: Value,
    claims: Value,
    by: By,
}

/// A valid token with one change.
fn token(change: impl FnOnce(&mut Draft)) -> String {
    let claims = json!({
        "iss": ISSUER, "sub": SUB, "aud": CLIENT, "nonce": NONCE,
        "exp": NOW + 3_600, "iat": NOW, "at_hash": at_hash(ACCESS_TOKEN),
    });
    let mut draft = Draft { header: json!({"typ": "JWT", "alg": "RS256", "kid": "rsa"}), claims, by: RS256 };
    change(&mut draft);
    signed(&draft.header.to_string(), draft.claims.to_string().as_bytes(), draft.by)
}

fn signed(header: &str, payload: &[u8], by: By) -> String {
    let message = format!("{}.{}", base64url(header), base64url(payload));
    format!("{message}.{}", base64url(by.sign(message.as_bytes())))
}

/// A token with a claim of that value.
fn with(name: &str, value: impl Into<Value>) -> String {
    token(|draft| draft.claims[name] = value.into())
}

/// A token without a claim.
fn without(name: &str) -> String {
    token(|draft| {
        draft.claims.as_object_mut().unwrap().remove(name);
    })
}

/// A token with a member of the header.
fn headed(name: &str, value: impl Into<Value>) -> String {
    token(|draft| draft.header[name] = value.into())
}

/// A token with that algorithm and key id in its header, however it is signed.
fn by(alg: &str, kid: &str, by: By) -> String {
    token(|draft| {
        draft.header["alg"] = alg.into();
        draft.header["kid"] = kid.into();
        draft.by = by;
    })
}

type Verdict = Result<(), TokenError>;

/// A token and the expected outcomes.
struct Row {
    name: &'static str,
    token: String,
    sign_in: Verdict,
    refresh: Verdict,
    /// The key set has one key, without an id.
    one_key: bool,
    /// The authority is for several tenants, of which one may sign in.
    tenants: bool,
}

/// The same outcome at a sign-in and at a refresh.
fn row(name: &'static str, token: String, verdict: Verdict) -> Row {
    Row { name, token, sign_in: verdict, refresh: verdict, one_key: false, tenants: false }
}

fn bad(name: &'static str, token: String, error: impl Into<TokenError>) -> Row {
    row(name, token, Err(error.into()))
}

fn good(name: &'static str, token: String) -> Row {
    row(name, token, Ok(()))
}

const SIGN_IN: SignIn<'_> = SignIn { nonce: NONCE, access_token: ACCESS_TOKEN };

const fn refreshed(tid: Option<&str>) -> Refreshed<'_> {
    Refreshed { subject: Subject { sub: SUB, tid, nonce_hash: Some(NONCE_HASH) }, access_token: ACCESS_TOKEN }
}

fn verify_row<P: ClaimsProfile>(row: &Row, profile: &P) -> Verdict {
    let (url, tenants, issuer) = if row.tenants {
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
    let keys = if row.one_key { one() } else { many() };
    claims::verify(&row.token, &keys, profile, &context).map(|_| ())
}

#[test]
fn each_invalid_id_token_has_its_error_at_sign_in_and_refresh() {
    let rows = rows::all();
    assert!(rows.len() >= 190, "{}", rows.len());
    let mut failures = Vec::new();
    for row in &rows {
        for (when, found, expected) in [
            ("sign-in", verify_row(row, &SIGN_IN), row.sign_in),
            ("refresh", verify_row(row, &refreshed(row.tenants.then_some(TENANT))), row.refresh),
        ] {
            if found != expected {
                failures.push(format!("{} at {when}: {found:?} instead of {expected:?}", row.name));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "the names of rows are unique");
}

#[test]
fn another_tenant_at_a_refresh_is_another_user() {
    let token = token(|draft| {
        draft.claims["tid"] = TENANT.into();
        draft.claims["iss"] = format!("https://login.example/{TENANT}/v2.0").into();
    });
    let row = Row { tenants: true, ..good("tenants", token) };
    assert_eq!(verify_row(&row, &refreshed(Some(TENANT))), Ok(()));
    assert_eq!(verify_row(&row, &refreshed(Some(OTHER_TENANT))), Err(TokenError::OtherUser));
    assert_eq!(verify_row(&row, &refreshed(None)), Err(TokenError::OtherUser));
}

proptest::proptest! {
    #[test]
    fn no_token_panics(text in "[A-Za-z0-9_.=-]{0,120}", header in ".{0,60}", payload in ".{0,60}") {
        for token in [text, signed(&header, payload.as_bytes(), By::Nothing)] {
            let _ = verify_row(&good("", token), &SIGN_IN);
        }
    }
}
