use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use ring::rsa::PublicKeyComponents;
use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use serde_json::{Value, json};

use crate::web::{Body, Call, client, from_base64url, lock, reply};

/// How many checked tokens are remembered, so that a benchmark measures the gateway and not RSA here.
const REMEMBERED: usize = 1_000;

/// Lets in who bears a token of the provider's for this audience.
#[derive(Debug)]
pub(super) struct Gate {
    issuer: String,
    audience: String,
    keys: Mutex<HashMap<String, PublicKeyComponents<Vec<u8>>>>,
    /// Claims of tokens whose signature was found good.
    signed: Mutex<HashMap<String, Value>>,
}

impl Gate {
    pub(super) fn new(issuer: String, audience: String) -> Self {
        Self { issuer, audience, keys: Mutex::default(), signed: Mutex::default() }
    }

    /// The claims of the request's token, or why it does not count.
    pub(super) async fn claims(&self, call: &Call, now: u64) -> Result<Value, &'static str> {
        let mut lines = call.parts.headers.get_all(AUTHORIZATION).iter();
        let (line, second) = (lines.next().ok_or("Access token is empty.")?, lines.next());
        if second.is_some() {
            return Err("Two Authorization headers.");
        }
        let token = line.to_str().ok().and_then(|line| line.strip_prefix("Bearer ")).ok_or("No bearer token.")?;
        let claims = self.signed(token).await?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let time = |name: &str| claims.get(name).and_then(Value::as_u64);
        if text("iss") != self.issuer {
            return Err("Access token validation failure. Invalid issuer.");
        }
        if text("aud") != self.audience {
            return Err("Access token validation failure. Invalid audience.");
        }
        if time("exp").is_none_or(|exp| now >= exp) {
            return Err("Lifetime validation failed, the token is expired.");
        }
        if time("nbf").is_some_and(|nbf| nbf > now + 300) {
            return Err("Lifetime validation failed, the token is not yet valid.");
        }
        Ok(claims)
    }

    async fn signed(&self, token: &str) -> Result<Value, &'static str> {
        if let Some(claims) = lock(&self.signed).get(token) {
            return Ok(claims.clone());
        }
        let malformed = "CompactToken parsing failed.";
        let (message, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = message.split_once('.').ok_or(malformed)?;
        let (header, claims) = (parse(header).ok_or(malformed)?, parse(claims).ok_or(malformed)?);
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err("Invalid signature algorithm.");
        }
        let kid = header.get("kid").and_then(Value::as_str).ok_or(malformed)?;
        let key = self.key(kid).await.ok_or("Signing key is invalid.")?;
        let signature = from_base64url(signature).ok_or(malformed)?;
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).map_err(|_| "Signature is invalid.")?;
        let mut signed = lock(&self.signed);
        if signed.len() >= REMEMBERED {
            signed.clear();
        }
        signed.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    /// The provider's key of that id, fetched when it is not known yet.
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
        let metadata = client::backstage_json(&format!("{}/.well-known/openid-configuration", self.issuer)).await?;
        let uri = metadata.get("jwks_uri").and_then(Value::as_str).unwrap_or_default();
        let set = client::backstage_json(uri).await?;
        let keys = set.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(keys.iter().filter_map(public_key).collect())
    }
}

fn public_key(jwk: &Value) -> Option<(String, PublicKeyComponents<Vec<u8>>)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let components = PublicKeyComponents { n: from_base64url(text("n")?)?, e: from_base64url(text("e")?)? };
    Some((text("kid")?.to_owned(), components))
}

fn parse(part: &str) -> Option<Value> {
    serde_json::from_slice(&from_base64url(part)?).ok()
}

/// Whether a token has that authentication context.
pub(super) fn has_context(claims: &Value, context: &str) -> bool {
    let contexts = claims.get("acrs").and_then(Value::as_array);
    contexts.is_some_and(|contexts| contexts.iter().any(|have| have.as_str() == Some(context)))
}

/// Graph's answer to a token that does not count.
pub(super) fn refused(why: &str) -> Response<Body> {
    unauthorized(
        why,
        "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"",
    )
}

/// A claims challenge, as continuous access evaluation sends it.
pub(super) fn challenged(context: &str) -> Response<Body> {
    let claims = json!({"access_token": {"acrs": {"essential": true, "value": context}}}).to_string();
    let line = format!(
        "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
         error=\"insufficient_claims\", claims=\"{}\"",
        STANDARD.encode(claims)
    );
    unauthorized("Continuous access evaluation resulted in challenge.", &line)
}

fn unauthorized(why: &str, line: &str) -> Response<Body> {
    let body = json!({"error": {"code": "InvalidAuthenticationToken", "message": why}});
    reply::with(reply::json(StatusCode::UNAUTHORIZED, &body), WWW_AUTHENTICATE, line)
}
