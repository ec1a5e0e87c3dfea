use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use ring::rsa::PublicKeyComponents;
use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use serde_json::Value;

use super::{client, from_base64url, lock};

/// How many checked tokens are remembered, so that a benchmark measures the gateway and not RSA here.
const REMEMBERED: usize = 1_000;

/// An issuer whose key set is fetched by discovery, when first needed.
#[derive(Debug)]
pub(crate) struct Issuer {
    url: String,
    keys: Mutex<HashMap<String, PublicKeyComponents<Vec<u8>>>>,
    /// Claims of tokens whose signature was found good.
    signed: Mutex<HashMap<String, Value>>,
}

/// Why a token is not its issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    Algorithm,
    Malformed,
    Signature,
    UnknownKey,
}

impl Issuer {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), keys: Mutex::default(), signed: Mutex::default() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The claims of a token that it signed by RS256. What they say, `iss` included, is the caller's to judge.
    pub(crate) async fn claims(&self, token: &str) -> Result<Value, Unsigned> {
        if let Some(claims) = lock(&self.signed).get(token) {
            return Ok(claims.clone());
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Unsigned::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Unsigned::Malformed)?;
        let header = parse(header).ok_or(Unsigned::Malformed)?;
        let claims = parse(claims).ok_or(Unsigned::Malformed)?;
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(Unsigned::Algorithm);
        }
        let kid = header.get("kid").and_then(Value::as_str).ok_or(Unsigned::Malformed)?;
        let key = self.key(kid).await.ok_or(Unsigned::UnknownKey)?;
        let signature = from_base64url(signature).ok_or(Unsigned::Malformed)?;
        let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature);
        verified.map_err(|_| Unsigned::Signature)?;
        let mut signed = lock(&self.signed);
        if signed.len() >= REMEMBERED {
            signed.clear();
        }
        signed.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    /// The key of that id, fetched when it is not known yet.
    async fn key(&self, kid: &str) -> Option<PublicKeyComponents<Vec<u8>>> {
        if let Some(key) = lock(&self.keys).get(kid) {
            return Some(key.clone());
        }
        let fetched = self.fetch().await.ok()?;
        let mut keys = lock(&self.keys);
        keys.extend(fetched);
        keys.get(kid).cloned()
    }

    async fn fetch(&self) -> io::Result<Vec<(String, PublicKeyComponents<Vec<u8>>)>> {
        let metadata = client::backstage_json(&format!("{}/.well-known/openid-configuration", self.url)).await?;
        let uri = metadata.get("jwks_uri").and_then(Value::as_str).unwrap_or_default();
        let set = client::backstage_json(uri).await?;
        let keys = set.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(keys.iter().filter_map(public_key).collect())
    }
}

/// The claims of a token that nobody has checked.
pub(crate) fn unchecked_claims(token: &str) -> Option<Value> {
    parse(token.split('.').nth(1)?)
}

fn public_key(jwk: &Value) -> Option<(String, PublicKeyComponents<Vec<u8>>)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let components = PublicKeyComponents { n: from_base64url(text("n")?)?, e: from_base64url(text("e")?)? };
    Some((text("kid")?.to_owned(), components))
}

fn parse(part: &str) -> Option<Value> {
    serde_json::from_slice(&from_base64url(part)?).ok()
}
